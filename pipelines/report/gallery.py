"""Writes the gallery's data: an index of all its pairs, and what is known of each, in parts that the page loads on demand."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.report.escape import as_script, script_of, write_file
from pipelines.report.gather import Facets, Gathered
from pipelines.report.sample import Chosen

INDEX_PAIRS, PIECE_PAIRS = 5000, 40
_GROUPS = ("kind", "why", "refused", "source", "outcome")


def write_gallery(
    folder: str, chosen: Chosen, found: Gathered, notes: Sequence[str], matched: Sequence[str], said: Mapping[str, Any]
) -> None:
    """Writes `data/` below `folder`.

    notes: by image number, why it has no photo, or "". matched: likewise, by number of the matched image. said: what the page says of
    the corpus (name, size, sample).
    """
    _outcomes(chosen, found.facets, notes)
    facets = sorted(found.facets.bits, key=lambda one: (_GROUPS.index(one[0]), one[1]))
    meta = {
        **said,
        "pairs": len(chosen.ids),
        "total": chosen.total,
        "perIndex": INDEX_PAIRS,
        "perPiece": PIECE_PAIRS,
        "facets": [[group, label, int(found.facets.bits[group, label].sum())] for group, label in facets],
        "scores": [[name, *_range(values)] for name, values in sorted(found.facets.scores.items())],
        "classes": found.class_names,
        "attributes": found.attribute_names,
        "photos": _bits(np.array([not note for note in notes], bool)),
        "matched": _bits(np.array([not note for note in matched], bool)),
        "images": _numbers(chosen),
    }
    write_file(folder, "data/meta.js", as_script("meta", 0, meta))
    for number, start in enumerate(range(0, len(chosen.ids), INDEX_PAIRS)):
        write_file(folder, f"data/index-{number:04d}.js", as_script("index", number, _index(chosen, found.facets, facets, start)))
    for number, start in enumerate(range(0, len(chosen.ids), PIECE_PAIRS)):
        write_file(
            folder, f"data/{number // 1000:03d}/piece-{number:06d}.js", script_of("piece", number, _piece(chosen, found, notes, start))
        )


def _numbers(chosen: Chosen) -> int:
    return len(chosen.image_ids)


def _outcomes(chosen: Chosen, facets: Facets, notes: Sequence[str]) -> None:
    """Marks what pairs lack."""
    nothing = np.zeros(len(chosen.ids), bool)
    for polarity in ("positive", "negative"):
        having = [bits for (group, label), bits in facets.bits.items() if group == "kind" and label.startswith(f"{polarity}:")]
        if having:
            facets.mark("outcome", f"without {polarity}s", np.flatnonzero(~np.logical_or.reduce([nothing, *having])))
    if ("outcome", "with regions") in facets.bits:
        facets.mark("outcome", "without regions", np.flatnonzero(~facets.bits["outcome", "with regions"]))
    shown = np.array([not notes[image] for image in chosen.images], bool)
    facets.mark("outcome", "with a photo", np.flatnonzero(shown))
    facets.mark("outcome", "without a photo", np.flatnonzero(~shown))
    for key in [key for key, bits in facets.bits.items() if key[0] == "outcome" and not bits.any()]:
        del facets.bits[key]


def _range(values: np.ndarray) -> list[float]:
    finite = values[np.isfinite(values)]
    return [round(float(finite.min()), 4), round(float(finite.max()), 4)] if len(finite) else [0.0, 0.0]


def _bits(values: np.ndarray) -> str:
    """bool [n] as base64, eight a byte, the first in the lowest bit."""
    return base64.b64encode(np.packbits(values, bitorder="little").tobytes()).decode()


def _index(chosen: Chosen, facets: Facets, keys: Sequence[tuple[str, str]], start: int) -> dict[str, Any]:
    own = slice(start, start + INDEX_PAIRS)
    return {
        "ids": chosen.ids[own],
        "captions": chosen.captions[own],
        "images": chosen.images[own],
        "facets": [_bits(facets.bits[key][own]) for key in keys],
        "scores": [
            [round(float(value), 4) if np.isfinite(value) else None for value in facets.scores[name][own]] for name in sorted(facets.scores)
        ],
    }


def _piece(chosen: Chosen, found: Gathered, notes: Sequence[str], start: int) -> str:
    """JSON: what is known of these pairs, in order, and of their images, [number, what] each."""
    numbers = range(start, min(start + PIECE_PAIRS, len(chosen.ids)))
    images = sorted({chosen.images[number] for number in numbers})
    pairs = ",".join(_slots(found.pairs.get(number, {})) for number in numbers)
    said = ",".join(f"[{image},{_image(chosen, found, notes, image)}]" for image in images)
    return f'{{"pairs":[{pairs}],"images":[{said}]}}'


def _image(chosen: Chosen, found: Gathered, notes: Sequence[str], image: int) -> str:
    photo = found.photos.get(image, {})
    facts = as_json([chosen.image_ids[image], photo.get("width"), photo.get("height"), notes[image]])
    return f'{{"about":{facts},{_slots(found.images.get(image, {}))[1:]}'


def _slots(held: Mapping[str, Sequence[str]]) -> str:
    """An object of lists of JSON texts; it always has all lists, so the page need not ask."""
    slots = ("graph", "sets", "matches", "facts", "refused", "regions")
    return "{" + ",".join(f'"{slot}":[{",".join(held.get(slot, ()))}]' for slot in slots) + "}"


def as_json(value: Any) -> str:
    """Compact JSON."""
    import json

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
