"""Writing texts: the batches of sequence to sequence, and beam search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.batch import IGNORED, Fragments, Images, Vocabulary
from model.heads import Network
from model.transformer import Cache

Hypothesis = tuple[float, tuple[int, ...]]  # log-probability, or score, and tokens


@dataclass(frozen=True)
class Search:
    """How a text is searched for.

    end: the token that ends a text. beams: hypotheses kept. least, most: tokens of a text, without `end`. penalty: exponent of the length
    penalty ((5 + length) / 6) ** penalty, by which log-probabilities are divided (Wu et al. 2016). block: no three tokens in a row occur
    twice (Paulus et al. 2018).
    """

    end: int
    beams: int = 4
    least: int = 0
    most: int = 32
    penalty: float = 0.0
    block: bool = False

    def score(self, log_probability: float, length: int) -> float:
        """The score by which texts of `length` tokens, with `end`, are compared."""
        return log_probability / ((5 + length) / 6) ** self.penalty


def beam_search(first: Tensor, advance: Callable[[Tensor, Tensor], Tensor], how: Search) -> list[list[int]]:
    """The best text found for each of B sources, as tokens without `end`.

    Args:
        first: log-probabilities of the first token, [B, V].
        advance: given, for each of n hypotheses, the number of the one that it continues in the last call (the source's number in the first
            call), and its last token, int64 [n] both, the log-probabilities of the next token, [n, V].

    A source is done when no hypothesis can become better than the best finished one. One that is not finished after `most` tokens counts
    only if none is.
    """
    count, size = first.shape
    alive: list[list[Hypothesis]] = [[(0.0, ())] for _ in range(count)]
    ended: list[list[Hypothesis]] = [[] for _ in range(count)]
    scores = first[:, None]
    for length in range(how.most + 1):
        _forbid(scores, alive, how, length)
        before = torch.tensor([[one for one, _ in held] for held in alive], device=scores.device, dtype=scores.dtype)
        best = (scores + before[..., None]).flatten(1).topk(min(2 * how.beams, scores[0].numel()), 1)
        parents, tokens = [], []
        for row, (values, places) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
            kept: list[tuple[Hypothesis, int]] = []
            for rank, (value, place) in enumerate(zip(values, places, strict=True)):
                parent, token = divmod(place, size)
                said = alive[row][parent][1]
                if value == -np.inf:
                    continue
                if token != how.end and length < how.most:
                    kept.append(((value, (*said, token)), parent))
                elif token == how.end and rank < how.beams:
                    ended[row].append((how.score(value, length + 1), said))
            if length == how.most:
                continue
            kept = kept[: how.beams]
            kept += [((-np.inf, (how.end,)), 0)] * (how.beams - len(kept))
            parents += [row * len(alive[row]) + parent for _, parent in kept]
            tokens += [one[1][-1] for one, _ in kept]
            alive[row] = [one for one, _ in kept]
        if length == how.most or all(map(_settled, alive, ended, [how] * count, [length] * count)):
            break
        places = torch.tensor([parents, tokens], device=first.device)
        scores = advance(places[0], places[1]).view(count, how.beams, size)
    found = [max(own, default=max(held)) for own, held in zip(ended, alive, strict=True)]
    return [[token for token in said if token != how.end] for _, said in found]


def _settled(alive: list[Hypothesis], ended: list[Hypothesis], how: Search, length: int) -> bool:
    """Whether no hypothesis can overtake the best finished one: its log-probability can only fall."""
    best = max(one for one, _ in alive)
    reachable = max(how.score(best, length + 2), how.score(best, how.most + 1))
    return bool(ended) and max(ended)[0] >= reachable


def _forbid(scores: Tensor, alive: list[list[Hypothesis]], how: Search, length: int) -> None:
    """Rules tokens out, in place: an end that comes too early, and the last of three that have occurred."""
    if length < how.least:
        scores[..., how.end] = -torch.inf
    for row, held in enumerate(alive if how.block and length > 2 else []):
        for beam, (_, said) in enumerate(held):
            again = [said[at + 2] for at in range(len(said) - 2) if said[at : at + 2] == said[-2:]]
            if again:
                scores[row, beam, again] = -torch.inf


class Writer:
    """Log-probabilities of the next tokens of N texts, for `beam_search`; states of the sources and of what is written are kept.

    images: of the texts, if they have any. added: what is added to the embeddings of words, given their marks. mark: of written tokens.
    first: log-probabilities of the first token, [N, V].
    """

    def __init__(
        self,
        network: Network,
        fragments: Fragments,
        images: Images | None,
        added: Callable[[Tensor | None], Tensor | float],
        mark: Sequence[int],
    ):
        self._network, self._added, self._mark = network, added, mark
        self._caches: list[Cache] = [[] for _ in network.body.layers]
        states = network.body.generate(fragments, images, added(fragments.marks), self._caches)
        self._next = fragments.sources
        self._valid = _below(self._next, fragments.ids.shape[1])
        if images is not None:
            self._valid = torch.cat([_below(images.counts + 1, images.boxes.shape[1] + 1), self._valid], 1)
        self.first = self._scored(states[torch.arange(len(states), device=states.device), self._next - 1])

    def advance(self, parents: Tensor, tokens: Tensor) -> Tensor:
        """As `beam_search` requires."""
        self._caches = [[held[parents] for held in cache] for cache in self._caches]
        self._valid = torch.cat([self._valid[parents], self._valid.new_ones(len(parents), 1)], 1)
        at = self._next[parents]
        marks = torch.tensor(self._mark, device=at.device).expand(len(at), 1, -1) if self._mark else None
        states = self._network.body.advance(tokens, at, self._valid, self._caches, self._added(marks))
        self._next = at + 1
        return self._scored(states)

    def _scored(self, states: Tensor) -> Tensor:
        return self._network.token_scores(states).log_softmax(-1)


def _below(lengths: Tensor, size: int) -> Tensor:
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def fragment_table(
    sources: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    vocabulary: Vocabulary,
    marks: Sequence[np.ndarray] | None = None,
    mark: Sequence[int] = (),
) -> Fragments:
    """Texts to write, as `[CLS] source [SEP] target`.

    marks: of each source's tokens, int [length, m]; `[CLS]` has the first's, `[SEP]` the last's. mark: that of the targets' tokens.
    """
    long = np.array([len(source) + len(target) + 2 for source, target in zip(sources, targets, strict=True)])
    ids = np.full((len(long), int(long.max())), vocabulary.pad, np.int64)
    labels = np.full_like(ids, IGNORED)
    told = np.zeros((*ids.shape, len(mark)), np.int64)
    for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
        start = len(source) + 2
        ids[row, : long[row]] = np.concatenate([[vocabulary.cls], source, [vocabulary.sep], target])
        labels[row, start - 1 : long[row]] = np.concatenate([target, [vocabulary.sep]])
        if marks is not None:
            told[row, :start] = np.pad(marks[row], ((1, 1), (0, 0)), "edge")
            told[row, start : long[row]] = mark
    ends = torch.tensor([len(source) + 2 for source in sources])
    made = Fragments(torch.from_numpy(ids), torch.from_numpy(long), ends, torch.from_numpy(labels))
    return made if marks is None else Fragments(made.ids, made.lengths, made.sources, made.labels, torch.from_numpy(told))
