"""A row's result does not depend on its batch: the same bits alone, in batches of several sizes, with other rows, in another order."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from transforms.engines.batches import equally_long

SIZES = (1, 2, 3, 7, 64)
PEOPLE = ("a man", "two women", "a boy in a red shirt", "an old lady", "three children", "a tall waiter")
DEEDS = ("rides a horse", "holds a big umbrella", "is sitting on a bench", "eats pizza", "looks at a dog that sleeps on the floor")
PLACES = ("on the beach", "in a park", "next to a parked car", "under a tree", "near the old brick house")
CAPTIONS = [f"{who} {does} {where}." for who in PEOPLE for does in DEEDS for where in PLACES][::4]


def batched_otherwise(rows: Sequence[Any], work: Callable[[Sequence[Any]], Sequence[Any]]) -> dict[str, list[Any]]:
    """The results of `work` for each row in batches of several sizes, in another order, and with only some of the others."""
    found = {
        f"batches of {size}": [one for start in range(0, len(rows), size) for one in work(rows[start : start + size])] for size in SIZES
    }
    order = random.Random(5).sample(range(len(rows)), len(rows))
    shuffled = dict(zip(order, work([rows[at] for at in order]), strict=True))
    found["another order"] = [shuffled[at] for at in range(len(rows))]
    apart = [list(work(rows[start::2])) for start in (0, 1)]
    found["other neighbours"] = [apart[at % 2][at // 2] for at in range(len(rows))]
    return found


def assert_unmoved(rows: Sequence[Any], work: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
    found = batched_otherwise(rows, work)
    alone = found["batches of 1"]
    assert len({repr(one) for one in alone}) > 1
    assert {name: sum(one != own for one, own in zip(results, alone, strict=True)) for name, results in found.items()} == dict.fromkeys(
        found, 0
    )


@pytest.mark.parametrize("spec", ["embedded:en-de", "embedded:en-fr"])
def test_translations_and_their_scores(spec):
    pytest.importorskip("ctranslate2")
    from transforms.engines.translators.base import Decoding
    from transforms.engines.translators.load import translator

    engine, decoding = translator(spec), Decoding(6, 6)
    assert engine.alone(decoding)
    assert_unmoved(CAPTIONS, lambda texts: engine.translate(texts, decoding))


def test_a_translator_says_where_it_cannot():
    pytest.importorskip("ctranslate2")
    from transforms.engines.translators.base import Decoding
    from transforms.engines.translators.load import translator

    assert not translator("embedded:en-de").alone(Decoding(4, 4, top_k=5))
    engine, decoding = translator("embedded:en-de", "float32"), Decoding(4, 4)
    assert not engine.alone(decoding)
    found = batched_otherwise(CAPTIONS[:20], lambda texts: engine.translate(texts, decoding))
    assert found["batches of 64"] != found["batches of 1"]  # else it could say that it can


def test_regions():
    pytest.importorskip("torchvision")
    from transforms.engines.detectors.load import detector
    from transforms.engines.detectors.settings import DetectorSettings

    model = detector(DetectorSettings(device="cpu"))
    assert model.alone  # type: ignore[attr-defined]
    noise = np.random.default_rng(3)
    pictures = [Image.fromarray(noise.integers(0, 255, (6, 8, 3), np.uint8)).resize((288, 216)) for _ in range(14)]
    ready = [model.prepare(picture) for picture in pictures]
    assert len({one.shape for one in ready}) == 1
    assert_unmoved(
        ready,
        lambda batch: [
            tuple(part.tobytes() for part in (one.boxes, one.features, one.confidence, one.soft_labels)) for one in model.detect(batch)
        ],
    )  # type: ignore[union-attr]


def test_trees_and_what_they_are_scored_from():
    pytest.importorskip("spacy")
    from transforms.engines.parsers.load import caption_parser

    parser = caption_parser("embedded")
    assert_unmoved(
        CAPTIONS,
        lambda texts: [
            ([(token.head.i, token.dep_, token.tag_, token.lemma_) for token in document], document.tensor.tobytes())
            for document in parser.documents(texts)
        ],
    )


def test_sentence_vectors():
    pytest.importorskip("sentence_transformers")
    from transforms.engines.encoders.sentence import sentence_encoder

    encoder = sentence_encoder()
    assert_unmoved(CAPTIONS[:3], lambda texts: [vector.tobytes() for vector in encoder.encode(texts)])


def test_groups_of_one_length():
    rows = ["bb", "a", "", "cc", "d", "eee"]
    assert list(equally_long(rows)) == [[2], [1, 4], [0, 3], [5]]
    assert list(equally_long([])) == []
