"""The heads that the objectives put on top of the Transformer, and the whole network."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.transformer import ModelSettings, Shape, States, Transformer

TEMPERATURE = (0.001, 0.5)  # range of a learned temperature (UNIMO-2)


class TiedHead(nn.Module):
    """What a state says, with embeddings as output weights: scores over the vocabulary, or the feature of a hidden region (UNITER)."""

    def __init__(self, width: int, size: int, epsilon: float):
        super().__init__()
        self.dense, self.norm, self.bias = nn.Linear(width, width), nn.LayerNorm(width, epsilon), nn.Parameter(torch.zeros(size))

    def forward(self, states: Tensor, embedding: Tensor) -> Tensor:
        """Maps [n, H] to [n, V]; embedding: [V, H]."""
        return F.linear(self.norm(F.gelu(self.dense(states))), embedding, self.bias)


class ClassHead(nn.Module):
    """Scores of a hidden region's classes, background first."""

    def __init__(self, width: int, classes: int, epsilon: float):
        super().__init__()
        self.dense, self.norm, self.out = nn.Linear(width, width), nn.LayerNorm(width, epsilon), nn.Linear(width, classes)

    def forward(self, states: Tensor) -> Tensor:
        """Maps [n, H] to [n, C]."""
        return self.out(self.norm(F.gelu(self.dense(states))))


class MatchHead(nn.Module):
    """Whether the image and text of a joint sequence belong together: BERT's pooler on `[CLS]`, then one logit.

    UNITER has two logits, of which only the difference matters.
    """

    def __init__(self, width: int):
        super().__init__()
        self.pool, self.out = nn.Linear(width, width), nn.Linear(width, 1)

    def forward(self, cls: Tensor) -> Tensor:
        """Maps [n, H] to [n]."""
        return wide(self.out(torch.tanh(self.pool(cls)))[:, 0])


class ContrastHead(nn.Module):
    """The score d(V, W) of CMCL, from h[IMG] and h[CLS].

    `dot`: cosine of ReLU-FC projections (UNIMO-2). `head`: FC(ReLU-FC(h_CLS) * ReLU-FC(h_IMG)), UNIMO's matching head; its dropout acts on
    the text's projection, which for one pair is the same as on the product. The form of d in UNIMO's pretraining is not published.
    temperature: learned or fixed by the objective. bias: added to scores under the sigmoid loss.
    """

    def __init__(self, width: int, form: str, dropout: float):
        super().__init__()
        self.form, self.dropout = form, nn.Dropout(dropout)
        self.image, self.text = nn.Linear(width, width), nn.Linear(width, width)
        self.out = nn.Linear(width, 1) if form == "head" else None
        self.temperature, self.bias = nn.Parameter(torch.tensor(0.07)), nn.Parameter(torch.tensor(-10.0))

    def of_images(self, img: Tensor) -> Tensor:
        """Projected images, [n, H]."""
        projected = wide(F.relu(self.image(img)))
        return F.normalize(projected, dim=-1) if self.out is None else projected

    def of_texts(self, cls: Tensor) -> Tensor:
        """Projected texts, [n, H]; a score is the dot product of an image and a text so projected, in either form."""
        projected = wide(F.relu(self.text(cls)))
        return F.normalize(projected, dim=-1) if self.out is None else self.dropout(projected) * self.out.weight[0]

    def pairs(self, images: Tensor, texts: Tensor) -> Tensor:
        """Scores of n projected images with n projected texts, one by one, [n]."""
        return (images * texts).sum(-1) + (0 if self.out is None else self.out.bias)

    def matrix(self, images: Tensor, texts: Tensor) -> Tensor:
        """Scores of every projected image with every projected text, [n, m], in their precision even under autocast."""
        with torch.autocast(images.device.type, enabled=False):
            scores = images @ texts.T
        return scores + (0 if self.out is None else self.out.bias)


class Network(nn.Module):
    """The Transformer with every head; heads that no objective uses only cost memory. task: the head of a downstream task."""

    def __init__(self, settings: ModelSettings, shape: Shape):
        super().__init__()
        self.settings, self.shape = settings, shape
        self.body = Transformer(settings, shape)
        width, epsilon = self.body.width, settings.epsilon
        self.tokens, self.match = TiedHead(width, shape.vocabulary, epsilon), MatchHead(width)
        self.features = TiedHead(width, shape.features, epsilon)
        self.classes = ClassHead(width, shape.classes, epsilon) if shape.classes else None
        self.contrast = ContrastHead(width, settings.contrast, settings.dropout)
        self.task: nn.Module | None = None
        self.apply(_initialise)

    def add_task(self, head: nn.Module) -> None:
        """Puts the head of a downstream task on top, with new weights."""
        self.task = head.apply(_initialise)

    def token_scores(self, states: Tensor) -> Tensor:
        """Maps [n, H] to scores over the vocabulary, at least float32 [n, V]."""
        return wide(self.tokens(states, self.body.text.word.weight))

    def score(self, states: States, head: Literal["match", "contrast"]) -> Tensor:
        """Scores of joint sequences by one of two heads, [S]."""
        assert states.img is not None and states.cls is not None
        if head == "match":
            return self.match(states.cls)
        return self.contrast.pairs(self.contrast.of_images(states.img), self.contrast.of_texts(states.cls))

    def region_features(self, states: Tensor) -> Tensor:
        """Maps [n, H] to features, [n, D]."""
        return self.features(states, self.body.image.feature.weight.T)


def wide(values: Tensor) -> Tensor:
    """`values` in at least float32, which scores divided by a small temperature require."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _initialise(module: nn.Module) -> None:
    """BERT's initialisation: weights N(0, 0.02), biases 0."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
