"""CTranslate2: OPUS-MT and other Marian models, NLLB and M2M-100, and fairseq models, once converted.

https://opennmt.net/CTranslate2 documents the tokens that each kind requires; the kind is inferred from the vocabulary.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from schemas.manifest import fingerprint
from transforms.engines.batches import equally_long
from transforms.engines.registry import folder_digest, loaded_once
from transforms.engines.translators.base import Decoding, Hypothesis, TranslatorError
from transforms.engines.translators.subwords import SIDECAR, check_subwords, read_json, read_texts, sidecar, subword_files, subwords_of

INSTALL = "pip install 'cmcl[translate]'"
_CONVERT = "`python -m transforms.engines.translators.convert fairseq|marian SRC OUT`"
_EOS = "</s>"
# Language tokens of M2M-100, OPUS-MT and NLLB.
_WRAPPED = re.compile(r"__[a-z]{2,3}(_[A-Za-z]+)?__")
_PROMPT = re.compile(r">>[A-Za-z]{2,3}([_+-][A-Za-z0-9]+)*<<")
_SCRIPT = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
_SAMPLING = threading.Lock()  # CTranslate2's seed is global to the process: a second sampler would draw from the first one's


def model_files(folder: Path) -> tuple[str, ...]:
    """The names of a model's files. Raises TranslatorError naming a missing one, and what provides it."""
    if not (folder / "model.bin").is_file():
        raise TranslatorError(f"{folder} is not a CTranslate2 model (no model.bin): convert a checkpoint with {_CONVERT}")
    vocabularies = [
        name
        for side in ("shared", "source", "target")
        for name in (f"{side}_vocabulary.json", f"{side}_vocabulary.txt")
        if (folder / name).is_file()
    ]
    if not vocabularies:
        raise TranslatorError(
            f"{folder} has neither shared_vocabulary.json nor source_vocabulary.json: convert the checkpoint again with {_CONVERT}"
        )
    others = [name for name in ("config.json", SIDECAR) if (folder / name).is_file()]
    return ("model.bin", *vocabularies, *others, *subword_files(folder))


class Marks(NamedTuple):
    """Tokens that a model requires around a text: `before` and `after` the source, `prefix` at the start of the target."""

    before: list[str]
    after: list[str]
    prefix: list[str]


def check_folder(folder: Path, source: str = "", target: str = "") -> Marks:
    """The special tokens around a text. Loads no weights.

    Raises TranslatorError if the engine or a file is missing or broken, or languages are not supported or not given.
    """
    if importlib.util.find_spec("ctranslate2") is None:
        raise TranslatorError(f"{folder}: CTranslate2 is not installed: run `{INSTALL}`")
    model_files(folder)
    noted = sidecar(folder)
    check_subwords(folder, source or noted.get("source", ""), target or noted.get("target", ""))
    config = read_json(folder / "config.json", dict) if (folder / "config.json").is_file() else {}
    vocabulary = _vocabulary(folder)
    before, prefix = _language_tokens(folder, vocabulary, source, target)
    for token in noted.get("before", ()):
        before.append(_known(folder, vocabulary, token))
    return Marks(before, [_EOS] if _EOS in vocabulary and not config.get("add_source_eos", False) else [], prefix)


def _vocabulary(folder: Path) -> frozenset[str]:
    """The source vocabulary."""
    for name in ("source_vocabulary", "shared_vocabulary"):
        if (folder / f"{name}.json").is_file():
            return frozenset(read_texts(folder / f"{name}.json"))
        if (folder / f"{name}.txt").is_file():
            return frozenset((folder / f"{name}.txt").read_text(encoding="utf-8", errors="replace").split("\n"))
    return frozenset()


def _language_tokens(folder: Path, vocabulary: frozenset[str], source: str, target: str) -> tuple[list[str], list[str]]:
    """The language tokens before the source and at the start of the target."""
    wrapped, prompts, scripts = (sorted(filter(kind.fullmatch, vocabulary)) for kind in (_WRAPPED, _PROMPT, _SCRIPT))
    wrapped, scripts = (found if len(found) > 1 else [] for found in (wrapped, scripts))  # a single match may be an ordinary token
    if not (wrapped or prompts or scripts):
        _one_pair(folder, source, target)
        return [], []
    if not target:
        some = ", ".join((wrapped or prompts or scripts)[:4])
        raise TranslatorError(
            f"{folder} is a multilingual model ({some}, ...): append the languages to its path, e.g. #eng_Latn:deu_Latn or #en:de"
        )
    if prompts and not wrapped:
        return [_known(folder, vocabulary, f">>{target}<<")], []
    marks = [f"__{code}__" if wrapped else code for code in (source, target)]
    return [_known(folder, vocabulary, marks[0])], [_known(folder, vocabulary, marks[1])]


def _known(folder: Path, vocabulary: frozenset[str], token: str) -> str:
    if token not in vocabulary:
        raise TranslatorError(f"{folder} has no language {token!r} in its vocabulary")
    return token


def _one_pair(folder: Path, source: str, target: str) -> None:
    """Raises TranslatorError if languages are given that a single-pair model does not have: they would have no effect."""
    own = tuple(sidecar(folder).get(side, "") for side in ("source", "target"))
    if target and any(own) and own != (source, target):
        raise TranslatorError(
            f"{folder} translates one pair, {own[0]}:{own[1]} (its {SIDECAR}; no languages in its vocabulary): it cannot "
            f"translate #{source}:{target}"
        )


def folder_fingerprint(folder: Path, source: str, target: str, compute_type: str) -> str:
    """The fingerprint of a folder's translator, without loading it."""
    return fingerprint(["ctranslate2", version("ctranslate2"), folder_digest(folder, model_files(folder)), source, target, compute_type])


def _load(folder: Path, compute_type: str, threads: int) -> Any:
    import ctranslate2

    try:
        return ctranslate2.Translator(str(folder), device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=threads)
    except Exception as error:
        raise TranslatorError(f"{folder}: CTranslate2 cannot load it (compute_type {compute_type!r}): {error}") from error


_shared = loaded_once(_load)  # one network for all directions of a multilingual model


class CTranslate2Translator:
    """One direction of a CTranslate2 model.

    If the vocabulary has language tokens (NLLB: eng_Latn, M2M-100: __en__, OPUS-MT to several languages: >>fra<<), the languages are
    required. Raises TranslatorError as `check_folder` does, and if CTranslate2 cannot load the model.
    """

    def __init__(self, folder: Path, name: str, source: str = "", target: str = "", compute_type: str = "default", threads: int = 1):
        self._marks = check_folder(folder, source, target)
        noted = sidecar(folder)
        self.name, self._folder = name, folder
        self._compute_type, self._threads = compute_type, threads
        self.fingerprint = folder_fingerprint(folder, source, target, compute_type)
        self._subwords = subwords_of(folder, source or noted.get("source", ""), target or noted.get("target", ""))
        self._translator = _shared(folder, compute_type, threads)
        self._lock = threading.Lock()

    def tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """The network's input for each text."""
        return [[*self._marks.before, *pieces, *self._marks.after] for pieces in self._subwords.encode(texts)]

    def translate(self, texts: Sequence[str], decoding: Decoding, seed: int = 0) -> list[list[Hypothesis]]:
        """Up to `n_best` translations of each text. Only texts of the same length share a batch: padding would change bits."""
        rows, prefix = self.tokens(texts), self._marks.prefix
        found: list[Any] = [None] * len(rows)
        with _SAMPLING if decoding.top_k else self._lock:  # a search draws nothing: it need not wait for samplers
            network = self._sampler(decoding, seed)
            for indices in equally_long(rows):
                results = network.translate_batch(
                    [rows[index] for index in indices],
                    target_prefix=[prefix] * len(indices) if prefix else None,
                    max_batch_size=decoding.batch_tokens,
                    batch_type="tokens",
                    return_scores=True,
                    disable_unk=True,
                    beam_size=1 if decoding.top_k else decoding.beam,
                    num_hypotheses=decoding.n_best,
                    sampling_topk=decoding.top_k or 1,
                    sampling_temperature=decoding.temperature,
                    max_input_length=decoding.max_length,
                    max_decoding_length=decoding.max_length,
                )
                for index, result in zip(indices, results, strict=True):
                    found[index] = result
        joined = iter(self._subwords.decode([tokens[len(prefix) :] for result in found for tokens in result.hypotheses]))
        return [[Hypothesis(next(joined), score) for score in result.scores] for result in found]

    def alone(self, decoding: Decoding) -> bool:
        """True for beam search in int8, whose products are whole numbers and thus exact in any batch."""
        return not decoding.top_k and self._translator.compute_type.startswith("int8")

    def _sampler(self, decoding: Decoding, seed: int) -> Any:
        """The network; for sampling a separate copy, since a thread of CTranslate2 reads its seed once, when it starts to sample.

        Copies are made and used under the lock `_SAMPLING`.
        """
        if not decoding.top_k:
            return self._translator
        import ctranslate2

        ctranslate2.set_random_seed(seed)
        return _load(self._folder, self._compute_type, self._threads)
