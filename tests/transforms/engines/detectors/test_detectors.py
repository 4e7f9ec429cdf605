"""Detectors: specifications, settings, selection of regions, accepted and refused weights."""

import builtins
import json
import pickle
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from transforms.engines.detectors.base import DetectorError, Spec, parse_spec
from transforms.engines.detectors.load import EMBEDDED, describe, detector, embedded_info
from transforms.engines.detectors.settings import DetectorSettings
from transforms.engines.registry import forget_engines


@pytest.fixture(autouse=True)
def nothing_loaded():
    forget_engines()
    yield
    forget_engines()


def test_specs_have_three_forms(tmp_path):
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"")
    assert parse_spec("embedded") == Spec("embedded", "", None)
    assert parse_spec("torchvision:fasterrcnn_resnet50_fpn") == Spec("torchvision", "fasterrcnn_resnet50_fpn", None)
    assert parse_spec("torchvision:fasterrcnn_resnet50_fpn@COCO_V1").weights == "COCO_V1"
    assert parse_spec(f"detectron2:config.yaml@{weights}") == Spec("detectron2", "config.yaml", str(weights))


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "yolo",
        "embedded:x",
        "torchvision",
        "torchvision:",
        "torchvision:m@",
        "detectron2:config.yaml",
        "torchvision:m@/nowhere/w.pth",
        "Torchvision:m",
    ],
)
def test_other_specs_are_refused_with_a_reason(spec):
    with pytest.raises(DetectorError, match="detector"):
        parse_spec(spec)
    with pytest.raises(ValidationError, match="detector"):
        DetectorSettings(detector=spec)


@pytest.mark.parametrize(
    "wrong",
    [
        {"detectors": "embedded"},
        {"threshold": 1.5},
        {"min_regions": 50, "max_regions": 10},
        {"bucket": 40},
        {"precision": "float16", "device": "cpu"},
        {"threads": 0},
    ],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ValidationError) as caught:
        DetectorSettings(**wrong)
    assert any(name in str(caught.value) for name in wrong)


def test_settings_default_to_the_published_rule():
    settings = DetectorSettings()
    assert (settings.threshold, settings.min_regions, settings.max_regions) == (0.2, 10, 100)


def test_without_torch_the_error_names_the_command(monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(DetectorError, match="pip install .*torch"):
        detector(DetectorSettings())


def test_detectron2_is_optional_and_named():
    pytest.importorskip("torch", reason="engines need torch")
    with pytest.raises(DetectorError, match=r"detectron2.*github.com/facebookresearch/detectron2"):
        detector(DetectorSettings(detector=f"detectron2:config.yaml@{EMBEDDED / 'detector.safetensors'}"))


class _Bomb:
    def __reduce__(self):
        return print, ("a weight file ran code",)


def test_a_pickle_is_refused_and_not_run(tmp_path, capsys):
    torch = pytest.importorskip("torch", reason="engines need torch")
    path = tmp_path / "w.pth"
    torch.save({"model": _Bomb()}, path)
    for data in (None, pickle.dumps(_Bomb()), b"nothing of the kind"):
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(DetectorError, match="more than tensors"):
            detector(DetectorSettings(detector=f"torchvision:fasterrcnn_resnet50_fpn@{path}"))
    assert "ran code" not in capsys.readouterr().out


def test_weights_of_another_model_and_unknown_names_are_refused(tmp_path):
    torch = pytest.importorskip("torch", reason="engines need torch")
    path = tmp_path / "w.pth"
    torch.save({"roi_heads.box_predictor.cls_score.weight": torch.zeros(5, 1024)}, path)
    with pytest.raises(DetectorError, match="does not fit"):
        detector(DetectorSettings(detector=f"torchvision:fasterrcnn_mobilenet_v3_large_320_fpn@{path}"))
    torch.save({"weight": torch.zeros(5)}, path)
    with pytest.raises(DetectorError, match="not a torchvision Faster R-CNN"):
        detector(DetectorSettings(detector=f"torchvision:fasterrcnn_mobilenet_v3_large_320_fpn@{path}"))
    with pytest.raises(DetectorError, match="fasterrcnn_resnet50_fpn_v2"):
        detector(DetectorSettings(detector=f"torchvision:maskrcnn_resnet50_fpn@{path}"))
    with pytest.raises(DetectorError, match="torchvision has COCO_V1"):
        detector(DetectorSettings(detector="torchvision:fasterrcnn_resnet50_fpn@COCO_V9"))


def test_absent_weights_are_not_downloaded_and_name_the_command_and_where_they_go(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="engines need torch")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("CMCL_MODELS", str(tmp_path / "models"))
    with pytest.raises(DetectorError, match=r"fasterrcnn_resnet50_fpn_v2_coco.*run `cmcl fetch CONFIG`"):
        detector(DetectorSettings(detector="torchvision:fasterrcnn_resnet50_fpn_v2"))


def naive(boxes, scores, size, nms, rule):
    """Greedy suppression straight from its definition, over all candidates one by one."""
    height, width = size
    candidates = sorted((-scores[p, c], p, c) for p in range(len(scores)) for c in range(1, scores.shape[1]))
    kept, owners = [], set()
    for score, p, c in candidates:
        box = boxes[p, c].clip(0, [width, height, width, height])
        if (box[2:] - box[:2]).min() < 1e-2:
            continue
        clash = False
        for _, _, d, other in kept:
            if d == c:
                both = np.clip(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0, None).prod()
                union = (box[2:] - box[:2]).prod() + (other[2:] - other[:2]).prod() - both
                clash |= both / union > nms
        if not clash:
            kept.append((-score, p, c, box))
    if rule.unique:
        once = []
        for one in kept:
            if one[1] not in owners:
                owners.add(one[1])
                once.append(one)
        kept = once
    confident = sum(score > rule.threshold for score, *_ in kept)
    return kept[: min(rule.max_regions, max(rule.min_regions, confident))]


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("sharp, threshold", [(1, 0.2), (6, 0.2), (6, 0.02), (0.01, 0.9)])
def test_selection_equals_the_definition(unique, sharp, threshold):
    torch = pytest.importorskip("torch", reason="engines need torch")
    from transforms.engines.detectors.select import Selection, select

    rng = np.random.default_rng(3)
    corners = rng.uniform(-10, 90, (70, 6, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(-1, 40, (70, 6, 2))], 2).astype(np.float32)
    logits = rng.normal(0, sharp, (70, 6))
    scores = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    for lowest, most in ((10, 100), (0, 5), (200, 300)):
        rule = Selection(threshold, lowest, most, unique)
        expected = naive(boxes, scores, (80, 100), 0.5, rule)
        rows, labels, found = select(torch.from_numpy(boxes), torch.from_numpy(scores), (80, 100), 0.5, rule)
        assert [(p, c) for _, p, c, _ in expected] == list(zip(rows.tolist(), labels.tolist(), strict=True))
        if expected:
            np.testing.assert_allclose(found.numpy(), np.stack([box for *_, box in expected]))


def test_suppression_is_per_class_whatever_their_number():
    """Boxes whose overlap equals the limit: shifted by thousands of pixels in single precision, it would be rounded to either side."""
    torch = pytest.importorskip("torch", reason="engines need torch")
    from torchvision.ops import nms

    from transforms.engines.detectors.select import class_wise_nms

    rng = np.random.default_rng(8)
    corners = torch.from_numpy(rng.uniform(0, 300, (90, 2)).astype(np.float32))
    sides = torch.from_numpy(rng.uniform(5, 90, (90, 2)).astype(np.float32))
    shift = torch.stack([sides[:, 0] / 3, torch.zeros(90)], 1)  # two thirds of a box over four thirds: IoU one half
    boxes = torch.cat([torch.cat([corners, corners + sides], 1), torch.cat([corners + shift, corners + shift + sides], 1)])
    labels = torch.arange(90).repeat(2) + 1000
    scores = torch.from_numpy(rng.uniform(0, 1, 180).astype(np.float32))
    kept = class_wise_nms(boxes, scores, labels, 0.5)
    for label in labels.unique():
        rows = torch.where(labels == label)[0]
        alone = torch.zeros(len(rows), dtype=torch.bool)
        alone[nms(boxes[rows], scores[rows], 0.5)] = True
        assert torch.equal(kept[rows], alone)
        assert torch.equal(class_wise_nms(boxes[rows], scores[rows], labels[rows], 0.5), alone)
    assert 90 < int(kept.sum()) < 180  # both sides occur, so rounding would be detected


def test_selection_of_nothing():
    torch = pytest.importorskip("torch", reason="engines need torch")
    from transforms.engines.detectors.select import Selection, select

    rows, labels, boxes = select(torch.zeros(0, 4, 4), torch.zeros(0, 4), (80, 100), 0.5, Selection(0.2, 10, 100, True))
    assert len(rows) == len(labels) == len(boxes) == 0


def test_average_precision_against_manual_results():
    pytest.importorskip("torch", reason="engines need torch")
    pytest.importorskip("pycocotools", reason="measures average precision")
    from transforms.engines.training.detector.quality import average_precisions

    truth = [([(0, 0, 10, 10), (20, 20, 30, 30)], [1, 1]), ([(0, 0, 10, 10)], [2])]
    found = [([(0, 0, 10, 9), (0, 0, 10, 10), (50, 50, 60, 60)], [1, 1, 1], [0.9, 0.8, 0.7]), ([(0, 0, 10, 4)], [2], [0.9])]
    # One of two objects is found, at rank 1: precision 1 up to recall 0.5, 51 of 101 points. The other's IoU is below 0.5.
    assert average_precisions(found, truth) == {1: pytest.approx(51 / 101), 2: 0.0}
    assert average_precisions([([], [], []), ([], [], [])], truth) == {1: 0.0, 2: 0.0}


def test_the_embedded_files_are_small_and_documented():
    assert (EMBEDDED / "detector.safetensors").stat().st_size <= 8 * 2**20
    said = json.loads((EMBEDDED / "detector.json").read_text())
    assert said["size"]["features"] == 256 and len(said["classes"]) == 33
    assert said["measured"]["map_50"] >= 0.90


def test_the_embedded_detector_finds_the_objects_of_unseen_scenes():
    pytest.importorskip("torch", reason="engines need torch")
    pytest.importorskip("pycocotools", reason="measures average precision")
    from transforms.engines.training.detector.quality import evaluate

    model = detector(DetectorSettings()).model
    assert evaluate(model, 977_003, 100)["map"] >= 0.90


@pytest.mark.slow
def test_the_embedded_detector_on_more_scenes():
    pytest.importorskip("torch", reason="engines need torch")
    pytest.importorskip("pycocotools", reason="measures average precision")
    from transforms.engines.training.detector.quality import evaluate

    assert evaluate(detector(DetectorSettings()).model, 977_004, 400)["map"] >= 0.90


def test_planning_works_without_torch_and_matches_the_engine():
    pytest.importorskip("torch", reason="engines need torch")
    code = (
        "import sys; from transforms.engines.detectors.load import describe; from transforms.engines.detectors.settings import DetectorSettings; "
        "print(describe(DetectorSettings()).fingerprint, 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[4], capture_output=True, text=True, check=True)
    assert said.stdout.split() == [detector(DetectorSettings()).fingerprint, "False"]
    assert describe(DetectorSettings(min_regions=3)) == detector(DetectorSettings(min_regions=3)).info


def test_a_plan_names_a_missing_package(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("transforms.engines.detectors.identity.version", absent)
    with pytest.raises(DetectorError, match="pip install .*torch"):
        describe(DetectorSettings())


@pytest.mark.parametrize(
    "change",
    [
        {"threads": 2},
        {"precision": "bfloat16"},
        {"batch": 4},
        {"bucket": 64},
        {"threshold": 0.3},
        {"min_regions": 3},
        {"max_regions": 50},
        {"unique": False},
        {"device": "cpu"},
    ],
)
def test_the_fingerprint_holds_every_setting_that_regions_depend_on(change):
    pytest.importorskip("torch", reason="engines need torch")
    assert describe(DetectorSettings(**change)).fingerprint != describe(DetectorSettings()).fingerprint


def test_the_fingerprint_holds_versions_and_weights(monkeypatch, tmp_path):
    pytest.importorskip("torch", reason="engines need torch")
    plain = embedded_info(DetectorSettings()).fingerprint
    for name in ("detector.json", "detector.safetensors"):
        (tmp_path / name).write_bytes((EMBEDDED / name).read_bytes())
    assert embedded_info(DetectorSettings(), tmp_path).fingerprint == plain
    weights = bytearray((tmp_path / "detector.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "detector.safetensors").write_bytes(weights)
    assert embedded_info(DetectorSettings(), tmp_path).fingerprint != plain
    monkeypatch.setattr("transforms.engines.detectors.identity.version", lambda name: "0")
    assert embedded_info(DetectorSettings()).fingerprint != plain


def test_one_model_a_process():
    pytest.importorskip("torch", reason="engines need torch")
    assert detector(DetectorSettings()) is detector(DetectorSettings())
    assert detector(DetectorSettings()).fingerprint == detector(DetectorSettings(readers=3, window=8)).fingerprint


@pytest.mark.slow
def test_training_that_was_interrupted_ends_where_one_in_one_go_does(tmp_path):
    torch = pytest.importorskip("torch", reason="training needs torch")
    from transforms.engines.training.detector.train import parser, train

    before = torch.get_num_threads()
    try:
        for work, sittings in (("whole", [3]), ("parts", [1, 2, 3])):
            for number, until in enumerate(sittings):
                train(
                    parser().parse_args(
                        [
                            "--work",
                            str(tmp_path / work),
                            "--until",
                            str(until),
                            "--batch",
                            "2",
                            "--evaluate",
                            "2",
                            *(["--resume"] if number else []),
                        ]
                    )
                )
    finally:
        torch.set_num_threads(before)
    whole, parts = (torch.load(tmp_path / work / "checkpoint.pt", weights_only=True)["average"] for work in ("whole", "parts"))
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
