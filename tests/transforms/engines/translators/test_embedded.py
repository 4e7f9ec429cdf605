"""The embedded translators: they load, are small, and turn captions into captions, deterministically."""

from __future__ import annotations

import pytest

pytest.importorskip("ctranslate2", reason="translators need CTranslate2: pip install 'cmcl[translate]'")

from transforms.back_translation.texts import restored
from transforms.engines.translators.base import Decoding
from transforms.engines.translators.load import EMBEDDED, embedded_pairs, translator

PAIRS = ["de-en", "en-de", "en-fr", "fr-en"]
CAPTIONS = {
    "en": ["A man in a red shirt is riding a bicycle.", "Two dogs are playing in the snow.", "A woman is sitting on a bench"],
    "de": ["Ein Mann in einem roten Hemd fährt Fahrrad.", "Zwei Hunde spielen im Schnee.", "Eine Frau sitzt auf einer Bank"],
    "fr": ["Un homme en chemise rouge fait du vélo.", "Deux chiens jouent dans la neige.", "Une femme est assise sur un banc"],
}
WORDS = {"de": ["Mann", "Hunde", "Frau"], "en": ["man", "dogs", "woman"], "fr": ["homme", "chiens", "femme"]}


def test_all_directions_exist_and_are_small():
    assert embedded_pairs() == PAIRS
    assert sum(path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file()) < 16 << 20


@pytest.mark.parametrize("pair", PAIRS)
def test_captions_keep_their_meaning_case_and_full_stop(pair):
    source, _, target = pair.partition("-")
    found = [rows[0].text for rows in translator(f"embedded:{pair}").translate(CAPTIONS[source], Decoding(beam=4))]
    for text, word in zip(found, WORDS[target], strict=True):
        assert word in text and text[0].isupper() and text.isprintable()
    assert [restored(text, caption)[-1] for text, caption in zip(found, CAPTIONS[source], strict=True)] == [
        caption[-1] if caption[-1] == "." else text.rstrip(".")[-1] for text, caption in zip(found, CAPTIONS[source], strict=True)
    ]
    assert all(text.endswith(".") for text in found[:2])


@pytest.mark.parametrize("pair", PAIRS)
def test_translations_do_not_depend_on_order_or_batch(pair):
    engine, texts, decoding = translator(f"embedded:{pair}"), CAPTIONS[pair[:2]], Decoding(beam=4, n_best=4)
    whole = engine.translate(texts, decoding)
    assert whole == engine.translate(texts, decoding)
    assert [rows[0].text for rows in engine.translate(texts[::-1], decoding)] == [rows[0].text for rows in whole[::-1]]
    assert all(len({found.text for found in rows}) > 1 for rows in whole)
