"""Parts of speech from Penn tags and labels: rules learnt from a treebank, as patterns of spaCy's attribute ruler.

Transformation-based learning (Brill 1995): every tag gets the part of speech that most of its words have, each word counted once, as
a word not seen before is likelier to be a verb like "rides" than an auxiliary like "is"; then, again and again, the rule is added
that mends most of what the rules so far get wrong. A rule looks at a token's tag and besides at most two of:
its label, the word in lower case, the tag of a neighbour. The ruler lets later patterns override earlier ones, so the list is used
as it was learnt.

Learnt from gold tags and labels of the training part alone: nothing of the model that the rules are put behind comes in.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from transforms.training.parser.convert import Node

Key = tuple[tuple[int, str, str], ...]  # (place beside the token, attribute, value), ascending
LEAST = 7  # tokens that a rule must mend, on balance: more rules cost the ruler time, fewer cost it accuracy (development part)
_TEMPLATES: tuple[tuple[tuple[int, str], ...], ...] = (
    ((0, "TAG"),),
    ((0, "TAG"), (0, "DEP")),
    ((0, "TAG"), (0, "LOWER")),
    ((0, "TAG"), (1, "TAG")),
    ((-1, "TAG"), (0, "TAG")),
    ((0, "TAG"), (0, "DEP"), (0, "LOWER")),
    ((0, "TAG"), (0, "DEP"), (1, "TAG")),
    ((-1, "TAG"), (0, "TAG"), (0, "DEP")),
)


class Rule(NamedTuple):
    """Tokens that `key` fits have this part of speech."""

    key: Key
    pos: str

    @property
    def pattern(self) -> list[dict[str, Any]]:
        """The key as spaCy's matcher writes it, one dictionary a token."""
        first, last = self.key[0][0], self.key[-1][0]
        return [{name: value for place, name, value in self.key if place == at} for at in range(first, last + 1)]

    @property
    def place(self) -> int:
        """Where in the pattern the token stands."""
        return -self.key[0][0]


def keys(nodes: list[Node], index: int) -> Iterator[Key]:
    """Every key that fits a token, one a template; those of a neighbour that is not there are left out."""
    for template in _TEMPLATES:
        key = []
        for place, name in template:
            if not 0 <= index + place < len(nodes):
                break
            node = nodes[index + place]
            key.append((place, name, {"TAG": node.tag, "DEP": node.dep, "LOWER": node.form.lower()}[name]))
        else:
            yield tuple(key)


def learn(sentences: Iterable[list[Node]], least: int = LEAST) -> list[Rule]:
    """Rules in the order in which they are to be applied, from converted sentences (`convert.py`).

    `least`: tokens that a rule must get right less those that it gets wrong, against the rules before it.
    """
    wanted: list[str] = []
    kinds: dict[Key, Counter[str]] = defaultdict(Counter)  # words that a tag has with each part of speech
    seen: set[tuple[str, str, str]] = set()
    places: dict[Key, list[int]] = defaultdict(list)
    for nodes in sentences:
        for index, node in enumerate(nodes):
            for key in keys(nodes, index):
                places[key].append(len(wanted))
            word = node.tag, node.upos, node.form.lower()
            if word not in seen:
                seen.add(word)
                kinds[((0, "TAG", node.tag),)][node.upos] += 1
            wanted.append(node.upos)
    now = [""] * len(wanted)
    rules: list[Rule] = []

    def use(key: Key, pos: str) -> None:
        rules.append(Rule(key, pos))
        for token in places[key]:
            now[token] = pos

    def best(key: Key) -> tuple[int, str]:
        """What the best rule with this key would mend on balance, and its part of speech."""
        held = places[key]
        pos, count = max(Counter(wanted[token] for token in held).items(), key=lambda item: (item[1], item[0]))
        return count - sum(now[token] == wanted[token] for token in held), pos

    for key, found in sorted(kinds.items()):
        use(key, max(found, key=lambda pos: (found[pos], pos)))
    frequent = sorted((key for key, held in places.items() if len(held) >= least and len(key) > 1), key=lambda key: (len(key), key))
    while True:  # a rule may make room for an exception that mended nothing before it
        before = len(rules)
        heap = [(-gain, rank, key) for rank, key in enumerate(frequent) if (gain := best(key)[0]) >= least]
        heapq.heapify(heap)
        while heap:
            _, rank, key = heapq.heappop(heap)
            gain, pos = best(key)
            if gain < least:
                continue
            if heap and -gain > heap[0][0]:  # others have overtaken it since it was put here
                heapq.heappush(heap, (-gain, rank, key))
            else:
                use(key, pos)
        if len(rules) == before:
            return _last(rules)


def _last(rules: list[Rule]) -> list[Rule]:
    """Of rules with the same key the last alone: it overrides the others."""
    final = {rule.key: at for at, rule in enumerate(rules)}
    return [rule for at, rule in enumerate(rules) if final[rule.key] == at]
