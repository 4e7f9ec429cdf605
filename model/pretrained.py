"""Loads published weights: RoBERTa or BERT (safetensors) for the text side, UNITER (a torch archive, from which only tensors are read), or
UNIMO as `model/convert.py` writes it.

Segment embeddings are folded into the parameters that they are always added to: the text row of BERT and UNITER into the positions,
UNITER's image row into the bias of the locations' normalisation. Heads that the file lacks keep their random weights.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
from collections.abc import Callable, Iterator

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from model.checkpoint import CheckpointError
from model.heads import Network
from schemas import files
from schemas.torch_files import why_oversized

_LAYER = {"out": "attention.output.dense", "attention_norm": "attention.output.LayerNorm", "up": "intermediate.dense",
          "down": "output.dense", "norm": "output.LayerNorm"}  # fmt: skip
_UNITER = {"body.image.feature": "img_linear", "body.image.feature_norm": "img_layer_norm", "body.image.location": "pos_linear",
           "body.image.location_norm": "pos_layer_norm", "body.image.norm": "LayerNorm"}  # fmt: skip
_HEADS = {"tokens.dense": ("cls.predictions.transform.dense", "lm_head.dense"),
          "tokens.norm": ("cls.predictions.transform.LayerNorm", "lm_head.layer_norm"),
          "features.dense": ("feat_regress.net.0",), "features.norm": ("feat_regress.net.2",),
          "classes.dense": ("region_classifier.net.0",), "classes.norm": ("region_classifier.net.2",),
          "classes.out": ("region_classifier.net.3",)}  # fmt: skip
_BIASES = {"tokens.bias": ("cls.predictions.bias", "lm_head.bias"), "features.bias": ("feat_regress.bias",)}


_CONVERTED = "body.text.word.weight"
_log = logging.getLogger(__name__)


def start_from(network: Network, url: str) -> list[str]:
    """Loads published weights into a network; returns the names of the file's tensors that were not used.

    url: the file, or a folder with `model.safetensors`, as `transformers` writes it.

    Raises CheckpointError when the file is not such a checkpoint, or its widths, layers, vocabulary or positions are not the network's.
    """
    path = files.local_path(url)
    if os.path.isdir(path):
        path = url = os.path.join(path, "model.safetensors")
    held = {_modern(name): tensor for name, tensor in _read(path).items()}
    own = network.state_dict()
    if _CONVERTED in held:
        _check_layers(network, held, url, r"body\.layers\.(\d+)\.")
        new = _converted(network, own, held, url)
        _take_over(network, own, new, url)
        return sorted(held.keys() - new.keys())
    prefix = next((prefix for prefix in ("uniter.", "roberta.", "bert.", "") if f"{prefix}embeddings.word_embeddings.weight" in held), None)
    if prefix is None:
        raise CheckpointError(
            f"{url} has no embeddings.word_embeddings.weight, so it is not a RoBERTa, BERT, UNITER or converted UNIMO checkpoint"
        )
    if prefix == "uniter." and network.settings.embedding != "uniter":
        raise CheckpointError(f"{url} is a UNITER checkpoint: it requires model.embedding: uniter, not {network.settings.embedding}")
    _check_layers(network, held, url, rf"{prefix}encoder\.layer\.(\d+)\.")
    # Without a prefix, RoBERTa is known by its single kind of segment.
    roberta = prefix == "roberta." or not prefix and len(held.get("embeddings.token_type_embeddings.weight", ())) == 1
    _compare_epsilon(network, 1e-5 if roberta else 1e-12, path)
    if prefix == "uniter." and network.body.image.mask is None:
        _log.warning("%s: its embedding of hidden regions is not used; model.region_mask: learned uses it", url)
    used: set[str] = set()

    def take(name: str) -> Tensor:
        if name not in held:
            raise CheckpointError(f"{url} has no tensor {name}")
        used.add(name)
        return held[name].float()

    new = {
        **_body(network, prefix, 2 if roberta else 0, take),
        **(_images(own, held, take) if prefix == "uniter." else {}),
        **_heads(own, held, prefix, take),
    }
    _take_over(network, own, new, url)
    return sorted(held.keys() - used)


def _check_layers(network: Network, held: dict[str, Tensor], url: str, pattern: str) -> None:
    """Raises CheckpointError when a file has another number of layers; pattern: of their tensors' names."""
    layers = len({match[1] for name in held if (match := re.match(pattern, name))})
    if layers != len(network.body.layers):
        raise CheckpointError(f"{url} has {layers} layers, but model.size: {network.settings.size} has {len(network.body.layers)}")


def _compare_epsilon(network: Network, theirs: float, path: str) -> None:
    """Warns when the file's normalisations add another epsilon: that of `config.json` beside it, else `theirs`."""
    try:
        with open(os.path.join(os.path.dirname(path), "config.json"), encoding="utf-8") as file:
            theirs = float(json.load(file)["layer_norm_eps"])
    except (OSError, ValueError, TypeError, KeyError):
        pass
    if theirs != network.settings.epsilon:
        _log.warning("%s: was trained with model.epsilon: %g, not %g, so states differ slightly", path, theirs, network.settings.epsilon)


def _take_over(network: Network, own: dict[str, Tensor], new: dict[str, Tensor], url: str) -> None:
    """Loads tensors into a network. Raises CheckpointError when one has another shape."""
    for name, tensor in new.items():
        if tensor.shape != own[name].shape:
            raise CheckpointError(
                f"{url} does not fit: {name} is {list(tensor.shape)} in it and {list(own[name].shape)} in this network "
                f"(model.size: {network.settings.size}, vocabulary {network.shape.vocabulary}, "
                f"features {network.shape.features}, geometry {network.shape.geometry}, classes {network.shape.classes})"
            )
    network.load_state_dict({**own, **new})


def _converted(network: Network, own: dict[str, Tensor], held: dict[str, Tensor], url: str) -> dict[str, Tensor]:
    """What a converted file has of a network. Raises CheckpointError when a part of the Transformer is missing."""
    for name in own:
        if name.startswith("body.") and name != "body.image.mask" and name not in held:
            raise CheckpointError(f"{url} has no tensor {name}; as converted from UNIMO, it requires model.embedding: unimo")
    new = {name: tensor for name, tensor in held.items() if name in own}
    new["body.text.position.weight"] = _positions(held["body.text.position.weight"], network)
    return new


def _positions(table: Tensor, network: Network) -> Tensor:
    wanted = network.settings.positions
    if len(table) < wanted:
        raise CheckpointError(f"the checkpoint has {len(table)} positions, fewer than model.positions: {wanted}")
    return table[:wanted]


def _body(network: Network, prefix: str, first: int, take: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """Text embeddings and layers; first: of the positions used, which RoBERTa counts from its padding id + 1."""
    segment = take(f"{prefix}embeddings.token_type_embeddings.weight")[0]
    positions = _positions(take(f"{prefix}embeddings.position_embeddings.weight")[first:], network)
    new = {
        "body.text.word.weight": take(f"{prefix}embeddings.word_embeddings.weight"),
        "body.text.position.weight": positions + segment,
        **dict(_linear("body.text.norm", f"{prefix}embeddings.LayerNorm", take)),
    }
    for number in range(len(network.body.layers)):
        theirs, ours = f"{prefix}encoder.layer.{number}.", f"body.layers.{number}."
        for kind in ("weight", "bias"):
            new[f"{ours}qkv.{kind}"] = torch.cat([take(f"{theirs}attention.self.{part}.{kind}") for part in ("query", "key", "value")])
        for name, published in _LAYER.items():
            new.update(_linear(ours + name, theirs + published, take))
    return new


def _images(own: dict[str, Tensor], held: dict[str, Tensor], take: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """UNITER's region embeddings."""
    new = {name: tensor for ours, theirs in _UNITER.items() for name, tensor in _linear(ours, f"uniter.img_embeddings.{theirs}", take)}
    new["body.image.location_norm.bias"] = new["body.image.location_norm.bias"] + take("uniter.embeddings.token_type_embeddings.weight")[1]
    if "body.image.mask" in own and "uniter.img_embeddings.mask_embedding.weight" in held:
        new["body.image.mask"] = take("uniter.img_embeddings.mask_embedding.weight")[1]
    return new


def _heads(own: dict[str, Tensor], held: dict[str, Tensor], prefix: str, take: Callable[[str], Tensor]) -> dict[str, Tensor]:
    """The heads that the file has and the network can use."""
    new: dict[str, Tensor] = {}
    for ours, names in {**_HEADS, "match.pool": (f"{prefix}pooler.dense",)}.items():
        for theirs in names:
            if f"{theirs}.weight" in held and f"{ours}.weight" in own:
                new.update(_linear(ours, theirs, take))
    for ours, names in _BIASES.items():
        for theirs in names:
            if theirs in held:
                new[ours] = take(theirs)
    if "itm_output.weight" in held:  # two logits, of which only the difference matters
        weight, bias = take("itm_output.weight"), take("itm_output.bias")
        new.update({"match.out.weight": weight[1:] - weight[:1], "match.out.bias": bias[1:] - bias[:1]})
    return new


def _linear(ours: str, theirs: str, take: Callable[[str], Tensor]) -> Iterator[tuple[str, Tensor]]:
    for kind in ("weight", "bias"):
        yield f"{ours}.{kind}", take(f"{theirs}.{kind}")


def _modern(name: str) -> str:
    """A tensor's name, with TensorFlow's names of normalisation weights (in older files) replaced by torch's."""
    return re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name))


def _read(path: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file or a torch archive."""
    try:
        if path.endswith(".safetensors"):
            return safetensors.torch.load_file(path)
        if why := why_oversized(path):
            raise CheckpointError(f"{path} {why}")
        held = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"start: {path} does not exist") from None
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path} is not a complete checkpoint of tensors only: {str(error).splitlines()[0]}") from None
    if not isinstance(held, dict) or not all(isinstance(tensor, Tensor) for tensor in held.values()):
        raise CheckpointError(f"{path} must hold a mapping of names to tensors")
    return held
