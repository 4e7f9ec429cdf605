"""Parts of speech from Penn tags and labels, by rules learnt from a treebank and applied by spaCy's attribute ruler.

Transformation-based learning (Brill 1995): every tag gets the part of speech of most of its words, each word counted once, since an
unseen word is more likely a verb like "rides" than an auxiliary like "is"; then the rule that corrects the most remaining errors is
added, repeatedly. A rule tests a token's tag and up to two of: its label, the lower-case word, the tag of an adjacent token. In the
ruler, later patterns override earlier ones, so rules are applied in the order in which they were learnt.

Learnt only from gold tags and labels of the training part, independently of the model that the rules are added to.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from transforms.engines.training.parser.convert import Node

Key = tuple[tuple[int, str, str], ...]  # (offset from the token, attribute, value), ascending
LEAST = 7  # minimum net corrections per rule: more rules slow the ruler down, fewer lose accuracy (development part)
_TEMPLATES: tuple[tuple[tuple[int, str], ...], ...] = (
    ((0, "TAG"),),
    ((0, "TAG"), (0, "DEP")),
    ((0, "TAG"), (0, "LOWER")),
    ((0, "TAG"), (1, "TAG")),
    ((-1, "TAG"), (0, "TAG")),
    ((0, "TAG"), (0, "DEP"), (0, "LOWER")),
    ((0, "TAG"), (0, "DEP"), (1, "TAG")),
    ((-1, "TAG"), (0, "TAG"), (0, "DEP")),
)  # fmt: skip


class Rule(NamedTuple):
    """Tokens that match `key` have this part of speech."""

    key: Key
    pos: str

    @property
    def pattern(self) -> list[dict[str, Any]]:
        """The key as a spaCy matcher pattern, one dictionary per token."""
        first, last = self.key[0][0], self.key[-1][0]
        return [{name: value for offset, name, value in self.key if offset == at} for at in range(first, last + 1)]

    @property
    def position(self) -> int:
        """The index of the token in the pattern."""
        return -self.key[0][0]


def keys(nodes: list[Node], index: int) -> Iterator[Key]:
    """All keys that match a token, one per template, except those for adjacent tokens that do not exist."""
    for template in _TEMPLATES:
        key = []
        for offset, name in template:
            if not 0 <= index + offset < len(nodes):
                break
            node = nodes[index + offset]
            key.append((offset, name, {"TAG": node.tag, "DEP": node.dep, "LOWER": node.form.lower()}[name]))
        else:
            yield tuple(key)


def learn(sentences: Iterable[list[Node]], least: int = LEAST) -> list[Rule]:
    """Rules in order of application, from converted sentences (`convert.py`).

    `least`: minimum net number of tokens that a rule must correct, relative to the rules before it.
    """
    wanted: list[str] = []
    kinds: dict[Key, Counter[str]] = defaultdict(Counter)  # number of words per tag and part of speech
    seen: set[tuple[str, str, str]] = set()
    matches: dict[Key, list[int]] = defaultdict(list)
    for nodes in sentences:
        for index, node in enumerate(nodes):
            for key in keys(nodes, index):
                matches[key].append(len(wanted))
            word = node.tag, node.upos, node.form.lower()
            if word not in seen:
                seen.add(word)
                kinds[((0, "TAG", node.tag),)][node.upos] += 1
            wanted.append(node.upos)
    current = [""] * len(wanted)
    rules: list[Rule] = []

    def use(key: Key, pos: str) -> None:
        rules.append(Rule(key, pos))
        for token in matches[key]:
            current[token] = pos

    def best(key: Key) -> tuple[int, str]:
        """The net corrections of the best rule with this key, and its part of speech."""
        held = matches[key]
        pos, count = max(Counter(wanted[token] for token in held).items(), key=lambda item: (item[1], item[0]))
        return count - sum(current[token] == wanted[token] for token in held), pos

    for key, found in sorted(kinds.items()):
        use(key, max(found, key=lambda pos: (found[pos], pos)))
    frequent = sorted((key for key, held in matches.items() if len(held) >= least and len(key) > 1), key=lambda key: (len(key), key))
    while True:  # a rule may make an exception worthwhile that was not before
        before = len(rules)
        heap = [(-gain, rank, key) for rank, key in enumerate(frequent) if (gain := best(key)[0]) >= least]
        heapq.heapify(heap)
        while heap:
            _, rank, key = heapq.heappop(heap)
            gain, pos = best(key)
            if gain < least:
                continue
            if heap and -gain > heap[0][0]:  # stale gain: another rule is now better
                heapq.heappush(heap, (-gain, rank, key))
            else:
                use(key, pos)
        if len(rules) == before:
            return _last(rules)


def _last(rules: list[Rule]) -> list[Rule]:
    """Only the last of the rules with the same key, since it overrides the others."""
    final = {rule.key: at for at, rule in enumerate(rules)}
    return [rule for at, rule in enumerate(rules) if final[rule.key] == at]
