"""Claims of texts, and whether an image's captions support them, as arrays.

A claim is an object, an attribute of an object, a relation between two, or a number of objects. The captions of an image support it,
contradict it, or do not mention it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from transforms.english.denials import first_denial
from transforms.truth.trees import FEW_WORDS
from transforms.truth.words import ABSENT, SAME, Words

MISSING = -1000  # evidence that a single pair lacks
_ELSEWHERE = 1 << 40  # in place of an object: an attribute of anything


@dataclass(frozen=True)
class Claims:
    """The claims of n texts; numbers are those of `Words`. What a text denies is left out.

    object_of, attribute_of, relation_of: int64 [.], the text that each claim belongs to, ascending. things: int64 [., 2], an object's
    word and its number (0: none is given, -1: several). attributes: int64 [., 2], object and attribute. relations: int64 [., 3],
    subject, relation, object. denies: bool [n].
    """

    object_of: np.ndarray
    things: np.ndarray
    attribute_of: np.ndarray
    attributes: np.ndarray
    relation_of: np.ndarray
    relations: np.ndarray
    denies: np.ndarray

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.denies)

    def take(self, rows: np.ndarray) -> Claims:
        """The claims of some texts, int64 [m] ascending."""
        new = np.full(len(self), -1)
        new[rows] = np.arange(len(rows))
        things, attributes, relations = (new[of] >= 0 for of in (self.object_of, self.attribute_of, self.relation_of))
        return Claims(
            new[self.object_of][things],
            self.things[things],
            new[self.attribute_of][attributes],
            self.attributes[attributes],
            new[self.relation_of][relations],
            self.relations[relations],
            self.denies[rows],
        )


def read_claims(graphs: pa.Table, rows: np.ndarray, captions: Sequence[str], words: Words) -> Claims:
    """The claims of n captions with their `graphs`; `rows` int64 [n] says which row each has, ascending, -1: none."""
    end = np.array([first_denial(caption) for caption in captions], np.int64)
    length = np.array([len(caption) for caption in captions], np.int64)
    text = np.full(graphs.num_rows, -1)
    text[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    object_row, objects = _flat(graphs, "objects")
    object_of = text[object_row]
    lemma = words.numbers(objects.field("lemma"))
    several = (objects.field("number").to_numpy(zero_copy_only=False) == "plural").astype(np.int64)
    stated = objects.field("count").to_numpy(zero_copy_only=False).astype(np.int64)
    affirmed = (object_of >= 0) & (objects.field("end").to_numpy(zero_copy_only=False) <= end[object_of])
    first = np.searchsorted(object_row, np.arange(graphs.num_rows))
    attribute_of, attributes, there = _linked(graphs, "attributes", ("object",), text, first, affirmed, end)
    relation_of, relations, both = _linked(graphs, "relations", ("subject", "object"), text, first, affirmed, end)
    owned = np.stack([lemma[attributes[0]], words.numbers(there.field("lemma"))], axis=1)
    linked = np.stack([lemma[relations[0]], words.numbers(both.field("lemma")), lemma[relations[1]]], axis=1)
    things = np.stack([lemma, np.where(stated > 0, stated, -several)], axis=1)
    return Claims(object_of[affirmed], things[affirmed], attribute_of, owned, relation_of, linked, end < length)


def _flat(graphs: pa.Table, name: str) -> tuple[np.ndarray, pa.StructArray]:
    """The nodes of all rows, and the row of each, int64 [m]."""
    column = graphs[name].combine_chunks()
    column = column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks)
    return np.repeat(np.arange(len(column)), np.diff(column.offsets.to_numpy())), column.flatten()


def _linked(
    graphs: pa.Table, name: str, ends: Sequence[str], text: np.ndarray, first: np.ndarray, affirmed: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray], pa.StructArray]:
    """The nodes that refer to affirmed objects and are not denied: their texts, the objects they refer to by `ends`, and themselves."""
    row, nodes = _flat(graphs, name)
    objects = [first[row] + nodes.field(one).to_numpy(zero_copy_only=False) for one in ends]
    kept = (text[row] >= 0) & (nodes.field("end").to_numpy(zero_copy_only=False) <= end[text[row]])
    for one in objects:
        kept &= affirmed[one] if len(affirmed) else False
    return text[row][kept], [one[kept] for one in objects], nodes.filter(pa.array(kept))


class Images:
    """The content of some images' captions and labels: tables in which claims are looked up.

    grades: uint8 [images, words], the best of `ABSENT` to `SAME` that a mention gives an object's word. found: int64 [images, words],
    how many instances of it are labelled, -1 where the word is not detectable.
    """

    def __init__(
        self,
        words: Words,
        claims: Claims,
        image: np.ndarray,
        count: int,
        labels: Sequence[Mapping[str, int] | None] | None = None,
        known: Sequence[str] = (),
    ):
        """Reads the claims of captions, of which `image` int64 [captions] says the image, ascending, below `count`; -1: of none.

        labels: the number of instances by label of each image, None: it has no regions; those of images whose captions name as many
        known things that are not labelled as that are, are not used. known: all labels that the detector has, numbered in `words`.
        """
        self._words = words
        self.grades = np.zeros((count, len(words)), np.uint8)
        owner = image[claims.object_of]
        inside = owner >= 0
        for at, number in _distinct(owner[inside], claims.things[inside, 0]):
            kin, grades = words.kin(number)
            self.grades[at, kin] = np.maximum(self.grades[at, kin], grades)
        self.found = None if labels is None else self._labelled(labels, known)
        self._unlabelled = np.array([own is None for own in labels or ()], bool)
        if self.found is not None:
            held = self.found[owner[inside], claims.things[inside, 0]]
            lacking, having = (np.bincount(owner[inside][which], minlength=count) for which in (held == 0, held > 0))
            # Labels without half of what the captions name do not tell what is absent either.
            self._unlabelled |= (lacking > 0) & (lacking >= having)
        self._attributes = self._shades(claims, image)
        canonical = words.canonical
        at = image[claims.relation_of]
        triples = claims.relations[at >= 0]
        self._relations = np.unique(_keys(at[at >= 0], canonical[triples[:, 0]], triples[:, 1], canonical[triples[:, 2]]))
        counted = inside & (claims.things[:, 1] != 0)
        self._counts = np.unique(_keys(owner[counted], canonical[claims.things[counted, 0]], claims.things[counted, 1]))
        single = inside & (claims.things[:, 1] == 0)
        self._one = np.unique(_keys(owner[single], canonical[claims.things[single, 0]]))
        exact = counted & (claims.things[:, 1] > 1)
        self._exact = np.unique(_keys(owner[exact], canonical[claims.things[exact, 0]]))

    def _labelled(self, labels: Sequence[Mapping[str, int] | None], known: Sequence[str]) -> np.ndarray:
        found = np.zeros(self.grades.shape, np.int32)
        for at, own in enumerate(labels):
            for label, count in (own or {}).items():
                numbers, _ = self._words.kin(self._words.number(label))
                found[at, numbers] += count
        found[:, ~self._words.detectable(known)] -= 1 << 20
        return np.maximum(found, -1)

    def _shades(self, claims: Claims, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keys of supported attributes, of an object and of any, and of attributes that a supported one excludes."""
        same: list[np.ndarray] = [np.zeros(0, np.uint64)]
        other: list[np.ndarray] = [np.zeros(0, np.uint64)]
        at = image[claims.attribute_of]
        own = claims.attributes[at >= 0]
        for where, thing, attribute in _distinct(at[at >= 0], self._words.canonical[own[:, 0]], own[:, 1]):
            alike, against = self._words.shades(attribute)
            same += [_keys(where, thing, alike), _keys(where, _ELSEWHERE, alike)]
            other.append(_keys(where, thing, against))
        return np.unique(np.concatenate(same)), np.unique(np.concatenate(other))

    def evidence(self, image: np.ndarray, text: np.ndarray, claims: Claims) -> dict[str, np.ndarray]:
        """Evidence about n pairs of an image and a text, int64 [n]: counts of claims, int32 [n], by name."""
        count = len(text)
        pair, claim = _claims_of(text, claims.object_of, len(claims))
        at, thing, number = image[pair], claims.things[claim, 0], claims.things[claim, 1]
        grade = self.grades[at, thing]
        first = np.zeros(count, np.int32)
        first[pair[::-1]] = grade[::-1]  # the text's first object comes last
        canonical = self._words.canonical
        key = _keys(at, canonical[thing], number)
        counted = number != 0
        right = _isin(key, self._counts)
        plain = _keys(at, canonical[thing])
        wrong = counted & ~right & (_isin(plain, self._exact) & (number > 0) | _isin(plain, self._one))
        found = {
            "objects": np.bincount(pair, minlength=count),
            "same": np.bincount(pair[grade == SAME], minlength=count),
            "absent": np.bincount(pair[grade == ABSENT], minlength=count),
            "first": first,
            "counts_supported": np.bincount(pair[counted & right], minlength=count),
            "counts_contradicted": np.bincount(pair[wrong], minlength=count),
            "denies": claims.denies[text],
            # More tells corpora apart, and ratings are of small ones: trees would take a large corpus for one that nobody has rated.
            "words": np.full(count, min(len(self._words).bit_length(), FEW_WORDS + 1)),
        }
        if self.found is not None:
            held = self.found[at, thing]
            several = (number < 0) & (held == 1) | (number > 0) & (held > 0) & (held != number)
            labelled = {"labels_found": held > 0, "labels_missing": held == 0, "labels_counts_contradicted": several}
            for name, which in labelled.items():
                found[name] = np.where(self._unlabelled[image], MISSING, np.bincount(pair[which], minlength=count))
        found |= self._attributes_of(image, text, claims) | self._relations_of(image, text, claims)
        return {name: values.astype(np.int32) for name, values in found.items()}

    def _attributes_of(self, image: np.ndarray, text: np.ndarray, claims: Claims) -> dict[str, np.ndarray]:
        count = len(text)
        pair, claim = _claims_of(text, claims.attribute_of, len(claims))
        at, (thing, attribute) = image[pair], claims.attributes[claim].T
        held = self.grades[at, thing] > ABSENT
        thing = self._words.canonical[thing]
        right = _isin(_keys(at, thing, attribute), self._attributes[0])
        wrong = ~right & _isin(_keys(at, thing, attribute), self._attributes[1])
        elsewhere = ~right & _isin(_keys(at, np.full(len(at), _ELSEWHERE), attribute), self._attributes[0])
        return {
            "attributes_supported": np.bincount(pair[right], minlength=count),
            "attributes_contradicted": np.bincount(pair[wrong], minlength=count),
            "attributes_elsewhere": np.bincount(pair[elsewhere], minlength=count),
            "attributes_unmentioned": np.bincount(pair[held & ~right & ~wrong], minlength=count),
        }

    def _relations_of(self, image: np.ndarray, text: np.ndarray, claims: Claims) -> dict[str, np.ndarray]:
        count = len(text)
        pair, claim = _claims_of(text, claims.relation_of, len(claims))
        at, (subject, relation, thing) = image[pair], claims.relations[claim].T
        both = (self.grades[at, subject] > ABSENT) & (self.grades[at, thing] > ABSENT)
        subject, thing = self._words.canonical[subject], self._words.canonical[thing]
        right = _isin(_keys(at, subject, relation, thing), self._relations)
        turned = ~right & (subject != thing) & _isin(_keys(at, thing, relation, subject), self._relations)
        return {
            "relations_supported": np.bincount(pair[right], minlength=count),
            "relations_reversed": np.bincount(pair[turned], minlength=count),
            "relations_unmentioned": np.bincount(pair[both & ~right & ~turned], minlength=count),
        }


def _distinct(*columns: np.ndarray) -> list[list[int]]:
    """The distinct rows of some columns int64 [m], ascending."""
    return np.unique(np.stack(columns, axis=1), axis=0).tolist() if len(columns[0]) else []


def _claims_of(text: np.ndarray, owner: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The claims of n texts: for each, the position of its text among the n, and its own number; int64 [m] each."""
    starts = np.searchsorted(owner, np.arange(count + 1))
    sizes = np.diff(starts)[text]
    pair = np.repeat(np.arange(len(text)), sizes)
    return pair, np.arange(len(pair)) - np.repeat(np.cumsum(sizes) - sizes - starts[text], sizes)


def _keys(*parts: np.ndarray | int) -> np.ndarray:
    """One number for each tuple of numbers, uint64 [m], by repeated multiplication and mixing; equal tuples give equal numbers."""
    key = np.zeros(np.broadcast(*parts).shape, np.uint64)
    for part in parts:
        key = (key ^ np.asarray(part, np.int64).astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key


def _isin(keys: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Whether each key is among `held`, sorted; bool [m]."""
    if not len(held):
        return np.zeros(len(keys), bool)
    return held[np.minimum(np.searchsorted(held, keys), len(held) - 1)] == keys
