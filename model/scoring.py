"""Scores images against texts with a checkpoint: encoded separately or jointly."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from model import checkpoint
from model.batch import Batch, Images, Texts, Vocabulary
from model.checkpoint import Checkpoint
from model.data.collate import image_table, text_table
from model.data.settings import DataSettings
from model.data.shards import Shards
from model.heads import Network
from model.objectives.base import Objective
from model.tasks import TASKS
from model.tasks.base import Task
from model.transformer import ModelSettings, Shape
from schemas.errors import ConfigError
from schemas.regions import Regions

_log = logging.getLogger(__name__)
Head = Literal["match", "contrast"]
_AT_ONCE = 64  # images, texts or joint sequences per forward pass


def load_network(url: str, device: str = "cpu") -> tuple[Network, Checkpoint]:
    """The network of a checkpoint, in evaluation mode, and the checkpoint. Raises CheckpointError when it is missing or damaged."""
    held = checkpoint.load(url, only="model")
    facts = held.state["facts"]
    network = Network(
        ModelSettings.model_validate(held.state["settings"]["model"]),
        Shape(vocabulary=facts["vocabulary"]["size"], features=facts["features"], geometry=facts["geometry"], classes=facts["classes"]),
    )
    if held.state["settings"]["task"] in TASKS and isinstance(task := task_in(held), Task):
        network.add_task(task.head(network, facts["labels"]))
    checkpoint.fill(network, held)
    return network.to(device).eval(), held


def task_in(held: Checkpoint, **changes: Any) -> Objective:
    """The task that a checkpoint was fine-tuned for, with some of its settings changed."""
    name = held.state["settings"]["task"]
    return TASKS[name](TASKS[name].settings_type.model_validate({**held.state["settings"][name], **changes}))


def trained_heads(held: Checkpoint) -> list[Head]:
    """The heads that the run trained on joint sequences, the matching head first."""
    settings = held.state["settings"]
    if settings["task"] == "retrieval":
        return [settings["retrieval"]["score"]]
    itm, cmcl = (settings["objectives"][name] for name in ("itm", "cmcl"))
    trained: dict[Head, bool] = {"match": itm is not None, "contrast": bool(cmcl and cmcl["encoding"] == "joint")}
    return [head for head, done in trained.items() if done]


def trains_separate(held: Checkpoint) -> bool:
    """Whether the run trained images and texts that are encoded alone."""
    settings = held.state["settings"]
    cmcl, data = settings["objectives"]["cmcl"], settings["data"]
    alone = cmcl and (cmcl["encoding"] == "separate" or data["matched_images"] or data["matched_texts"])
    return settings["task"] != "retrieval" and bool(alone)


def joint_head(held: Checkpoint, head: Head | None, rerank: int | None) -> Head | None:
    """The head that scores joint sequences, by default the first that was trained; None if `rerank` is 0.

    Warns if the run trained no separate encodings, or not this head.
    """
    if not trains_separate(held):
        _log.warning("%s: nothing trained separate encodings, so their scores, and what they choose to rerank, say little", held.url)
    if rerank == 0:
        return None
    trained = trained_heads(held)
    chosen = head or (trained or ["contrast"])[0]
    if chosen not in trained:
        _log.warning("%s: nothing trained the head %s on joint sequences, so its scores say little: try --rerank 0", held.url, chosen)
    return chosen


def check_corpus(shards: Shards, held: Checkpoint) -> None:
    """Raises ConfigError when a corpus's tokenizer or features are not those of a checkpoint."""
    facts, corpus = held.state["facts"], shards.corpus.url
    if shards.tokenizer.sha256 != facts["vocabulary"]["sha256"]:
        raise ConfigError(
            f"corpus: the tokenizer of {corpus} ({shards.tokenizer.sha256[:12]}) is not the one that {held.url} was "
            f"trained with ({facts['vocabulary']['sha256'][:12]})"
        )
    if shards.widths[0] != facts["features"]:
        raise ConfigError(f"corpus: the features of {corpus} are {shards.widths[0]} wide, but {held.url} expects {facts['features']}")


def open_scorer(url: str, corpus: str) -> tuple[Scorer, Checkpoint]:
    """A checkpoint and its scorer for a corpus, on the GPU if there is one. Raises CheckpointError, and what `Scorer` raises."""
    network, held = load_network(url, "cuda" if torch.cuda.is_available() else "cpu")
    return Scorer(network, held, corpus), held


class Scorer:
    """Applies a network to the images and texts of a corpus.

    Raises ConfigError, naming the key, when the corpus's tokenizer or features are not those of the checkpoint.
    """

    def __init__(self, network: Network, held: Checkpoint, corpus: str):
        self.network, self.device = network, network.contrast.bias.device
        given, facts = held.state["settings"]["data"], held.state["facts"]
        # Without the run's limit as a bucket, one text beyond it would have all of its chunk padded to `positions`.
        buckets = sorted({*given["token_buckets"], given["max_tokens"]})
        self._settings = DataSettings.model_validate(
            {**given, "corpus": corpus, "token_buckets": buckets, "max_tokens": network.settings.positions}
        )
        self._vocabulary = Vocabulary(**facts["vocabulary"])
        self.shards = Shards(corpus)
        self.tokenizer = self.shards.tokenizer
        check_corpus(self.shards, held)

    def fits(self, lengths: np.ndarray) -> np.ndarray:
        """Whether texts of these numbers of tokens, without `[CLS]` and `[SEP]`, fit the network, bool."""
        return lengths + 2 <= self.network.settings.positions

    def _images(self, regions: Sequence[Regions], hidden: bool) -> Images:
        made = image_table(regions, [0] * len(regions), self._settings)
        return replace(made, hidden=torch.arange(made.boxes.shape[1]) < made.counts[:, None]) if hidden else made

    def _texts(self, tokens: Sequence[np.ndarray]) -> Texts:
        return text_table(tokens, [0] * len(tokens), self._settings, self._vocabulary)

    @torch.inference_mode()
    def project_images(self, regions: Sequence[Regions], hidden: bool = False) -> Tensor:
        """Images, encoded alone and projected, [n, H]; `hidden`: every region masked, so only boxes are left."""
        batch, body = Batch("images", (), images=self._images(regions, hidden)).to(self.device), self.network.body
        img = body.encode(body.embed(batch, hidden), torch.arange(len(regions), device=self.device), None).img
        assert img is not None
        return self.network.contrast.of_images(img)

    @torch.inference_mode()
    def project_texts(self, tokens: Sequence[np.ndarray]) -> Tensor:
        """Texts, encoded alone and projected, [n, H]."""
        batch, body = Batch("texts", (), texts=self._texts(tokens)).to(self.device), self.network.body
        cls = body.encode(body.embed(batch), None, torch.arange(len(tokens), device=self.device)).cls
        assert cls is not None
        return self.network.contrast.of_texts(cls)

    def batch(self, regions: Sequence[Regions], tokens: Sequence[np.ndarray], hidden: bool = False) -> Batch:
        """Images and texts on the network's device, in the order given; `hidden`: with every region masked."""
        return Batch("pairs", (), self._images(regions, hidden), self._texts(tokens)).to(self.device)

    @torch.inference_mode()
    def joint(
        self, regions: Sequence[Regions], tokens: Sequence[np.ndarray], pairs: np.ndarray, head: Head, hidden: bool = False
    ) -> np.ndarray:
        """Scores of joint sequences, float32 [n]; pairs: int64 [n, 2], (image, text)."""
        batch = self.batch(regions, tokens, hidden)
        rows, body = torch.from_numpy(pairs).to(self.device), self.network.body
        states = body.encode(body.embed(batch, hidden), rows[:, 0], rows[:, 1])
        return self.network.score(states, head).float().cpu().numpy()

    def separate(self, images: Tensor, texts: Tensor) -> np.ndarray:
        """Scores of all projected images with all projected texts, float32 [n, m]."""
        return self.network.contrast.matrix(images, texts).detach().float().cpu().numpy()


@dataclass(frozen=True)
class Gallery:
    """Images and captions among which to retrieve.

    owners: int64 [T], the image of each caption; contains every number in [0, images). regions, tokens: those of an image or caption, by
    number.
    """

    scorer: Scorer
    owners: np.ndarray
    regions: Callable[[int], Regions]
    tokens: Callable[[int], np.ndarray]

    def __len__(self) -> int:
        """The number of images."""
        return int(self.owners.max()) + 1

    @property
    def own(self) -> np.ndarray:
        """Which captions belong to which image, bool [I, T]."""
        return self.owners[None, :] == np.arange(len(self))[:, None]

    def separate_scores(self) -> np.ndarray:
        """Score of every image with every caption, each encoded alone, float32 [I, T]."""
        images = [self.scorer.project_images([self.regions(one) for one in some.tolist()]) for some in _chunks(len(self))]
        texts = [self.scorer.project_texts([self.tokens(one) for one in some.tolist()]) for some in _chunks(len(self.owners))]
        return self.scorer.separate(torch.cat(images), torch.cat(texts))

    def joint_scores(self, pairs: np.ndarray, head: Head) -> np.ndarray:
        """Scores of (image, caption), int64 [n, 2], encoded jointly, float32 [n]."""
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        found = np.zeros(len(pairs), np.float32)
        for some in _chunks(len(pairs)):
            chosen = order[some]
            (images, image_at), (texts, text_at) = (np.unique(pairs[chosen, side], return_inverse=True) for side in (0, 1))
            found[chosen] = self.scorer.joint(
                [self.regions(one) for one in images.tolist()],
                [self.tokens(one) for one in texts.tolist()],
                np.stack([image_at, text_at], 1),
                head,
            )
        return found


def _chunks(count: int) -> Iterator[np.ndarray]:
    """0 ... count - 1 in pieces."""
    return iter(np.array_split(np.arange(count), max(1, -(-count // _AT_ONCE))))
