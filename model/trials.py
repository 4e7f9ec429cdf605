"""Public test sets, read in their own formats and evaluated with the regions of a corpus that has their images.

SugarCrepe (Hsieh et al. 2023): a JSON object of objects with filename, caption, negative_caption; one file per kind.
ARO (Yuksekgonul et al. 2023): a JSON list of objects with image_path, true_caption, false_caption and the box that the image is cropped to
(bbox_x, bbox_y, bbox_w, bbox_h).
Winoground (Thrush et al. 2022): JSON lines, or a list, of objects with id, image_0, image_1, caption_0, caption_1.
Karpathy's splits (2015): a JSON object with images, each with filename, split and sentences with raw.

Images are found by file name, without folder, extension and leading zeros, among the image ids of the corpus.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from model.evaluate import both_ways, retrieve
from model.scoring import Gallery, Head, Scorer
from schemas import files
from schemas.corpus import open_corpus
from schemas.errors import SourceError
from schemas.regions import Regions, open_regions
from schemas.trials import TRIALS


def read_trials(name: str, url: str, split: str = "test") -> pa.Table:
    """A public set as a `trials` table; name: sugarcrepe, aro, winoground or karpathy; split: for Karpathy's.

    Raises SourceError, naming the entry and the key, when the file is not in the set's format.
    """
    try:
        with files.open_read(url) as file:
            text = file.read().decode("utf-8")
        held = json.loads(text) if not _is_lines(text) else [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, UnicodeDecodeError) as error:
        raise SourceError(f"{url} is not JSON: {error}") from None
    kind = os.path.splitext(url.rstrip("/").rpartition("/")[2])[0]
    rows = []
    try:
        for entry, row in READERS[name](held, kind, split):
            rows.append({"set": name, **row, "trial_id": f"{name}/{row['kind']}/{entry}"})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"has no key {error}" if isinstance(error, KeyError) else f"has another format ({error})"
        raise SourceError(f"{url}: entry {len(rows)} {what}; {name} was expected") from None
    if not rows:
        raise SourceError(f"{url} has no entries{f' of the split {split!r}' if name == 'karpathy' else ''}")
    return pa.Table.from_pylist(rows, schema=TRIALS)


def _is_lines(text: str) -> bool:
    """Whether a text has one JSON object per line."""
    lines = text.strip().splitlines()
    return len(lines) > 1 and all(line.strip().startswith("{") and line.strip().endswith("}") for line in lines[:2])


Rows = Iterator[tuple[str, dict[str, Any]]]


def _row(kind: str, scheme: str, images: list[str], captions: list[str], box: list[float] | None = None) -> dict[str, Any]:
    return {"kind": kind, "scheme": scheme, "images": images, "captions": captions, "box": box}


def _sugarcrepe(held: Any, kind: str, _: str) -> Rows:
    for entry, row in held.items():
        yield entry, _row(kind, "choice", [row["filename"]], [row["caption"], row["negative_caption"]])


def _aro(held: Any, kind: str, _: str) -> Rows:
    for number, row in enumerate(held):
        box = [float(row[f"bbox_{side}"]) for side in "xywh"] if "bbox_x" in row else None
        yield str(number), _row(kind, "choice", [row["image_path"]], [row["true_caption"], row["false_caption"]], box)


def _winoground(held: Any, kind: str, _: str) -> Rows:
    for row in held:
        tag = str(row.get("collapsed_tag", kind))
        yield str(row["id"]), _row(tag, "group", [row["image_0"], row["image_1"]], [row["caption_0"], row["caption_1"]])


def _karpathy(held: Any, _: str, split: str) -> Rows:
    for row in held["images"]:
        if row["split"] == split:
            captions = [sentence["raw"].strip() for sentence in row["sentences"]]
            yield row["filename"], _row(split, "retrieval", [row["filename"]], captions)


READERS: dict[str, Callable[[Any, str, str], Rows]] = {
    "sugarcrepe": _sugarcrepe,
    "aro": _aro,
    "winoground": _winoground,
    "karpathy": _karpathy,
}


_COCO = re.compile(r"^COCO_(?:train|val|test)20\d\d_")


def stem(name: str) -> str:
    """The part of a file name or image id that is compared: 139 for COCO's `000000000139.jpg`, Karpathy's `COCO_val2014_000000000139.jpg`
    and the id `coco/139`."""
    last = _COCO.sub("", name.replace("\\", "/").rstrip("/").rpartition("/")[2])
    bare = os.path.splitext(last)[0]
    return bare.lstrip("0") or bare


class CorpusImages:
    """The regions of a corpus's images by file name; source: only of those that this source of the corpus has."""

    def __init__(self, corpus: str, source: str | None = None):
        held, index = open_corpus(corpus)
        stages = [entry.stage for entry in index.stages if entry.stage in ("regions", "image_regions")]
        self._files = [open_regions(held, stage, part) for stage in stages for part in range(held.partitions)]
        self._at: defaultdict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
        for number, file in enumerate(self._files):
            for row, image_id in enumerate(file.image_ids()):
                if source is not None and image_id.partition("/")[0] != source:
                    continue
                self._at[stem(image_id)].setdefault(image_id, (number, row))

    def find(self, name: str, box: list[float] | None) -> Regions | str:
        """The regions of an image, or of its part in a box; if there are none, the reason."""
        found = self._at.get(stem(name), {})
        if len(found) != 1:
            return "the corpus has several images of that name" if found else "the corpus has no such image"
        number, row = next(iter(found.values()))
        regions = self._files[number][row]
        regions = regions if box is None else cropped(regions, box)
        return regions if len(regions.boxes) else "the image has no regions"


def cropped(held: Regions, box: list[float]) -> Regions:
    """The regions whose centre is in a box (x, y, width, height, px), clipped to it, as regions of an image of that size.

    ARO crops the photo first; detection in the crop would find other regions.
    """
    x, y, width, height = box
    centres = (held.boxes[:, :2] + held.boxes[:, 2:]) / 2 - [x, y]
    kept = ((centres >= 0) & (centres < [width, height])).all(1)
    boxes = np.clip(held.boxes[kept] - np.array([x, y, x, y]), 0, np.array([width, height] * 2)).astype(np.float32)
    others: dict[str, Any] = {
        name: None if (part := getattr(held, name)) is None else part[kept]
        for name in ("features", "confidence", "soft_labels", "classes", "attributes")
    }
    return replace(held, width=max(1, round(width)), height=max(1, round(height)), boxes=boxes, **others)


def measure(scorer: Scorer, trials: pa.Table, corpus: str, head: Head, rerank: int | None = 32) -> dict[str, Any]:
    """Scores by set and kind, by separate and by joint encoding; ties count as errors.

    choice: share of trials whose first caption has the highest score. group: Winoground's text, image and group score. retrieval: recall at
    1, 5 and 10 in both directions. Trials that cannot be scored are counted by reason under `skipped`.
    """
    images, skipped = CorpusImages(corpus), Counter[str]()
    by_kind: dict[tuple[str, str, str], list[Any]] = defaultdict(list)
    for row in trials.to_pylist():
        regions = [images.find(name, row["box"]) for name in row["images"]]
        tokens = scorer.tokenizer.encode(row["captions"])
        wrong = [one for one in regions if isinstance(one, str)]
        if wrong or not scorer.fits(np.array([len(one) for one in tokens])).all():
            skipped[wrong[0] if wrong else "a caption is too long"] += 1
        else:
            by_kind[row["set"], row["kind"], row["scheme"]].append((regions, tokens))
    report: dict[str, Any] = {"skipped": dict(skipped)}
    for (name, kind, scheme), held in by_kind.items():
        values = _retrieval(scorer, held, head, rerank) if scheme == "retrieval" else _choices(scorer, held, head, scheme)
        report.setdefault(name, {})[kind] = {"trials": len(held), **values}
    return report


def _choices(scorer: Scorer, held: list[Any], head: Head, scheme: str) -> dict[str, Any]:
    outcomes: dict[str, list[dict[str, bool]]] = {"separate": [], "joint": []}
    for regions, tokens in held:
        pairs = np.array([(image, text) for image in range(len(regions)) for text in range(len(tokens))])
        scores = {
            "separate": scorer.separate(scorer.project_images(regions), scorer.project_texts(tokens)),
            "joint": scorer.joint(regions, tokens, pairs, head).reshape(len(regions), len(tokens)),
        }
        for how, found in scores.items():
            outcomes[how].append(right(found, scheme))
    return {how: {name: float(np.mean([one[name] for one in found])) for name in found[0]} for how, found in outcomes.items()}


def right(scores: np.ndarray, scheme: str) -> dict[str, bool]:
    """Whether the scores [images, captions] of a trial are right, by measure."""
    if scheme == "choice":
        return {"accuracy": bool((scores[0, 0] > scores[0, 1:]).all())}
    others = ~np.eye(len(scores), dtype=bool)
    own = np.diag(scores)
    text = bool((own[:, None] > scores)[others].all())
    image = bool((own[None, :] > scores)[others].all())
    return {"text": text, "image": image, "group": text and image}


def _retrieval(scorer: Scorer, held: list[Any], head: Head, rerank: int | None) -> dict[str, Any]:
    owners = np.repeat(np.arange(len(held)), [len(tokens) for _, tokens in held])
    captions = [text for _, tokens in held for text in tokens]
    gallery = Gallery(scorer, owners, lambda image: held[image][0][0], captions.__getitem__)
    scores = gallery.separate_scores()
    values = {"separate": retrieve(both_ways(gallery, scores), gallery.own).recall()}
    if rerank != 0:
        sides = both_ways(gallery, scores, head, scores.size if rerank is None else rerank)
        values["reranked"] = retrieve(sides, gallery.own).recall()
    return values
