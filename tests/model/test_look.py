"""What heads attend to is what the network used, not a second opinion."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.training_corpus import Sizes, write_corpus
from model.checkpoint import CheckpointError
from model.look import attention_source, attention_within
from model.scoring import Scorer, load_network
from schemas.corpus import open_corpus
from schemas.errors import ConfigError
from schemas.ids import placement
from tests.model.conftest import training


def pairs_of(corpus):
    """(pair id, image id) of every pair whose image has a row of regions."""
    held, _ = open_corpus(corpus)
    images, found = {}, []
    for part in range(held.partitions):
        images |= {placement(one): one for one in held.open("regions", "regions", part).read()["image_id"].to_pylist()}
        ids = held.open("tokens", "tokens", part).read()["pair_id"].to_pylist()
        places = held.open("tokens", "pair_index", part).read()["image"].to_pylist()
        found += [(one, images.get(place, "none")) for one, place in zip(ids, places, strict=True)]
    return found


def test_maps_of_every_pair_that_the_network_accepts(corpus, run):
    source = attention_source(run, corpus)
    assert source.step == 3 and source.joint
    shards, found = Scorer(*load_network(run), corpus).shards, 0
    regions = dict(zip(shards.pairs.columns["image"].tolist(), shards.pairs.columns["regions"].tolist(), strict=True))
    for row, (pair, image) in enumerate(pairs_of(corpus)):
        maps = source.maps(pair, image)
        count = regions[int(shards.pairs.columns["image"][row])]
        tokens = shards.pairs_at(np.array([row]))[0]
        assert tokens.pair_id == pair
        if not count or len(tokens.caption) + 2 > 40:
            assert maps is None
            continue
        found += 1
        size = min(count, 10) + len(tokens.caption) + 3
        assert maps.weights.shape == (4, 3, size, size) and len(maps.boxes) == min(count, 10) and len(maps.tokens) == len(tokens.caption)
        assert maps.weights.sum(-1) == pytest.approx(1, abs=1e-5) and (maps.weights >= 0).all()
    assert found > 10
    assert source.maps("no such pair", "no such image") is None
    assert source.maps("no such pair", pairs_of(corpus)[0][1]) is None


def test_weights_are_those_that_the_layers_apply(corpus, run):
    """The weighted sum of the values is what each layer hands to its output map, although the batch is padded."""
    network, held = load_network(run)
    scorer = Scorer(network, held, corpus)
    row = int(np.flatnonzero(scorer.shards.pairs.columns["regions"] > 0)[3])
    regions = scorer.shards.regions(scorer.shards.images_at(np.array([row]), alone=False)[0])
    batch = scorer.batch([regions], [scorer.shards.pairs_at(np.array([row]))[0].caption])
    assert not (batch.images.full and batch.texts.full)
    values, mixed = [], []
    hooks = [layer.qkv.register_forward_hook(lambda _, given, out: values.append(out)) for layer in network.body.layers]
    hooks += [layer.out.register_forward_pre_hook(lambda _, given: mixed.append(given[0])) for layer in network.body.layers]
    weights = attention_within(scorer, batch)
    for hook in hooks:
        hook.remove()
    count, wide = int(batch.images.counts[0]), batch.images.boxes.shape[1]
    kept = [*range(count + 1), *(wide + 1 + at for at in range(int(batch.texts.lengths[0])))]
    for layer, (qkv, out) in enumerate(zip(values, mixed, strict=True)):
        value = qkv[0, kept].unflatten(-1, (3, 3, -1))[:, 2].transpose(0, 1)
        made = (torch.from_numpy(weights[layer]) @ value).transpose(0, 1).flatten(1)
        torch.testing.assert_close(made, out[0, kept], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("objectives", "joint"),
    [({"cmcl": {"encoding": "separate", "in_batch": True}}, False), ({"cmcl": {}}, True), ({"mlm": {}}, True)],
)
def test_whether_image_and_text_were_ever_encoded_together(corpus, tmp_path, objectives, joint):
    from model.config import TrainSettings, wanted
    from model.data.loader import Batches, ShardLoader
    from model.train import train

    settings = TrainSettings.model_validate(training(corpus, tmp_path, objectives=objectives, steps=1))
    train(settings, ShardLoader(Batches(settings.data, seed=0, masking=settings.masking, wanted=wanted(settings))))
    assert attention_source(str(tmp_path), corpus).joint is joint


def test_a_checkpoint_that_is_absent_damaged_or_of_another_corpus(corpus, run, tmp_path):
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        attention_source(str(tmp_path), corpus)
    copy = shutil.copytree(run, tmp_path / "run")
    path = next(copy.glob("step-*/model.safetensors"))
    held = load_file(path)
    save_file({name: tensor + 1 for name, tensor in held.items()}, path)
    with pytest.raises(CheckpointError, match="damaged"):
        attention_source(str(copy), corpus)
    other = write_corpus(str(tmp_path / "other"), Sizes(images=2, captions=1, alone=1, texts=1, partitions=1, features=9))
    with pytest.raises(ConfigError, match="features"):
        attention_source(run, other.url)
