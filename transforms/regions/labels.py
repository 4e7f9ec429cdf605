"""What the regions of images are called: evidence for the swaps and for the judge of truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from schemas.regions import BACKGROUND, attribute_names, class_names
from schemas.store import TableFile


class Labels(NamedTuple):
    """The labels of a partition's images; images without regions, or whose regions have no classes, are in neither mapping.

    known: the labels of all classes. counts: image id -> label -> number of instances. shown: image id -> label -> attributes that its
    regions have, where the attributes have names.
    """

    known: tuple[str, ...]
    counts: Mapping[str, Counter[str]]
    shown: Mapping[str, Mapping[str, frozenset[str]]]

    def of(self, image_id: str) -> tuple[Counter[str] | None, tuple[str, ...], Mapping[str, frozenset[str]] | None]:
        """An image's counts, the known labels, and the image's attributes."""
        return self.counts.get(image_id), self.known, self.shown.get(image_id)


def known_in(file: TableFile) -> tuple[str, ...]:
    """The labels of all classes in a partition of `regions`, none if they have no names."""
    return _short(class_names(file.schema) or ())


def labels_in(file: TableFile) -> Labels:
    """The labels in a partition of `regions`. A label is a name up to its first comma, in small letters."""
    known, attributes = known_in(file), _short(attribute_names(file.schema) or ())
    counts: dict[str, Counter[str]] = {}
    shown: dict[str, dict[str, frozenset[str]]] = {}
    for batch in file.batches():
        held = [batch[name].to_pylist() for name in ("image_id", "class")]
        held.append(batch["attributes"].to_pylist() if attributes else [None] * batch.num_rows)
        for image_id, classes, numbers in zip(*held, strict=True):
            if classes is None or None in classes:
                continue
            labels = [known[one] for one in classes]
            counts[image_id] = Counter(label for one, label in zip(classes, labels, strict=True) if one != BACKGROUND)
            if numbers is not None:
                own: dict[str, set[str]] = {}
                for label, number in zip(labels, numbers, strict=True):
                    own.setdefault(label, set()).update(attributes[number : number + 1] if number is not None else ())
                shown[image_id] = {label: frozenset(some) for label, some in own.items()}
    return Labels(known, counts, shown)


def _short(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.partition(",")[0].strip().lower() for name in names)
