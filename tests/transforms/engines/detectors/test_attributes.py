"""The embedded detector's attribute head: what it names, and how it is trained."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="engines need torch")
pytest.importorskip("pycocotools", reason="measures average precision")

from transforms.engines.detectors.load import describe, detector  # noqa: E402
from transforms.engines.detectors.settings import DetectorSettings  # noqa: E402
from transforms.engines.training.detector.pictures import ATTRIBUTES, applies, frequencies, sample  # noqa: E402
from transforms.engines.training.detector.quality import attribute_shares  # noqa: E402
from transforms.engines.training.detector.train import displaced, losses_of, make_network, parser  # noqa: E402
from transforms.scenes.draw import render  # noqa: E402
from transforms.scenes.layout import sample_scene  # noqa: E402
from transforms.scenes.world import COLOURS  # noqa: E402

SEED = 977_006


def test_regions_name_the_attributes_of_unseen_objects():
    shares = attribute_shares(detector(DetectorSettings()), SEED, 60)
    assert set(COLOURS) <= set(shares) <= set(ATTRIBUTES)
    assert np.mean([shares[name] for name in COLOURS]) >= 0.85


def test_features_tell_colours():
    """A linear classifier on the features alone: what a network trained on the regions can use."""
    from sklearn.linear_model import LogisticRegression

    engine, features, colours = detector(DetectorSettings()), [], []
    for index in range(120):
        scene = sample_scene(SEED, index)
        regions = engine.detect([engine.prepare(render(scene))])[0]
        for item in scene.objects:
            nearest = np.abs(regions.boxes - np.array(item.box)).max(1).argmin()
            features.append(regions.features[nearest].astype(np.float32))
            colours.append(item.colour)
    half = len(colours) // 2
    ranker = LogisticRegression(max_iter=300).fit(np.stack(features[:half]), colours[:half])
    assert ranker.score(np.stack(features[half:]), colours[half:]) >= 0.7


def test_the_description_names_the_attributes():
    info = describe(DetectorSettings())
    assert info.attribute_names == ATTRIBUTES and info.attributes == len(ATTRIBUTES)


def test_pictures_keep_each_objects_attributes_whatever_is_cut_off():
    shares = frequencies(SEED, 50)
    for number in range(30):
        plain, spoilt = (sample(SEED, number, shares, hard)[1] for hard in (False, True))
        rows = {(int(label), tuple(own.tolist())) for label, own in zip(plain["labels"], plain["attributes"], strict=True)}
        assert len(spoilt["boxes"]) == len(spoilt["labels"]) == len(spoilt["attributes"]) <= len(plain["boxes"])
        assert {(int(label), tuple(own.tolist())) for label, own in zip(spoilt["labels"], spoilt["attributes"], strict=True)} <= rows
        assert plain["attributes"][:, : len(COLOURS)].sum(1).tolist() == [1.0] * len(plain["labels"])  # each thing has one colour
    scene = sample_scene(SEED, 0)
    assert [ATTRIBUTES[at] for at in np.flatnonzero(applies(scene.objects[0]))] == [
        one for one in ATTRIBUTES if one in scene.objects[0].attributes
    ]


def test_the_loss_reaches_the_features_and_needs_pictures_of_the_networks_size():
    network = make_network(parser().parse_args(["--work", "unused"])).train()
    shares = frequencies(SEED, 50)
    samples = [sample(SEED, number, shares) for number in range(2)]
    losses_of(network, samples)["loss_attributes"].backward()
    head = network.roi_heads
    assert head.attribute_predictor.weight.grad.abs().sum() > 0 and head.box_head.fc7.weight.grad.abs().sum() > 0
    assert head.box_predictor.cls_score.weight.grad is None  # the other losses were not asked for
    nothing = [(image, {name: value[:0] for name, value in target.items()}) for image, target in samples]
    assert float(losses_of(network, nothing)["loss_attributes"].detach()) == 0
    small = [(image[:, ::2, ::2], {**target, "boxes": target["boxes"] / 2}) for image, target in samples]
    with pytest.raises(ValueError, match="draw them in that size"):
        losses_of(network, small)


def test_displaced_boxes_stay_near():
    boxes = torch.tensor([[10.0, 20.0, 50.0, 40.0]]).repeat(500, 1)
    moved = (displaced(boxes) - boxes).abs()
    assert moved[:, [0, 2]].max() <= 4 and moved[:, [1, 3]].max() <= 2 and moved.max() > 3
