"""COCO captions (Chen et al. 2015): describing a photo. Metrics: BLEU-4, CIDEr; METEOR and SPICE where Java is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

from model.batch import Stream
from model.tasks.base import Row
from model.tasks.generation import Generation
from model.tasks.published import read_json
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
        for image, captions in self._karpathy(split) if split.startswith(_KARPATHY) else self._coco(split):
            said = tuple(text for text in captions if text)
            yield Row(f"{split}:{image}", ("",), said, (image,)) if said else "it has no caption"

    def _coco(self, split: str) -> Iterator[tuple[str, list[str]]]:
        held = read_json(self.urls(split)[0], ["images", "annotations"])
        captions: dict[str, list[str]] = {str(one["id"]): [] for one in held["images"] if isinstance(one, dict) and "id" in one}
        for one in held["annotations"]:
            if isinstance(one, dict) and str(one.get("image_id")) in captions:
                captions[str(one["image_id"])].append(str(one.get("caption", "")).strip())
        yield from captions.items()

    def _karpathy(self, split: str) -> Iterator[tuple[str, list[str]]]:
        for one in read_json(self.urls(split)[0], ["images"])["images"]:
            if isinstance(one, dict) and one.get("split") == split.removeprefix(_KARPATHY):
                said = [sentence for sentence in one.get("sentences", []) if isinstance(sentence, dict)]
                yield str(one.get("filename", "")), [str(sentence.get("raw", "")).strip() for sentence in said]

    def prepare(self) -> None:
        """Requires pycocoevalcap."""
        require("pycocoevalcap")

    def measure(self, found: np.ndarray, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float]:
        """BLEU-4 and CIDEr, METEOR and SPICE."""
        return caption_scores(found.tolist(), [row.target for row in rows], ("bleu4", "cider", "meteor", "spice"))
