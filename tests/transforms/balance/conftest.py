"""A corpus of scenes with balanced swaps, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.corpus import Corpus
from tests.given import given_pairs, run_stages, scene_pairs
from transforms.balance.stages import BalancedSwaps, SelectSwaps, SwapCandidates
from transforms.graphs.stage import GraphParams, ParseCaptions
from transforms.graphs.vocabulary import CountVocabulary
from transforms.swaps.settings import BalanceSettings, SwapSettings

SETTINGS = SwapSettings(min_count=2, per_kind=4, balance=BalanceSettings(candidates=10, cell=100, tolerance=20))
KINDS = (CountVocabulary, SwapCandidates, SelectSwaps, BalancedSwaps)


def balanced(folder: Path, partitions: int) -> Corpus:
    stages = [given_pairs(scene_pairs(60)), ParseCaptions(GraphParams(swaps=SETTINGS)), *(kind(SETTINGS) for kind in KINDS)]
    return run_stages(folder, stages, partitions=partitions)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return balanced(tmp_path_factory.mktemp("one"), partitions=1)
