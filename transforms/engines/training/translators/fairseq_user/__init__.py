"""fairseq's `--user-dir` for training: the same network and loss as fairseq's own, several times faster on a CPU."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.models import register_model, register_model_architecture
from fairseq.models.transformer import TransformerModel
from fairseq.modules import MultiheadAttention
from fairseq.modules.fairseq_dropout import FairseqDropout
from torch import Tensor

from . import muon

__all__ = ["ByteDropout", "CaptionTransformer", "FusedLabelSmoothing", "muon", "smoothed_loss"]

torch.serialization.add_safe_globals([Namespace])  # fairseq stores settings in a Namespace; required to resume from its checkpoints


class ByteDropout(torch.nn.Module):
    """Dropout with one random byte per element, eight per draw: torch's draws one by one take 8 % of a step.

    The probability is rounded to 1/256.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p, self.limit = p, round(p * 256)

    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        """x, float of any shape, with dropped elements zeroed and the others scaled; x itself in evaluation mode."""
        if not self.training or not self.limit:
            return x
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= self.limit
        return x * (kept.to(x.dtype) * (256 / (256 - self.limit)))


class _SmoothedLoss(torch.autograd.Function):
    """Output layer and label-smoothed cross entropy with gradients, a few rows at a time so that rows x classes fit in the cache."""

    @staticmethod
    def forward(
        context: Any, features: Tensor, weight: Tensor, target: Tensor, epsilon: float, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        classes, rows = weight.size(0), 256
        each = epsilon / (classes - 1)
        wanted = any(context.needs_input_grad)
        weights, inputs = weight.to(dtype), features.to(dtype)
        loss, nll = torch.zeros(()), torch.zeros(())
        grad_features, grad_weight = torch.empty_like(features), torch.zeros_like(weight)
        for start in range(0, len(target), rows):
            part, gold = inputs[start : start + rows], target[start : start + rows, None]
            scores = (part @ weights.t()).float()
            right, mean, top = scores.gather(1, gold), scores.sum(1, keepdim=True), scores.amax(1, keepdim=True)
            grad = scores.sub_(top).exp_()
            total = grad.sum(1, keepdim=True)
            log_total = total.log() + top
            nll += (log_total - right).sum()
            loss += ((1.0 - epsilon - each) * (log_total - right) + each * (classes * log_total - mean)).sum()
            if wanted:
                grad.div_(total).sub_(each).scatter_add_(1, gold, torch.full_like(total, each + epsilon - 1.0))
                grad = grad.to(dtype)
                grad_features[start : start + rows] = grad @ weights
                grad_weight += grad.t() @ part
        context.save_for_backward(grad_features, grad_weight)
        context.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    def backward(context: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        grad_features, grad_weight = context.saved_tensors
        return grad_features * grads[0], grad_weight * grads[0], None, None, None


def smoothed_loss(
    features: Tensor, weight: Tensor, target: Tensor, epsilon: float, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """fairseq's label-smoothed loss of `features @ weight.T` and the negative log likelihood (without gradient), both summed, in nats.

    features: float32 (rows, width); weight: float32 (classes, width); target: int64 (rows,), without padding; dtype: that of the products.
    """
    loss, nll = _SmoothedLoss.apply(features, weight, target, epsilon, dtype)
    return loss, nll


class PlainAttention(MultiheadAttention):
    """fairseq's attention, with plain float32 products in training: torch's fused attention was ten times slower in bfloat16."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        incremental_state: Any = None,
        need_weights: bool = True,
        static_kv: bool = False,
        attn_mask: Tensor | None = None,
        before_softmax: bool = False,
        need_head_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As fairseq's: query is float (target length, batch, width), masks are true or -inf to ignore; no weights in training."""
        if not self.training:
            return super().forward(
                query,
                key,
                value,
                key_padding_mask,
                incremental_state,
                need_weights,
                static_kv,
                attn_mask,
                before_softmax,
                need_head_weights,
            )
        length, batch, width = query.shape
        shape = -1, batch * self.num_heads, self.head_dim
        q = (self.q_proj(query) * self.scaling).float().view(shape).transpose(0, 1)
        k = self.k_proj(key).float().view(shape).transpose(0, 1)
        v = self.v_proj(value).float().view(shape).transpose(0, 1)
        with torch.autocast("cpu", enabled=False):
            scores = torch.bmm(q, k.transpose(1, 2))
            if attn_mask is not None:
                scores = scores + attn_mask
            if key_padding_mask is not None:
                hidden = key_padding_mask.to(torch.bool)[:, None, None, :]
                scores = scores.view(batch, self.num_heads, length, -1).masked_fill(hidden, float("-inf")).view_as(scores)
            mixed = torch.bmm(scores.softmax(-1), v)
        return self.out_proj(mixed.transpose(0, 1).reshape(length, batch, width)), None


@register_criterion("fused_label_smoothing", dataclass=LabelSmoothedCrossEntropyCriterionConfig)
class FusedLabelSmoothing(LabelSmoothedCrossEntropyCriterion):
    """fairseq's `label_smoothed_cross_entropy`, computing logits only where the target is not padding."""

    def compute_loss(self, model: Any, net_output: Any, sample: Any, reduce: bool = True) -> tuple[Tensor, Tensor]:
        """Loss and negative log likelihood, summed over the batch, in nats."""
        features, target = net_output[0].flatten(0, 1), model.get_targets(sample, net_output).flatten()
        positions = (target != self.padding_idx).nonzero().squeeze(1)
        dtype = torch.bfloat16 if self.training else torch.float32
        weight = model.decoder.output_projection.weight
        return smoothed_loss(features.index_select(0, positions).float(), weight, target.index_select(0, positions), self.eps, dtype)

    def forward(self, model: Any, sample: Any, reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        """Loss, sample size and logging output, as fairseq's."""
        output = model(**sample["net_input"], features_only=True)
        loss, nll = self.compute_loss(model, output, sample)
        size = sample["ntokens"]
        return (
            loss,
            size,
            {"loss": loss.data, "nll_loss": nll.data, "ntokens": size, "nsentences": sample["target"].size(0), "sample_size": size},
        )


def _quicken(module: torch.nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, FairseqDropout):
            setattr(module, name, ByteDropout(child.p))
        elif type(child) is MultiheadAttention:
            child.__class__ = PlainAttention  # same parameter names
        else:
            _quicken(child)


@register_model("caption_transformer")
class CaptionTransformer(TransformerModel):
    """fairseq's Transformer with bfloat16 matrix products in training. Its checkpoints also load as `transformer`."""

    @classmethod
    def build_model(cls, args: Any, task: Any) -> Any:
        """A model with fairseq's settings and the faster layers."""
        model = super().build_model(args, task)
        _quicken(model)
        return model

    def forward(self, *args: Any, **settings: Any) -> Any:
        """As fairseq's, with features in float32."""
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.training):
            return super().forward(*args, **settings)


@register_model_architecture("caption_transformer", "caption_transformer")
def caption_transformer(args: Any) -> None:
    """No defaults besides the command's settings."""
    from fairseq.models.transformer.transformer_legacy import base_architecture

    base_architecture(args)
