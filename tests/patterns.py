"""Proves that regular expressions take linear time.

A pattern becomes an automaton with one state per character of the pattern, to which a search adds a loop over the characters before the
match. Backtracking takes more than linear time only if there are two states p and q, and a word that leads from p to p, from p to q and
from q to q (Weber and Seidl, On the degree of ambiguity of finite automata, 1991). Characters are grouped into those that no part of
the pattern distinguishes. Where assertions cannot be represented, they are assumed to hold, so a pattern may be refused wrongly.
"""

from __future__ import annotations

import re
import re._constants as c  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

_LONGEST = 3  # repetitions kept of a bounded repeat; more only multiply constant factors
_SAMPLE = [*map(chr, range(256)), *"ĀıſKŉΩЖ一٣²€’…\u0301\u2003\u2028\ufeff😀𝟘İǅ"]  # noqa: RUF001
_CATEGORIES = {c.CATEGORY_DIGIT: r"\d", c.CATEGORY_SPACE: r"\s", c.CATEGORY_WORD: r"\w",
               c.CATEGORY_NOT_DIGIT: r"\D", c.CATEGORY_NOT_SPACE: r"\S", c.CATEGORY_NOT_WORD: r"\W"}  # fmt: skip

Set = frozenset[str]


@dataclass(frozen=True)
class _Condition:
    """On an empty step: the characters that may precede (None: any, "" in the set: the start) and follow; `sure` if it always holds."""

    before: Set | None = None
    after: Set | None = None
    sure: bool = True


_NONE = _Condition()
_UNSURE = _Condition(sure=False)


@dataclass
class _Automaton:
    """Nodes are numbers; `reads` gives the characters of those that consume one, `steps` the empty steps."""

    alphabet: list[str]
    flags: int
    text: bool
    steps: defaultdict[int, list[tuple[int, _Condition]]] = field(default_factory=lambda: defaultdict(list))
    reads: dict[int, Set] = field(default_factory=dict)
    size: int = 0
    problem: str = ""

    def node(self) -> int:
        self.size += 1
        return self.size - 1

    def step(self, start: int, condition: _Condition = _NONE) -> int:
        end = self.node()
        self.steps[start].append((end, condition))
        return end

    def set_of(self, op: Any, value: Any, flags: int) -> Set | None:
        """The characters that a single item matches; None if it is not a single item."""
        if op not in (c.LITERAL, c.NOT_LITERAL, c.ANY, c.IN, c.CATEGORY, c.RANGE):
            return None
        return frozenset(one for one in self.alphabet if self._holds(op, value, one, flags))

    def _holds(self, op: Any, value: Any, one: str, flags: int) -> bool:
        if op is c.ANY:
            return bool(flags & re.DOTALL) or one != "\n"
        if op is c.CATEGORY:
            return bool(re.fullmatch(_CATEGORIES[value], one, flags & re.ASCII if self.text else re.ASCII))
        if op is c.IN:
            negated = value[0][0] is c.NEGATE
            return negated != any(self._holds(*item, one, flags) for item in value[negated:])
        cases = {one, one.lower(), one.upper()} if flags & re.IGNORECASE else {one}
        codes = {ord(case) for case in cases if len(case) == 1}
        if op is c.RANGE:
            return any(value[0] <= code <= value[1] for code in codes)
        return (op is c.LITERAL) == (value in codes)

    def add(self, tree: Iterable[tuple[Any, Any]], start: int, flags: int) -> int:
        """Adds a sequence of items after `start`; returns the node at its end."""
        for op, value in tree:
            start = self._item(op, value, start, flags)
        return start

    def _item(self, op: Any, value: Any, start: int, flags: int) -> int:
        single = self.set_of(op, value, flags)
        if single is not None:
            node = self.step(start)
            self.reads[node] = single
            return node
        if op is c.SUBPATTERN:
            _, on, off, tree = value
            return self.add(tree, start, (flags | on) & ~off)
        if op is c.ATOMIC_GROUP:
            return self.add(value, start, flags)
        if op is c.BRANCH:
            return self._join([self.add(tree, self.step(start), flags) for tree in value[1]])
        if op in (c.MAX_REPEAT, c.MIN_REPEAT, c.POSSESSIVE_REPEAT):
            return self._repeat(*value, start, flags)
        if op in (c.ASSERT, c.ASSERT_NOT):
            return self._assertion(op is c.ASSERT_NOT, *value, start, flags)
        if op is c.AT:
            return self._join([self.step(start, condition) for condition in self._anchors(value, flags)])
        self.problem = f"{op} is not supported"
        return start

    def _join(self, ends: list[int]) -> int:
        join = self.node()
        for end in ends:
            self.steps[end].append((join, _NONE))
        return join

    def _repeat(self, least: int, most: Any, tree: Any, start: int, flags: int) -> int:
        for _ in range(min(least, _LONGEST)):
            start = self.add(tree, self.step(start), flags)
        if most is c.MAXREPEAT:
            body = self.step(start)
            end = self.add(tree, body, flags)
            self.steps[end].append((body, _NONE))
            return self._join([self.step(start), end])
        ends = [start]
        for _ in range(min(most - least, _LONGEST)):
            ends.append(self.add(tree, self.step(ends[-1]), flags))
        return self._join([self.step(end) for end in ends])

    def _assertion(self, negated: bool, direction: int, tree: Any, start: int, flags: int) -> int:
        single = self.set_of(*tree[0], flags) if len(tree) == 1 else None
        if single is not None:
            edge = frozenset(self.alphabet) - single | {""} if negated else single
            return self.step(start, _Condition(before=edge) if direction < 0 else _Condition(after=edge, sure=False))
        if direction > 0:
            self.add(tree, self.step(start), flags)  # tried, then left: a dead end
        return self.step(start, _UNSURE)

    def _anchors(self, where: Any, flags: int) -> list[_Condition]:
        line = frozenset("\n") if flags & re.MULTILINE else frozenset()
        if where in (c.AT_BEGINNING, c.AT_BEGINNING_STRING):
            return [_Condition(before=frozenset({""}) | (line if where is c.AT_BEGINNING else frozenset()))]
        if where in (c.AT_END, c.AT_END_STRING):
            return [_Condition(after=frozenset() if where is c.AT_END_STRING else frozenset({"\n"}), sure=False)]
        if where is not c.AT_BOUNDARY:
            return [_UNSURE]
        word = self.set_of(c.CATEGORY, c.CATEGORY_WORD, flags) or frozenset()
        other = frozenset(self.alphabet) - word
        return [_Condition(word, other, sure=False), _Condition(other | {""}, word, sure=False)]

    def reach(self, start: int) -> tuple[list[tuple[int, Set | None, Set]], bool]:
        """Reading nodes after `start` by distinct ways of empty steps, with the characters allowed before and read; whether the end of
        the pattern (the last node) is certain to be reached."""
        found: list[tuple[int, Set | None, Set]] = []
        accepts = False

        def walk(node: int, seen: frozenset[tuple[int, int]], before: Set | None, after: Set | None, sure: bool) -> None:
            nonlocal accepts
            accepts |= node == self.size - 1 and sure and before is None
            for number, (end, condition) in enumerate(self.steps[node]):
                earlier = _both(before, condition.before)
                later = _both(after, condition.after)
                if end in self.reads:
                    read = self.reads[end] if later is None else self.reads[end] & later
                    if read and (earlier is None or earlier):
                        found.append((end, earlier, read))
                elif (node, number) not in seen:
                    walk(end, seen | {(node, number)}, earlier, later, sure and condition.sure)

        walk(start, frozenset(), None, None, True)
        return found, accepts


def _both(one: Set | None, other: Set | None) -> Set | None:
    return one if other is None else other if one is None else one & other


def _codes(tree: Any) -> Iterator[int]:
    """Every character code that a parsed pattern mentions."""
    if isinstance(tree, int) and not isinstance(tree, bool) and 0 <= tree < 0x110000:
        yield tree
    elif isinstance(tree, tuple | list | parser.SubPattern):
        for item in tree:
            yield from _codes(item)


@cache
def why_not_linear(pattern: str | bytes, flags: int = 0, searched: bool = True) -> str:
    """Why `pattern` may take more than linear time on some text, "" if it is proved not to.

    `searched`: whether matches may start anywhere, as opposed to where the text starts (`match`, `fullmatch`).
    """
    tree = parser.parse(pattern, flags)
    text = isinstance(pattern, str)
    near = {chr(code + by) for code in _codes(tree) for by in (-1, 0, 1) if 0 <= code + by < (0x110000 if text else 256)}
    alphabet = sorted(
        {*_SAMPLE[: None if text else 256], *near, *(case for one in near for case in (one.lower(), one.upper()) if len(case) == 1)}
    )
    automaton = _Automaton(alphabet, tree.state.flags, text)
    start = automaton.node()
    end = automaton.add(tree, start, tree.state.flags)
    automaton.step(end)
    return automaton.problem or _ambiguity(automaton, start, searched)


def _ambiguity(automaton: _Automaton, start: int, searched: bool) -> str:
    after = {node: automaton.reach(node) for node in (start, *automaton.reads)}
    letters = _letters(automaton, after)
    moves: dict[int, list[tuple[int, Set]]] = {}
    for node in automaton.reads:
        counts = Counter(end for end, _, _ in after[node][0])
        moves[node] = [(end, read & letters) for end, before, read in after[node][0] if before is None or before & automaton.reads[node]]
        if any(count > 1 and node in _reachable(after, end) for end, count in counts.items()):
            return "the same repetition can be entered in two ways"
    entries = [(end, before, read & letters) for end, before, read in after[start][0]]
    loops = {node: component for node in automaton.reads if node in (component := _component(moves, node))}
    nodes = sorted(loops)
    for p in nodes:
        for q in nodes:
            if p != q and _pumps(moves, p, q, loops[p], loops[q]):
                return "two repetitions match the same text"
    if searched:  # an attempt that passes a node where the pattern may end succeeds there or later, so it is not repeated
        failing = {node: [] if after[node][1] else [move for move in moves[node] if not after[move[0]][1]] for node in nodes}
        late = [(q, component) for q in nodes if q in (component := _component(failing, q))]
        if any(_search_pumps(moves, entries, letter, q, component) for q, component in late for letter in letters):
            return "a search repeats an attempt that fails late from each start"
    return ""


def _letters(automaton: _Automaton, after: dict[int, tuple[list[tuple[int, Set | None, Set]], bool]]) -> Set:
    """One character of each group that the pattern does not distinguish."""
    sets = {
        *automaton.reads.values(),
        *(one for found, _ in after.values() for _, before, read in found for one in (before, read) if one is not None),
    }
    return frozenset({tuple(one in group for group in sets): one for one in automaton.alphabet}.values())


def _reachable(after: dict[int, tuple[list[tuple[int, Set | None, Set]], bool]], start: int) -> set[int]:
    seen, stack = set(), [start]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack += [end for end, _, _ in after[node][0]]
    return seen


def _component(moves: dict[int, list[tuple[int, Set]]], node: int) -> set[int]:
    """The nodes on cycles through `node`."""
    forward: set[int] = set()
    stack = [end for end, read in moves[node] if read]
    while stack:
        if (one := stack.pop()) not in forward:
            forward.add(one)
            stack += [end for end, read in moves.get(one, ()) if read]
    backward, grown = {node}, True
    while grown:
        more = {one for one in forward - backward if any(end in backward and read for end, read in moves.get(one, ()))}
        backward |= more
        grown = bool(more)
    return (backward & forward) if node in forward else set()


def _pumps(moves: dict[int, list[tuple[int, Set]]], p: int, q: int, around_p: set[int], around_q: set[int]) -> bool:
    """Whether some word leads from p to p, from p to q and from q to q."""
    seen, stack = set(), [(p, p, q)]
    while stack:
        x, y, z = stack.pop()
        for x2, read in moves[x]:
            if x2 not in around_p:
                continue
            for z2, read_z in moves[z]:
                if z2 not in around_q or not (read_xz := read & read_z):
                    continue
                for y2, read_y in moves[y]:
                    if not (read_xz & read_y) or (state := (x2, y2, z2)) in seen:
                        continue
                    if state == (p, q, q):
                        return True
                    seen.add(state)
                    stack.append(state)
    return False


def _search_pumps(
    moves: dict[int, list[tuple[int, Set]]], entries: list[tuple[int, Set | None, Set]], first: str, q: int, around_q: set[int]
) -> bool:
    """The same with p in the loop over the characters before a match, just after the character `first`; None is that loop's state."""
    seen: set[tuple[str, int | None, int]] = set()
    stack: list[tuple[str, int | None, int]] = [(first, None, q)]
    while stack:
        last, y, z = stack.pop()
        for z2, read_z in moves[z]:
            if z2 not in around_q:
                continue
            for letter in read_z:
                ends: list[int | None]
                if y is None:
                    ends = [None, *(end for end, before, read in entries if letter in read and (before is None or last in before))]
                else:
                    ends = [end for end, read in moves[y] if letter in read]
                for y2 in ends:
                    if (state := (letter, y2, z2)) in seen:
                        continue
                    if state == (first, q, q):
                        return True
                    seen.add(state)
                    stack.append(state)
    return False
