import os
from pathlib import Path

import pytest
import yaml

from pipelines.config import Config, load_config, parse_config
from schemas.errors import ConfigError

GOOD = {"corpus": "out", "pairs": [{"format": "coco", "name": "coco", "captions": "captions.json", "images": "photos"}]}


def parse(**changes):
    return parse_config({**GOOD, **changes}, "/data/job")


def problem(**changes):
    with pytest.raises(ConfigError) as caught:
        parse(**changes)
    return str(caught.value)


def test_relative_paths_are_relative_to_the_folder_of_the_file():
    config = parse(
        texts=[{"format": "text", "name": "t", "files": ["a.txt", "/b.txt", "s3://c/d.txt", "../e/*.txt"]}], exclude={"files": ["test.txt"]}
    )
    assert config.corpus == "/data/job/out"
    assert (config.pairs[0].captions, config.pairs[0].images) == ("/data/job/captions.json", "/data/job/photos")
    assert config.texts[0].files == ["/data/job/a.txt", "/b.txt", "s3://c/d.txt", "/data/e/*.txt"]
    assert config.exclude.files == ["/data/job/test.txt"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"partitons": 4},
            "partitons: unknown key; did you mean 'partitions'? Known keys: back_translation, base, captions, card, compression,",
        ),
        ({"tfidf": {"max_dv": 0.5}}, "tfidf.max_dv: unknown key; did you mean 'max_df'?"),
        ({"pairs": [{**GOOD["pairs"][0], "imagse": "x"}]}, "pairs.0.coco.imagse: unknown key; did you mean 'images'?"),
        ({"exclude": {"fils": []}}, "exclude.fils: unknown key; did you mean 'files'?"),
        ({"image_limits": {"max_pixel": 1}}, "image_limits.max_pixel: unknown key; did you mean 'max_pixels'?"),
        ({"partitions": 0}, "partitions: Input should be greater than or equal to 1 (given: 0)"),
        ({"partitions": "many"}, "partitions: Input should be a valid integer, unable to parse string as an integer (given: 'many')"),
        ({"max_rejected": 1.5}, "max_rejected: Input should be less than or equal to 1 (given: 1.5)"),
        ({"pairs": []}, "pairs: List should have at least 1 item after validation, not 0 (given: [])"),
        (
            {"pairs": [{"format": "cocoa", "name": "x"}]},
            "pairs.0: Input tag 'cocoa' found using 'format' does not match any of the expected tags",
        ),
        ({"pairs": [{"format": "coco", "name": "x"}]}, "pairs.0.coco.captions: is required"),
        ({"pairs": GOOD["pairs"] * 2}, "pairs: two collections are named 'coco'"),
        ({"pairs": [{**GOOD["pairs"][0], "name": "a/b"}]}, "pairs.0.coco.name: String should match pattern"),
        ({"tfidf": {"k": 0}}, "tfidf.k: Input should be greater than or equal to 1 (given: 0)"),
        ({"compression": "gzip"}, "compression: Input should be 'lz4' or 'zstd' (given: 'gzip')"),
        ({"corpus": ""}, "corpus: String should have at least 1 character"),
        ({"corpus": "foo://x"}, "corpus: 'foo' is not a protocol that fsspec knows"),
        ({"corpus": "a\0b"}, "corpus: a path cannot contain a null byte"),
        ({"tfidf": {"k": 800, "bound": 10}}, "rescore (700) must be at least k (800)"),
        ({"tfidf": {"ngrams": [2, 1]}}, "ngrams must be a range within [1, 5], not 2 to 1"),
    ],
)
def test_errors_name_the_key_and_what_is_allowed(changes, expected):
    assert expected in problem(**changes)


def test_several_errors_are_reported_at_once():
    text = problem(partitons=4, seed=-1)
    assert "partitons" in text and "seed" in text


def write(tmp_path, text):
    path = tmp_path / "job.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n- b\n", "must contain a mapping of settings, not list"),
        ("", "must contain a mapping of settings, not NoneType"),
        ("corpus: [unclosed", "is not valid YAML"),
        (b"corpus: \xff\xfe", "is not valid YAML"),
        ("corpus: a\npairs: []\ncorpus: b\n", "line 3: the key 'corpus' is duplicated"),
        ("corpus: a\n? [1, 2]\n: b\n", "line 2: a key must be plain text, not a list or mapping"),
        ("corpus: !!python/object/apply:os.system ['true']\n", "is not valid YAML"),
    ],
)
def test_files_that_are_not_configurations_are_named(tmp_path, text, expected):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match="job.yaml") as caught:
        load_config(path)
    assert expected in str(caught.value)


def test_merge_keys_and_the_home_folder_are_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    path = write(tmp_path, "corpus: ~/corpus\npairs:\n  - &one {format: coco, name: a, captions: a.json}\n  - {<<: *one, name: b}\n")
    config = load_config(path)
    assert config.corpus == "/home/me/corpus" and [source.name for source in config.pairs] == ["a", "b"]
    assert load_config(path, ["tfidf.k=800"]).tfidf.k == 800


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere.yaml: configuration not found"):
        load_config(str(tmp_path / "nowhere.yaml"))


def test_settings_are_overridden_on_the_command_line(tmp_path):
    path = write(tmp_path, yaml.safe_dump(GOOD))
    config = load_config(path, ["tfidf.k=7", "seed=3", "pairs.0.name=other", "tfidf.bound=200"])
    assert (config.tfidf.k, config.seed, config.pairs[0].name, config.tfidf.bound) == (7, 3, "other", 200)
    assert load_config(path, ["tfidf=null"]).tfidf is None
    assert config.corpus == str(tmp_path / "out")


@pytest.mark.parametrize("override", ["seed", "=3", "pairs.x.name=a", "pairs.9.name=a", "seed.deep=1"])
def test_invalid_overrides_are_named(tmp_path, override):
    with pytest.raises(ConfigError, match="--set"):
        load_config(write(tmp_path, yaml.safe_dump({**GOOD, "seed": 1})), [override])


def test_every_setting_has_a_description():
    def fields(model):
        for name, field in model.model_fields.items():
            yield f"{model.__name__}.{name}", field
            if hasattr(field.annotation, "model_fields"):
                yield from fields(field.annotation)

    assert [name for name, field in fields(Config) if not field.description] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)).join(
                ["a: &a [x, x, x, x, x, x, x, x, x]\n", "pairs: *h\n"]
            ),
            "aliases expand to more than",
        ),
        ("pairs: &a [*a]\n", "an alias refers to a node that contains it"),
        ("a: &a {b: *a}\n", "an alias refers to a node that contains it"),
        ("[" * 5000, "is not valid YAML"),
        ("x" * (5 << 20), "is larger than"),
    ],
)
def test_a_small_file_cannot_expand_to_a_large_configuration(text: str, message: str, tmp_path: Path):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(str(tmp_path / "c.yaml"))


def test_a_pipe_is_not_a_configuration(tmp_path: Path):
    os.mkfifo(tmp_path / "c.yaml")
    for place in (str(tmp_path / "c.yaml"), "/dev/zero"):
        with pytest.raises(ConfigError, match="a pipe, socket or device"):
            load_config(place)
