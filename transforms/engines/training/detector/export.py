"""Writes the trained detector into the package and evaluates it on scenes unseen in training.

    python -m transforms.engines.training.detector.export --work /tmp/detector --count 2000

Weights are stored in half precision, batch normalisation statistics in single precision.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from schemas.files import write_json
from transforms.engines.detectors.base import DetectorInfo
from transforms.engines.detectors.compact import CompactSize, compact_detector, folded
from transforms.engines.detectors.faster_rcnn import FasterRcnnDetector
from transforms.engines.detectors.load import EMBEDDED
from transforms.engines.detectors.settings import DetectorSettings
from transforms.engines.training.detector.pictures import ATTRIBUTES, CLASSES
from transforms.engines.training.detector.quality import attribute_shares, evaluate

# Different from `train.EVALUATION_SEED`, whose scenes are used during training, so nothing was selected on these.
TEST_SEED = 977_002
# Inference settings: scenes contain few objects, so few proposals suffice.
SETTINGS = {"rpn_pre_nms_top_n_test": 300, "rpn_post_nms_top_n_test": 150, "box_detections_per_img": 100}
_EXACT = ("running_mean", "running_var", "num_batches_tracked")


def export(work: Path, folder: Path, count: int) -> dict[str, Any]:
    """Writes `detector.safetensors` and `detector.json` from the checkpoint in `work`; returns the JSON's content."""
    held = torch.load(work / "checkpoint.pt", weights_only=True)
    state = {
        name: value.contiguous() if name.endswith(_EXACT) or not value.is_floating_point() else value.contiguous().half()
        for name, value in held["average"].items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "detector.safetensors")
    (folder / "detector.safetensors").chmod(0o644)
    size = CompactSize(classes=len(CLASSES), attributes=len(ATTRIBUTES))
    model = compact_detector(size, **SETTINGS)
    model.load_state_dict({name: value.float() if value.is_floating_point() else value for name, value in state.items()})
    model = folded(model)
    quality = evaluate(model, TEST_SEED, count)
    info = DetectorInfo("", size.features, len(CLASSES) + 1, ("background", *CLASSES), len(ATTRIBUTES), ATTRIBUTES)
    shares = attribute_shares(FasterRcnnDetector(model, info, DetectorSettings()), TEST_SEED, count)
    record = {
        "size": size.to_json(),
        "settings": SETTINGS,
        "classes": ["background", *CLASSES],
        "attributes": list(ATTRIBUTES),
        "trained": {"steps": held["step"], "arguments": held.get("arguments")},
        "measured": {
            "map_50": round(quality["map"], 4),
            "scenes": count,
            "seed": TEST_SEED,
            "ap_50": {name: round(value, 4) for name, value in quality["ap"].items()},
            "attributes": {name: round(value, 4) for name, value in shares.items()},
        },
    }
    write_json(str(folder / "detector.json"), record)
    return record


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--folder", type=Path, default=EMBEDDED)
    parser.add_argument("--count", type=int, default=1000, help="number of test scenes")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    start = time.time()
    print(json.dumps(export(given.work, given.folder, given.count)["measured"], indent=2), f"{time.time() - start:.0f} s")
