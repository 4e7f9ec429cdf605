"""Reuse of rows: a task that reuses unchanged rows writes the same files as one that makes everything."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.corpus import WHOLE, Corpus
from schemas.manifest import TaskRecord
from schemas.rejects import Reason
from schemas.row_digests import run_digests
from schemas.tables import EXAMPLES, GRAPHS, IMAGES, LABEL, PAIRS, REWRITES, TEXTS, column, table_schema
from tests.given import Given, GivenParams, given_pairs, scene_pairs, scene_regions
from transforms.core.beam import RunContext, StageFingerprint, commit, run_task
from transforms.core.params import Params
from transforms.core.row_index import _Groups
from transforms.core.stage import Input, Stage, SummaryStage
from transforms.core.task import Task
from transforms.graphs.stage import GraphParams, ParseCaptions
from transforms.swaps.settings import SwapSettings

PARTITIONS = 3
WORDS = table_schema("words", 1, [column("pair_id", pa.string()), column("word", LABEL), column("beside", pa.list_(pa.string()))])
PLACES = table_schema("places", 1, [column("id", pa.string()), column("row", pa.int64(), layout=True)])


class WordParams(Params):
    least: int = 2


class Words(Stage[WordParams]):
    """Every long word of a caption, beside the image's other captions; captions with "bad" are rejected, short words refused."""

    name = "words"
    rows_by = ("image_id",)
    reads = (Input("pairs", "pairs", columns=("pair_id", "image_id", "caption")),)
    writes = {"words": WORDS, "places": PLACES}
    row_numbers = {("places", "row"): ("pairs", "pairs")}
    seen: list[str] = []  # captions that a process worked on
    dependent = False

    def process(self, task: Task, payload: Any) -> None:
        pairs = task.read("pairs", "pairs")
        task.counts.rows_in = pairs.num_rows
        rows = pairs.to_pylist()
        whole = task.corpus.open("pairs", "pairs", task.partition).read()["pair_id"].to_pylist()
        for row in rows:
            self.seen.append(row["caption"])
            beside = sorted(other["caption"] for other in rows if other["image_id"] == row["image_id"])
            if "bad" in row["caption"]:
                task.rejects.add(row["pair_id"], Reason.NO_CAPTION, row["caption"])
                continue
            words = row["caption"].split()
            long = [word for word in words if len(word) >= self.params.least]
            task.count("words", [row["pair_id"]], [len(words)])
            task.count_refused([row["pair_id"]] * (len(words) - len(long)), [Reason.NEAR_TEXT] * (len(words) - len(long)))
            if self.dependent:
                task.count("pairs_dependent_on_batch", [row["pair_id"]])
            if long:
                found = [{"pair_id": row["pair_id"], "word": word, "beside": beside} for word in long]
                task.write("words", pa.RecordBatch.from_pylist(found, schema=WORDS.with_metadata({**WORDS.metadata, b"least": b"2"})))
            if len(words) % 2:
                place = {"id": row["image_id"], "row": whole.index(row["pair_id"])}
                if row["pair_id"] == next(other["pair_id"] for other in rows if other["image_id"] == row["image_id"]):
                    place["row"] = next(at for at, own in enumerate(whole) if own == row["pair_id"])
                    task.write("places", pa.RecordBatch.from_pylist([place], schema=PLACES))


def made(folder: Path, stages: list[Stage], partitions: int = PARTITIONS, seed: int = 3, base: Corpus | None = None) -> Corpus:
    """Runs stages without Beam."""
    corpus = Corpus(str(folder), partitions)
    context = RunContext(corpus, seed, 1.0, {stage.name: StageFingerprint(stage.name, {}) for stage in stages}, base=base)
    for number, stage in enumerate(stages):
        own = stage.behind(stages[:number])
        if isinstance(own, SummaryStage):
            summary = own.combine([own.summarise(Task(corpus, own, partition, seed)) for partition in range(partitions)])
            results = [run_task(context, own, WHOLE, summary)]
        else:
            results = [run_task(context, own, partition) for partition in ([WHOLE] if own.corpus_wide else range(partitions))]
        assert commit(context, own, results).ok
    return corpus


def content(corpus: Corpus, stage: str) -> tuple[dict[str, bytes], list[Any]]:
    """A stage's files, and what its records count."""
    files = {path.name: path.read_bytes() for path in sorted(Path(corpus.folder(stage)).glob("*.arrow"))}
    records = [corpus.record(stage, partition) for partition in range(corpus.partitions)]
    return files, [counted(record) for record in records if record]


def counted(record: TaskRecord) -> Any:
    counts = asdict(record.counts)
    counts.pop("engine_ms")
    return record.key, record.files, counts, record.extra, record.basis


CAPTIONS = st.lists(st.sampled_from(["a", "of", "dog", "bad", "tree", "Straße", "naïve"]), min_size=1, max_size=4).map(" ".join)
PAIRS_OF = st.dictionaries(st.integers(0, 9).map(str), st.sets(CAPTIONS, min_size=1, max_size=3), max_size=8)
FAST = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def pairs_of(images: dict[str, set[str]]) -> Given:
    return given_pairs([(key, caption) for key, captions in images.items() for caption in captions])


@FAST
@given(steps=st.lists(st.tuples(PAIRS_OF, st.sampled_from([2, 2, 2, 3])), min_size=2, max_size=4))
def test_any_history_ends_in_the_files_of_a_fresh_run(tmp_path_factory: pytest.TempPathFactory, steps: list) -> None:
    folder = tmp_path_factory.mktemp("history")
    for number, (images, least) in enumerate(steps):
        grown = made(folder / "grown", [pairs_of(images), Words(WordParams(least=least))])
        fresh = made(folder / str(number), [pairs_of(images), Words(WordParams(least=least))])
        assert content(grown, "words") == content(fresh, "words")


def test_only_changed_groups_are_made(tmp_path: Path) -> None:
    images = {str(number): {f"dog number {number}", "a tree"} for number in range(30)}
    made(tmp_path / "grown", [pairs_of(images), Words(WordParams())])
    images["3"] = {"a bad tree", "a tree"}
    images["40"] = {"another tree"}
    del images["7"]
    Words.seen.clear()
    grown = made(tmp_path / "grown", [pairs_of(images), Words(WordParams())])
    assert sorted(Words.seen) == ["a bad tree", "a tree", "another tree"]
    manifest = grown.manifest("words")
    assert (manifest.made, manifest.counts.rows_in) == (3, 59)
    assert content(grown, "words") == content(made(tmp_path / "fresh", [pairs_of(images), Words(WordParams())]), "words")


@pytest.mark.parametrize("damaged", ["words-0", "rejects-0", "rows-0"])
def test_damaged_files_are_not_reused(tmp_path: Path, damaged: str) -> None:
    images = {str(number): {f"dog number {number}", "a bad tree"} for number in range(30)}
    made(tmp_path / "grown", [pairs_of(images), Words(WordParams())])
    for path in (tmp_path / "grown" / "words").glob(f"{damaged}*.arrow"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    images["1"] = {"tree"}
    grown = made(tmp_path / "grown", [pairs_of(images), Words(WordParams())])
    assert content(grown, "words") == content(made(tmp_path / "fresh", [pairs_of(images), Words(WordParams())]), "words")


def test_rows_that_depend_on_others_are_made_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = {str(number): {f"dog number {number}", "a tree"} for number in range(30)}
    made(tmp_path / "grown", [pairs_of(images), Words(WordParams())])
    monkeypatch.setattr(Words, "dependent", True)  # as if the run went on with another engine
    for caption in ("tree", "trees"):
        images["1"] = {caption}
        Words.seen.clear()
        grown = made(tmp_path / "grown", [pairs_of(images), Words(WordParams())])
        assert len(Words.seen) > 2
        changed = [record for partition in range(PARTITIONS) if (record := grown.record("words", partition)) and caption in Words.seen]
        assert any(record.counts.numbers.get("pairs_dependent_on_batch") == record.counts.rows_in == record.made for record in changed)


def test_counts_without_rows_are_refused(tmp_path: Path) -> None:
    class Careless(Words):
        def process(self, task: Task, payload: Any) -> None:
            super().process(task, payload)
            task.counts.numbers["words"] = 1

    with pytest.raises(ValueError, match="rows_by"):
        made(tmp_path, [pairs_of({"1": {"a tree"}}), Careless(WordParams())])


def test_graphs_are_reused(tmp_path: Path) -> None:
    def stages(scenes: int) -> list[Stage]:
        return [given_pairs(scene_pairs(scenes)), ParseCaptions(GraphParams(swaps=SwapSettings()))]

    made(tmp_path / "grown", stages(40))
    grown = made(tmp_path / "grown", stages(42))
    assert 0 < grown.manifest("graphs").made < 20
    assert content(grown, "graphs") == content(made(tmp_path / "fresh", stages(42)), "graphs")


def test_swaps_follow_the_regions_of_their_image(tmp_path: Path) -> None:
    from transforms.graphs.vocabulary import CountVocabulary
    from transforms.swaps.stage import SwapNegatives

    def stages(changed: bool) -> list[Stage]:
        regions = scene_regions(40)
        if changed:
            rows = regions.params.rows.to_pylist()
            rows[5]["class"] = [1] * len(rows[5]["class"])
            regions = Given(
                GivenParams(stage="regions", table="regions", rows=pa.Table.from_pylist(rows, schema=regions.params.rows.schema))
            )
        how = SwapSettings(min_count=2, per_kind=6)
        return [given_pairs(scene_pairs(40)), regions, ParseCaptions(GraphParams(swaps=how)), CountVocabulary(how), SwapNegatives(how)]

    made(tmp_path / "grown", stages(False))
    grown = made(tmp_path / "grown", stages(True))
    assert 0 < grown.manifest("swaps").made < 10
    assert content(grown, "swaps") == content(made(tmp_path / "fresh", stages(True)), "swaps")


SCHEMAS = [PAIRS, IMAGES, TEXTS, GRAPHS, REWRITES, EXAMPLES, scene_regions(1).params.rows.schema]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.metadata[b"cmcl.table"].decode())
@pytest.mark.parametrize("size", [1, 2])
def test_digests_depend_on_the_rows_alone(schema: pa.Schema, size: int) -> None:
    batch = pa.RecordBatch.from_pylist([filled(schema, number) for number in range(8)], schema=schema)
    starts = np.arange(0, 8, size)
    whole = run_digests(batch, starts)
    assert len(set(whole)) == len(starts)
    assert [digest for row in starts for digest in run_digests(batch.slice(row, size), np.zeros(1, np.int64))] == whole
    turned, half = pa.concat_batches([batch.slice(4), batch.slice(0, 4)]), len(whole) // 2
    assert run_digests(turned, starts) == [*whole[half:], *whole[:half]]
    assert run_digests(batch.slice(0, 0), np.zeros(0, np.int64)) == []


@given(cuts=st.sets(st.integers(0, 12)), groups=st.lists(st.integers(0, 3), min_size=12, max_size=12).map(sorted))
def test_batches_do_not_change_digests(cuts: set[int], groups: list[int]) -> None:
    schema = pa.schema([pa.field("id", pa.string(), False), pa.field("word", LABEL, False), pa.field("number", pa.int64(), False)])
    rows = [{"id": str(group), "word": f"w{at % 3}", "number": at} for at, group in enumerate(groups)]
    whole = pa.RecordBatch.from_pylist(rows, schema=schema)
    ends = sorted({0, 12, *cuts})
    batches = [
        pa.RecordBatch.from_pylist(rows[start:end], schema=schema) if start % 2 else whole.slice(start, end - start)
        for start, end in zip(ends, ends[1:], strict=False)
    ]
    found = []
    for given_batches in ([whole], batches):
        index = _Groups(("id",))
        assert index.add(given_batches, "id", schema.names, b"", "made").tolist() == [index.of[str(group)] for group in groups]
        found.append((index.keys, index.parts))
    assert found[0] == found[1]


def filled(schema: pa.Schema, number: int) -> dict[str, Any]:
    return {field.name: value_of(field.type, number) if number % 3 or not field.nullable else None for field in schema}


def value_of(kind: pa.DataType, number: int) -> Any:
    """A value that differs from number to number, lists of up to three, nulls within."""
    if pa.types.is_dictionary(kind):
        return value_of(kind.value_type, number)
    if pa.types.is_struct(kind):
        return {kind.field(at).name: value_of(kind.field(at).type, number + at) for at in range(kind.num_fields)}
    if pa.types.is_fixed_size_list(kind):
        return [value_of(kind.value_type, number + at) for at in range(kind.list_size)]
    if pa.types.is_list(kind):
        return [value_of(kind.value_type, number + at) for at in range(number % 4)]
    if pa.types.is_string(kind):
        return "ä" * number
    if pa.types.is_fixed_size_binary(kind):
        return bytes([number % 256]) * kind.byte_width
    return number


def test_lengths_and_nulls_count() -> None:
    lists = pa.schema([pa.field("a", pa.list_(pa.string())), pa.field("b", pa.string())])
    rows = [(["ab"], "c"), (["a", "b"], "c"), (["a"], "bc"), (["ab", ""], "c"), (["ab", None], "c"), ([], "abc"), (None, "abc"), ([], None)]
    batch = pa.RecordBatch.from_pylist([{"a": a, "b": b} for a, b in rows], schema=lists)
    assert len(set(run_digests(batch, np.arange(len(rows))))) == len(rows)
