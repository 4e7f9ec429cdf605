"""Real captions for the tests of back-translation."""

from __future__ import annotations

import json


def coco(shared_data, count):
    notes = json.loads((shared_data / "coco_val2017/captions_val2017.json").read_text(encoding="utf-8"))["annotations"]
    return [" ".join(note["caption"].split()) for note in notes[:count]]
