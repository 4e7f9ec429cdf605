"""Real captions for the tests of back-translation."""

from __future__ import annotations

import json
from typing import Any

from schemas.ids import counter_rng
from transforms.back_translation.texts import words_of
from transforms.back_translation.truth import Reading, graphs_differ
from transforms.back_translation.words import words_differ
from transforms.english.wordnet import lexicon
from transforms.graphs.vocabulary import prune, summarise
from transforms.swaps.context import ImageContext
from transforms.swaps.draft import Negative
from transforms.swaps.generate import negatives
from transforms.swaps.index import Index
from transforms.swaps.settings import SwapSettings


def coco(shared_data, count):
    notes = json.loads((shared_data / "coco_val2017/captions_val2017.json").read_text(encoding="utf-8"))["annotations"]
    return [" ".join(note["caption"].split()) for note in notes[:count]]


def judged_swaps(parser: Any, captions: list[str], count: int) -> tuple[list[Negative], list[tuple[str, str]]]:
    """Swaps of the first `count` captions, with a vocabulary of all, and those that the filters of positives let pass: caption, text.

    Each caption stands for two of its image, since attributes are only swapped for what two captions contradict.
    """
    graphs, how = parser.parse(captions), SwapSettings(per_kind=1)
    index = Index(prune(summarise([str(at) for at in range(len(captions))], captions, graphs), 3, 4000), lexicon())
    swapped = [
        (captions[at], negative)
        for at in range(count)
        for negative in negatives(
            captions[at],
            graphs[at],
            index,
            ImageContext(index, how, [captions[at]] * 2, [graphs[at]] * 2),
            how,
            counter_rng(1, "swaps", str(at)),
        )
    ]
    texts = sorted({text for caption, negative in swapped for text in (caption, negative.text)})
    readings = {text: Reading.of(document) for text, document in zip(texts, parser.documents(texts), strict=True)}
    passed = [
        (caption, negative.text)
        for caption, negative in swapped
        if not (words_differ(words_of(caption), words_of(negative.text)) or graphs_differ(readings[caption], readings[negative.text]))
    ]
    return [negative for _, negative in swapped], passed
