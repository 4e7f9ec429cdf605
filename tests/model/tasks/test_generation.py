"""Writing texts: beam search, cached states, label smoothing, and the tasks on files in their published layouts."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model.data.settings import DataSettings
from model.data.shards import Shards
from model.downstream import TaskBatches, TaskRows
from model.generation import Search, Writer, beam_search, fragment_table
from model.heads import Network
from model.objectives.base import Views
from model.tasks.base import Row, Task
from model.tasks.cnn_dm import CnnDm
from model.tasks.coco_captions import CocoCaptions
from model.tasks.coqa import ANSWER, PASSAGE, QUESTION, Coqa, CoqaSettings, against, exact, f1
from model.tasks.generation import Generation, GenerationSettings
from model.tasks.gigaword import Gigaword
from model.tasks.squad_qg import SquadQg
from model.tasks.summaries import Summaries
from model.tasks.text_metrics import caption_scores, rouge
from model.transformer import ModelSettings, Shape
from schemas.errors import ConfigError, SourceError
from tests.model.tasks.files import run, sentence

END = 0


def _chain(size: int, seed: int) -> Tensor:
    """Log-probabilities of the next token after each token, [size + 1, size]; the last row those of the first token."""
    return torch.randn(size + 1, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).mul(2).log_softmax(-1)


def _search(table: Tensor, how: Search, sources: int = 1) -> list[list[int]]:
    first = table[-1].expand(sources, -1).clone()
    return beam_search(first, lambda parents, tokens: table[tokens], how)


def _all(table: Tensor, how: Search) -> dict[tuple[int, ...], float]:
    """The score of every finished text."""
    size, found = table.shape[1], {}
    for length in range(how.most + 1):
        for said in itertools.product([token for token in range(size) if token != END], repeat=length):
            whole = (*said, END)
            total = sum(float(table[before, token]) for before, token in zip((-1, *whole), whole, strict=False))
            if length >= how.least and not (how.block and len({said[at : at + 3] for at in range(length - 2)}) < length - 2):
                found[said] = how.score(total, length + 1)
    return found


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0, -0.5])
@pytest.mark.parametrize("least, block", [(0, False), (3, False), (5, True)])
def test_a_wide_beam_finds_the_best_text(penalty: float, least: int, block: bool) -> None:
    for seed in range(4):
        table, how = _chain(3, seed), Search(END, 32 if least < 5 else 64, least, 5, penalty, block)
        scores = _all(table, how)
        (found,) = _search(table, how)
        assert scores[tuple(found)] == pytest.approx(max(scores.values()))


def test_one_hypothesis_is_the_greedy_text_and_sources_do_not_mix() -> None:
    table = _chain(7, 3)
    token, greedy = -1, []
    while (token := int(table[token].argmax())) != END and len(greedy) < 6:
        greedy.append(token)
    assert _search(table, Search(END, 1, most=6)) == [greedy]
    first = torch.stack([table[-1], table[2], table[5]])
    how = Search(END, 3, most=6, penalty=1.0)
    together = beam_search(first.clone(), lambda parents, tokens: table[tokens], how)
    alone = [beam_search(one[None].clone(), lambda parents, tokens: table[tokens], how)[0] for one in first]
    assert together == alone


def test_an_endless_text_is_cut_and_one_that_cannot_go_on_is_empty() -> None:
    table = torch.full((3, 3), -torch.inf)
    table[:, 1] = 0
    assert _search(table, Search(END, 2, most=4)) == [[1, 1, 1, 1]]
    assert _search(torch.full((3, 3), -torch.inf), Search(END, 2, most=4)) == [[]]


@pytest.fixture(scope="module")
def data(few: str) -> DataSettings:
    return DataSettings(corpus=few, batch={"pairs": 6, "texts": 6}, max_tokens=40, max_regions=9)


def _network(task: Task, batches: TaskBatches) -> Network:
    facts = batches.facts
    torch.manual_seed(0)
    network = Network(
        ModelSettings(size="tiny", positions=40, max_regions=9, dropout=0),
        Shape(vocabulary=facts.vocabulary.size, features=facts.features, geometry=facts.geometry, classes=facts.classes),
    )
    network.add_task(task.head(network, facts.labels))
    return network.eval()


def _coco(folder: Path, split: str, images: int, rng: np.random.Generator) -> None:
    held = [{"id": number, "file_name": f"{number}.jpg"} for number in range(1, images + 1)]
    said = [{"id": at, "image_id": 1 + at % images, "caption": sentence(rng)} for at in range(2 * images)]
    folder.mkdir(exist_ok=True)
    (folder / f"captions_{split}.json").write_text(json.dumps({"images": held, "annotations": said}))


def _gigaword(folder: Path, split: str, rows: int, rng: np.random.Generator, task: type[Summaries] = Gigaword) -> None:
    folder.mkdir(exist_ok=True)
    for name in task.files[split]:
        (folder / name).write_text("".join(f"{sentence(rng)}\n" for _ in range(rows)))


def _cnn_dm(folder: Path, split: str, rows: int, rng: np.random.Generator) -> None:
    _gigaword(folder, split, rows, rng, CnnDm)


def _coqa(folder: Path, split: str, talks: int, rng: np.random.Generator) -> None:
    def turns(count: int) -> list[dict[str, Any]]:
        return [{"input_text": f"w{rng.integers(100, 900)}", "turn_id": 1 + turn} for turn in range(count)]

    made = []
    for number in range(talks):
        talk = {"id": f"t{number}", "story": sentence(rng), "questions": turns(4), "answers": turns(4)}
        made.append(talk | ({"additional_answers": {str(at): turns(4) for at in range(3)}} if split == "dev" else {}))
    folder.mkdir(exist_ok=True)
    (folder / f"coqa-{split}-v1.0.json").write_text(json.dumps({"version": "1.0", "data": made}))


def _squad(folder: Path, split: str, rows: int, rng: np.random.Generator) -> None:
    asked = [
        {"id": f"q{number}", "question": sentence(rng), "answers": [{"text": "w1 w2", "answer_start": 0}] * 3} for number in range(rows)
    ]
    passages = [{"context": sentence(rng), "qas": asked[at : at + 5]} for at in range(0, rows, 5)]
    folder.mkdir(exist_ok=True)
    (folder / f"{split}-v1.1.json").write_text(json.dumps({"version": "1.1", "data": [{"title": "x", "paragraphs": passages}]}))


@pytest.mark.parametrize("kind", ["images", "marks"])
def test_states_that_are_kept_give_what_the_whole_sequence_gives(tmp_path: Path, data: DataSettings, kind: str) -> None:
    rng = np.random.default_rng(0)
    task: Generation
    if kind == "images":
        _coco(tmp_path, "train2014", 7, rng)
        task = CocoCaptions(GenerationSettings(folder=str(tmp_path), target_tokens=16))
    else:
        _coqa(tmp_path, "train", 3, rng)
        task = Coqa(CoqaSettings(folder=str(tmp_path), target_tokens=8))
    batches = TaskBatches(task, data, seed=0)
    network, batch = _network(task, batches), batches[0]
    for parameter in network.parameters():  # away from an initialisation in which all tokens are nearly as probable
        parameter.data.mul_(3)
    written = batch.fragments
    sources = TaskRows(task, ["train2014" if kind == "images" else "train"], data, Shards(data.corpus))
    places = np.array([next(at for at, row in enumerate(sources.rows) if row.name == name) for name in batch.names])
    given = sources.batch(task.stream, places, batches.facts.vocabulary)
    assert given.fragments is not None and written is not None
    with torch.no_grad():
        states = network.body.generate(written, batch.images, task.added(network, written.marks))
        whole = network.token_scores(states).log_softmax(-1)
        writer = Writer(network, given.fragments, given.images, lambda marks: task.added(network, marks), task.mark)
        scores, rows = writer.first, torch.arange(len(batch))
        steps = int((written.lengths - written.sources).min()) + 1
        for step in range(steps):
            assert torch.allclose(scores, whole[rows, written.sources - 1 + step], atol=1e-3)
            if step + 1 < steps:
                scores = writer.advance(rows, written.ids[rows, written.sources + step])
    assert steps > 1


def test_loss_is_smoothed_cross_entropy_of_the_target(tmp_path: Path, data: DataSettings) -> None:
    _gigaword(tmp_path, "train", 6, np.random.default_rng(1))
    task = Gigaword(GenerationSettings(folder=str(tmp_path), target_tokens=12, smoothing=0.2))
    batches = TaskBatches(task, data, seed=0)
    network, batch = _network(task, batches), batches[0]
    fragments = batch.fragments
    assert fragments is not None
    with torch.no_grad():
        scores = network.token_scores(network.body.generate(fragments)).log_softmax(-1)
        total, tokens = 0.0, 0
        for row in range(len(batch)):
            for at in range(int(fragments.sources[row]) - 1, int(fragments.lengths[row])):
                last = at + 1 == int(fragments.lengths[row])
                true = batches.facts.vocabulary.sep if last else int(fragments.ids[row, at + 1])
                total += float(-0.8 * scores[row, at, true] - 0.2 * scores[row, at].mean())
                tokens += 1
        assert float(task.loss(Views(network, batch))) == pytest.approx(total, rel=1e-4) and int(task.count(batch)) == tokens


def test_a_greedy_text_is_the_likeliest_next_token_each_time(tmp_path: Path, data: DataSettings) -> None:
    _gigaword(tmp_path, "train", 4, np.random.default_rng(2))
    task = Gigaword(GenerationSettings(folder=str(tmp_path), target_tokens=3, beams=1))
    network = _network(task, TaskBatches(task, data, seed=0))
    held, shards = TaskRows(task, ["train"], data, Shards(data.corpus)), Shards(data.corpus)
    batches = TaskBatches(task, data, seed=0)
    with torch.inference_mode():
        found = task.predict(Views(network, held.batch("texts", np.arange(4), batches.facts.vocabulary)))
        for row, tokens in enumerate(held.tokens):
            said: list[int] = []
            for _ in range(3):
                whole = fragment_table([tokens], [np.array(said, np.int64)], batches.facts.vocabulary)
                said.append(int(network.token_scores(network.body.generate(whole))[0, -1].argmax()))
            assert batches.facts.vocabulary.sep not in said and found[row].tolist() == said
            assert task.answers(found, shards.tokenizer)[row] == shards.tokenizer.decode(said)


@pytest.mark.parametrize(
    "task, write, splits, metrics, package",
    [
        ("gigaword", _gigaword, ("train", "test"), {"rouge1", "rouge2", "rougeL"}, "rouge_score"),
        pytest.param("cnn_dm", _cnn_dm, ("train", "test"), {"rouge1", "rouge2", "rougeLsum"}, "rouge_score", marks=pytest.mark.slow),
        pytest.param("squad_qg", _squad, ("train", "dev"), {"bleu4", "rouge_l"}, "pycocoevalcap", marks=pytest.mark.slow),
        pytest.param("coqa", _coqa, ("train", "dev"), {"f1", "exact"}, "json", marks=pytest.mark.slow),
        pytest.param("coco_captions", _coco, ("train2014", "val2014"), {"bleu4", "cider"}, "pycocoevalcap", marks=pytest.mark.slow),
    ],
)
def test_a_whole_run(
    tmp_path: Path, few: str, monkeypatch: pytest.MonkeyPatch, task: str, write: Any, splits: Any, metrics: set[str], package: str
) -> None:
    pytest.importorskip(package)
    monkeypatch.setattr(shutil, "which", lambda name: None)  # as where there is no Java
    rng, rows = np.random.default_rng(3), {"coqa": 25, "coco_captions": 7}.get(task, 100)
    for split in splits:  # few are written to: the search takes most of the time
        write(tmp_path / "files", split, rows if "train" in split else min(rows, 10), rng)
    wide = {"corpus": few, "batch": {"texts": 20, "pairs": 14}, "max_tokens": 40, "max_regions": 9}
    model = {"size": "tiny", "positions": 40, "max_regions": 9}
    report = run(tmp_path, few, task, {"folder": "files", "target_tokens": 4, "beams": 2}, data=wide, model=model)
    found = report[splits[-1]]
    assert found["rows"] == {"coco_captions": 7, "coqa": 40}.get(task, 10) and not found["left_out"] and set(found["metrics"]) == metrics
    assert all(0 <= value <= 1 for value in found["metrics"].values())


def test_every_reference_is_trained_on_and_long_ones_are_cut(tmp_path: Path, data: DataSettings) -> None:
    _coco(tmp_path, "train2014", 7, np.random.default_rng(4))
    task = CocoCaptions(GenerationSettings(folder=str(tmp_path), target_tokens=3))
    held = TaskRows(task, ["train2014"], data, Shards(data.corpus), training=True)
    assert len(held.rows) == 14 and {len(row.target) for row in held.rows} == {1} and held.cut == 14
    assert {len(tokens) for tokens in held.written} == {3}
    with pytest.raises(ConfigError, match="data.max_tokens: 40 leaves no room beside coco_captions.target_tokens: 38"):
        TaskRows(CocoCaptions(GenerationSettings(folder=str(tmp_path), target_tokens=38)), ["train2014"], data, Shards(data.corpus))
    images = [{"filename": "COCO_val2014_000000000003.jpg", "split": split, "sentences": [{"raw": " a "}]} for split in ("test", "val")]
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": images}))
    assert list(task.read("karpathy_test")) == [Row("karpathy_test:" + images[0]["filename"], ("",), ("a",), (images[0]["filename"],))]


def test_a_conversation_is_told_by_roles_and_turns(tmp_path: Path, data: DataSettings) -> None:
    def said(*texts: str) -> list[dict[str, Any]]:
        return [{"input_text": text, "turn_id": turn} for turn, text in enumerate(texts, 1)]

    talk = {"id": "a", "story": "w1 w2", "questions": said("w3", "w4", "w5"), "answers": said("w6", "w7", "")}
    (tmp_path / "coqa-train-v1.0.json").write_text(json.dumps({"data": [talk, 7]}))
    task = Coqa(CoqaSettings(folder=str(tmp_path), target_tokens=4, history=1))
    rows = [row for row in task.read("train") if isinstance(row, Row)]
    assert [row.texts for row in rows] == [("w1 w2", "w3"), ("w1 w2", "w3", "w6", "w4")] and len(list(task.read("train"))) == 4
    assert rows[1].marks == ((PASSAGE, 0), (QUESTION, 1), (ANSWER, 1), (QUESTION, 0)) and rows[1].target == ("w7",)
    fragments = TaskBatches(task, data.model_copy(update={"batch": {"texts": 2}}), seed=0)[0].fragments
    assert fragments is not None and fragments.marks is not None
    row = int(fragments.sources.argmax())
    source, end = int(fragments.sources[row]), int(fragments.lengths[row])
    roles = fragments.marks[row, :end, 0].tolist()
    assert [role for role, _ in itertools.groupby(roles)] == [PASSAGE, QUESTION, ANSWER, QUESTION, ANSWER]
    assert set(roles[source:]) == {ANSWER} and set(fragments.marks[row, source:end, 1].tolist()) == {0}


@pytest.mark.parametrize("answer, reference, score, same", [
    ("The white cat.", "white cat", 1, 1), ("a cat", "the white cat", 2 / 3, 0), ("yes", "no", 0, 0), ("", "", 1, 1), ("the", "", 1, 1),
    ("", "cat", 0, 0), ("cat cat", "cat", 2 / 3, 0), ("U.S.", "us", 1, 1),
])  # fmt: skip
def test_answers_are_judged_as_officially(answer: str, reference: str, score: float, same: float) -> None:
    assert f1(answer, reference) == pytest.approx(score) and exact(answer, reference) == same


def test_several_references_are_left_out_in_turn() -> None:
    # Without the first: max(0, 0); without the second or third: 1 each.
    assert against("cat", ("cat", "dog", "cow"), exact) == pytest.approx(2 / 3) and against("cat", ("cat",), f1) == 1


def test_rouge_is_that_of_its_definition() -> None:
    pytest.importorskip("rouge_score")
    found = rouge(["the cat sat"], [("the cat ate", "a dog")], ("rouge1", "rouge2", "rougeL"))
    assert found == pytest.approx({"rouge1": 2 / 3, "rouge2": 1 / 2, "rougeL": 2 / 3})


def test_metrics_of_captions_are_those_of_their_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycocoevalcap")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found = caption_scores(["A man rides a horse."], [["a man rides a brown horse"]], ("bleu4", "rouge_l", "meteor"))
    # Precisions 5/5, 3/4, 2/3, 1/2; 5 words against 6. Longest common subsequence 5, beta 1.2.
    assert found["bleu4"] == pytest.approx((1 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25 * np.exp(1 - 6 / 5), rel=1e-6)
    assert found["rouge_l"] == pytest.approx((1 + 1.44) * 5 / 6 / (5 / 6 + 1.44)) and "meteor" not in found
    same, other = "a man rides a horse", "two dogs sleep on grass"
    assert caption_scores([same, other], [[same], [other]], ("cider",))["cider"] == pytest.approx(10, rel=1e-6)
    assert caption_scores([other, same], [[same], [other]], ("cider",))["cider"] < 0.5


def test_a_java_that_does_not_run_is_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("pycocoevalcap")
    (tmp_path / "java").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert caption_scores(["a man"], [["A man!"]], ("rouge_l", "meteor", "spice")) == pytest.approx({"rouge_l": 1})
    assert [record.getMessage() for record in caplog.records] == [f"{name} is left out: it requires Java" for name in ("meteor", "spice")]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="no Java, which SPICE requires")
def test_spice_without_its_models_or_with_a_program_that_fails_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    package = pytest.importorskip("pycocoevalcap")
    spice = pytest.importorskip("pycocoevalcap.spice.spice")
    (tmp_path / "spice/lib").mkdir(parents=True)
    monkeypatch.setattr(package, "__path__", [str(tmp_path), *package.__path__])
    assert caption_scores(["a man"], [["a man"]], ("spice",)) == {}
    (tmp_path / "spice/lib/stanford-corenlp-3.6.0-models.jar").touch()

    def unreachable() -> None:
        raise OSError("no network")  # what its constructor meets where it cannot fetch the rest

    monkeypatch.setattr(spice, "get_stanford_models", unreachable)
    assert caption_scores(["a man"], [["a man"]], ("spice",)) == {}
    whys = ["it requires models (python -m pycocoevalcap.spice.get_stanford_models)", "its program failed: no network"]
    assert [record.getMessage() for record in caplog.records] == [f"spice is left out: {why}" for why in whys]


def test_files_of_summaries_belong_together(tmp_path: Path) -> None:
    (tmp_path / "train.article.txt").write_text("w1\n\nw2\n")
    (tmp_path / "train.title.txt").write_text("w3\nw4\n")
    task = Gigaword(GenerationSettings(folder=str(tmp_path)))
    with pytest.raises(SourceError, match=r"train.title.txt has 2 lines, fewer than .*train.article.txt"):
        list(task.read("train"))
    (tmp_path / "train.title.txt").write_text("w3\nw4\nw5\n")
    assert [one if isinstance(one, str) else one.target for one in task.read("train")] == [("w3",), "a text is empty", ("w5",)]


def test_a_row_that_is_cut_twice_counts_once(tmp_path: Path, data: DataSettings) -> None:
    words = " ".join(f"w{number}" for number in range(1, 60))
    (tmp_path / "train.article.txt").write_text(f"{words}\nw1\nw1\n")
    (tmp_path / "train.title.txt").write_text(f"{words}\n{words}\nw2\n")
    task = Gigaword(GenerationSettings(folder=str(tmp_path), target_tokens=8))
    held = TaskRows(task, ["train"], data, Shards(data.corpus), training=True)
    assert held.cut == 2 and [len(tokens) for tokens in held.tokens] == [30, 1, 1]


def test_questions_without_an_answer_are_counted(tmp_path: Path) -> None:
    asked = [{"id": "1", "question": "w1", "answers": []}, {"id": "2", "question": "w1", "answers": [{"text": "w2"}, {"text": "w9"}]}, 3]
    held = {"data": [{"paragraphs": [{"context": "w3", "qas": asked}]}, None, {"paragraphs": 5}]}
    (tmp_path / "dev-v1.1.json").write_text(json.dumps(held))
    found = list(SquadQg(GenerationSettings(folder=str(tmp_path))).read("dev"))
    why = "it lacks context, question or answers"
    assert found == [why, Row("dev:2", ("w3", "w2"), ("w1",)), why, why, why]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ConfigError, match=r"require the package rouge_score: pip install 'cmcl\[metrics\]'"):
        Gigaword(GenerationSettings(folder="f")).prepare()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="no Java, which METEOR requires")
def test_meteor_is_that_of_its_definition() -> None:
    pytest.importorskip("pycocoevalcap")
    found = caption_scores(["A man rides a horse."], [["a man rides a brown horse"]], ("meteor",))
    # Two function words of weight 0.25, and three and four content words of weight 0.75; two chunks of five matches.
    recall = (2 * 0.25 + 3 * 0.75) / (2 * 0.25 + 4 * 0.75)
    assert found["meteor"] == pytest.approx(recall / (0.85 + 0.15 * recall) * (1 - 0.6 * (2 / 5) ** 0.2), abs=1e-6)
