"""Metrics of written texts, by their kept libraries: ROUGE by rouge-score, those of captions by pycocoevalcap, as shares of 1."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError

_log = logging.getLogger(__name__)
_WORDS = re.compile(r"[\w']+")


def require(package: str) -> Any:
    """A module of the extra `metrics`. Raises ConfigError when it is not installed."""
    import importlib

    try:
        return importlib.import_module(package)
    except ModuleNotFoundError:
        raise ConfigError(f"the task's metrics require the package {package.partition('.')[0]}: pip install 'cmcl[metrics]'") from None


def rouge(found: Sequence[str], references: Sequence[Sequence[str]], kinds: Sequence[str]) -> dict[str, float]:
    """Mean F1 of ROUGE with stemming, each text against the reference it agrees with most.

    kinds: such as rouge1, rouge2, rougeL; rougeLsum takes lines as sentences.
    """
    scorer = require("rouge_score.rouge_scorer").RougeScorer(list(kinds), use_stemmer=True)
    totals = dict.fromkeys(kinds, 0.0)
    for text, own in zip(found, references, strict=True):
        scores = [scorer.score(reference, text) for reference in own]
        for kind in kinds:
            totals[kind] += max(one[kind].fmeasure for one in scores)
    return {kind: total / len(found) for kind, total in totals.items()}


def caption_scores(found: Sequence[str], references: Sequence[Sequence[str]], wanted: Sequence[str]) -> dict[str, float]:
    """Of bleu4, rouge_l, cider, meteor and spice, those wanted, by the code of COCO's caption evaluation.

    With a Java that runs, words are those of the Penn Treebank tokenizer that it comes with; without, lower-case words and numbers, and no
    METEOR. SPICE also requires the models that its own script fetches. What cannot be computed is left out, with a warning that says why.
    """
    home, java = Path(require("pycocoevalcap").__path__[0]), _java()
    given, own = _tokenized(dict(enumerate([text] for text in found)), java), _tokenized(dict(enumerate(references)), java)
    models = any((home / "spice" / "lib").glob("stanford-corenlp-*-models.jar"))
    scores: dict[str, float] = {}
    for name in wanted:
        if name in ("meteor", "spice") and not java:
            _log.warning("%s is left out: it requires Java", name)
        elif name == "spice" and not models:
            _log.warning("spice is left out: it requires models (python -m pycocoevalcap.spice.get_stanford_models)")
        else:
            try:
                scores[name] = _score(name, given, own)
            except (OSError, subprocess.SubprocessError) as error:
                _log.warning("%s is left out: its program failed: %s", name, error)
    return scores


def _score(name: str, given: dict[int, list[str]], own: dict[int, list[str]]) -> float:
    if name == "bleu4":
        return float(require("pycocoevalcap.bleu.bleu").Bleu(4).compute_score(own, given, verbose=0)[0][3])
    module, kind = {
        "rouge_l": ("rouge.rouge", "Rouge"),
        "cider": ("cider.cider", "Cider"),
        "meteor": ("meteor.meteor", "Meteor"),
        "spice": ("spice.spice", "Spice"),
    }[name]
    return float(getattr(require(f"pycocoevalcap.{module}"), kind)().compute_score(own, given)[0])


def _java() -> bool:
    """Whether Java runs; a placeholder that only says where to get it does not."""
    found = shutil.which("java")
    return found is not None and subprocess.run([found, "-version"], capture_output=True).returncode == 0


def _tokenized(texts: dict[int, Sequence[str]], java: bool) -> dict[int, list[str]]:
    if java:
        held = {key: [{"caption": text} for text in own] for key, own in texts.items()}
        made: dict[int, list[str]] = require("pycocoevalcap.tokenizer.ptbtokenizer").PTBTokenizer().tokenize(held)
        return made
    return {key: [" ".join(_WORDS.findall(text.lower())) for text in own] for key, own in texts.items()}
