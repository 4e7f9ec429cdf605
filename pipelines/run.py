"""The main job: every stale stage of a corpus as one Beam pipeline."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pipelines.config import Config
from pipelines.lock import corpus_lock
from pipelines.plan import StageState, plan
from pipelines.stages import stages_of
from schemas import files
from schemas.corpus import Corpus, open_corpus, read_index, write_index
from schemas.errors import CmclError, RejectLimitError
from schemas.manifest import StageManifest
from transforms.stage import Stage, index_entry


@dataclass(frozen=True)
class RunReport:
    """What a run did: stages that it looked at, with their manifests, and stages that stood."""

    ran: list[StageManifest]
    skipped: list[str]
    wall_s: float


def plan_of(config: Config) -> tuple[Corpus, list[StageState]]:
    """The corpus of a configuration and the state of its stages. Raises ConfigError, SourceError or CorpusError."""
    corpus = Corpus(config.corpus, config.partitions)
    read_index(config.corpus)
    return corpus, plan(corpus, stages_of(config), config.seed)


def run(config: Config, beam_options: Sequence[str] = (), workers: int | None = None, progress: bool = False) -> RunReport:
    """Makes what is missing or stale of a corpus and leaves the rest.

    Killed anywhere, it can be run again: finished partitions stand. On an interrupt nothing half-written stays.

    Args:
        config: the validated configuration.
        beam_options: passed to Beam; `--runner=...` chooses another engine than the local one.
        workers: processes of the local runner, in place of the configured number.
        progress: show a bar a stage on standard error.

    Raises:
        RejectLimitError: a stage rejected more rows than `max_rejected` allows; its manifest and rejects are written.
        CorpusError: another run holds the corpus, or the corpus is of another format.
    """
    start = time.perf_counter()
    with corpus_lock(config.corpus):
        corpus, states = plan_of(config)
        todo = [state for state in states if state.must_run]
        if todo:
            write_index(corpus, config.seed, [index_entry(state.stage) for state in states])
            with _swept(corpus, [state.stage for state in todo]):
                _run_pipeline(corpus, config, states, beam_options, workers or config.workers, progress)
        manifests = {state.stage.name: corpus.manifest(state.stage.name) for state in todo}
    for manifest in manifests.values():
        if manifest and manifest.failed:
            raise RejectLimitError(f"stage {manifest.stage}: {manifest.failed}; its rejects are in {corpus.folder(manifest.stage)}")
    return RunReport([manifest for manifest in manifests.values() if manifest],
                     [state.stage.name for state in states if not state.must_run], time.perf_counter() - start)


def _run_pipeline(corpus: Corpus, config: Config, states: Sequence[StageState], beam_options: Sequence[str], workers: int,
                  progress: bool) -> None:
    from pipelines.progress import progress_bars  # Beam takes a second to import: only when there is work
    from pipelines.runners import end_workers, is_local, make_pipeline
    from transforms.ingest import Ingest
    from transforms.run_ingest import RunIngest
    from transforms.run_stage import RunContext, RunStage
    from transforms.stage import cancelled

    local = is_local(beam_options)
    cancelled.clear()
    context = RunContext(
        corpus, config.seed, config.max_rejected,
        {state.stage.name: {"fingerprint": state.fingerprint, "ingredients": state.ingredients} for state in states})
    pipeline = make_pipeline(workers, beam_options)
    done = {}
    for state in states:
        if not state.must_run:
            continue
        stage = state.stage
        after = [done[name] for name in sorted({source.stage for source in stage.inputs}) if name in done]
        transform = RunIngest(context, stage) if isinstance(stage, Ingest) else RunStage(context, stage, after)
        done[stage.name] = pipeline | transform
    stages = [state.stage for state in states if state.must_run]
    with progress_bars(corpus, stages, progress and local), _terminate_as_interrupt():
        try:
            pipeline.run().wait_until_finish()
        except KeyboardInterrupt:
            cancelled.set()  # a worker inside this process stops at its next write
            end_workers()
            raise
        except RuntimeError as error:
            raise _readable(error) from error


@contextmanager
def _swept(corpus: Corpus, stages: Sequence[Stage]) -> Iterator[None]:
    """Temporary files, of an earlier run or of this one, are gone before and after."""
    def sweep() -> None:
        for stage in stages:
            files.sweep_temporaries(corpus.folder(stage.name))
        files.sweep_temporaries(corpus.url)

    sweep()
    try:
        yield
    finally:
        sweep()


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """A polite kill (SIGTERM) ends a run as Ctrl-C does, so that nothing half-written stays."""
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: somebody else's signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _readable(error: RuntimeError) -> Exception:
    """The project's own error inside of a runner's traceback text, else the runner's error as it is."""
    text = str(error)
    for kind in CmclError.__subclasses__():
        marker = f"{kind.__name__}: "
        if marker in text:
            return kind(text.rpartition(marker)[2].partition("[while running")[0].strip().splitlines()[0])
    print(text, file=sys.stderr)
    return error


def corpus_of(config_or_url: str) -> tuple[Corpus, dict]:
    """The corpus that a configuration file makes, or that stands at a URL. Raises CorpusError when there is none."""
    if config_or_url.endswith((".yaml", ".yml")):
        from pipelines.config import load_config

        return open_corpus(load_config(config_or_url).corpus)
    return open_corpus(config_or_url)
