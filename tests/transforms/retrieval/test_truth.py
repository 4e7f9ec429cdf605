"""Retrieved texts that the judge of truth refuses, on scenes, whose truth is known."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import defaultdict

import pytest

pytest.importorskip("faiss", reason="retrieval needs its extra: pip install 'cmcl[retrieval]'")
pytest.importorskip("sentence_transformers", reason="retrieval needs its extra: pip install 'cmcl[retrieval]'")

from pipelines.config import parse_config
from pipelines.run import plan_of, run
from pipelines.verify import verify
from schemas.corpus import open_corpus
from schemas.errors import ConfigError
from tests.transforms.retrieval.help import rows
from transforms.scenes.language import captions
from transforms.scenes.layout import sample_scene
from transforms.scenes.parser import parse
from transforms.scenes.truth import judge

SCENES = [sample_scene(5, index) for index in range(14)]
TEXTS = [[caption.text for caption in captions(scene, 5)] for scene in SCENES]
LEAST = 0.05


def settings(folder, name, partitions=3, truth=None, **texts):
    return parse_config(
        {
            "corpus": str(folder / name),
            "partitions": partitions,
            "pixels": False,
            "tfidf": None,
            "truth": {} if truth is None else truth or None,
            "pairs": [{"format": "coco", "name": "s", "captions": str(folder / "captions.json")}],
            "texts": [{"format": "text", "name": "t", "files": str(folder / "texts.txt")}],
            "retrieval": {"images": None, "texts": {"floor": -1.0, **texts}},
        },
        "/",
    )


def made(folder, name, **texts):
    run(settings(folder, name, **texts))
    return open_corpus(str(folder / name))[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("scenes")
    notes = [{"image_id": at, "id": 3 * at + one, "caption": own[one]} for at, own in enumerate(TEXTS) for one in (0, 1)]
    images = [{"id": at, "file_name": f"{at}.png"} for at in range(len(TEXTS))]
    (place / "captions.json").write_text(json.dumps({"images": images, "annotations": notes}))
    hidden = [text for own in TEXTS for text in own[2:]]
    (place / "texts.txt").write_text("\n\n".join(f"{text[0].upper()}{text[1:]}." for text in hidden) + "\n")
    return place


@pytest.fixture(scope="module")
def strict(folder):
    """All that the judge leaves."""
    return made(folder, "strict", min_truth=LEAST)


@pytest.fixture(scope="module")
def guarded(folder):
    """The same with short lists, a search that keeps few candidates, and other partitions."""
    return made(folder, "guarded", partitions=1, min_truth=LEAST, k=4, depth=6)


def lists(corpus):
    found = sorted(rows(corpus, "text_matches", "matches"), key=lambda match: (match["query_id"], match["rank"]))
    return {query: [match["matched_id"] for match in own] for query, own in itertools.groupby(found, key=lambda match: match["query_id"])}


def refused(corpus):
    """By caption: the texts that the judge refused, with score and probability."""
    found = defaultdict(dict)
    for row in rows(corpus, "text_matches", "rejects"):
        if row["reason"] == "judged_false":
            text_id, score, _, _, chance = row["detail"].replace(",", "").split()
            found[row["id"]][text_id] = float(score), float(chance)
    return found


def test_lists_are_what_the_judge_leaves_and_are_filled_by_looking_deeper(strict, guarded):
    whole, some = lists(strict), lists(guarded)
    assert some == {query: own[:4] for query, own in whole.items()} and len(some) > len(SCENES)
    last = {match["query_id"]: match["score"] for match in rows(guarded, "text_matches", "matches")}  # of each list, the last
    better = {query: sum(score > last[query] for score, _ in refused(strict)[query].values()) for query in last}
    assert max(better.values()) > 6  # refused before the last of the list: more than the search keeps
    assert all(chance < LEAST for own in refused(strict).values() for _, chance in own.values())


def test_what_is_kept_is_more_often_true(strict):
    scene_of = {row["pair_id"]: SCENES[int(row["image_id"].rpartition("/")[2])] for row in rows(strict, "pairs", "pairs")}
    texts = {row["text_id"]: row["text"] for row in rows(strict, "texts", "texts")}

    def share(found):
        verdicts = [judge(parse(texts[one][0].lower() + texts[one][1:-1]), scene_of[query]) for query, own in found.items() for one in own]
        return verdicts.count("true") / len(verdicts)

    assert share(lists(strict)) > 4 * share(refused(strict)) > 0


def test_the_manifest_says_what_is_expected_and_why_lists_are_short(strict, guarded):
    manifest = guarded.manifest("text_matches")
    assert LEAST < manifest.extra["expected_true"] < 1
    assert manifest.counts.numbers["short_by_truth"] == manifest.counts.numbers["short_lists"] > 0
    assert manifest.counts.reasons["judged_false"] == sum(map(len, refused(guarded).values()))
    assert strict.manifest("text_graphs").counts.rows_out["text_graphs"] == len(rows(strict, "texts", "texts"))
    assert verify(*open_corpus(guarded.url)) == []


def test_only_what_judges_runs_again(folder, guarded):
    states = plan_of(settings(folder, "guarded", partitions=1, min_truth=0.5, k=4, depth=6))[1]
    assert [state.stage.name for state in states if state.must_run] == ["text_matches", "text_uses", "examples"]
    states = {state.stage.name: state.stage for state in plan_of(settings(folder, "off", k=4))[1]}
    assert "text_graphs" not in states and not states["text_matches"].has("caption_vectors")


@pytest.mark.slow
def test_a_new_sentence_alone_is_parsed_and_the_files_are_those_of_a_new_corpus(folder, tmp_path):
    place = tmp_path / "in"
    place.mkdir()
    for name in ("captions.json", "texts.txt"):
        shutil.copy(folder / name, place)
    same = {"partitions": 1, "min_truth": LEAST, "k": 4, "depth": 6}
    made(place, "grown", **same)
    (place / "texts.txt").write_text((place / "texts.txt").read_text() + "\nA dog is next to a red car.\n")
    grown, fresh = made(place, "grown", **same), made(place, "fresh", **same)
    assert grown.record("text_graphs", 0).made == 1 < fresh.record("text_graphs", 0).made
    for stage in ("text_graphs", "text_matches"):
        assert [one.sha256 for one in grown.record(stage, 0).files] == [one.sha256 for one in fresh.record(stage, 0).files]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"truth": False}, "give `truth`, or set min_truth to null"),
        ({"truth": {"encoder": None, "parser": None}}, "set truth.encoder or truth.parser"),
        ({"truth": {"encoder": "sentence-transformers:/x"}}, "truth.encoder is 'sentence-transformers:/x'|/x"),
        ({"min_truth": 1.5}, "min_truth"),
        ({"min_truth": float("nan")}, "min_truth"),
    ],
)
def test_a_judge_that_cannot_judge_is_an_error_before_any_work(folder, changes, text):
    with pytest.raises(ConfigError, match=text):
        config = settings(folder, "bad", **{"min_truth": 0.5, **changes})
        run(config.model_copy(update={"truth": None}) if changes.get("truth") is False else config)
    assert not (folder / "bad" / "pairs").exists()
