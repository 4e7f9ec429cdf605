"""A spaCy document as plain lists, read in one call: the rules access each token many times, which is slow through spaCy's views."""

from __future__ import annotations

from typing import Any

from spacy.attrs import DEP, HEAD, LEMMA, LENGTH, SPACY, TAG
from spacy.tokens import Doc

_NAMES: dict[int, str] = {}  # spaCy string-store id -> string; ids are hashes, the same in every process


class Tokens:
    """The tokens of one document.

    heads: index of each token's head (a root's is its own). kids: indices of each token's children, ascending. starts, ends:
    character spans.
    """

    starts: list[int]
    ends: list[int]

    __slots__ = ("text", "size", "heads", "deps", "tags", "starts", "ends", "kids", "_lemmas", "_strings", "_lowers")

    def __init__(self, doc: Doc):
        self.text = doc.text
        self.size = size = len(doc)
        columns = doc.to_array([HEAD, DEP, TAG, LEMMA, LENGTH, SPACY]).T.tolist()
        strings = doc.vocab.strings
        names = _NAMES
        try:
            self.deps = [names[key] for key in columns[1]]
            self.tags = [names[key] for key in columns[2]]
        except KeyError:
            names.update((key, strings[key]) for key in (*columns[1], *columns[2]))
            self.deps = [names[key] for key in columns[1]]
            self.tags = [names[key] for key in columns[2]]
        self._lemmas: list[Any] = columns[3]
        self._strings = strings
        self.starts, self.ends = [], []
        position = 0
        for length, space in zip(columns[4], columns[5], strict=True):
            self.starts.append(position)
            self.ends.append(position + length)
            position += length + space
        self._lowers: list[str | None] = [None] * size
        self.kids: list[list[int]] = [[] for _ in range(size)]
        self.heads: list[int] = []
        heads = self.heads
        for index, offset in enumerate(columns[0]):
            # Offsets are signed but stored in an unsigned array.
            head = index + (offset if offset < 1 << 63 else offset - (1 << 64))
            heads.append(head)
            if head != index:
                self.kids[head].append(index)

    def word(self, index: int) -> str:
        """The token as written."""
        return self.text[self.starts[index] : self.ends[index]]

    def lower(self, index: int) -> str:
        """The token in lower case."""
        found = self._lowers[index]
        if found is None:
            found = self._lowers[index] = self.word(index).lower()
        return found

    def lemma(self, index: int) -> str:
        """The lemma in lower case; the word itself if the pipeline gave none."""
        key = self._lemmas[index]
        if not key:
            return self.lower(index)
        found = _NAMES.get(key)
        if found is None:
            found = _NAMES[key] = self._strings[key]
        return found.lower()

    def child(self, index: int, dep: str) -> int:
        """The first child with this label, -1 if none."""
        for kid in self.kids[index]:
            if self.deps[kid] == dep:
                return kid
        return -1

    def child_behind(self, index: int, dep: str) -> int:
        """The first child with this label after its head, -1 if none."""
        for kid in self.kids[index]:
            if kid > index and self.deps[kid] == dep:
                return kid
        return -1
