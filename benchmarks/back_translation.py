"""Overhead of the stage's translation over the bare engine, in source tokens per second for the round trip.

    python -m benchmarks.back_translation CAPTIONS.json [--captions 4000] [--pivot de] [--rounds 3] [--fairseq FORWARD_FOLDER BACK_FOLDER]

Stage: `back_translate` as the stage calls it, including windows, deduplication, subword models and candidate lists. Bare: CTranslate2's
`translate_batch` on the same sentences, tokenised beforehand, with the same settings. The stage's checks of the candidates (scene graphs,
sentence encoder) are timed separately, as "filters". With --fairseq, fairseq generates with the checkpoints that the models were converted
from and the same settings; its time includes tokenisation, like the stage's. Rounds alternate; results are medians of CPU seconds of this
process, on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.corpora import coco_captions
from transforms.back_translation.candidates import back_translate, windows
from transforms.back_translation.choose import choose
from transforms.back_translation.settings import BackTranslationSettings
from transforms.back_translation.texts import prepared, why_not_caption
from transforms.engines.encoders.sentence import sentence_encoder
from transforms.engines.parsers.load import caption_parser
from transforms.engines.translators.base import Decoding
from transforms.engines.translators.ctranslate import CTranslate2Translator
from transforms.engines.translators.load import translator


def bare(engine: CTranslate2Translator, rows: list[list[list[str]]], decoding: Decoding) -> None:
    """Runs only CTranslate2, window by window."""
    for window in rows:
        engine._translator.translate_batch(
            window,
            max_batch_size=decoding.batch_tokens,
            batch_type="tokens",
            return_scores=True,
            disable_unk=True,
            beam_size=decoding.beam,
            num_hypotheses=decoding.n_best,
            max_input_length=decoding.max_length,
            max_decoding_length=decoding.max_length,
        )


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds that `work` takes in this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Prints tokens per second and ratios."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("annotations", type=Path)
    options.add_argument("--captions", type=int, default=4000)
    options.add_argument("--pivot", default="de")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--fairseq", nargs=2, metavar=("FORWARD", "BACK"))
    arguments = options.parse_args()
    how = BackTranslationSettings(pivots=(arguments.pivot,))
    captions = coco_captions(arguments.annotations)["caption"].to_pylist()
    texts = sorted({prepared(text) for text in captions[: arguments.captions] if not why_not_caption(text, how.max_words)})
    way = how.ways()[0]
    there, back = (translator(spec) for spec in (way.forward, way.back))
    assert isinstance(there, CTranslate2Translator) and isinstance(back, CTranslate2Translator)
    between = sorted({one.text for hypotheses in there.translate(texts, how.forward) for one in hypotheses if one.text.strip()})
    sources = [[engine.tokens(window) for window in windows(part)] for engine, part in ((there, texts), (back, between))]
    tokens = sum(len(row) for rows in sources for window in rows for row in window)
    ways: dict[str, Callable[[], object]] = {
        "stage": lambda: back_translate(texts, how, 0),
        "CTranslate2 alone": lambda: (bare(there, sources[0], how.forward), bare(back, sources[1], how.backward)),
    }
    if arguments.fairseq:
        engines = [translator(f"fairseq:{folder}") for folder in arguments.fairseq]
        ways["fairseq"] = lambda: (engines[0].translate(texts, how.forward), engines[1].translate(between, how.backward))
    found = {text: own.candidates for text, own in back_translate(texts, how, 0).items()}
    parser, encoder = caption_parser(how.parser), sentence_encoder(how.encoder, how.threads)
    ways["filters"] = lambda: choose(found, parser, encoder, how)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, work in ways.items():
            times[name].append(seconds(work))
    medians = {name: statistics.median(found) for name, found in times.items()}
    print(f"{len(texts)} captions via {arguments.pivot}, {tokens} source tokens for the round trip")
    for name, median in medians.items():
        print(f"{name:18} {tokens / median:9.0f} tokens/s  ({median:.2f} CPU s)")
    print(f"throughput of the stage / bare CTranslate2: {medians['CTranslate2 alone'] / medians['stage']:.3f}")
    print(f"with the filters: {medians['CTranslate2 alone'] / (medians['stage'] + medians['filters']):.3f}")
    if "fairseq" in medians:
        print(f"stage to fairseq: {medians['fairseq'] / medians['stage']:.2f}")


if __name__ == "__main__":
    main()
