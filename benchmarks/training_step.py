"""Forward and backward passes of size base, against `transformers`: VisualBERT, and RoBERTa with SDPA on given embeddings.

    python -m benchmarks.training_step [--pairs 4] [--regions 36] [--tokens 27] [--rounds 5] [--compile]

Same inputs, dropout and loss (the mean square of the last states), no padding, float32, one thread on a CPU. VisualBERT, which has eager
attention only, is given regions and tokens, as our network is; RoBERTa embeddings, as our layers are. With --compile, each is
also measured compiled. Steps alternate, in both orders; prints CPU seconds (on a GPU: seconds) of each, median and least, and the
median ratio of a round. With --memory, prints instead the size of the activations that our step keeps for the backward pass, measured
and calculated.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from model.attention import Layout
from model.batch import Batch, Images, Texts
from model.heads import Network
from model.transformer import SIZES, ModelSettings, Shape, Transformer

FEATURES, VOCABULARY, POSITIONS = 2048, 30522, 512
Step = Callable[[], Tensor]


def batch_of(pairs: int, regions: int, tokens: int, device: str) -> Batch:
    """Random pairs without padding; tokens: with `[CLS]` and `[SEP]`."""
    corners = torch.rand(pairs, regions, 5)
    counts, keys = torch.full((pairs,), regions), torch.arange(pairs)
    images = Images(torch.randn(pairs, regions, FEATURES), corners, torch.rand(pairs, regions), counts, keys, True)
    texts = Texts(torch.randint(5, VOCABULARY, (pairs, tokens)), torch.full((pairs,), tokens), keys, True)
    return Batch("pairs", tuple(map(str, range(pairs))), images, texts).to(device)


def _body(batch: Batch, compiled: bool) -> Transformer:
    body = Network(ModelSettings(size="base", positions=POSITIONS), Shape(vocabulary=VOCABULARY, features=FEATURES)).body
    body.to(batch.images.features.device).train()  # type: ignore[union-attr]
    for layer in body.layers if compiled else ():
        layer.compile()
    return body


def network(batch: Batch, compiled: bool) -> Step:
    """This project's network, pairs encoded jointly."""
    body = _body(batch, compiled)
    rows = torch.arange(len(batch), device=body.image.feature.weight.device)

    def step() -> Tensor:
        states = body.encode(body.embed(batch), rows, rows)
        assert states.regions is not None and states.tokens is not None and states.img is not None
        return torch.cat([states.img[:, None], states.regions, states.tokens], 1).square().mean()

    return _stepping(body, step)


def layers(batch: Batch, compiled: bool) -> Step:
    """This project's layers, on random embeddings of as many positions."""
    body, given = _body(batch, compiled), _given(batch)

    def step() -> Tensor:
        x = body.text.dropout(body.text.norm(given))  # RoBERTa does both to its input
        for layer in body.layers:
            x = layer(x, Layout())
        return x.square().mean()

    return _stepping(body, step)


def _given(batch: Batch) -> Tensor:
    assert batch.images is not None and batch.texts is not None
    length = 1 + batch.images.features.shape[1] + batch.texts.ids.shape[1]
    return torch.randn(len(batch), length, SIZES["base"][1], device=batch.texts.ids.device)


def visual_bert(batch: Batch, compiled: bool) -> Step:
    """VisualBERT: one segment for the words, one for `[IMG]` and the regions."""
    from transformers import VisualBertConfig, VisualBertModel

    assert batch.images is not None and batch.texts is not None
    model = VisualBertModel(VisualBertConfig(vocab_size=VOCABULARY, visual_embedding_dim=FEATURES, attention_probs_dropout_prob=0.0))
    model.to(batch.texts.ids.device).train()
    whole = torch.cat([batch.images.features.mean(1, keepdim=True), batch.images.features], 1)
    kinds, seen = torch.ones(whole.shape[:2], dtype=torch.int64, device=whole.device), torch.ones_like(batch.texts.ids)
    run = torch.compile(model) if compiled else model

    def step() -> Tensor:
        found = run(input_ids=batch.texts.ids, attention_mask=seen, visual_embeds=whole, visual_token_type_ids=kinds,
                    visual_attention_mask=kinds)  # fmt: skip
        return found.last_hidden_state.square().mean()

    return _stepping(model, step)


def roberta(batch: Batch, compiled: bool) -> Step:
    """RoBERTa with SDPA, on random embeddings of as many positions."""
    from transformers import RobertaConfig, RobertaModel

    assert batch.texts is not None
    config = RobertaConfig(
        vocab_size=VOCABULARY, max_position_embeddings=POSITIONS + 2, attention_probs_dropout_prob=0.0, attn_implementation="sdpa"
    )
    model = RobertaModel(config, add_pooling_layer=False)
    model.to(batch.texts.ids.device).train()
    given = _given(batch)
    run = torch.compile(model) if compiled else model
    return _stepping(model, lambda: run(inputs_embeds=given).last_hidden_state.square().mean())


def _stepping(model: torch.nn.Module, loss: Step) -> Step:
    def step() -> Tensor:
        model.zero_grad(set_to_none=True)
        found = loss()
        found.backward()
        return found.detach()

    return step


def seconds(step: Step, device: str) -> float:
    """CPU seconds of one step; on a GPU, seconds until it has finished."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    step()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start


def main() -> None:
    """Measures all, alternating."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in (("pairs", 4), ("regions", 36), ("tokens", 27), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--memory", action="store_true")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    torch.manual_seed(0)
    batch = batch_of(args.pairs, args.regions, args.tokens, device)
    if args.memory:
        return memory(batch, args.pairs * (1 + args.regions + args.tokens), device)
    makers = {"network": network, "VisualBERT": visual_bert, "layers": layers, "RoBERTa": roberta}
    ways = (False, True) if args.compile else (False,)
    steps = {name + (", compiled" if compiled else ""): maker(batch, compiled) for compiled in ways for name, maker in makers.items()}
    found: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(args.rounds + 1):  # the first one warms up
        for name in list(steps)[:: 1 if number % 2 else -1]:
            found[name].append(seconds(steps[name], device))
    rounds = {name: np.array(taken[1:]) for name, taken in found.items()}
    for name, taken in rounds.items():
        print(f"{name:25} {np.median(taken):.3f} s (least {taken.min():.3f})")
    for peer, own in (("VisualBERT", "network"), ("RoBERTa", "layers")):
        theirs, mine = (min((rounds[name] for name in rounds if name.startswith(side)), key=np.median) for side in (peer, own))
        print(f"{peer} over our {own}: {np.median(theirs / mine):.2f} by rounds, {theirs.min() / mine.min():.2f} by the least")


def memory(batch: Batch, tokens: int, device: str) -> None:
    """Prints the bytes of activations that autograd keeps for the backward pass, measured and calculated."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    body = _body(batch, compiled=False)
    weights = {parameter.untyped_storage().data_ptr() for parameter in body.parameters()}
    rows = torch.arange(len(batch), device=device)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        body.encode(body.embed(batch), rows, rows)
    held = sum(size for pointer, size in kept.items() if pointer not in weights)
    layers, width, _ = SIZES["base"]
    # A layer keeps, in float32 per token: its input, q k v, the attention's output, two sums before and one state after normalising
    # (8 widths), the feed-forward network before and after GELU (8 widths), and two masks of dropout, a byte each.
    expected = layers * tokens * width * (16 * 4 + 2)
    print(f"kept for the backward pass: {held / 2**20:.0f} MiB; by arithmetic: {expected / 2**20:.0f} MiB; ratio {held / expected:.2f}")


if __name__ == "__main__":
    main()
