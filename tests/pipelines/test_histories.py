"""Any sequence of additions, removals, edits, kills and changes of settings ends in the corpus that a fresh run makes.

Runs go through planning, index, lock and commits as ever; only Beam, which takes a second a run, is replaced by a loop.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from pipelines import run as module
from pipelines.config import parse_config
from pipelines.run import corpus_of, run
from pipelines.verify import verify
from schemas.corpus import WHOLE
from transforms.core.beam import RunContext, StageFingerprint, _Summarise, commit, run_task
from transforms.core.stage import SummaryStage
from transforms.ingest.beam import _Read
from transforms.ingest.stages import Ingest

WORDS = "man dog red bus tree on a two under the big boat".split()
IMAGES = st.integers(0, 9)
CAPTIONS = st.sets(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join), min_size=1, max_size=3)


def without_beam(corpus: Any, config: Any, states: Any, progress: bool, engine: Any) -> bool:
    """Does the work of `pipelines.run._run_pipeline` in a loop."""
    context = RunContext(
        corpus,
        config.seed,
        config.max_rejected,
        {state.stage.name: StageFingerprint(state.fingerprint, state.ingredients) for state in states},
        base=module._base(config),
    )
    for stage in (state.stage for state in states if state.must_run):
        if isinstance(stage, Ingest):
            parts: defaultdict[int, list[bytes]] = defaultdict(list)
            for split in stage.splits():
                for partition, data in _Read(context, stage).process(split):
                    parts[partition].append(data)
            tasks = [(partition, *stage.payload(parts[partition])) for partition in range(corpus.partitions)]
        elif isinstance(stage, SummaryStage):
            summaries = [one for partition in range(corpus.partitions) for one in _Summarise(context, stage).process(partition)]
            tasks = [(WHOLE, stage.combine(summaries) if summaries else None, "")]
        else:
            tasks = [(partition, None, "") for partition in ([WHOLE] if stage.corpus_wide else range(corpus.partitions))]
        if not commit(context, stage, [run_task(context, stage, *task) for task in tasks]).ok:
            break
    return False


class Histories(RuleBasedStateMachine):
    """A corpus `grown`, what its inputs and settings are now, and `fresh` corpora of the same."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="cmcl-histories-"))
        self.captions: dict[int, set[str]] = {}
        self.keys: dict[str, Any] = {"tfidf": {"k": 2, "max_df": 1.0}}

    @initialize(captions=st.dictionaries(IMAGES, CAPTIONS, min_size=2, max_size=10), frozen=st.booleans())
    def start(self, captions: dict[int, set[str]], frozen: bool) -> None:
        self.captions = {**captions, 10: {" ".join(WORDS)}}  # all words, for the vocabulary that may be held fixed
        self.made("held")
        self.hold(frozen)
        self.made("grown")

    @rule(image=IMAGES, captions=CAPTIONS)
    def add_or_edit(self, image: int, captions: set[str]) -> None:
        self.captions[image] = captions

    @precondition(lambda self: len(self.captions) > 1)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        del self.captions[data.draw(st.sampled_from(sorted(self.captions)))]

    @rule(change=st.sampled_from([{"k": 1}, {"k": 3}, {"drop_rows": False}, {"ceiling": 0.5}]))
    def set_tfidf(self, change: dict[str, Any]) -> None:
        self.keys = {**self.keys, "tfidf": {**self.keys["tfidf"], **change}}

    @rule(partitions=st.sampled_from([2, 3]))
    def divide(self, partitions: int) -> None:
        self.keys = {**self.keys, "partitions": partitions}

    @rule(frozen=st.booleans())
    def hold(self, frozen: bool) -> None:
        self.keys = {**self.keys, "frozen": "held" if frozen else None}

    @rule(swaps=st.sampled_from([None, {"min_count": 1, "per_kind": 2}, {"min_count": 1, "balance": {}}]))
    def set_swaps(self, swaps: dict[str, Any] | None) -> None:
        self.keys = {**self.keys, "swaps": swaps}

    @rule(truth=st.sampled_from([None, {"encoder": None}]))
    def judge(self, truth: dict[str, Any] | None) -> None:
        self.keys = {**self.keys, "truth": truth}

    @rule(tokens=st.sampled_from([None, {"size": 60}]))
    def tokenise(self, tokens: dict[str, Any] | None) -> None:
        self.keys = {**self.keys, "tokens": tokens}

    @rule(moment=st.integers(0, 40))
    def killed(self, moment: int) -> None:
        """Leaves the corpus as it was before the file of this number appeared."""
        snapshot, number, replace = self.folder / "snapshot", 0, os.replace

        def counting(source: Any, target: Any) -> None:
            nonlocal number
            if number == moment:
                shutil.copytree(self.folder / "grown", snapshot)
            number += 1
            replace(source, target)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "replace", counting)
            self.made("grown")
        if snapshot.exists():
            shutil.rmtree(self.folder / "grown")
            snapshot.rename(self.folder / "grown")

    @rule()
    def run(self) -> None:
        self.made("grown")

    def made(self, name: str) -> dict[str, bytes]:
        """Builds or updates a corpus; returns its tables."""
        path = self.folder / "captions.json"
        notes = [(image, caption) for image, captions in self.captions.items() for caption in sorted(captions)]
        images = [{"id": image, "file_name": f"{image}.jpg"} for image in self.captions]
        captions = [{"id": at, "image_id": image, "caption": caption} for at, (image, caption) in enumerate(notes)]
        path.write_text(json.dumps({"images": images, "annotations": captions}))
        source = {"format": "coco", "name": "made", "captions": [str(path)]}
        whole = {"corpus": name, "partitions": 2, "pixels": False, "max_rejected": 1.0, "pairs": [source], **self.keys}
        run(parse_config(whole, str(self.folder)))
        return {str(file.relative_to(self.folder / name)): file.read_bytes() for file in (self.folder / name).rglob("*.arrow")}

    def teardown(self) -> None:
        try:
            if self.captions:
                grown, fresh = self.made("grown"), self.made("fresh")
                assert grown.keys() - fresh.keys() == set() or self.leftover(grown.keys() - fresh.keys())
                assert {name: grown[name] for name in fresh} == fresh
                assert verify(*corpus_of(str(self.folder / "grown"))) == []
        finally:
            shutil.rmtree(self.folder)

    def leftover(self, names: set[str]) -> bool:
        """Whether these are files of stages that are no longer in the configuration: nobody removes those."""
        stages = {entry.stage for entry in corpus_of(str(self.folder / "grown"))[1].stages}
        return not {name.split("/")[0] for name in names} & stages


def test_any_history_ends_in_the_corpus_of_a_fresh_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_run_pipeline", without_beam)
    how = settings(max_examples=8, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    run_state_machine_as_test(Histories, settings=how)  # type: ignore[no-untyped-call]
