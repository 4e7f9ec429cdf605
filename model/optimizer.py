"""AdamW; warm-up and decay are given as shares of the training rather than steps, so they also work with a budget of operations."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from model.heads import TEMPERATURE, Network
from schemas.settings import Settings

Decay = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSettings(Settings):
    """AdamW; UNITER's settings are the defaults."""

    lr: float = Field(5e-5, gt=0, description="peak learning rate")
    head: float = Field(1.0, gt=0, description="what the learning rate of a downstream task's head is multiplied by; UNITER's VQA has 10")
    betas: tuple[Decay, Decay] = Field((0.9, 0.98), description="decay rates of AdamW's two moments")
    epsilon: float = Field(1e-6, gt=0, description="AdamW's epsilon")
    weight_decay: float = Field(0.01, ge=0, description="weight decay of matrices; biases, normalisation and the temperature have none")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the training during which the learning rate rises from 0")
    decay: Literal["linear", "cosine", "constant"] = Field("linear", description="shape of the learning rate's decay, to 0 at the end")
    clip: float | None = Field(5.0, gt=0, description="maximum gradient norm; null: no clipping")


def optimizer_of(network: Network, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW over the network's parameters in a fixed order."""
    trained = [(name.startswith("task."), parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    groups = [
        {"params": held, "weight_decay": settings.weight_decay if matrices else 0.0, "factor": settings.head if head else 1.0}
        for head in (False, True)
        for matrices in (True, False)
        if (held := [parameter for own, parameter in trained if own is head and (parameter.ndim > 1) is matrices])
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.epsilon, fused=trained[0][1].is_cuda)


def rate(settings: OptimizerSettings, done: float) -> float:
    """The learning rate after the share `done` in [0, 1] of the training."""
    if done < settings.warmup:
        return settings.lr * done / settings.warmup
    left = 1 - min(1.0, (done - settings.warmup) / (1 - settings.warmup))
    return settings.lr * {"linear": left, "cosine": 0.5 - 0.5 * math.cos(math.pi * left), "constant": 1.0}[settings.decay]


@torch.no_grad()
def constrain(network: Network) -> None:
    """Clamps the temperature, if it is learned, to its range."""
    if network.contrast.temperature.requires_grad:
        network.contrast.temperature.clamp_(*TEMPERATURE)


def gradient_norm(network: nn.Module) -> torch.Tensor:
    """L2 norm of all gradients."""
    return nn.utils.get_total_norm([parameter.grad for parameter in network.parameters() if parameter.grad is not None])


def state_tensors(network: Network, optimizer: torch.optim.AdamW) -> dict[str, torch.Tensor]:
    """AdamW's moments and step counts by parameter name."""
    return {
        f"{name}.{key}": value
        for name, parameter in network.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_state_tensors(network: Network, optimizer: torch.optim.AdamW, tensors: dict[str, torch.Tensor]) -> None:
    """Restores the state that `state_tensors` returned."""
    for name, parameter in network.named_parameters():
        held = {key: tensors[f"{name}.{key}"] for key in ("step", "exp_avg", "exp_avg_sq") if f"{name}.{key}" in tensors}
        if held:  # step counts stay on the CPU unless AdamW is fused
            optimizer.state[parameter] = {
                key: value.to(parameter.device if parameter.is_cuda or key != "step" else "cpu").clone() for key, value in held.items()
            }
