"""Minimal stages: which tasks run, which are reused, and what happens when one fails."""

import json
from typing import Annotated

import pyarrow as pa
import pytest

from pipelines.plan import plan
from schemas.corpus import WHOLE, Corpus
from schemas.errors import ConfigError, SchemaError
from schemas.rejects import Reason
from schemas.tables import PAIRS, TEXTS
from tests.forge import forge_table
from tests.given import run_stages
from transforms.core.beam import RunContext, run_task
from transforms.core.params import NoParams, NotFingerprinted, Params
from transforms.core.stage import EVERY, Input, Stage, SummaryStage
from transforms.core.task import Task

PARTITIONS = 5


class NumbersParams(Params):
    word: str = "row"
    bad: int = 0
    batch: Annotated[int, NotFingerprinted()] = 4


class Numbers(Stage[NumbersParams]):
    """Ten rows a partition."""

    name = "numbers"
    main_table = "texts"
    writes = {"texts": TEXTS}

    def process(self, task, payload):
        task.counts.rows_in = 10
        for number in range(self.params.bad):
            task.rejects.add(str(number), Reason.EMPTY, "made bad")
        rows = range(self.params.bad, 10)
        task.write(
            "texts",
            pa.table(
                {
                    "text_id": [f"{task.partition}.{n}" for n in rows],
                    "text": [f"{self.params.word} {n}" for n in rows],
                    "source": ["s"] * len(rows),
                },
                schema=TEXTS,
            ),
        )


def numbers(kind=Numbers, compression=None, **settings):
    return kind(NumbersParams(**settings), compression=compression)


class Total(SummaryStage[NoParams]):
    """One row: how many rows all partitions have."""

    name = "total"
    reads = (Input("numbers", "texts", "corpus"),)
    writes = {"texts": TEXTS}

    def summarise(self, task):
        return task.read("numbers", "texts").num_rows

    def combine(self, summaries):
        return sum(summaries)

    def process(self, task, payload):
        task.write("texts", pa.table({"text_id": ["total"], "text": [str(payload)], "source": ["s"]}, schema=TEXTS))


class Copy(Stage[NoParams]):
    """The rows of its partition, and the total where there is one."""

    name = "copy"
    reads = (Input("numbers", "texts"), Input("total", "texts", "corpus", optional=True))
    writes = {"texts": TEXTS}

    def process(self, task, payload):
        task.write("texts", task.read("numbers", "texts"))
        if self.has("total"):
            task.write("texts", task.read("total", "texts", WHOLE))


TOTAL, COPY = Total(NoParams()), Copy(NoParams())


def run(corpus, *stages, limit=0.05):
    run_stages(corpus.url, stages, corpus.partitions, limit=limit)
    return {stage.name: manifest.ran for stage in stages if (manifest := corpus.manifest(stage.name))}


@pytest.fixture
def corpus(tmp_path):
    return Corpus(str(tmp_path), PARTITIONS)


def test_stages_wait_for_what_they_read(corpus):
    assert run(corpus, numbers(), TOTAL, COPY) == {"numbers": 5, "total": 1, "copy": 5}
    for partition in range(PARTITIONS):
        with corpus.open("copy", "texts", partition) as file:
            assert file.read()["text"].to_pylist() == [*(f"row {n}" for n in range(10)), "50"]
    manifest = corpus.manifest("numbers")
    assert (manifest.counts.rows_in, manifest.counts.rows_out) == (50, {"texts": 50})
    assert [file.name for file in manifest.files if file.table == "texts"] == [f"texts-{p:05d}-of-00005.arrow" for p in range(PARTITIONS)]


def test_what_stands_is_not_done_again(corpus):
    run(corpus, numbers(), TOTAL, COPY)
    assert run(corpus, numbers(), TOTAL, COPY) == {"numbers": 0, "total": 0, "copy": 0}


def test_a_change_reaches_what_depends_on_its_content_and_no_further(corpus):
    run(corpus, numbers(), TOTAL, COPY)
    # The total, a count of rows, comes out the same; the copy reads the rows themselves.
    assert run(corpus, numbers(word="line"), TOTAL, COPY) == {"numbers": 5, "total": 1, "copy": 5}
    (records := [json.load(open(corpus.record_url("copy", p))) for p in range(PARTITIONS)])
    assert len({record["key"] for record in records}) == PARTITIONS


def test_one_changed_partition_reruns_itself_and_the_corpus_wide(corpus):
    run(corpus, numbers(), COPY)
    forge_table(corpus, "numbers", "texts", 3, lambda rows: rows.slice(1))  # as if its content had been another
    assert run(corpus, numbers(), COPY) == {"numbers": 0, "copy": 1}


def test_too_many_rejects_stop_what_follows_but_not_the_report(corpus):
    assert run(corpus, numbers(bad=1), TOTAL, COPY, limit=0.05) == {"numbers": 5}
    manifest = corpus.manifest("numbers")
    assert manifest.failed == "5 of 50 rows were rejected (10.0%), more than max_rejected allows (5.0%)"
    assert manifest.counts.reasons == {"empty": 5}
    assert run(corpus, numbers(bad=1), TOTAL, COPY, limit=0.1) == {"numbers": 0, "total": 1, "copy": 5}


def test_files_that_the_manifest_does_not_name_are_cleared(corpus, tmp_path):
    run(corpus, numbers())
    stray = tmp_path / "numbers" / "texts-00000-of-00099.arrow"
    stray.write_bytes((tmp_path / "numbers" / "texts-00000-of-00005.arrow").read_bytes())  # of an earlier cut
    run(corpus, numbers())
    assert not stray.exists()


class Failing(Numbers):
    """Writes rows, then fails in one partition."""

    name = "failing"

    def process(self, task, payload):
        super().process(task, payload)
        if task.partition == 2:
            raise ZeroDivisionError("by nothing")


def test_a_failing_task_leaves_no_file_of_its_own(corpus, tmp_path):
    with pytest.raises(Exception, match="by nothing"):
        run(corpus, numbers(Failing))
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
        run_task(context, numbers(Stray), 0)
    with pytest.raises(SchemaError, match="stage wrong"):
        run_task(context, numbers(Wrong), 0)


def test_a_missing_input_is_named(corpus):
    with pytest.raises(KeyError, match="copy requires partition 0 of numbers, which is missing"):
        run_task(RunContext(corpus, 0, 0.05, {}), COPY, 0)


def test_the_key_hangs_on_settings_seed_and_cut(corpus):
    keys = {
        numbers().key(corpus, 0, 0),
        numbers(word="x").key(corpus, 0, 0),
        numbers().key(corpus, 1, 0),
        numbers().key(corpus, 0, 1),
        numbers().key(Corpus(corpus.url, 6), 0, 0),
        numbers(compression="lz4").key(corpus, 0, 0),
    }
    assert len(keys) == 6 and numbers(batch=9).key(corpus, 0, 0) in keys  # which leaves no trace in what is made
    assert numbers().key(corpus, 0, 0) in keys


def test_engine_time_and_rejects_reach_the_books(corpus):
    class Slow(Numbers):
        name = "slow"

        def process(self, task: Task, payload):
            with task.engine():
                import time

                time.sleep(0.05)
            super().process(task, payload)

    result = run_task(RunContext(corpus, 0, 0.05, {}), numbers(Slow, bad=3), 0)
    record = result.record
    assert result.ran and record.counts.engine_ms >= 50
    assert (record.counts.rejected, record.counts.reasons, record.counts.rows_out) == (3, {"empty": 3}, {"texts": 7})
    with corpus.open("slow", "rejects", 0) as file:
        assert file.read().to_pylist() == [{"stage": "slow", "id": str(n), "reason": "empty", "detail": "made bad"} for n in range(3)]


class Every(Stage[NoParams]):
    name = "every"
    reads = (Input(EVERY, "texts", optional=True),)
    writes = {"texts": TEXTS}

    def process(self, task, payload):
        task.write("texts", pa.concat_tables([task.read(source.stage, source.table) for source in self.inputs]))


def test_a_stage_reads_whatever_stages_write_a_table(corpus):
    every = Every(NoParams())
    assert list(every.inputs) == list(every.behind([]).inputs) == []
    assert every.behind([numbers(), COPY]).inputs == (Input("numbers", "texts"), Input("copy", "texts"))
    assert run(corpus, numbers(), COPY, every)["every"] == 5
    assert corpus.open("every", "texts", 0).read().num_rows == 20
    assert every.behind([numbers()]).identity != every.behind([numbers(), COPY]).identity


def test_an_order_that_lacks_an_input_is_an_error_that_says_so(corpus):
    with pytest.raises(ValueError, match="the stage total reads texts of the stage numbers, which must come before it"):
        TOTAL.behind([])
    assert list(COPY.behind([numbers()]).inputs) == [Input("numbers", "texts")]
    with pytest.raises(ConfigError, match="the stage total reads numbers, which must come before it: the order is total, numbers"):
        plan(corpus, [TOTAL, numbers()], 0)


def test_what_is_optional_and_unwanted_is_left_out(corpus):
    class Picky(Copy):
        def wants(self, source, stage):
            return not stage.corpus_wide

    assert list(Picky(NoParams()).behind([numbers(), TOTAL]).inputs) == [Input("numbers", "texts")]
