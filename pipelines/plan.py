"""Which stages a run must look at, and why: fingerprints against manifests, before any work and without Beam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from schemas.corpus import WHOLE, Corpus
from schemas.errors import ConfigError
from schemas.manifest import StageManifest, fingerprint
from schemas.rejects import PASSING
from transforms.core.stage import Stage


@dataclass(frozen=True)
class StageState:
    """How a stage stands against its configuration."""

    stage: Stage
    state: Literal["current", "stale", "missing", "failed"]
    why: list[str]
    manifest: StageManifest | None
    tasks_recorded: int = 0
    ingredients: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""

    @property
    def must_run(self) -> bool:
        """Whether a run has to look at the stage."""
        return self.state != "current"


def ingredients_of(stage: Stage, seed: int, partitions: int, inputs: Mapping[str, str]) -> dict[str, Any]:
    """What a stage's fingerprint hashes; `inputs` are the fingerprints of the stages that it reads."""
    return {**stage.identity, "seed": seed, "partitions": partitions, "sources": dict(stage.sources), "inputs": dict(inputs)}


def plan(corpus: Corpus, stages: Sequence[Stage], seed: int, max_rejected: float = 1.0,
         seals: Mapping[str, str] | None = None) -> list[StageState]:
    """The state of each stage, in the order given, in which every stage must come after those that it reads.

    max_rejected: share of a stage's rows; a stage that has rejected more has failed, whatever was allowed when it ran.
    seals: by stage, of the manifests that `corpus.json` names; another manifest vouches for nothing.

    Raises ConfigError, naming both, when a stage does not come after one that it reads.
    """
    states: dict[str, StageState] = {}
    for stage in stages:
        reads = sorted({source.stage for source in stage.inputs})
        absent = [name for name in reads if name not in states]
        if absent:
            raise ConfigError(f"the stage {stage.name} reads {absent[0]}, which does not come before it: "
                              f"the order is {', '.join(each.name for each in stages)}")
        ingredients = ingredients_of(stage, seed, corpus.partitions, {name: states[name].fingerprint for name in reads})
        states[stage.name] = _state(corpus, stage, ingredients, [states[name] for name in reads], max_rejected,
                                    (seals or {}).get(stage.name))
    return list(states.values())


def _state(corpus: Corpus, stage: Stage, ingredients: dict[str, Any], reads: Sequence[StageState],
           max_rejected: float, seal: str | None) -> StageState:
    wanted = fingerprint(ingredients)
    manifest = corpus.manifest(stage.name)
    foreign = manifest is not None and seal is not None and manifest.seal != seal
    if foreign:
        manifest = None
    state: Literal["current", "stale", "missing", "failed"] = "current"
    recorded, why = 0, []
    if manifest is None:
        state = "missing"
        recorded = sum(corpus.record(stage.name, p) is not None for p in _partitions(corpus, stage))
        why.append("its manifest is not the one that corpus.json names" if foreign else "never finished" if recorded else "not made yet")
    elif manifest.failed:
        state, why = "failed", [manifest.failed]
    elif too_many := manifest.counts.too_many_rejected(max_rejected):
        state, why = "failed", [too_many]
    else:
        if manifest.fingerprint != wanted:
            why += changes(manifest.ingredients, ingredients)
        lacking = corpus.missing_files(manifest)
        if lacking:
            why.append(f"{len(lacking)} files are missing or cut short, first {lacking[0]}")
        for upstream in reads:
            if upstream.must_run and manifest.ingredients["inputs"].get(upstream.stage.name) == upstream.fingerprint:
                why.append(f"reads {upstream.stage.name}, which is {upstream.state}")
        if passing := sum(manifest.counts.reasons.get(reason, 0) for reason in PASSING):
            why.append(f"{passing} images could not be reached last time; a run asks for them again")
        if why:
            state = "stale"
    return StageState(stage, state, why, manifest, recorded, ingredients, wanted)


def _partitions(corpus: Corpus, stage: Stage) -> list[int]:
    return [WHOLE] if stage.corpus_wide else list(range(corpus.partitions))


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between two fingerprints' ingredients, one phrase a difference."""
    found: list[str] = []
    for key in sorted(set(before) | set(after)):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if key == "inputs":
            found += [f"reads {name}, which changed" for name in sorted(set(old or {}) | set(new or {}))
                      if (old or {}).get(name) != (new or {}).get(name)]
        elif isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _differences(key, old, new)
        else:
            found.append(f"{key}: {_short(old)} -> {_short(new)}")
    return found or ["its ingredients changed"]


def _differences(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for name in sorted(set(old) | set(new)):
        here, there = old.get(name), new.get(name)
        if here == there:
            continue
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            found += _differences(f"{path}.{name}", here, there)
        else:
            found.append(f"{path}.{name}: {_short(here)} -> {_short(there)}")
    return found


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
