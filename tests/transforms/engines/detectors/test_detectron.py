"""The detectron2 engine against a stand-in with the package's interface: detectron2 is not on the package index.

The numbers are the stand-in's; the tests check which of its parts are called with what, and how their results are used.
"""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="engines need torch")

from PIL import Image  # noqa: E402

from schemas.rejects import Reason  # noqa: E402
from transforms.engines.detectors.base import DetectorError, DetectorInfo  # noqa: E402
from transforms.engines.detectors.detectron import Detectron2Detector, attributes_of  # noqa: E402
from transforms.engines.detectors.load import detector  # noqa: E402
from transforms.engines.detectors.settings import DetectorSettings  # noqa: E402
from transforms.engines.registry import forget_engines  # noqa: E402
from transforms.ingest.images.fetch import ImageError  # noqa: E402

FEATURES, CLASSES, ATTRIBUTES = 6, 5, 6
CORNERS = torch.tensor([[0, 0, 20, 20], [10, 10, 60, 40], [30, 5, 70, 50.0]])
# Where attribute scores are: nowhere; after the deltas; before them (bottom-up-attention); in a module (grid features).
FORMS = ("none", "after", "before", "module")


def drawn():
    """Scores [3, 5], attribute scores [3, 7] whose last column means "none" and is the largest."""
    torch.manual_seed(0)
    scores, attributes = torch.randn(3, CLASSES) * 3, torch.randn(3, ATTRIBUTES + 1)
    attributes[:, -1] = 9
    return scores, attributes


class Halve:
    """`ResizeShortestEdge`, as far as the engine uses it."""

    def __init__(self, *sizes):
        pass

    def get_transform(self, image):
        return SimpleNamespace(new_h=image.shape[0] // 2, new_w=image.shape[1] // 2, apply_image=lambda pixels: pixels[::2, ::2])


class Predictor(torch.nn.Module):
    def __init__(self, form, coder):
        super().__init__()
        self.form = form
        self.cls_score, self.bbox_pred = torch.nn.Linear(FEATURES, CLASSES), torch.nn.Linear(FEATURES, 4 * (CLASSES - 1))
        if coder:
            self.box2box_transform = coder

    def forward(self, pooled):
        scores, attributes = drawn()
        deltas = torch.zeros(len(pooled), self.bbox_pred.out_features)
        return {"after": (scores, deltas, attributes), "before": (scores, attributes, deltas)}.get(self.form, (scores, deltas))


class Heads(torch.nn.Module):
    """`StandardROIHeads`; before detectron2 0.2 it had the box coder, later the predictor does."""

    def __init__(self, form, old):
        super().__init__()
        coder = SimpleNamespace(apply_deltas=lambda deltas, boxes: boxes.repeat(1, deltas.shape[1] // 4))
        self.box_predictor, self.in_features = Predictor(form, None if old else coder), ["p2"]
        if old:
            self.box2box_transform = coder
        if form == "module":
            self.attribute_predictor = lambda features, classes: torch.nn.functional.one_hot(classes, ATTRIBUTES).float()
        self.box_pooler, self.box_head = (lambda held, boxes: torch.arange(18.0).reshape(3, FEATURES, 1, 1)), torch.nn.Identity()


class Proposals:
    proposal_boxes = SimpleNamespace(tensor=CORNERS)

    def __len__(self):
        return len(CORNERS)


class Model(torch.nn.Module):
    def __init__(self, form="none", old=False):
        super().__init__()
        torch.manual_seed(1)
        self.roi_heads = Heads(form, old)

    def preprocess_image(self, batch):
        return SimpleNamespace(
            tensor=torch.stack([one["image"] for one in batch]), image_sizes=[tuple(one["image"].shape[-2:]) for one in batch]
        )

    def backbone(self, tensor):
        return {"p2": tensor}

    def proposal_generator(self, images, features, truth):
        return [Proposals() for _ in images.image_sizes], {}


class Config(SimpleNamespace):
    """`CfgNode`, as far as the engine uses it. Like detectron2's, it executes code in a YAML file unless `allow_unsafe` is false."""

    def set_new_allowed(self, allowed):
        pass

    def merge_from_file(self, path, allow_unsafe=True):
        with open(path) as file:
            self.said = yaml.load(file, yaml.UnsafeLoader if allow_unsafe else yaml.SafeLoader)  # noqa: S506

    def dump(self):
        return yaml.safe_dump(self.said)


@pytest.fixture
def package(monkeypatch):
    parts = {name: ModuleType(f"detectron2.{name}") for name in ("data", "data.transforms", "config", "modeling")}
    parts["data.transforms"].ResizeShortestEdge = Halve
    parts["config"].get_cfg = lambda: Config(**vars(config("none")))
    parts["modeling"].build_model = lambda settings: Model()
    whole = ModuleType("detectron2")
    whole.__version__ = "0.6"
    for name, part in {"detectron2": whole, **{f"detectron2.{name}": part for name, part in parts.items()}}.items():
        monkeypatch.setitem(sys.modules, name, part)
    forget_engines()
    yield
    forget_engines()


def config(form):
    head = {"ATTR": True, "NUM_ATTRS": ATTRIBUTES} if form in ("after", "before") else {}
    model = {"ROI_HEADS": SimpleNamespace(NMS_THRESH_TEST=0.5), "ROI_BOX_HEAD": SimpleNamespace(**head)}
    if form == "module":
        model["ROI_ATTRIBUTE_HEAD"] = SimpleNamespace(NUM_CLASSES=ATTRIBUTES)
    return SimpleNamespace(INPUT=SimpleNamespace(MIN_SIZE_TEST=50, MAX_SIZE_TEST=80, FORMAT="BGR"), MODEL=SimpleNamespace(**model))


def engine_of(form="none", old=False, features=FEATURES):
    settings = config(form)
    info = DetectorInfo("stand-in", features, CLASSES, None, attributes_of(settings))
    return Detectron2Detector(Model(form, old), settings, info, DetectorSettings())


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_regions_have_the_background_first_and_attributes_if_any(package, form, old):
    engine = engine_of(form, old)
    assert engine.info.attributes == (0 if form == "none" else ATTRIBUTES)
    found = engine.detect([engine.prepare(Image.new("RGB", (160, 100), (9, 8, 7)))])[0]
    scores, attributes = drawn()
    softmax = torch.softmax(scores, -1).numpy()
    order = np.argsort(-softmax[:, :4].max(1))
    classes = softmax[order, :4].argmax(1) + 1
    np.testing.assert_allclose(found.soft_labels, softmax[order][:, [4, 0, 1, 2, 3]], atol=1e-3)
    np.testing.assert_array_equal(found.classes, classes)
    np.testing.assert_array_equal(found.boxes, CORNERS.numpy()[order] * 2)
    np.testing.assert_array_equal(found.features, np.arange(18.0).reshape(3, FEATURES)[order])
    if form == "none":
        assert found.attributes is None
    else:
        expected = classes - 1 if form == "module" else attributes[:, :ATTRIBUTES].argmax(1).numpy()[order]
        np.testing.assert_array_equal(found.attributes, expected)


def test_pixels_are_in_the_order_that_the_config_says(package):
    prepared = engine_of().prepare(Image.new("RGB", (160, 100), (9, 8, 7)))
    assert prepared.shape == (64, 96) and prepared.pixels[:, 0, 0].tolist() == [7, 8, 9]


def test_an_image_of_which_nothing_would_be_left_is_refused(package):
    with pytest.raises(ImageError) as caught:
        engine_of().shape(1, 900)
    assert caught.value.reason == Reason.IMAGE_TOO_SMALL


def test_unexpected_widths_are_refused(package):
    with pytest.raises(DetectorError, match="width 6 and 5"):
        engine_of(features=7)


def files(folder, text="MODEL: {}", **more):
    """A config and a checkpoint of the stand-in's weights; None leaves one out."""
    state = {**Model().state_dict(), **more}
    (folder / "config.yaml").write_text(text)
    torch.save({"model": {name: value for name, value in state.items() if value is not None}}, folder / "weights.pth")
    return DetectorSettings(detector=f"detectron2:{folder / 'config.yaml'}@{folder / 'weights.pth'}")


def test_config_and_weights_make_a_detector_and_its_fingerprint(package, tmp_path):
    plain = detector(files(tmp_path)).info
    assert (plain.features, plain.classes, plain.attributes) == (FEATURES, CLASSES, 0)
    forget_engines()
    assert detector(files(tmp_path, text="MODEL:   {}")).info == plain  # the same settings
    seen = {plain.fingerprint}
    for change in ({"text": "MODEL: {DEPTH: 101}"}, {"roi_heads.box_predictor.cls_score.bias": torch.ones(CLASSES)}):
        forget_engines()
        seen.add(detector(files(tmp_path, **change)).info.fingerprint)
    assert len(seen) == 3


def test_constants_may_be_stored_or_not_but_every_weight_must_be(package, tmp_path):
    detector(files(tmp_path, **{"pixel_mean": torch.zeros(3), "proposal_generator.anchor_generator.cell_anchors.0": torch.zeros(3, 4)}))
    name = "roi_heads.box_predictor.cls_score.weight"
    for change in ({name: None}, {"backbone.stem.weight": torch.zeros(3)}, {name: torch.zeros(7, FEATURES)}):
        forget_engines()
        with pytest.raises(DetectorError, match="does not fit"):
            detector(files(tmp_path, **change))


def test_a_config_is_read_and_not_run(package, tmp_path, capsys):
    for text in ("!!python/object/apply:builtins.print ['a config ran code']", "a: [", "- !!python/name:os.system"):
        forget_engines()
        with pytest.raises(DetectorError, match="not a detectron2 config"):
            detector(files(tmp_path, text=text))
    assert "ran code" not in capsys.readouterr().out
