import os
import shutil

import datasets
import pytest
import yaml
from huggingface_hub import DatasetCard

from pipelines.card import write_card
from pipelines.card_settings import CardSettings
from pipelines.cli import main
from pipelines.config import parse_config
from pipelines.lock import corpus_lock
from pipelines.run import plan_of, run
from pipelines.verify import forget, verify
from schemas.corpus import CARD_BEGIN, CARD_END, open_corpus
from schemas.errors import ConfigError, CorpusError
from schemas.rejects import Reason
from schemas.tables import GRAPHS, IMAGES, PAIRS, regions_schema
from tests.forge import forge_manifest
from tests.pipelines.conftest import hash_of, make_config, settings
from tests.pipelines.test_diff import ESCAPES, image, pair, tables
from tests.written import write_corpus

TOLD = CardSettings(title="Scenes <b>", license=["cc-by-4.0"], language=["en"], sources={"scenes": "rendered; see | and `x`"},
                    restricted=["the photos"])  # fmt: skip


@pytest.fixture(scope="module")
def whole(scene_files, tmp_path_factory):
    """A corpus with negatives of every level, and token ids."""
    place = tmp_path_factory.mktemp("card") / "c"
    run(make_config(scene_files, place, swaps={"per_kind": 2, "min_count": 2}, tokens={"size": 400}, images=[]))
    return place


@pytest.fixture
def corpus(whole, tmp_path):
    """A copy that the test may change."""
    return shutil.copytree(whole, tmp_path / "c")


def card_of(place, told=TOLD):
    troubles = write_card(*open_corpus(str(place)), told)
    return (place / "README.md").read_text(encoding="utf-8"), troubles


def opened(place, name, cache):
    return datasets.load_dataset(str(place), name, cache_dir=str(cache), split="train")


def test_every_table_opens_with_datasets_and_the_hub_reads_the_header(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    text, troubles = card_of(corpus)
    assert troubles == []
    head = DatasetCard.load(corpus / "README.md").data.to_dict()
    assert (head["license"], head["language"], head["pretty_name"]) == (["cc-by-4.0"], ["en"], "Scenes <b>")
    assert head["size_categories"] == ["n<1K"]
    found, index = open_corpus(str(corpus))
    counts = {}
    for entry in index.stages:
        manifest = found.manifest(entry.stage)
        for table in entry.hashed:
            counts[table] = counts.get(table, 0) + manifest.counts.rows_out[table]
        if entry.hashed:
            counts["rejects"] = counts.get("rejects", 0) + sum(file.rows for file in manifest.files if file.table == "rejects")
    assert (
        {config["config_name"] for config in head["configs"]}
        == set(counts)
        >= {"images", "pairs", "texts", "rewrites", "rejects", "graphs", "vocabulary", "examples", "tokens", "tokenizer"}
    )
    assert [config["config_name"] for config in head["configs"] if config.get("default")] == ["examples"]
    for info in head["dataset_info"]:
        name = info["config_name"]
        rows = opened(corpus, name, tmp_path / "cache")
        assert rows.num_rows == counts[name] == info["splits"][0]["num_examples"]
        assert rows.column_names == [feature["name"] for feature in info["features"]]
        assert f"| `{name}` | {counts[name]:,} |" in text
    captions = {row["caption"] for partition in range(4) for row in found.open("pairs", "pairs", partition).read().to_pylist()}
    assert set(opened(corpus, "pairs", tmp_path / "cache")["caption"]) == captions
    assert {"tfidf", "object"} <= set(opened(corpus, "rewrites", tmp_path / "cache")["kind"])


def test_the_datasheet_says_what_the_manifests_say(corpus):
    text, _ = card_of(corpus)
    found, index = open_corpus(str(corpus))
    for entry in index.stages:
        manifest = found.manifest(entry.stage)
        assert f"- `{entry.stage}`, fingerprint `{manifest.fingerprint}`" in text
        assert f"| `{entry.stage}` | {manifest.counts.rows_in:,} | {manifest.counts.rejected:,} |" in text
        for reason, count in manifest.counts.reasons.items():
            assert f"{reason.replace('_', chr(92) + '_')} {count:,}" in text
    assert "- scenes (image\\-text pairs" not in text and "- scenes (image-text pairs, read as coco): rendered; see \\| and \\`x\\`" in text
    assert "# Scenes &lt;b&gt;" in text and "- the photos" in text
    block = text[text.index(CARD_BEGIN) : text.index(CARD_END)]
    assert str(corpus.parent) not in block and "/images/" not in block


def test_nothing_is_guessed(corpus):
    text, _ = card_of(corpus, CardSettings())
    head = DatasetCard.load(corpus / "README.md").data.to_dict()
    assert not {"license", "language", "pretty_name"} & set(head)
    assert "Licence: the configuration does not say" in text and "does not say where it comes from" in text


def test_a_second_run_changes_nothing_and_keeps_the_users_own_sections_and_keys(corpus):
    text, _ = card_of(corpus)
    assert card_of(corpus)[0] == text
    mine = (
        text.replace("---\n", "---\ntags: [mine]\nlicense: [mit]\n", 1).replace(CARD_BEGIN, f"# Foreword\n\n{CARD_BEGIN}")
        + "\n## Thanks\n\nMe.\n"
    )
    (corpus / "README.md").write_text(mine.replace("license: [mit]\n", ""))
    again, _ = card_of(corpus)
    assert "# Foreword" in again and again.endswith("\n## Thanks\n\nMe.\n") and again.count(CARD_BEGIN) == 1
    assert DatasetCard.load(corpus / "README.md").data.to_dict()["tags"] == ["mine"]
    assert card_of(corpus)[0] == again
    card_of(corpus, CardSettings())
    assert DatasetCard.load(corpus / "README.md").data.to_dict()["license"] == ["cc-by-4.0"]  # no news is no change


def test_the_card_belongs_to_the_corpus(scene_files, corpus):
    before = hash_of(corpus)
    card_of(corpus)
    assert verify(*open_corpus(str(corpus))) == [] and hash_of(corpus) == before
    config = make_config(scene_files, corpus, swaps={"per_kind": 2, "min_count": 2}, tokens={"size": 400}, images=[])
    assert {state.state for state in plan_of(config)[1]} == {"current"}
    os.remove(corpus / "corpus.json")
    plan_of(config)  # a corpus that has lost its index is still known, card and all
    (corpus / "README.md").write_text("mine")
    with pytest.raises(CorpusError, match="README.md"):
        plan_of(config)


def test_a_pattern_that_would_read_the_card_is_refused(scene_files, tmp_path):
    notes = {"format": "markdown", "name": "notes", "files": str(tmp_path / "**/*.md")}
    with pytest.raises(ConfigError, match="inside"):
        plan_of(make_config(scene_files, tmp_path / "c", texts=[notes]))


def test_what_a_killed_writer_left_is_swept_by_repair(corpus):
    (corpus / ".tmp-README.md-0123456789ab").write_text("half")
    found, index = open_corpus(str(corpus))
    findings = verify(found, index)
    assert [finding.foreign for finding in findings] == [False]
    forget(found, findings)
    assert verify(found, index) == []


@pytest.mark.parametrize(
    "text",
    [
        "my own notes\n",
        f"{CARD_END}\n\n{CARD_BEGIN}\n",
        f"---\n---\n{CARD_BEGIN}\n",
        f"x\n{CARD_BEGIN}\n{CARD_BEGIN}\n{CARD_END}\n",
        f"a `{CARD_BEGIN}` b `{CARD_END}`\n",
        b"\xff\xfe\n",
        f"x\n{CARD_BEGIN}\n{CARD_END}\n" + "x" * (5 << 20),
    ],
)
def test_a_readme_of_somebody_else_is_never_overwritten(corpus, text):
    data = text if isinstance(text, bytes) else text.encode()
    (corpus / "README.md").write_bytes(data)
    with pytest.raises(CorpusError, match=r"README.md was not written by `cmcl card`.*move it away"):
        card_of(corpus)
    assert (corpus / "README.md").read_bytes() == data and not list(corpus.glob(".tmp-*"))
    if len(data) < 1 << 20:
        assert [finding.text for finding in verify(*open_corpus(str(corpus)))] == ["README.md: not a file of the corpus"]


def test_links_and_folders_are_refused(corpus, tmp_path):
    (tmp_path / "elsewhere.md").write_text("theirs")
    (corpus / "README.md").symlink_to(tmp_path / "elsewhere.md")
    with pytest.raises(CorpusError, match="not a plain file"):
        card_of(corpus)
    assert (tmp_path / "elsewhere.md").read_text() == "theirs"
    (corpus / "README.md").unlink()
    (corpus / "README.md").mkdir()
    with pytest.raises(CorpusError, match="not a plain file"):
        card_of(corpus)


@pytest.mark.parametrize("head", ["a: [", "- 1", "just words", "!!python/object/apply:os.system [touch x]"])
def test_a_spoilt_header_is_named_and_left(corpus, head):
    text = f"---\n{head}\n---\n{CARD_BEGIN}\n{CARD_END}\n"
    (corpus / "README.md").write_text(text)
    with pytest.raises(CorpusError, match="its header is not"):
        card_of(corpus)
    assert (corpus / "README.md").read_text() == text


def half_made(place):
    os.remove(place / "tfidf/manifest.json")


def damaged_manifest(place):
    (place / "tfidf/manifest.json").write_bytes((place / "tfidf/manifest.json").read_bytes()[:-100])


def damaged_table(place):
    path = place / "tfidf/rewrites-00000-of-00004.arrow"
    path.write_bytes(path.read_bytes()[:-50])


def missing_table(place):
    os.remove(place / "tfidf/rewrites-00000-of-00004.arrow")


def failed(place):
    forge_manifest(open_corpus(str(place))[0], "tfidf", lambda manifest: setattr(manifest, "failed", "12 of 20 rows in /home/me/x.csv <b>"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (half_made, "the stage tfidf is not finished"),
        (damaged_manifest, "the stage tfidf is not finished"),
        (damaged_table, "the table rewrites of the stage tfidf cannot be read"),
        (missing_table, "the table rewrites of the stage tfidf cannot be read"),
        (failed, "the stage tfidf failed"),
    ],
)
def test_the_card_is_made_of_what_stands_and_names_the_rest(corpus, tmp_path, spoil, said):
    spoil(corpus)
    text, troubles = card_of(corpus)
    assert len(troubles) == 1 and said in troubles[0] and f"- Missing: {said}" in text
    assert (
        str(corpus.parent) not in text[text.index(CARD_BEGIN) :] and "/home/me" not in text and "<b>" not in text[text.index(CARD_BEGIN) :]
    )
    assert opened(corpus, "swaps_rewrites" if "swaps_rewrites" in text else "rewrites", tmp_path / "cache").num_rows > 0


def test_a_corpus_at_work_is_left_alone(corpus):
    with corpus_lock(str(corpus)), pytest.raises(CorpusError):
        card_of(corpus)
    assert not (corpus / "README.md").exists()


def test_empty_corpora_of_one_pair_and_with_regions(tmp_path):
    regions = regions_schema(4, 3)
    row = {
        "image_id": "made/1",
        "width": 4,
        "height": 3,
        "boxes": [[0.0, 0.0, 1.0, 1.0]],
        "confidence": [1.0],
        "features": [[0.5] * 4],
        "soft_labels": None,
        "class": [1],
        "attributes": None,
    }
    for name, pairs, images, found in (("none", [], [], []), ("one", [pair("made/1", ESCAPES)], [image("made/1")], [row])):
        write_corpus(
            tmp_path / name,
            2,
            {
                "pairs": {"pairs": (PAIRS, pairs), "images": (IMAGES, images)},
                "graphs": {"graphs": (GRAPHS, [])},
                "regions": {"regions": (regions, found)},
            },
            {"regions": {Reason.IMAGE_BROKEN: 2}},
        )
        text, troubles = card_of(tmp_path / name)
        assert troubles == [] and ("There are no pairs" in text) == (not pairs)
        assert ESCAPES not in text
        rows = {
            table: opened(tmp_path / name, table, tmp_path / name / "cache")
            for table in ("pairs", "images", "regions", "rejects")
            if f"config_name: {table}\n" in text
        }
        assert [rows[table].num_rows for table in rows] == ([1, 1, 1, 2] if pairs else [2])
        assert f"| `pairs` | {len(pairs)} |" in text and "| `graphs` | 0 |" in text
        shutil.rmtree(tmp_path / name / "cache")
        if pairs:
            assert rows["pairs"][0]["caption"] == ESCAPES and rows["regions"][0]["features"] == [[0.5] * 4]


def test_tables_of_one_name_and_other_schemas_are_configurations_of_their_own(tmp_path):
    wide, narrow = regions_schema(8, 3), regions_schema(4, 3)
    row = {
        "image_id": "made/1",
        "width": 4,
        "height": 3,
        "boxes": [],
        "confidence": [],
        "features": [],
        "soft_labels": None,
        "class": [],
        "attributes": None,
    }
    write_corpus(tmp_path / "c", 2, {"regions": {"regions": (wide, [row])}, "image_regions": {"regions": (narrow, [row])}})
    card_of(tmp_path / "c")
    names = [config["config_name"] for config in DatasetCard.load(tmp_path / "c/README.md").data.to_dict()["configs"]]
    assert names == ["regions_regions", "image_regions_regions"]


def test_the_command_takes_licence_and_sources_from_the_configuration(scene_files, corpus, tmp_path, capsys):
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({**settings(scene_files, corpus), "card": {"license": ["mit"], "sources": {"scenes": "ours"}}}))
    assert main(["card", str(path)]) == 0
    assert capsys.readouterr().out == f"{corpus}/README.md\n"
    assert DatasetCard.load(corpus / "README.md").data.to_dict()["license"] == ["mit"]
    half_made(corpus)
    assert main(["card", str(corpus)]) == 1
    assert "missing from the card: the stage tfidf" in capsys.readouterr().err
    assert main(["card", str(tmp_path / "nowhere")]) == 1
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("card", "said"), [({"licence": ["mit"]}, "licence"), ({"sources": {"other": "x"}}, "no collection is named 'other'")]
)
def test_wrong_settings_of_the_card_are_named(scene_files, tmp_path, card, said):
    with pytest.raises(ConfigError, match=said):
        parse_config({**settings(scene_files, tmp_path / "c"), "card": card}, "/")


def test_hostile_texts_of_the_configuration_are_text(tmp_path):
    corpus = write_corpus(tmp_path / "c", 1, tables([pair("made/1", "a dog")]))
    forge_manifest(
        corpus,
        "pairs",
        lambda manifest: manifest.ingredients.update(
            sources={"m<i>|`x": {"settings": {"format": "coco"}}},
            settings={"place": "s3://key:secret@bucket?token=1", "p": "/home/me/[a](b)"},
        ),
    )
    text, _ = card_of(tmp_path / "c", CardSettings(title=f"x\n{CARD_END}\n# y", restricted=[ESCAPES, "word " * 10_000]))
    assert text.split("\n").count(CARD_END) == 1 and "secret" not in text and "token" not in text and "/home/me" not in text
    assert "<i>" not in text and "<script>" not in text and "\x1b" not in text and "\u202e" not in text
    assert card_of(tmp_path / "c", CardSettings())[1] == []
