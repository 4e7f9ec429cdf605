"""The main job: all stale stages of a corpus as one Beam pipeline."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from pipelines.build import stages_of
from pipelines.config import Config
from pipelines.interrupts import interruptible
from pipelines.location import check_location, check_stages
from pipelines.lock import corpus_lock
from pipelines.plan import StageState, plan
from schemas import files
from schemas.corpus import MANIFEST, ROOT_FILES, Corpus, Index, holds_stage, is_own_name, open_corpus, read_index, remove_stale, write_index
from schemas.errors import ConfigError, RejectLimitError, from_text
from schemas.manifest import StageManifest
from schemas.retries import use
from transforms.core.instructions import hold
from transforms.core.stage import Stage, index_entry

if TYPE_CHECKING:
    from pipelines.forecast import Forecast


@dataclass(frozen=True)
class RunReport:
    """The outcome of a run: manifests of the stages that it ran, and names of the stages that were up to date."""

    ran: list[StageManifest]
    skipped: list[str]
    wall_s: float
    template: bool = False  # the job was written as a template, not run
    leftover: list[str] = field(default_factory=list)  # folders of stages that are no longer in the configuration


def plan_of(config: Config) -> tuple[Corpus, list[StageState]]:
    """A configuration's corpus and the states of its stages; writes nothing. Raises ConfigError, SourceError or CorpusError."""
    use(config.waiting)
    check_location(config)
    return _planned(config)


def forecast_of(config: Config) -> tuple[list[StageState], list[Forecast]]:
    """The states of a configuration's stages, and the work that a run would do; writes nothing. Raises as `plan_of` does."""
    from pipelines.forecast import forecast  # imports the sources' readers

    corpus, states = plan_of(config)
    return states, forecast(corpus, states, _base(config))


def _planned(config: Config) -> tuple[Corpus, list[StageState]]:
    hold(config.portable)
    corpus, stages = Corpus(config.corpus, config.partitions), stages_of(config)
    check_stages(corpus, stages)
    index = read_index(config.corpus)
    seals = {entry.stage: entry.manifest for entry in index.stages if entry.manifest} if index else {}
    return corpus, plan(corpus, stages, config.seed, config.max_rejected, seals)


def run(
    config: Config, beam_options: Sequence[str] = (), workers: int | None = None, progress: bool = False, runner: str = "local"
) -> RunReport:
    """Builds whatever is missing or stale in a corpus and leaves the rest alone.

    A run that was killed at any point can be resumed: completed tasks are kept. An interrupt leaves no half-written files.

    Args:
        config: the validated configuration.
        beam_options: passed to Beam.
        workers: number of worker processes; overrides the configuration.
        progress: show a progress bar per stage on standard error.
        runner: a runner that `pipelines.runners.open_runner` accepts.

    Raises:
        RejectLimitError: a stage rejected more rows than `max_rejected` allows, or an exclusion list matched nothing; manifests and
            rejects have been written.
        CorpusError: another run is working on the corpus, it has another format, or its folder is in other use (`pipelines/location.py`).
        OSError: there is work to do, but this process may not write to the corpus.
    """
    start = time.perf_counter()
    if config.corpus.startswith("memory://") and (runner != "local" or (workers or config.workers) > 1):
        raise ConfigError(f"corpus: {config.corpus} exists in one process only: use one worker and the local runner, or another location")
    use(config.waiting)
    check_location(config)
    with corpus_lock(config.corpus) as barred:
        corpus, states = _planned(config)
        todo = [state for state in states if state.must_run]
        template, made = False, {}
        if barred and todo:
            raise barred
        current = {state.stage.name: state.manifest for state in states if state.manifest and not state.must_run}
        if not barred:
            _remove_unfinished(corpus, {state.stage.name for state in states})
        _write_index(corpus, config.seed, states, current)
        if todo:
            for state in todo:
                folder = corpus.folder(state.stage.name)
                if MANIFEST in files.listing(folder):  # it names files that are about to be replaced
                    files.remove(folder, [MANIFEST])
            with _swept(corpus, [state.stage for state in todo]):
                template = _run_pipeline(corpus, config, states, progress, (runner, workers or config.workers, beam_options))
            made = {state.stage.name: manifest for state in todo if (manifest := corpus.manifest(state.stage.name))}
            _write_index(corpus, config.seed, states, {**current, **made})
    report = RunReport(
        list(made.values()),
        [state.stage.name for state in states if not state.must_run],
        time.perf_counter() - start,
        template,
        sorted(set(files.folders(corpus.url)) - {state.stage.name for state in states}),
    )
    for manifest in report.ran:
        if manifest.failed:
            text = f"stage {manifest.stage}: {manifest.failed}; its rejects are in {corpus.folder(manifest.stage)}"
            raise RejectLimitError(text, report)
    if not template and not config.exclude.allow_unmatched and (lost := _unmatched(corpus, config)):
        raise RejectLimitError(f"the corpus is complete, but {lost}", report)
    return report


def _unmatched(corpus: Corpus, config: Config) -> str | None:
    """The error text if an exclusion list matched no image, with or without captions; None otherwise."""
    from transforms.ingest.exclusions import unmatched

    manifests = [corpus.manifest(name) for name in (("pairs", "images") if config.images else ("pairs",))]
    return unmatched([manifest.extra.get("exclusions", {}) for manifest in manifests if manifest])


def _remove_unfinished(corpus: Corpus, stages: set[str]) -> None:
    """Removes what a killed run left of stages that are no longer in the configuration and finished no task.

    Only `corpus.json`, which is about to be replaced, still says that these folders belong to the corpus.
    """
    index, folders = read_index(corpus.url), files.folders(corpus.url)
    for entry in index.stages if index else []:
        folder = corpus.folder(entry.stage)
        if entry.stage not in stages and entry.stage in folders and not holds_stage(folder):
            files.sweep_temporaries(folder, partial(is_own_name, tables=entry.tables))
            remove_stale(corpus, entry.stage, entry.tables, set())
            files.remove_empty(folder)


def _write_index(corpus: Corpus, seed: int, states: Sequence[StageState], manifests: Mapping[str, StageManifest]) -> None:
    """Writes `corpus.json`, which refers to these manifests by their seals."""
    seals = {stage: manifest.seal for stage, manifest in manifests.items()}
    write_index(corpus, seed, [index_entry(state.stage, seals.get(state.stage.name)) for state in states])


def _run_pipeline(
    corpus: Corpus, config: Config, states: Sequence[StageState], progress: bool, engine: tuple[str, int, Sequence[str]]
) -> bool:
    """Runs the stages that must run; returns True if the job was written as a template instead."""
    from pipelines.progress import progress_bars  # importing Beam takes a second: only when there is work
    from pipelines.runners import end_workers, open_runner
    from transforms.core.beam import RunContext, RunStage, StageFingerprint
    from transforms.ingest.beam import RunIngest
    from transforms.ingest.images.fetch import close_files
    from transforms.ingest.stages import Ingest

    context = RunContext(
        corpus,
        config.seed,
        config.max_rejected,
        {state.stage.name: StageFingerprint(state.fingerprint, state.ingredients) for state in states},
        _hints(config, [state.stage for state in states]) if engine[0] == "dataflow" else {},
        config.portable,
        config.waiting,
        _base(config),
    )
    todo = [state.stage for state in states if state.must_run]
    close_files()  # of an earlier run in this process
    with progress_bars(corpus, todo, progress), interruptible(end_workers), open_runner(*engine) as pipeline:
        done: dict[str, Any] = {}
        for stage in todo:
            after = [done[name] for name in sorted({source.stage for source in stage.inputs}) if name in done]
            transform = RunIngest(context, stage) if isinstance(stage, Ingest) else RunStage(context, stage, after)
            done[stage.name] = pipeline | transform
        try:
            result = pipeline.run()
            if not getattr(result, "has_job", True):
                return True
            result.wait_until_finish()
        except RuntimeError as error:
            raise from_text(str(error)) or error from error
    return False


def _base(config: Config) -> Corpus | None:
    """The corpus that this one starts from, if any. Raises ConfigError if its tasks cannot be reused, CorpusError if it does not exist."""
    if config.base is None:
        return None
    base, index = open_corpus(config.base)
    if (index.partitions, index.seed) != (config.partitions, config.seed):
        raise ConfigError(
            f"base: {config.base} has {index.partitions} partitions and seed {index.seed}, but this configuration has "
            f"{config.partitions} and {config.seed}: set partitions and seed to the same values"
        )
    return base


def _hints(config: Config, stages: Sequence[Stage]) -> dict[str, dict[str, str]]:
    """Resource hints by stage; the configuration's override the stage's own. Raises ConfigError for an unknown stage."""
    names = [stage.name for stage in stages]
    unknown = sorted(set(config.resources) - set(names))
    if unknown:
        raise ConfigError(f"resources: unknown stage {unknown[0]!r}; the stages are {', '.join(names)}")
    return {stage.name: dict([*stage.resources.items(), *config.resources.get(stage.name, {}).items()]) for stage in stages}


@contextmanager
def _swept(corpus: Corpus, stages: Sequence[Stage]) -> Iterator[None]:
    """Removes temporary files of this or an earlier run, before and after the block."""

    def sweep() -> None:
        for stage in stages:
            files.sweep_temporaries(corpus.folder(stage.name), partial(is_own_name, tables=list(stage.writes)))
        files.sweep_temporaries(corpus.url, ROOT_FILES.__contains__)

    sweep()
    try:
        yield
    finally:
        sweep()


def corpus_of(config_or_url: str) -> tuple[Corpus, Index]:
    """The corpus of a configuration file, or at a URL. Raises CorpusError when there is none."""
    if config_or_url.endswith((".yaml", ".yml")):
        from pipelines.config import load_config

        return open_corpus(load_config(config_or_url).corpus)
    return open_corpus(config_or_url)
