"""COCO captions (Chen et al. 2015): describing a photo. Metrics: BLEU-4, CIDEr; METEOR and SPICE where Java is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from model.batch import Stream
from model.tasks.base import Row
from model.tasks.generation import Generation
from model.tasks.published import read_json, text_of
from model.tasks.text_metrics import caption_scores, require

_KARPATHY = "karpathy_"


class CocoCaptions(Generation):
    """COCO's `captions_SPLIT.json`, or, as `karpathy_SPLIT`, Karpathy's `dataset_coco.json`. Every caption is trained on."""

    name: ClassVar[str] = "coco_captions"
    streams: ClassVar[tuple[Stream, ...]] = ("pairs",)
    files: ClassVar[dict[str, tuple[str, ...]]] = {
        **{split: (f"captions_{split}.json",) for split in ("train2014", "val2014", "train2017", "val2017")},
        **{_KARPATHY + split: ("dataset_coco.json",) for split in ("train", "restval", "val", "test")},
    }
    trained: ClassVar[tuple[str, ...]] = ("train2014",)
    evaluated: ClassVar[tuple[str, ...]] = ("val2014",)

    def read(self, split: str) -> Iterator[Row | str]:
        """The photos of a split, with all their captions."""
        for found in self._karpathy(split) if split.startswith(_KARPATHY) else self._coco(split):
            if isinstance(found, str):
                yield found
                continue
            image, captions = found
            said = tuple(text for text in captions if text)
            yield Row(f"{split}:{image}", ("",), said, (image,)) if said else "it has no caption"

    def _coco(self, split: str) -> Iterator[tuple[str, list[str]] | str]:
        held = read_json(self.urls(split)[0], ["images", "annotations"])
        numbers = [one.get("id") if isinstance(one, dict) else None for one in held["images"]]
        captions: dict[str, list[str]] = {str(number): [] for number in numbers if number is not None}
        yield from ["it lacks an id"] * numbers.count(None)
        for one in held["annotations"]:
            if isinstance(one, dict) and (own := captions.get(str(one.get("image_id")))) is not None:
                own.append(text_of(one, "caption"))
            else:
                yield "its caption's image is not among the images"
        yield from captions.items()

    def _karpathy(self, split: str) -> Iterator[tuple[str, list[str]] | str]:
        for one in read_json(self.urls(split)[0], ["images"])["images"]:
            if (
                not isinstance(one, dict)
                or not isinstance(one.get("sentences"), list)
                or not text_of(one, "filename")
                or not text_of(one, "split")
            ):
                yield "it lacks filename, split or sentences"
            elif one.get("split") == split.removeprefix(_KARPATHY):
                yield one["filename"], [text_of(sentence, "raw") for sentence in one["sentences"]]

    def prepare(self) -> None:
        """Requires pycocoevalcap."""
        require("pycocoevalcap")

    def measure(self, found: np.ndarray, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float]:
        """BLEU-4 and CIDEr, METEOR and SPICE."""
        return caption_scores(found.tolist(), [row.target for row in rows], ("bleu4", "cider", "meteor", "spice"))
