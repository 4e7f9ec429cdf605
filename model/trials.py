"""Public test sets, read in their own formats and evaluated with the regions of a corpus that has their images.

SugarCrepe (Hsieh et al. 2023): a JSON object of objects with filename, caption, negative_caption; one file per kind.
ARO (Yuksekgonul et al. 2023): a JSON list of objects with image_path, true_caption, false_caption, the box that the image is cropped to
(bbox_x, bbox_y, bbox_w, bbox_h), and relation_name or, in the other file, attributes.
Winoground (Thrush et al. 2022): JSON lines, or a list, of objects with image_0, image_1, caption_0, caption_1 and collapsed_tag.
Karpathy's splits (2015): a JSON object with images, each with filename, split and sentences with raw.

Images are found by file name, without folder, extension and leading zeros, among the image ids of the corpus.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from model.evaluate import both_ways, ranks_of, recall_of
from model.scoring import Gallery, Head, Scorer
from model.tasks.published import lines_of
from schemas.corpus import open_corpus
from schemas.errors import SourceError
from schemas.regions import Regions, open_regions
from schemas.trials import TRIALS

_LEAST = 25  # trials of a pair of attributes: rarer ones are no group, as in ARO's code
_AT_ONCE = 64  # trials scored at a time


def read_trials(name: str, url: str, split: str = "test") -> pa.Table:
    """A public set as a `trials` table, all of one kind; name: sugarcrepe, aro, winoground or karpathy; split: for Karpathy's.

    Raises SourceError, naming the entry and the key, when the file is not in the set's format.
    """
    held, file_name = _json(url), os.path.splitext(url.rstrip("/").rpartition("/")[2])[0]
    kind = {"winoground": "all", "karpathy": f"{file_name} {split}"}.get(name, file_name)
    if isinstance(held, dict) and name != "sugarcrepe":
        held = held.get("images") if name == "karpathy" else [held]  # one line of JSON lines
    if not isinstance(held, dict if name == "sugarcrepe" else list):
        raise SourceError(f"{url} has another format; {name} was expected")
    rows = []
    for entry, row in held.items() if isinstance(held, dict) else enumerate(held):
        try:
            if name != "karpathy" or row["split"] == split:
                rows.append({"set": name, "kind": kind, "trial_id": f"{name}/{kind}/{entry}", **READERS[name](row)})
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            what = f"has no key {error}" if isinstance(error, KeyError) else f"has another format ({error})"
            raise SourceError(f"{url}: entry {entry} {what}; {name} was expected") from None
    if not rows:
        raise SourceError(f"{url} has no entries{f' of the split {split!r}' if name == 'karpathy' else ''}")
    counts = Counter(row["group"] for row in rows)
    for row in rows:
        if isinstance(row["group"], tuple):
            row["group"] = " ".join(row["group"]) if counts[row["group"]] >= _LEAST else None
    return pa.Table.from_pylist(rows, schema=TRIALS)


def _json(url: str) -> Any:
    """The content of a file of JSON, or a list of that of JSON lines. Raises SourceError when it is neither."""
    lines = list(lines_of(url))
    try:
        return json.loads("\n".join(lines))
    except (ValueError, RecursionError) as error:
        if not str(error).startswith("Extra data"):  # what follows the first of several lines
            raise SourceError(f"{url} is not JSON: {error}") from None
    held = []
    for number, line in enumerate(lines, 1):
        try:
            held += [json.loads(line)] if line.strip() else []
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{url}: line {number} is not JSON: {error}") from None
    return held


def _texts(row: Any, *keys: Any) -> list[str]:
    """The texts under some keys of an entry. Raises ValueError when there is something else."""
    for key in keys:
        if not isinstance(row[key], str) or re.search("[\ud800-\udfff]", row[key]):  # half a surrogate pair
            raise ValueError(f"{key} is no text: {row[key]!r:.60}")
    return [row[key] for key in keys]


def _row(scheme: str, images: list[str], captions: list[str], box: list[float] | None = None, group: Any = None) -> dict[str, Any]:
    cleaned = [" ".join(caption.split()) for caption in captions]  # as a corpus's
    return {"scheme": scheme, "images": images, "captions": cleaned, "box": box, "group": group}


def _sugarcrepe(row: Any) -> dict[str, Any]:
    return _row("choice", _texts(row, "filename"), _texts(row, "caption", "negative_caption"))


def _aro(row: Any) -> dict[str, Any]:
    box = [float(row[f"bbox_{side}"]) for side in "xywh"] if "bbox_x" in row else None
    pair = tuple(_texts(row["attributes"], 0, 1)) if "attributes" in row else None
    group = _texts(row, "relation_name")[0] if "relation_name" in row else pair
    return _row("choice", _texts(row, "image_path"), _texts(row, "true_caption", "false_caption"), box, group)


def _winoground(row: Any) -> dict[str, Any]:
    tag = _texts(row, "collapsed_tag")[0] if "collapsed_tag" in row else None
    return _row("group", _texts(row, "image_0", "image_1"), _texts(row, "caption_0", "caption_1"), group=tag)


def _karpathy(row: Any) -> dict[str, Any]:
    return _row("retrieval", _texts(row, "filename"), [_texts(sentence, "raw")[0] for sentence in row["sentences"]])


READERS: dict[str, Callable[[Any], dict[str, Any]]] = {
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
        if len(found) > 1:  # one whose id, with or without the source, is the name itself
            exact = {name, os.path.splitext(name)[0]}
            found = {one: at for one, at in found.items() if {one, one.partition("/")[2]} & exact} or found
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
    confidence = None if held.confidence is None else held.confidence[kept]
    return Regions(max(1, round(width)), max(1, round(height)), boxes, held.features[kept], confidence, image_id=held.image_id)


Trial = tuple[dict[str, Any], list[Regions], list[np.ndarray]]  # a row, its images and its captions


def measure(scorer: Scorer, trials: pa.Table, corpus: str, head: Head | None, rerank: int | None = 32) -> dict[str, Any]:
    """Scores by set and kind, by separate and, with a `head` and unless `rerank` is 0, by joint encoding; ties count as errors.

    choice: share of trials whose first caption has the highest score (accuracy). group: Winoground's text, image and group score. Both also
    by group, with ARO's figure, the mean accuracy of the groups (macro). retrieval: recall at 1, 5 and 10 in both directions.
    Trials and captions that cannot be scored are counted by reason under `skipped`.
    """
    images, skipped = CorpusImages(corpus), Counter[str]()
    by_kind: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in trials.to_pylist():
        by_kind[row["set"], row["kind"]].append(row)
    report: dict[str, Any] = {}
    for (name, kind), rows in by_kind.items():
        usable = _usable(scorer, images, rows, skipped)
        retrieval, used = rows[0]["scheme"] == "retrieval", None if rerank == 0 else head
        found = _retrieval(scorer, images, usable, used, rerank) if retrieval else _choices(scorer, usable, used)
        report.setdefault(name, {})[kind] = found
    return {**report, "skipped": dict(+skipped)}


def _usable(scorer: Scorer, images: CorpusImages, rows: list[dict[str, Any]], skipped: Counter[str]) -> Iterator[Trial]:
    """The trials that can be scored, with their regions and tokens. Of several captions for retrieval, only those too long are left out."""
    for row in rows:
        regions = [images.find(name, row["box"]) for name in row["images"]]
        tokens = [one for one in scorer.tokenizer.encode(row["captions"]) if scorer.fits(np.array(len(one)))]
        long, retrieval = len(row["captions"]) - len(tokens), row["scheme"] == "retrieval"
        if wrong := [one for one in regions if isinstance(one, str)]:
            skipped[wrong[0]] += 1
        elif not tokens or (long and not retrieval):
            skipped["the image has no caption that fits" if retrieval else "a caption is too long"] += 1
        else:
            skipped["only this caption of an image is too long"] += long
            yield row, [one for one in regions if isinstance(one, Regions)], tokens


def _choices(scorer: Scorer, usable: Iterator[Trial], head: Head | None) -> dict[str, Any]:
    groups: defaultdict[str | None, list[dict[str, dict[str, bool]]]] = defaultdict(list)
    while some := list(islice(usable, _AT_ONCE)):
        for (row, _, _), scores in zip(some, _scores(scorer, some, head), strict=True):
            groups[row["group"]].append({way: right(found, row["scheme"]) for way, found in scores.items()})
    values = _means([one for held in groups.values() for one in held])
    by_group = {group: _means(held) for group, held in sorted(groups.items(), key=str) if group is not None}
    for way in ("separate", "joint") if by_group else ():
        if "accuracy" in values.get(way, {}):
            values[way]["macro"] = float(np.mean([one[way]["accuracy"] for one in by_group.values()]))
    return {**values, "groups": by_group} if by_group else values


def _scores(scorer: Scorer, some: list[Trial], head: Head | None) -> list[dict[str, np.ndarray]]:
    """Scores [images, captions] of each trial, by separate and, with a `head`, by joint encoding."""
    regions, tokens = [one for _, shown, _ in some for one in shown], [one for _, _, said in some for one in said]
    of_image, of_text = (np.repeat(np.arange(len(some)), [len(trial[part]) for trial in some]) for part in (1, 2))
    owners = np.arange(len(tokens)) if some[0][0]["scheme"] == "group" else of_text
    gallery = Gallery(scorer, owners, regions.__getitem__, tokens.__getitem__)
    scores = {"separate": gallery.separate_scores()}
    if head:
        own = of_image[:, None] == of_text
        scores["joint"] = np.zeros(own.shape, np.float32)
        scores["joint"][own] = gallery.joint_scores(np.argwhere(own), head)
    return [{way: held[np.ix_(of_image == at, of_text == at)] for way, held in scores.items()} for at in range(len(some))]


def _means(outcomes: list[dict[str, dict[str, bool]]]) -> dict[str, Any]:
    """The number of trials, and by way of scoring, the mean of each measure."""
    ways = {way: measures for one in outcomes[:1] for way, measures in one.items()}
    means = {way: {name: float(np.mean([one[way][name] for one in outcomes])) for name in measures} for way, measures in ways.items()}
    return {"trials": len(outcomes), **means}


def right(scores: np.ndarray, scheme: str) -> dict[str, bool]:
    """Whether the scores [images, captions] of a trial are right, by measure."""
    if scheme == "choice":
        return {"accuracy": bool((scores[0, 0] > scores[0, 1:]).all())}
    others = ~np.eye(len(scores), dtype=bool)
    own = np.diag(scores)
    text = bool((own[:, None] > scores)[others].all())
    image = bool((own[None, :] > scores)[others].all())
    return {"text": text, "image": image, "group": text and image}


def _retrieval(scorer: Scorer, images: CorpusImages, usable: Iterator[Trial], head: Head | None, rerank: int | None) -> dict[str, Any]:
    captions: dict[str, tuple[str, list[np.ndarray]]] = {}  # by image, its name and tokens; those of an image listed twice are joined
    for row, (regions,), tokens in usable:
        captions.setdefault(regions.image_id, (row["images"][0], []))[1].extend(tokens)
    if not captions:
        return {"trials": 0}
    names, texts = zip(*captions.values(), strict=True)

    def shown(image: int) -> Regions:  # read again: thousands of photos might not fit into memory
        found = images.find(names[image], None)
        assert isinstance(found, Regions)
        return found

    owners = np.repeat(np.arange(len(names)), [len(own) for own in texts])
    gallery = Gallery(scorer, owners, shown, [one for own in texts for one in own].__getitem__)
    return {"trials": len(names), **recall_of(ranks_of(both_ways(gallery, head, rerank), gallery.own))}
