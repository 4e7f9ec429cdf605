"""fairseq itself: a folder with a checkpoint, `dict.SRC.txt`, `dict.TGT.txt`, and the subword model, as published (transformer.wmt19).

fairseq 0.12.2 does not import on Python 3.11; the fork fairseq-fixed does, under the same name. Checkpoints are pickles. They are read
with torch's `weights_only` reader, which builds tensors and plain values and, since fairseq keeps its settings in one,
`argparse.Namespace`; whatever else a file names is refused and never run.
"""

from __future__ import annotations

import importlib.util
import threading
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from schemas.manifest import fingerprint
from transforms.translators.base import Decoding, Hypothesis, TranslatorError, folder_digest
from transforms.translators.subwords import subword_files, subwords_of

INSTALL = "pip install 'cmcl[fairseq]' && pip install --no-deps fairseq-fixed==0.12.3.1"
_CHECKPOINTS = ("model.pt", "checkpoint_best.pt", "model1.pt", "checkpoint_last.pt")


def needs_fairseq(what: str) -> None:
    """Raises TranslatorError, with the command that installs it, when fairseq is not there."""
    if importlib.util.find_spec("fairseq") is None:
        raise TranslatorError(f"{what} needs fairseq; on Python 3.11 that is the fork fairseq-fixed, without the pins of its own: run "
                              f"`{INSTALL}`")


def checkpoint_of(folder: Path) -> Path:
    """The folder's checkpoint: model.pt, checkpoint_best.pt, model1.pt (of an ensemble), or its only .pt file."""
    named = [folder / name for name in _CHECKPOINTS if (folder / name).is_file()]
    found = named[:1] or sorted(folder.glob("*.pt"))
    if len(found) != 1:
        raise TranslatorError(f"{folder} has {'several' if found else 'no'} .pt checkpoints, none called {' or '.join(_CHECKPOINTS)}")
    return found[0]


def languages_in(folder: Path, source: str, target: str) -> tuple[str, str]:
    """Source and target: as given, else the only ordered pair that dictionaries and checkpoint leave open.

    Raises TranslatorError when a dictionary is missing, or nothing tells which language is the source.
    """
    have = sorted(path.name[5:-4] for path in folder.glob("dict.*.txt"))
    if source and target:
        missing = [name for name in (source, target) if name not in have]
        if missing:
            raise TranslatorError(f"{folder} has no dict.{missing[0]}.txt; dictionaries are there for {', '.join(have) or 'nothing'}")
        return source, target
    if not have:
        raise TranslatorError(f"{folder} has no dict.SRC.txt and dict.TGT.txt: copy them there from fairseq's data-bin")
    with safely(folder):
        import torch

        state = torch.load(checkpoint_of(folder), map_location="cpu", weights_only=True, mmap=False)
    told: Any = state.get("args") or (state.get("cfg") or {}).get("model") or (state.get("cfg") or {}).get("task")
    pair = tuple((told.get(name) if isinstance(told, dict) else getattr(told, name, None)) or "" for name in ("source_lang", "target_lang"))
    if not all(name in have for name in pair):
        raise TranslatorError(f"{folder}: its checkpoint does not tell the languages; name them as #SRC:TGT, of {', '.join(have)}")
    return pair[0], pair[1]


def check_checkpoint(folder: Path, source: str, target: str) -> None:
    """Raises TranslatorError when fairseq or a file is missing. Loads nothing."""
    needs_fairseq(f"fairseq:{folder}")
    checkpoint_of(folder)
    subword_files(folder)
    if source:
        languages_in(folder, source, target)


def checkpoint_fingerprint(folder: Path, source: str, target: str) -> str:
    """The fingerprint of the translator of a folder, without loading it."""
    names = (checkpoint_of(folder).name, *(path.name for path in sorted(folder.glob("dict.*.txt"))), *subword_files(folder))
    try:
        release = version("fairseq-fixed")
    except PackageNotFoundError:
        release = version("fairseq")
    return fingerprint(["fairseq", release, version("torch"), folder_digest(folder, names), source, target])


@contextmanager
def safely(folder: Path) -> Iterator[None]:
    """Within the block, torch reads fairseq's checkpoints as data. Raises TranslatorError for one that names more than that."""
    import torch

    try:
        with torch.serialization.safe_globals([Namespace]):
            yield
    except UnpicklingError as error:
        raise TranslatorError(f"{folder}: its checkpoint holds more than tensors and settings, and is not loaded: "
                              f"{str(error).splitlines()[0]}") from error


class FairseqTranslator:
    """A fairseq model on the CPU, of the task `translation`. Raises TranslatorError when something is missing."""

    def __init__(self, folder: Path, name: str, source: str = "", target: str = "", threads: int = 1):
        check_checkpoint(folder, source, target)
        pair = languages_in(folder, source, target)
        from fairseq import checkpoint_utils

        self.name, self.fingerprint = name, checkpoint_fingerprint(folder, source, target)
        self._threads, self._lock = threads, threading.Lock()
        self._subwords = subwords_of(folder, *pair)
        with safely(folder):
            models, _, self._task = checkpoint_utils.load_model_ensemble_and_task(
                [str(checkpoint_of(folder))], arg_overrides={"data": str(folder), "source_lang": pair[0], "target_lang": pair[1]})
        self._model = models[0].eval()

    def tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """What the network is given for each text, without the end-of-sentence token that fairseq adds."""
        return self._subwords.encode(texts)

    def translate(self, texts: Sequence[str], decoding: Decoding, seed: int = 0) -> list[list[Hypothesis]]:
        """Up to `n_best` translations of each text. Texts of like length share a batch."""
        rows = self.hypotheses(texts, decoding, seed)
        flat = iter(self._subwords.decode([tokens for found in rows for tokens, _ in found]))
        return [[Hypothesis(next(flat), score) for _, score in found] for found in rows]

    def hypotheses(self, texts: Sequence[str], decoding: Decoding, seed: int = 0) -> list[list[tuple[list[str], float]]]:
        """The target tokens, and the score, of each translation."""
        import torch

        from transforms.torch_threads import kernel_threads

        dictionary = self._task.source_dictionary
        ids = [[dictionary.index(piece) for piece in pieces[:decoding.max_length - 1]] + [dictionary.eos()]
               for pieces in self.tokens(texts)]
        found: list[list[tuple[list[str], float]]] = [[] for _ in texts]
        with self._lock, torch.inference_mode(), kernel_threads(self._threads):
            torch.manual_seed(seed)
            generator = self._generator(decoding)
            for rows in _batches(ids, decoding.batch_tokens):
                sample = self._sample([ids[row] for row in rows])
                for row, hypotheses in zip(rows, self._task.inference_step(generator, [self._model], sample), strict=True):
                    found[row] = [self._read(hypothesis) for hypothesis in hypotheses[:decoding.n_best]]
        return found

    def _generator(self, decoding: Decoding) -> Any:
        sampling = bool(decoding.top_k)
        options = Namespace(beam=decoding.n_best if sampling else decoding.beam, nbest=decoding.n_best, max_len_a=0,
                            max_len_b=decoding.max_length, sampling=sampling, sampling_topk=decoding.top_k or -1,
                            temperature=decoding.temperature, unkpen=float("inf"))
        return self._task.build_generator([self._model], options)

    def _sample(self, rows: list[list[int]]) -> dict[str, Any]:
        import torch

        pad = self._task.source_dictionary.pad()
        width = max(len(row) for row in rows)
        tokens = torch.tensor([[pad] * (width - len(row)) + row for row in rows])  # fairseq pads the source on the left
        return {"net_input": {"src_tokens": tokens, "src_lengths": torch.tensor([len(row) for row in rows])}}

    def _read(self, hypothesis: dict[str, Any]) -> tuple[list[str], float]:
        dictionary = self._task.target_dictionary
        ids = [at for at in hypothesis["tokens"].tolist() if at != dictionary.eos()]
        return [dictionary[at] for at in ids], float(hypothesis["score"])


def _batches(ids: Sequence[Sequence[int]], batch_tokens: int) -> Iterator[list[int]]:
    """Places of rows, long ones first, at most `batch_tokens` a batch with its padding."""
    batch: list[int] = []
    for row in sorted(range(len(ids)), key=lambda at: (-len(ids[at]), at)):
        if batch and len(ids[batch[0]]) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
