"""Stages that are nothing but their rules: what runs, what stands, what happens to a failing one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from schemas.corpus import WHOLE, Corpus
from schemas.errors import SchemaError
from schemas.rejects import Reason
from schemas.tables import PAIRS, TEXTS
from tests.forge import forge_table
from transforms.core.beam import RunContext, RunStage, StageFingerprint, run_task
from transforms.core.stage import Input, Stage, SummaryStage
from transforms.core.task import Task

PARTITIONS = 5


@dataclass(frozen=True)
class Numbers(Stage):
    """Ten rows a partition."""

    name: ClassVar[str] = "numbers"
    main_table: ClassVar[str] = "texts"
    word: str = "row"
    bad: int = 0

    @property
    def inputs(self) -> Sequence[Input]:
        return []

    @property
    def writes(self) -> Mapping[str, pa.Schema]:
        return {"texts": TEXTS}

    @property
    def settings(self):
        return {"word": self.word}

    def process(self, task, payload):
        task.counts.rows_in = 10
        for number in range(self.bad):
            task.rejects.add(str(number), Reason.EMPTY, "made bad")
        rows = range(self.bad, 10)
        task.write("texts", pa.table({"text_id": [f"{task.partition}.{n}" for n in rows], "text": [f"{self.word} {n}" for n in rows],
                                      "source": ["s"] * len(rows)}, schema=TEXTS))


@dataclass(frozen=True)
class Total(SummaryStage):
    """One row: how many rows all partitions have."""

    name: ClassVar[str] = "total"

    @property
    def inputs(self):
        return [Input("numbers", "texts", "corpus")]

    @property
    def writes(self):
        return {"texts": TEXTS}

    @property
    def settings(self):
        return {}

    def summarise(self, task):
        return task.read("numbers", "texts").num_rows

    def combine(self, summaries):
        return sum(summaries)

    def process(self, task, payload):
        task.write("texts", pa.table({"text_id": ["total"], "text": [str(payload)], "source": ["s"]}, schema=TEXTS))


@dataclass(frozen=True)
class Copy(Stage):
    """The rows of its partition, and the total."""

    name: ClassVar[str] = "copy"

    @property
    def inputs(self):
        return [Input("numbers", "texts"), Input("total", "texts", "corpus")]

    @property
    def writes(self):
        return {"texts": TEXTS}

    @property
    def settings(self):
        return {}

    def process(self, task, payload):
        task.write("texts", task.read("numbers", "texts"))
        task.write("texts", task.read("total", "texts", WHOLE))


def run(corpus, *stages, limit=0.05):
    context = RunContext(corpus, 0, limit, {stage.name: StageFingerprint("f", {}) for stage in stages})
    done = {}
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        for stage in stages:
            done[stage.name] = pipeline | RunStage(context, stage, [done[source.stage] for source in stage.inputs])
    return {stage.name: manifest.ran for stage in stages if (manifest := corpus.manifest(stage.name))}


@pytest.fixture
def corpus(tmp_path):
    return Corpus(str(tmp_path), PARTITIONS)


def test_stages_wait_for_what_they_read(corpus):
    assert run(corpus, Numbers(), Total(), Copy()) == {"numbers": 5, "total": 1, "copy": 5}
    for partition in range(PARTITIONS):
        with corpus.open("copy", "texts", partition) as file:
            assert file.read()["text"].to_pylist() == [*(f"row {n}" for n in range(10)), "50"]
    manifest = corpus.manifest("numbers")
    assert (manifest.counts.rows_in, manifest.counts.rows_out) == (50, {"texts": 50})
    assert [file.name for file in manifest.files if file.table == "texts"] == [f"texts-{p:05d}-of-00005.arrow" for p in range(PARTITIONS)]


def test_what_stands_is_not_done_again(corpus):
    run(corpus, Numbers(), Total(), Copy())
    assert run(corpus, Numbers(), Total(), Copy()) == {"numbers": 0, "total": 0, "copy": 0}


def test_a_change_reaches_what_depends_on_its_content_and_no_further(corpus):
    run(corpus, Numbers(), Total(), Copy())
    # The total, a count of rows, comes out the same; the copy reads the rows themselves.
    assert run(corpus, Numbers(word="line"), Total(), Copy()) == {"numbers": 5, "total": 1, "copy": 5}
    (records := [json.load(open(corpus.record_url("copy", p))) for p in range(PARTITIONS)])
    assert len({record["key"] for record in records}) == PARTITIONS


def test_one_changed_partition_reruns_itself_and_the_corpus_wide(corpus):
    run(corpus, Numbers(), Copy2())
    forge_table(corpus, "numbers", "texts", 3, lambda rows: rows.slice(1))  # as if its content had been another
    assert run(corpus, Numbers(), Copy2()) == {"numbers": 0, "copy": 1}


@dataclass(frozen=True)
class Copy2(Copy):
    """Without the total."""

    @property
    def inputs(self):
        return [Input("numbers", "texts")]

    def process(self, task, payload):
        task.write("texts", task.read("numbers", "texts"))


def test_too_many_rejects_stop_what_follows_but_not_the_report(corpus):
    assert run(corpus, Numbers(bad=1), Total(), Copy(), limit=0.05) == {"numbers": 5}
    manifest = corpus.manifest("numbers")
    assert manifest.failed == "5 of 50 rows were rejected (10.0%), more than max_rejected allows (5.0%)"
    assert manifest.counts.reasons == {"empty": 5}
    assert run(corpus, Numbers(bad=1), Total(), Copy(), limit=0.1) == {"numbers": 0, "total": 1, "copy": 5}


def test_files_that_the_manifest_does_not_name_are_cleared(corpus, tmp_path):
    run(corpus, Numbers())
    stray = tmp_path / "numbers" / "texts-00000-of-00099.arrow"
    stray.write_bytes(b"of an earlier cut")
    run(corpus, Numbers())
    assert not stray.exists()


@dataclass(frozen=True)
class Failing(Numbers):
    """Writes rows, then fails in one partition."""

    name: ClassVar[str] = "failing"

    def process(self, task, payload):
        super().process(task, payload)
        if task.partition == 2:
            raise ZeroDivisionError("by nothing")


def test_a_failing_task_leaves_no_file_of_its_own(corpus, tmp_path):
    with pytest.raises(Exception, match="by nothing"):
        run(corpus, Failing())
    names = sorted(path.name for path in (tmp_path / "failing").iterdir())
    assert not [name for name in names if "00002" in name or name.startswith(".tmp")] and "manifest.json" not in names


def test_a_stage_cannot_write_what_it_did_not_say(corpus):
    class Stray(Numbers):
        name = "stray"

        def process(self, task, payload):
            task.write("pairs", PAIRS.empty_table())

    class Wrong(Numbers):
        name = "wrong"

        def process(self, task, payload):
            task.write("texts", PAIRS.empty_table())

    context = RunContext(corpus, 0, 0.05, {})
    with pytest.raises(KeyError, match="pairs"):
        run_task(context, Stray(), 0)
    with pytest.raises(SchemaError, match="stage wrong"):
        run_task(context, Wrong(), 0)


def test_a_missing_input_is_named(corpus):
    with pytest.raises(KeyError, match="copy needs partition 0 of numbers, which is not there"):
        run_task(RunContext(corpus, 0, 0.05, {}), Copy2(), 0)


def test_the_key_hangs_on_settings_seed_and_cut(corpus):
    keys = {Numbers().key(corpus, 0, 0), Numbers(word="x").key(corpus, 0, 0), Numbers().key(corpus, 1, 0), Numbers().key(corpus, 0, 1),
            Numbers().key(Corpus(corpus.url, 6), 0, 0), Numbers(compression="lz4").key(corpus, 0, 0)}
    assert len(keys) == 6
    assert Numbers().key(corpus, 0, 0) in keys


def test_engine_time_and_rejects_reach_the_books(corpus):
    class Slow(Numbers):
        name = "slow"

        def process(self, task: Task, payload):
            with task.engine():
                import time
                time.sleep(0.05)
            super().process(task, payload)

    result = run_task(RunContext(corpus, 0, 0.05, {}), Slow(bad=3), 0)
    record = result.record
    assert result.ran and record.counts.engine_ms >= 50
    assert (record.counts.rejected, record.counts.reasons, record.counts.rows_out) == (3, {"empty": 3}, {"texts": 7})
    with corpus.open("slow", "rejects", 0) as file:
        assert file.read().to_pylist() == [{"stage": "slow", "id": str(n), "reason": "empty", "detail": "made bad"} for n in range(3)]
