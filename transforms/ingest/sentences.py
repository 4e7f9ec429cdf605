"""Splits documents and paragraphs into sentences.

Boundaries come from `sentencex` (rule-based, Rust core, no model to download). It never splits inside a quotation, which leaves
whole speeches of a novel in one piece; so it gets the text without quotation marks, and its boundaries are mapped back.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import sentencex

# Single quotes are removed too: sentencex takes an apostrophe (o'clock ... Tom's) for the start of a quotation.
_MARKS = "\"'“”„‟«»‘’‚‹›"
_DROP_MARKS = str.maketrans("", "", _MARKS)


def unwrap(text: str) -> str:
    """`text` on one line: every run of whitespace, including line breaks, becomes one space."""
    return " ".join(text.split())


def sentences(text: str, language: str = "en") -> list[str]:
    """The sentences of one paragraph, in order, stripped; lines are joined first.

    Joined by single spaces they give back the paragraph's words unchanged: nothing is dropped. Splits occur only at spaces, never
    between a closing quotation mark and a lower-case word ("Oh!" cried she).
    """
    text = unwrap(text)
    if not text:
        return []
    plain = text.translate(_DROP_MARKS)
    position = None if len(plain) == len(text) else [i for i, character in enumerate(text) if character not in _MARKS]
    cuts = []
    for boundary in sentencex.get_sentence_boundaries(language, plain)[:-1]:
        blank = boundary["end_index"] - 1
        if not 0 <= blank < len(plain) or plain[blank] != " ":
            continue
        cut = blank if position is None else position[blank]
        if not (text[cut - 1] in _MARKS and _next_letter(text, cut).islower()):
            cuts.append(cut)
    pieces = (text[start:end].strip() for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True))
    return [piece for piece in pieces if piece]


def _next_letter(text: str, cut: int) -> str:
    return next((character for character in text[cut : cut + 8] if character not in _MARKS and character != " "), "")


def split_sentences(texts: pa.Array, language: str = "en") -> tuple[pa.StringArray, np.ndarray]:
    """Splits the string array `texts` [n] (one paragraph or document each; nulls yield nothing).

    Returns the sentences, string [m], and the row of `texts` that each comes from, int64 [m], ascending.
    Raises TypeError if `texts` is not a string array (decode and clean bytes first).
    """
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        raise TypeError(f"split_sentences takes an array of strings, not {texts.type}")
    found: list[str] = []
    rows: list[int] = []
    for row, text in enumerate(texts.to_pylist()):
        if text:
            parts = sentences(text, language)
            found.extend(parts)
            rows.extend([row] * len(parts))
    return pa.array(found, pa.string()), np.array(rows, dtype=np.int64)
