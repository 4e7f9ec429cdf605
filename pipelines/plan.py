"""Which stages a run must process, and why: compares fingerprints with manifests, before any work and without Beam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from schemas.corpus import WHOLE, Corpus
from schemas.errors import ConfigError
from schemas.manifest import StageManifest, fingerprint
from schemas.rejects import TRANSIENT
from transforms.core.stage import Stage


@dataclass(frozen=True)
class StageState:
    """A stage's state, relative to its configuration."""

    stage: Stage
    state: Literal["current", "stale", "missing", "failed"]
    why: list[str]
    manifest: StageManifest | None
    tasks_recorded: int = 0
    ingredients: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""

    @property
    def must_run(self) -> bool:
        """Whether a run must process the stage."""
        return self.state != "current"


def ingredients_of(stage: Stage, seed: int, partitions: int, inputs: Mapping[str, str]) -> dict[str, Any]:
    """What a stage's fingerprint is computed from; `inputs`: the fingerprints of the stages it reads."""
    return {**stage.identity, "seed": seed, "partitions": partitions, "sources": dict(stage.sources), "inputs": dict(inputs)}


def plan(
    corpus: Corpus, stages: Sequence[Stage], seed: int, max_rejected: float = 1.0, seals: Mapping[str, str] | None = None
) -> list[StageState]:
    """The state of each stage, in the given order; each stage must come after the stages it reads.

    max_rejected: share of a stage's rows; a stage that rejected more has failed, whatever the limit was when it ran.
    seals: by stage, the seals of the manifests that `corpus.json` names; any other manifest is ignored.

    Raises ConfigError, naming both, when a stage does not come after one that it reads.
    """
    states: dict[str, StageState] = {}
    for stage in stages:
        reads = sorted({source.stage for source in stage.inputs})
        absent = [name for name in reads if name not in states]
        if absent:
            raise ConfigError(
                f"the stage {stage.name} reads {absent[0]}, which must come before it: "
                f"the order is {', '.join(each.name for each in stages)}"
            )
        ingredients = ingredients_of(stage, seed, corpus.partitions, {name: states[name].fingerprint for name in reads})
        states[stage.name] = _state(
            corpus, stage, ingredients, [states[name] for name in reads], max_rejected, (seals or {}).get(stage.name)
        )
    return list(states.values())


def _state(
    corpus: Corpus, stage: Stage, ingredients: dict[str, Any], reads: Sequence[StageState], max_rejected: float, seal: str | None
) -> StageState:
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
        why.append("its manifest is not the one that corpus.json names" if foreign else "never finished" if recorded else "not built yet")
    elif manifest.failed:
        state, why = "failed", [manifest.failed]
    elif too_many := manifest.counts.too_many_rejected(max_rejected):
        state, why = "failed", [too_many]
    else:
        if manifest.fingerprint != wanted:
            why += changes(manifest.ingredients, ingredients)
        missing = corpus.missing_files(manifest)
        if missing:
            why.append(f"{len(missing)} files are missing or have the wrong size, first {missing[0]}")
        for upstream in reads:
            if upstream.must_run and manifest.ingredients["inputs"].get(upstream.stage.name) == upstream.fingerprint:
                why.append(f"reads {upstream.stage.name}, which is {upstream.state}")
        if unreached := sum(manifest.counts.reasons.get(reason, 0) for reason in TRANSIENT):
            why.append(f"{unreached} images were unreachable last time; a run tries them again")
        if why:
            state = "stale"
    return StageState(stage, state, why, manifest, recorded, ingredients, wanted)


def _partitions(corpus: Corpus, stage: Stage) -> list[int]:
    return [WHOLE] if stage.corpus_wide else list(range(corpus.partitions))


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The differences between the ingredients of two fingerprints, one phrase each."""
    found: list[str] = []
    for key in sorted(set(before) | set(after)):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if key == "inputs":
            found += [
                f"reads {name}, which changed"
                for name in sorted(set(old or {}) | set(new or {}))
                if (old or {}).get(name) != (new or {}).get(name)
            ]
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
