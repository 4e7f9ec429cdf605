"""The engine's output against torchvision's own model, called step by step, and against hooks on its box head."""

import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="engines need torch and torchvision")
pytest.importorskip("torchvision", reason="engines need torch and torchvision")

from PIL import Image, ImageOps  # noqa: E402
from torchvision.models import get_model_builder  # noqa: E402
from torchvision.ops import clip_boxes_to_image  # noqa: E402

from transforms.engines.detectors.load import detector  # noqa: E402
from transforms.engines.detectors.settings import DetectorSettings  # noqa: E402
from transforms.engines.registry import forget_engines  # noqa: E402
from transforms.ingest.images.probe import open_image  # noqa: E402

CLASSES = 12
SMALL = "fasterrcnn_mobilenet_v3_large_320_fpn"
MODELS = {SMALL: 1024, "fasterrcnn_resnet50_fpn_v2": 1024}  # width of the feature, by name


@pytest.fixture(autouse=True)
def one_thread():
    """The number of threads that `load` gives the engine: with more, kernels sum in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Random weights for each architecture, from a seed, with matching normalisation and a confident classifier."""
    folder = tmp_path_factory.mktemp("weights")

    def make(name: str) -> Path:
        path = folder / f"{name}.pth"
        if not path.exists():
            torch.manual_seed(5)
            model = get_model_builder(name)(weights=None, weights_backbone=None, num_classes=CLASSES)
            with torch.no_grad():
                for module in model.modules():
                    if isinstance(module, torch.nn.BatchNorm2d):
                        module.momentum = 1.0
                model.train()
                smooth = torch.nn.functional.interpolate(torch.rand(4, 3, 12, 16), (240, 320), mode="bicubic").clamp(0, 1)
                features = model.backbone((smooth - 0.45) / 0.225)
                model.rpn.head.cls_logits.weight.mul_(30)
                model.eval()
                model.transform.min_size, model.transform.max_size = (240,), 320
                logits = []
                hook = model.roi_heads.box_predictor.register_forward_hook(lambda _, __, output: logits.append(output[0]))
                model(list(smooth))
                hook.remove()
                # Confident, but not enough for equal scores, whose order would be undefined.
                model.roi_heads.box_predictor.cls_score.weight.mul_(0.15 / logits[0].std())
                assert all(torch.isfinite(value).all() for value in features.values())
            torch.save(model.state_dict(), path)
        return path

    yield make
    forget_engines()


def load(made, name, **settings):
    return detector(DetectorSettings(detector=f"torchvision:{name}@{made(name)}", threads=1, **settings))


def reference(model, images, threshold=0.2, lowest=10, most=100):
    """Regions of a batch from torchvision's own parts, called one by one, and a naive implementation of the selection.

    That is: what torchvision's suppression leaves of all classes of all proposals, by falling score, of each proposal the first, cut by
    the rule. torchvision sorts its survivors unstably, so in which order it gives equal scores is left open; here, as in the engine,
    the lower proposal goes first, then the lower class.
    """
    pixels = [torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy()).float() / 255 for image in images]
    heads = model.roi_heads
    with torch.inference_mode():
        batch, _ = model.transform(pixels)
        features = model.backbone(batch.tensors)
        proposals, _ = model.rpn(batch, features)
        pooled = heads.box_head(heads.box_roi_pool(features, proposals, batch.image_sizes))
        logits, deltas = heads.box_predictor(pooled)
        held = heads.score_thresh, heads.detections_per_img
        heads.score_thresh, heads.detections_per_img = -1.0, 10**6
        boxes, scores, labels = heads.postprocess_detections(logits, deltas, proposals, batch.image_sizes)
        heads.score_thresh, heads.detections_per_img = held
        counts = [len(one) for one in proposals]
        refined = heads.box_coder.decode(deltas, proposals).split(counts)
        soft = torch.softmax(logits, -1).split(counts)
        sizes = [(image.height, image.width) for image in images]
        shown = model.transform.postprocess([{"boxes": one} for one in boxes], batch.image_sizes, sizes)
    result = []
    for number, pooled_here in enumerate(pooled.split(counts)):
        clipped = clip_boxes_to_image(refined[number], batch.image_sizes[number])
        survivors = []
        for row, (score, label, box) in enumerate(zip(scores[number], labels[number], boxes[number], strict=True)):
            owner = int(((soft[number][:, label] == score) & (clipped[:, label] == box).all(1)).nonzero()[0])
            survivors.append((-float(score), owner, int(label), row))
        kept, seen = [], set()
        for _, owner, _, row in sorted(survivors):
            if owner not in seen:
                seen.add(owner)
                kept.append((row, owner))
        confident = sum(bool(scores[number][row] > threshold) for row, _ in kept)
        kept = kept[: min(most, max(lowest, confident))]
        rows, owners = [row for row, _ in kept], [owner for _, owner in kept]
        result.append(
            [
                part.numpy()
                for part in (
                    shown[number]["boxes"][rows],
                    pooled_here[owners],
                    soft[number][owners],
                    scores[number][rows],
                    labels[number][rows],
                )
            ]
        )
    return result


def unlike(found, expected) -> tuple[int, int]:
    """How many regions differ from their counterparts by more than 1e-3 (relative, or absolute below 1), and how many in any bit."""
    ours = (found.boxes, found.features, found.soft_labels, found.confidence, found.classes)
    most = max(len(found.boxes), len(expected[0]))
    if len(found.boxes) != len(expected[0]):
        return most, most
    near, same = np.ones(most, bool), np.ones(most, bool)
    for mine, theirs in zip(ours, expected, strict=True):
        mine, theirs = mine.reshape(most, -1), theirs.astype(mine.dtype).reshape(most, -1)
        same &= (mine == theirs).all(1)
        wide = theirs.astype(np.float64)
        near &= (np.abs(mine.astype(np.float64) - wide) <= 1e-3 + 1e-3 * np.abs(wide)).all(1)
    return int((~near).sum()), int((~same).sum())


def compare(engine, paths, batch=4):
    """(regions compared, regions that differ by more than 1e-3, or in any bit) of images, in batches of one padded size.

    torchvision gets the same batches: of eight images and of one, kernels add up in different orders.
    """
    images = [open_image(str(path)) for path in paths]
    alike = {}
    for image in images:
        alike.setdefault(engine.shape(*image.size), []).append(image)
    counts = np.zeros(3, int)
    for group in alike.values():
        for start in range(0, len(group), batch):
            part = group[start : start + batch]
            found = engine.detect([engine.prepare(image) for image in part])
            for image, ours, theirs in zip(part, found, reference(engine.model, part), strict=True):
                assert (ours.width, ours.height) == image.size
                counts += (len(ours.boxes), *unlike(ours, theirs))
    return counts


def photos(shared_data: Path) -> list[Path]:
    found = [sorted((shared_data / folder).rglob("*.jpg")) for folder in ("coco_val2017", "flickr8k", "image_only")]
    assert [len(one) for one in found] == [251, 590, 160]
    return [path for one in found for path in one]


@pytest.mark.parametrize("batch", [1])  # on a CPU the engine takes images one by one, so torchvision does here too
def test_a_sample_of_photos(made, shared_data, batch):
    total, different, _ = compare(load(made, SMALL), photos(shared_data)[::100], batch)
    assert total >= 110 and different == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("batch", [1])  # on a CPU the engine takes images one by one, so torchvision does here too
def test_every_photo(made, shared_data, batch):
    """Every twentieth photo by default; `CMCL_PARITY_STEP=1` tests all of them."""
    paths = photos(shared_data)[:: int(os.environ.get("CMCL_PARITY_STEP", "20"))]
    counts = np.zeros(3, int)
    for start in range(0, len(paths), 64):
        counts += compare(load(made, SMALL), paths[start : start + 64], batch)
    total, different, bits = counts
    print(f"{len(paths)} photos in batches of {batch}, {total} regions, {different} differ by more than 1e-3, {bits} in any bit")
    assert total >= 10 * len(paths) and different == 0


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name == SMALL else pytest.mark.slow) for name in MODELS])
def test_features_are_those_that_a_hook_on_the_box_head_sees(made, name, tmp_path):
    engine = load(made, name)
    engine.model.transform.min_size, engine.model.transform.max_size = (320,), 640  # 800 pixels take minutes on a CPU
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8)).resize((320, 240), Image.Resampling.BICUBIC)
    seen = []
    hook = engine.model.roi_heads.box_head.register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.inference_mode():
        engine.model([torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy()).float() / 255])
    hook.remove()
    pooled = seen[0].flatten(1)
    with torch.inference_mode():
        soft = torch.softmax(engine.model.roi_heads.box_predictor(pooled)[0], -1).numpy()
    found = engine.detect([engine.prepare(image)])[0]
    assert found.features.shape == (len(found.boxes), MODELS[name]) and len(found.boxes) >= 10
    for feature, labels in zip(found.features.astype(np.float32), found.soft_labels.astype(np.float32), strict=True):
        row = int((np.abs(soft - labels).max(1) + np.abs(pooled.numpy() - feature).max(1)).argmin())
        np.testing.assert_allclose(labels, soft[row], atol=1e-3)
        np.testing.assert_allclose(feature, pooled[row].numpy(), rtol=1e-3, atol=1e-3)


def test_regions_above_the_threshold_are_torchvisions_own_output(made):
    engine = load(made, SMALL, unique=False)
    rng = np.random.default_rng(2)
    image = Image.fromarray(rng.integers(0, 255, (30, 40, 3), np.uint8)).resize((400, 300), Image.Resampling.BICUBIC)
    with torch.inference_mode():
        output = engine.model([torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy()).float() / 255])[0]
    found = engine.detect([engine.prepare(image)])[0]
    sure = int((output["scores"] > 0.2).sum())
    assert sure > 10
    np.testing.assert_allclose(found.boxes[:sure], output["boxes"][:sure].numpy(), atol=1e-3)
    np.testing.assert_allclose(found.confidence[:sure], output["scores"][:sure].numpy(), atol=1e-4)
    np.testing.assert_array_equal(found.classes[:sure], output["labels"][:sure].numpy())


@pytest.mark.parametrize("size", [(640, 480), (427, 640), (500, 375), (333, 500), (224, 224), (1333, 77), (4000, 3000)])
def test_sizes_and_pixels_are_those_of_torchvisions_transform(made, size):
    engine = load(made, SMALL)
    image = Image.effect_noise(size, 60).convert("RGB")
    expected = engine.model.transform([torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy()).float() / 255])[0].tensors[0]
    prepared = engine.prepare(image)
    assert engine.shape(*size) == prepared.shape == tuple(expected.shape[-2:])
    height, width = prepared.pixels.shape[-2:]
    np.testing.assert_allclose(prepared.pixels.numpy(), expected[:, :height, :width].numpy(), atol=1e-5)
    assert not expected[:, height:].any() and not expected[:, :, width:].any()


def test_boxes_are_in_pixels_of_the_upright_image(made, tmp_path):
    engine = load(made, SMALL)
    rng = np.random.default_rng(4)
    upright = Image.fromarray(rng.integers(0, 255, (40, 30, 3), np.uint8)).resize((240, 320), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6  # displayed rotated by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert ImageOps.exif_transpose(Image.open(tmp_path / "turned.png")).size == (240, 320)
    turned, plain = (engine.detect([engine.prepare(image)])[0] for image in (open_image(str(tmp_path / "turned.png")), upright))
    assert (turned.width, turned.height) == (240, 320)
    np.testing.assert_array_equal(turned.boxes, plain.boxes)


def test_reduced_precision_is_a_setting_and_close(made):
    rng = np.random.default_rng(6)
    image = Image.fromarray(rng.integers(0, 255, (30, 40, 3), np.uint8)).resize((320, 240), Image.Resampling.BICUBIC)
    full, half = load(made, SMALL), load(made, SMALL, precision="bfloat16")
    assert full.fingerprint != half.fingerprint
    ours, theirs = (engine.detect([engine.prepare(image)])[0] for engine in (half, full))
    assert ours.features.dtype == np.float16 and np.isfinite(ours.features).all()
    assert abs(float(ours.features.mean()) - float(theirs.features.mean())) < 0.1 * abs(float(theirs.features.mean()))
