"""Trains the embedded caption translators on Multi30k.

    python -m transforms.engines.training.translators.make DATA WORK [--pairs en-de de-en en-fr fr-en] [--out FOLDER] [--now] [--test]

DATA contains {train,val,test_2016_flickr}.{en,de,fr}. WORK receives the subword model, the binarised text, the checkpoints (with each
direction's log) and the final fairseq model in WORK/PAIR. When run again after an interruption, it resumes from the last checkpoint; to use
two cores, run it twice with different pairs. --now exports the existing checkpoints without training. Requires the extras `translate` and
`fairseq` and fairseq-fixed (see README).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from schemas.own_folder import claim_folder
from transforms.engines.training.translators import corpus, recipe
from transforms.engines.training.translators.average import average, last_checkpoints
from transforms.engines.translators.base import Decoding, Translator
from transforms.engines.translators.convert import convert_fairseq
from transforms.engines.translators.ctranslate import CTranslate2Translator
from transforms.engines.translators.fairseq_engine import FairseqTranslator
from transforms.engines.translators.load import EMBEDDED

SUBWORDS = "sentencepiece.bpe.model"
DECODING = Decoding(beam=5)


def prepare(data: Path, work: Path, pair: str) -> Path:
    """Writes the subword model, dictionary and binarised text of a direction unless they exist; returns the folder of the last."""
    claim_folder(work, "transforms.engines.training.translators.make")
    subwords, dictionary, out = work / SUBWORDS, work / "dict.txt", work / f"bin_{pair}"
    if not subwords.is_file():
        corpus.train_subwords(data, subwords)
    if not dictionary.is_file():
        corpus.write_dictionary(subwords, dictionary)
    if not (out / "done").is_file():
        source, _, target = pair.partition("-")
        shutil.rmtree(out, ignore_errors=True)
        corpus.binarise(data, subwords, dictionary, (source, target), out)
        (out / "done").touch()
    return out


def train(work: Path, binarised: Path, pair: str) -> None:
    """Trains a direction unless already done. Raises ValueError if the model that it starts from does not exist yet."""
    out = work / f"checkpoints_{pair}"
    start = work / recipe.STARTS[pair] / "model.pt" if pair in recipe.STARTS else None
    if start is not None and not start.is_file():
        raise ValueError(f"{pair} starts from {start}, which was not found: make {recipe.STARTS[pair]} first")
    if not (out / "done").is_file():  # the last checkpoint cannot tell: it may be a few updates before the end
        corpus.fairseq("train", recipe.command(pair, binarised, out, start), recipe.environment(), work / f"train_{pair}.log")
        (out / "done").touch()


def export(work: Path, pair: str, out: Path) -> int:
    """Writes the mean of the last checkpoints: for fairseq to WORK/PAIR, for CTranslate2 (int8) to OUT/PAIR. Returns its updates."""
    folder = work / pair
    folder.mkdir(parents=True, exist_ok=True)
    made = average(last_checkpoints(work / f"checkpoints_{pair}", recipe.AVERAGED), folder / "model.pt")
    for language in pair.split("-"):
        shutil.copyfile(work / "dict.txt", folder / f"dict.{language}.txt")
    shutil.copyfile(work / SUBWORDS, folder / SUBWORDS)
    convert_fairseq(folder, out / pair, "int8")
    return made


def bleu(translator: Translator, data: Path, split: str, pair: str) -> dict[str, object]:
    """BLEU of a translator's best hypotheses on a split, cased and lower-cased (-lc), with sacrebleu's signatures."""
    from sacrebleu.metrics import BLEU

    sources, references = corpus.parallel(data, split, pair.split("-"))
    found = [hypotheses[0].text for hypotheses in translator.translate(sources, DECODING)]
    scores: dict[str, object] = {"translator": translator.name, "split": split}
    for name, small in (("bleu", False), ("bleu_lc", True)):
        metric = BLEU(lowercase=small)
        scores[name] = round(metric.corpus_score(found, [references]).score, 2)
        scores[f"{name}_signature"] = str(metric.get_signature())
    return scores


def measure(data: Path, work: Path, out: Path, pair: str, splits: list[str]) -> list[dict[str, object]]:
    """BLEU of a direction's fairseq model (float32) and of its CTranslate2 model (int8)."""
    engines: list[Translator] = [FairseqTranslator(work / pair, f"fairseq:{pair}"), CTranslate2Translator(out / pair, f"embedded:{pair}")]
    return [bleu(engine, data, split, pair) for split in splits for engine in engines]


def main(arguments: list[str] | None = None) -> int:
    """Makes the models; returns 0, or 1 with a message if something is missing or fairseq fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--pairs", nargs="+", choices=recipe.PAIRS, default=list(recipe.PAIRS))
    parser.add_argument("--out", type=Path, default=EMBEDDED, help="output of the CTranslate2 folders (default: this package)")
    parser.add_argument("--now", action="store_true", help="export the existing checkpoints without training")
    parser.add_argument("--test", action="store_true", help="also measure on test_2016_flickr, once everything is final")
    options = parser.parse_args(arguments)
    try:
        for pair in options.pairs:
            binarised = prepare(options.data, options.work, pair)
            if not options.now:
                train(options.work, binarised, pair)
            made = export(options.work, pair, options.out)
            for row in measure(options.data, options.work, options.out, pair, ["val", *(["test_2016_flickr"] if options.test else [])]):
                print(json.dumps({"pair": pair, "updates": made, **row}, ensure_ascii=False), flush=True)
    except (ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
