"""Share of back-translated positives that are true of the image: synthetic scenes, before and after the filters.

    python -m benchmarks.positives_truth_scenes [--scenes 400] [--show 20] [--set min_similarity=0.8 ...]

Every caption is true of its scene. Its plain round trips and its positives are judged against the ground truth
(`transforms/scenes/truth.py`): true, false, or unclear (geometry near a threshold). Texts outside the scenes' small grammar are counted
separately, and as not true in the share of all, so that the actual share of true texts is between the last figure and the first; --show
prints them for manual inspection. Candidates are counted once per caption, without those that only repeat it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence

import yaml

from transforms.back_translation.candidates import back_translate
from transforms.back_translation.known_words import SUBSTITUTES, measure
from transforms.back_translation.positives import find_positives
from transforms.back_translation.settings import BackTranslationSettings
from transforms.back_translation.texts import prepared, words_of
from transforms.engines.encoders.sentence import sentence_encoder
from transforms.engines.parsers.load import caption_parser
from transforms.scenes.language import captions
from transforms.scenes.layout import Scene, sample_scene
from transforms.scenes.parser import LanguageError, parse
from transforms.scenes.truth import judge


def verdict(text: str, scene: Scene) -> str:
    """The verdict on a text: true, false, unclear, or unread."""
    try:
        return judge(parse(text), scene)
    except LanguageError:
        return "unread"


def report(name: str, found: Counter[str]) -> None:
    """Prints the shares of one set of texts."""
    total = sum(found.values())
    read = total - found["unread"]
    print(
        f"{name:22} {total:6} texts; of {read} parsed {found['true'] / max(1, read):.2%} true, "
        f"{found['unclear'] / max(1, read):.2%} unclear, {found['false'] / max(1, read):.2%} false; {found['unread']} not parsed; "
        f"true of all {found['true'] / max(1, total):.2%}"
    )


def settings_of(pairs: Sequence[str]) -> BackTranslationSettings:
    """Settings from KEY=VALUE pairs, with values in YAML."""
    return BackTranslationSettings(**{key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in pairs)})


def main() -> None:
    """Prints both shares, and examples of positives that are not true."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--scenes", type=int, default=400)
    options.add_argument("--seed", type=int, default=11)
    options.add_argument("--show", type=int, default=0, help="print up to this many kept positives per verdict other than true")
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of back_translation")
    arguments = options.parse_args()
    how = settings_of(arguments.set)
    originals = [
        (caption.text, scene)
        for at in range(arguments.scenes)
        for scene in (sample_scene(arguments.seed, at),)
        for caption in captions(scene, arguments.seed)
    ]
    texts = sorted({prepared(text) for text, _ in originals})
    found = back_translate(texts, how, arguments.seed)
    words = sorted({*SUBSTITUTES, *(word for text in texts for word in words_of(text))})
    known = {way.name: measure(words, way, how) for way in how.ways()} if how.stand_ins else None
    choices = find_positives(texts, how, arguments.seed, caption_parser(how.parser), sentence_encoder(how.encoder), known)
    before, after, reasons, many = Counter[str](), Counter[str](), Counter[str](), Counter[int]()
    shown = Counter[str]()
    for text, scene in originals:
        caption = prepared(text)
        texts = {tuple(words_of(candidate.text)): candidate.text for candidate in found[caption].candidates}
        texts.pop(tuple(words_of(caption)), None)
        before.update(verdict(candidate, scene) for candidate in texts.values())
        choice = choices[caption]
        reasons.update(reason.value for reason, _ in choice.refused)
        many[len(choice.positives)] += 1
        for positive in choice.positives:
            judged = verdict(positive.text, scene)
            after[judged] += 1
            if judged != "true" and shown[judged] < arguments.show:
                shown[judged] += 1
                source = positive.how or how.ways()[positive.pivot].name
                print(f"  {judged}: {text}\n      -> {positive.text}  ({positive.similarity:.2f}, {source})")
    report("before the filters", before)
    report("kept", after)
    print(f"captions with a positive: {1 - many[0] / len(originals):.1%}")
    print("captions with 0, 1, 2, ... positives:", dict(sorted(many.items())))
    print("dropped:", ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()))


if __name__ == "__main__":
    main()
