"""The fairseq engine: a folder with a checkpoint, `dict.SRC.txt`, `dict.TGT.txt` and the subword model, as published (transformer.wmt19).

fairseq 0.12.2 cannot be imported on Python 3.11; the fork fairseq-fixed can, under the same name. Checkpoints are pickles. They are read
with torch's `weights_only` reader, which builds only tensors, plain values and, since fairseq stores its settings in one,
`argparse.Namespace`; anything else in a file is refused, never executed. That is not enough: fairseq evaluates the strings of some
settings (all layers of `fconv`, but also a Transformer's `adaptive_softmax_cutoff` and `xformers_att_config`) as Python. So fairseq and
CTranslate2 never see a checkpoint's own settings: `read_checkpoint` builds new ones, from numbers and words of closed lists.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from schemas.manifest import fingerprint
from schemas.torch_files import why_oversized
from transforms.engines.registry import folder_digest
from transforms.engines.translators.base import Decoding, Hypothesis, TranslatorError
from transforms.engines.translators.subwords import subword_files, subwords_of

INSTALL = "pip install 'cmcl[fairseq]' && pip install --no-deps fairseq-fixed==0.12.3.1"
TASK = "translation"
# The plain Transformers in fairseq's registry, and the architecture each is built as; the last is that of our own training.
ARCHITECTURES = {**{name: name for name in (
    "transformer", "transformer_tiny", "transformer_iwslt_de_en", "transformer_wmt_en_de", "transformer_vaswani_wmt_en_de_big",
    "transformer_vaswani_wmt_en_fr_big", "transformer_wmt_en_de_big", "transformer_wmt_en_de_big_t2t", "transformer_align",
    "transformer_wmt_en_de_big_align")}, "caption_transformer": "transformer"}  # fmt: skip
_SIDES, _LAYERS = re.compile("True|False"), re.compile("[0-9]+(,[0-9]+)*")
_WORDS = {"activation_fn": re.compile("[a-z_]+"), "left_pad_source": _SIDES, "left_pad_target": _SIDES,
          "encoder_layers_to_keep": _LAYERS, "decoder_layers_to_keep": _LAYERS}  # fmt: skip
# Settings that shape the network: one that is neither a number nor a word above cannot be left out without changing the network.
_SHAPES = re.compile(
    r"encoder|decoder|quant_noise|(encoder|decoder|quant_noise)_(?!embed_path$).*|.*xformers_att_config|"
    r"adaptive_softmax_cutoff|activation_fn|left_pad_(source|target)"
)
_SAMPLING = threading.Lock()  # torch's generator is global to the process: a second sampler would continue from the first one's seed
_CHECKPOINTS = ("model.pt", "checkpoint_best.pt", "model1.pt", "checkpoint_last.pt")


def require_fairseq(what: str) -> None:
    """Raises TranslatorError, with the command that installs it, if fairseq is missing."""
    if importlib.util.find_spec("fairseq") is None:
        raise TranslatorError(
            f"{what} requires fairseq; on Python 3.11 that is the fork fairseq-fixed, installed without its pinned "
            f"dependencies: run `{INSTALL}`"
        )


def checkpoint_of(folder: Path) -> Path:
    """The folder's checkpoint: model.pt, checkpoint_best.pt, model1.pt (of an ensemble), or its only .pt file."""
    named = [folder / name for name in _CHECKPOINTS if (folder / name).is_file()]
    found = named[:1] or sorted(folder.glob("*.pt"))
    if len(found) != 1:
        raise TranslatorError(f"{folder} has {'several' if found else 'no'} .pt checkpoints, none called {' or '.join(_CHECKPOINTS)}")
    return found[0]


def _languages_in(folder: Path, source: str, target: str, settings: Mapping[str, Any]) -> tuple[str, str]:
    """Source and target: as given, else from the checkpoint's settings.

    Raises TranslatorError if a dictionary is missing, or the languages are unknown.
    """
    have = sorted(path.name[5:-4] for path in folder.glob("dict.*.txt"))
    if source and target:
        missing = [name for name in (source, target) if name not in have]
        if missing:
            raise TranslatorError(f"{folder} has no dict.{missing[0]}.txt; it has dictionaries for {', '.join(have) or 'no language'}")
        return source, target
    if not have:
        raise TranslatorError(f"{folder} has no dict.SRC.txt and dict.TGT.txt: copy them there from fairseq's data-bin")
    pair = tuple(str(settings.get(name) or "") for name in ("source_lang", "target_lang"))
    if not all(name in have for name in pair):
        raise TranslatorError(f"{folder}: its checkpoint does not name the languages; give them as #SRC:TGT, from {', '.join(have)}")
    return pair[0], pair[1]


def _state(folder: Path) -> dict[str, Any]:
    path = checkpoint_of(folder)
    with safely(folder):
        import torch

        if why := why_oversized(path):
            raise TranslatorError(f"{path} {why}")
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
        if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
            raise TranslatorError(f"{path} is not a fairseq checkpoint: it has no weights under the key `model`")
        return state


def _plain(settings: Any) -> dict[str, Any]:
    """Settings as stored by fairseq: a Namespace or a mapping (including omegaconf's)."""
    found = vars(settings) if isinstance(settings, Namespace) else settings
    if not isinstance(found, Mapping):
        raise TypeError(f"its settings have type {type(settings).__name__}")
    return {str(key): value for key, value in found.items()}


def _settings(folder: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's settings, flattened. Raises TranslatorError unless its task and architecture are supported."""
    try:
        if state.get("args") is not None:
            model = _plain(state["args"])
            task = {"task": model.get("task", TASK)}
        else:
            config = _plain(state.get("cfg"))
            model, task = _plain(config.get("model")), _plain(config.get("task"))
    except TypeError as error:
        raise TranslatorError(f"{folder}: its checkpoint has no settings that fairseq can read: {error}") from error
    tasks = [found[name] for found, name in ((task, "task"), (task, "_name"), (model, "task")) if found.get(name) is not None]
    if not tasks or not all(isinstance(name, str) and name == TASK for name in tasks):
        raise TranslatorError(f"{folder}: its checkpoint has the task {_named(tasks)}; only {TASK} is supported")
    names = [model[name] for name in ("arch", "_name") if model.get(name) is not None]
    if not names or not all(isinstance(name, str) and name in ARCHITECTURES for name in names):
        raise TranslatorError(
            f"{folder}: its checkpoint has the architecture {_named(names)}, whose settings fairseq may execute as code; "
            f"supported are {', '.join(ARCHITECTURES)}"
        )
    return {**task, **model, "arch": ARCHITECTURES[names[0]]}


def _named(names: Sequence[object]) -> str:
    return " and ".join(sorted({repr(name)[:60] for name in names})) or "None"


def read_checkpoint(folder: Path, source: str = "", target: str = "") -> dict[str, Any]:
    """A checkpoint's weights ("model") and settings ("args", with languages and folder), free of anything executable.

    Raises TranslatorError for a file that contains more than data, another task or architecture, a non-numeric setting that shapes the
    network, or missing languages. Other settings (of training, files) are dropped.
    """
    state = _state(folder)
    settings = _settings(folder, state)
    kept: dict[str, Any] = {}
    for key, value in settings.items():
        if key.isidentifier() and not key.startswith("_") and (value is None or isinstance(value, bool | int | float)):
            kept[key] = value
        elif key in _WORDS and isinstance(value, str) and _WORDS[key].fullmatch(value):
            kept[key] = value == "True" if value in ("True", "False") else value
        elif key == "adaptive_softmax_cutoff" and isinstance(value, list) and all(type(at) is int for at in value):
            kept[key] = value
        elif _SHAPES.fullmatch(key):
            raise TranslatorError(
                f"{folder}: its checkpoint's setting {key} is {str(value)[:60]!r}, which fairseq may execute as code; "
                "only numbers are accepted"
            )
    if kept.get("max_positions"):  # from before fairseq distinguished the two sides
        kept = {"max_source_positions": kept["max_positions"], "max_target_positions": kept["max_positions"], **kept}
    pair = _languages_in(folder, source, target, settings)
    # Validation by BLEU belongs to training: it would load a tokenizer named in the settings.
    args = Namespace(
        **{
            **kept,
            "arch": settings["arch"],
            "task": TASK,
            "data": str(folder),
            "source_lang": pair[0],
            "target_lang": pair[1],
            "eval_bleu": False,
        }
    )
    return {"args": args, "model": state["model"]}


def check_checkpoint(folder: Path, source: str, target: str) -> None:
    """Raises TranslatorError if fairseq or a file is missing. Loads nothing."""
    require_fairseq(f"fairseq:{folder}")
    checkpoint_of(folder)
    subword_files(folder)
    if source:
        _languages_in(folder, source, target, {})


def checkpoint_fingerprint(folder: Path, source: str, target: str) -> str:
    """The fingerprint of a folder's translator, without loading it."""
    names = (checkpoint_of(folder).name, *(path.name for path in sorted(folder.glob("dict.*.txt"))), *subword_files(folder))
    try:
        release = version("fairseq-fixed")
    except PackageNotFoundError:
        release = version("fairseq")
    return fingerprint(["fairseq", release, version("torch"), folder_digest(folder, names), source, target])


@contextmanager
def safely(folder: Path) -> Iterator[None]:
    """Within the block, torch reads fairseq's checkpoints as data. Raises TranslatorError for those with more, and for any other error."""
    import torch

    try:
        with torch.serialization.safe_globals([Namespace]):
            yield
    except TranslatorError:
        raise
    except UnpicklingError as error:
        raise TranslatorError(
            f"{folder}: its checkpoint contains more than tensors and settings, and was not loaded: {str(error).splitlines()[0]}"
        ) from error
    except Exception as error:
        raise TranslatorError(f"{folder}: its checkpoint cannot be loaded: {type(error).__name__}: {error}") from error


class FairseqTranslator:
    """A fairseq Transformer for the task `translation`, on the CPU. Raises TranslatorError if something is missing or not supported."""

    def __init__(self, folder: Path, name: str, source: str = "", target: str = "", threads: int = 1):
        check_checkpoint(folder, source, target)
        state = read_checkpoint(folder, source, target)
        self.name, self.fingerprint = name, checkpoint_fingerprint(folder, source, target)
        self._threads, self._lock = threads, threading.Lock()
        self._subwords = subwords_of(folder, state["args"].source_lang, state["args"].target_lang)
        with safely(folder):
            from fairseq import checkpoint_utils

            models, _, self._task = checkpoint_utils.load_model_ensemble_and_task([str(checkpoint_of(folder))], state=state)
            self._model = models[0].eval()

    def tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """The network's input for each text, without the end-of-sentence token that fairseq adds."""
        return self._subwords.encode(texts)

    def translate(self, texts: Sequence[str], decoding: Decoding, seed: int = 0) -> list[list[Hypothesis]]:
        """Up to `n_best` translations of each text. Only texts of the same length share a batch."""
        rows = self.hypotheses(texts, decoding, seed)
        flat = iter(self._subwords.decode([tokens for found in rows for tokens, _ in found]))
        return [[Hypothesis(next(flat), score) for _, score in found] for found in rows]

    def alone(self, decoding: Decoding) -> bool:
        """Always False: fairseq's float products depend on their number of rows."""
        return False

    def hypotheses(self, texts: Sequence[str], decoding: Decoding, seed: int = 0) -> list[list[tuple[list[str], float]]]:
        """The target tokens and the score of each translation."""
        import torch

        from transforms.engines.torch_threads import kernel_threads

        dictionary = self._task.source_dictionary
        ids = [
            [dictionary.index(piece) for piece in pieces[: decoding.max_length - 1]] + [dictionary.eos()] for pieces in self.tokens(texts)
        ]
        found: list[list[tuple[list[str], float]]] = [[] for _ in texts]
        alone = _drawing(seed) if decoding.top_k else nullcontext()  # beam search is deterministic and need not wait for samplers
        with self._lock, alone, torch.inference_mode(), kernel_threads(self._threads):
            generator = self._generator(decoding)
            for rows in _batches(ids, decoding.batch_tokens):
                sample = self._sample([ids[row] for row in rows])
                for row, hypotheses in zip(rows, self._task.inference_step(generator, [self._model], sample), strict=True):
                    found[row] = [self._read(hypothesis) for hypothesis in hypotheses[: decoding.n_best]]
        return found

    def _generator(self, decoding: Decoding) -> Any:
        sampling = bool(decoding.top_k)
        options = Namespace(
            beam=decoding.n_best if sampling else decoding.beam,
            nbest=decoding.n_best,
            max_len_a=0,
            max_len_b=decoding.max_length,
            sampling=sampling,
            sampling_topk=decoding.top_k or -1,
            temperature=decoding.temperature,
            unkpen=float("inf"),
        )
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


@contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """Within the block, torch's generator is seeded with `seed` for this sampler only; its state is restored afterwards."""
    import torch

    with _SAMPLING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _batches(ids: Sequence[Sequence[int]], batch_tokens: int) -> Iterator[list[int]]:
    """Batches of row indices, longest rows first: equal lengths, at most `batch_tokens` tokens per batch."""
    batch: list[int] = []
    for row in sorted(range(len(ids)), key=lambda at: (-len(ids[at]), at)):
        if batch and (len(ids[row]) != len(ids[batch[0]]) or len(ids[row]) * (len(batch) + 1) > batch_tokens):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
