"""CTranslate2: OPUS-MT and other Marian models, NLLB and M2M-100, and whatever fairseq trained, once converted.

https://opennmt.net/CTranslate2 says how each kind wants its tokens; which kind it is, is read off the vocabulary.
"""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from schemas.manifest import fingerprint
from transforms.translators.base import Decoding, Hypothesis, TranslatorError, folder_digest
from transforms.translators.subwords import SIDECAR, sidecar, subword_files, subwords_of

INSTALL = "pip install 'cmcl[translate]'"
_CONVERT = "`python -m transforms.translators.convert fairseq|marian SRC OUT`"
_EOS = "</s>"


def model_files(folder: Path) -> tuple[str, ...]:
    """Names of the files that make up a model. Raises TranslatorError naming one that is missing, and what supplies it."""
    if not (folder / "model.bin").is_file():
        raise TranslatorError(f"{folder} holds no CTranslate2 model (no model.bin): convert a checkpoint with {_CONVERT}")
    vocabularies = [name for side in ("shared", "source", "target") for name in (f"{side}_vocabulary.json", f"{side}_vocabulary.txt")
                    if (folder / name).is_file()]
    if not vocabularies:
        raise TranslatorError(f"{folder} has no shared_vocabulary.json, nor source_vocabulary.json: convert the checkpoint again with "
                              f"{_CONVERT}")
    others = [name for name in ("config.json", SIDECAR) if (folder / name).is_file()]
    return ("model.bin", *vocabularies, *others, *subword_files(folder))


def check_folder(folder: Path) -> None:
    """Raises TranslatorError when the engine or a file is missing. Loads nothing."""
    if importlib.util.find_spec("ctranslate2") is None:
        raise TranslatorError(f"{folder}: CTranslate2 is not installed: run `{INSTALL}`")
    model_files(folder)


def folder_fingerprint(folder: Path, source: str, target: str, compute_type: str) -> str:
    """The fingerprint of the translator of a folder, without loading it."""
    return fingerprint(["ctranslate2", version("ctranslate2"), folder_digest(folder, model_files(folder)), source, target, compute_type])


@lru_cache(maxsize=8)
def _model(folder: Path, compute_type: str, threads: int) -> Any:
    """The loaded network, one for all the directions that a multilingual model serves."""
    import ctranslate2

    try:
        return ctranslate2.Translator(str(folder), device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=threads)
    except (RuntimeError, ValueError) as error:
        raise TranslatorError(f"{folder}: CTranslate2 cannot load it (compute_type {compute_type!r}): {error}") from error


def _vocabulary(folder: Path, side: str) -> frozenset[str]:
    for name in (f"{side}_vocabulary", "shared_vocabulary"):
        if (folder / f"{name}.json").is_file():
            return frozenset(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))
        if (folder / f"{name}.txt").is_file():
            return frozenset((folder / f"{name}.txt").read_text(encoding="utf-8").split("\n"))
    return frozenset()


class CTranslate2Translator:
    """One direction of a CTranslate2 model.

    Where the vocabulary holds tokens for languages (NLLB: eng_Latn, M2M-100: __en__, OPUS-MT to several languages: >>fra<<), the
    languages must be named. Raises TranslatorError when they are not, or the model has none such, or a file is missing.
    """

    def __init__(self, folder: Path, name: str, source: str = "", target: str = "", compute_type: str = "default", threads: int = 1):
        check_folder(folder)
        noted = sidecar(folder)
        self.name, self._folder = name, folder
        self._compute_type, self._threads = compute_type, threads
        self.fingerprint = folder_fingerprint(folder, source, target, compute_type)
        self._subwords = subwords_of(folder, source or noted.get("source", ""), target or noted.get("target", ""))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8")) if (folder / "config.json").is_file() else {}
        vocabulary = _vocabulary(folder, "source")
        self._before, self._prefix = self._language_tokens(vocabulary, source, target)
        self._before += [self._known(vocabulary, token) for token in noted.get("before", ())]
        self._after = [_EOS] if _EOS in vocabulary and not config.get("add_source_eos", False) else []
        self._translator = _model(folder, compute_type, threads)
        self._lock = threading.Lock()

    def _language_tokens(self, vocabulary: frozenset[str], source: str, target: str) -> tuple[list[str], list[str]]:
        """Tokens before the source, and the first ones of the target."""
        wrapped = [name for name in vocabulary if name.startswith("__") and name.endswith("__") and len(name) <= 8]
        prompts = [name for name in vocabulary if name.startswith(">>") and name.endswith("<<")]
        scripts = [name for name in vocabulary if len(name) == 8 and name[3] == "_" and name[:3].islower() and name[4:].istitle()]
        if not (wrapped or prompts or len(scripts) > 1):
            return [], []  # one pair of languages, which the model knows
        if not target:
            some = ", ".join(sorted(wrapped or prompts or scripts)[:4])
            raise TranslatorError(f"{self._folder} is a multilingual model ({some}, ...): name the languages behind its path, "
                                  "as #eng_Latn:deu_Latn or #en:de")
        if prompts and not wrapped:
            return [self._known(vocabulary, f">>{target}<<")], []
        marks = [f"__{code}__" if wrapped else code for code in (source, target)]
        return [self._known(vocabulary, marks[0])], [self._known(vocabulary, marks[1])]

    def _known(self, vocabulary: frozenset[str], token: str) -> str:
        if token not in vocabulary:
            raise TranslatorError(f"{self._folder} has no language {token!r} in its vocabulary")
        return token

    def tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """What the network is given for each text."""
        return [[*self._before, *pieces, *self._after] for pieces in self._subwords.encode(texts)]

    def translate(self, texts: Sequence[str], decoding: Decoding, seed: int = 0) -> list[list[Hypothesis]]:
        """Up to `n_best` translations of each text. Texts of like length share a batch, whatever their order here."""
        rows = self.tokens(texts)
        with self._lock:
            results = self._sampler(decoding, seed).translate_batch(
                rows, target_prefix=[self._prefix] * len(rows) if self._prefix else None,
                max_batch_size=decoding.batch_tokens, batch_type="tokens", return_scores=True, disable_unk=True,
                beam_size=1 if decoding.top_k else decoding.beam, num_hypotheses=decoding.n_best,
                sampling_topk=decoding.top_k or 1, sampling_temperature=decoding.temperature,
                max_input_length=decoding.max_length, max_decoding_length=decoding.max_length)
        flat = [tokens[len(self._prefix):] for result in results for tokens in result.hypotheses]
        joined = iter(self._subwords.decode(flat))
        return [[Hypothesis(next(joined), score) for score in result.scores] for result in results]

    def _sampler(self, decoding: Decoding, seed: int) -> Any:
        """The network; for sampling a copy of its own, since a thread of CTranslate2 takes its seed once, when it starts to draw."""
        if not decoding.top_k:
            return self._translator
        import ctranslate2

        ctranslate2.set_random_seed(seed)
        return _model.__wrapped__(self._folder, self._compute_type, self._threads)
