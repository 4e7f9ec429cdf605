"""Attention weights of a checkpoint's heads for pairs of a corpus."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model.attention import weights_of
from model.batch import Batch
from model.checkpoint import Checkpoint
from model.scoring import Scorer, load_network
from schemas.attention_maps import AttentionMaps, AttentionSource
from schemas.ids import placement
from schemas.token_rows import PairTokens

_SEPARATE = frozenset({"cmcl", "seq2seq"})  # objectives that can be trained without joint sequences of image and text


def attention_source(checkpoint_url: str, corpus: str) -> AttentionSource:
    """Computes the attention maps of a checkpoint (or of a run's newest) for the pairs of a corpus.

    Raises CheckpointError, CorpusError or ConfigError when one of the two cannot be read, or they do not fit each other.
    """
    network, held = load_network(checkpoint_url)
    scorer = Scorer(network, held, corpus)
    return AttentionSource(held.state["step"], _is_joint(held), lambda pair_id, image_id: _maps(scorer, pair_id, image_id))


def _is_joint(held: Checkpoint) -> bool:
    settings = held.state["settings"]
    objectives = {name: value for name, value in settings["objectives"].items() if value is not None}
    alone = objectives.keys() <= _SEPARATE and objectives.get("cmcl", {}).get("encoding") != "joint"
    return settings["task"] != "pretrain" or not alone


def _maps(scorer: Scorer, pair_id: str, image_id: str) -> AttentionMaps | None:
    found = _pair(scorer, pair_id, image_id)
    if found is None or not scorer.fits(np.array([len(found[1].caption)]))[0]:
        return None
    row, pair = found
    regions = scorer.shards.regions(scorer.shards.images_at(np.array([row]), alone=False)[0])
    batch = scorer.batch([regions], [pair.caption])
    assert batch.images is not None
    kept = int(batch.images.counts[0])
    ids, pieces = pair.caption.tolist(), scorer.tokenizer.pieces
    tokens = [scorer.tokenizer.decode([one]).strip() or pieces[one] for one in ids]
    classes = None if regions.classes is None else np.array(regions.classes[:kept])
    weights = attention_within(scorer, batch)
    return AttentionMaps(tokens, regions.width, regions.height, np.array(regions.boxes[:kept]), classes, weights)


def _pair(scorer: Scorer, pair_id: str, image_id: str) -> tuple[int, PairTokens] | None:
    """The row and the tokens of a pair whose image has regions."""
    pairs, placed = scorer.shards.pairs, placement(image_id)
    row = int(pairs.find("image", np.array([placed]))[0])
    while 0 <= row < pairs.rows and pairs.columns["image"][row] == placed:
        pair = scorer.shards.pairs_at(np.array([row]))[0]
        if pair.pair_id == pair_id:
            return (row, pair) if pairs.columns["regions"][row] > 0 else None
        row += 1
    return None


@torch.inference_mode()
def attention_within(scorer: Scorer, batch: Batch) -> np.ndarray:
    """The weights of every head in the joint sequence of the batch's first image and first text, float32 [layers, heads, S, S], without
    padding."""
    body, found = scorer.network.body, []

    def keep(layer: nn.Module, _: Any, output: Tensor) -> None:
        found.append(output)

    hooks = [layer.qkv.register_forward_hook(keep) for layer in body.layers]
    try:
        one, embedded = torch.zeros(1, dtype=torch.int64, device=scorer.device), body.embed(batch)
        body.encode(embedded, one, one)
    finally:
        for hook in hooks:
            hook.remove()
    assert batch.images is not None and batch.texts is not None
    seen = torch.cat([
        torch.arange(batch.images.boxes.shape[1] + 1) <= int(batch.images.counts[0]),
        torch.arange(batch.texts.ids.shape[1]) < int(batch.texts.lengths[0]),
    ])  # fmt: skip
    heads = body.layers[0].heads
    return torch.stack([weights_of(one[0][seen.to(one.device)], heads) for one in found]).float().cpu().numpy()
