"""Settings of the tokenizer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from transforms.core.params import Params


class TokenSettings(Params):
    """The choice of a corpus's tokenizer.

    Raises pydantic.ValidationError, naming the key and the allowed values, on an unknown key or a value out of range.
    """

    kind: Literal["sentencepiece", "byte_bpe", "wordpiece"] = Field(
        "sentencepiece", description="SentencePiece (unigram), RoBERTa's byte-level BPE, or BERT's WordPiece"
    )
    vocabulary: str | None = Field(
        None, description="byte_bpe: encoder.json or vocab.json; wordpiece: vocab.txt; sentencepiece: a .model, null trains one"
    )
    merges: str | None = Field(None, description="byte_bpe: vocab.bpe or merges.txt")
    order: str | None = Field(
        None, description="byte_bpe: a file that renumbers the pieces of encoder.json, fairseq's dict.txt or UNIMO's vocab.txt"
    )
    lowercase: bool = Field(True, description="wordpiece: whether the vocabulary is uncased")
    size: int = Field(8000, ge=16, le=1_000_000, description="sentencepiece: maximum number of pieces")
    coverage: float = Field(0.9999, gt=0.9, le=1, description="sentencepiece: share of the sample's characters that are covered by pieces")
    sample: int = Field(200_000, ge=1, description="sentencepiece: maximum number of captions and sentences to train on")

    @model_validator(mode="after")
    def _files(self) -> TokenSettings:
        needed = {"byte_bpe": ("vocabulary", "merges"), "wordpiece": ("vocabulary",), "sentencepiece": ()}[self.kind]
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"{self.kind} requires {name}, a file path")
        for name in ("merges", "order"):
            if self.kind != "byte_bpe" and getattr(self, name) is not None:
                raise ValueError(f"{name} applies only to byte_bpe, not to {self.kind}")
        unused = ["lowercase"] if self.kind != "wordpiece" else []
        unused += ["size", "coverage", "sample"] if self.kind != "sentencepiece" or self.vocabulary else []
        for name in unused:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} has no effect on {self.kind} with a vocabulary" if self.vocabulary else f"{name} applies only to wordpiece"
                )
        return self
