"""Cleans captions and sentences: pure functions over Arrow arrays."""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.rejects import Reason, reason_position

KEPT = -1  # in an array of reasons: the row is good

# Only with the semicolon: "&copy2" and "?a=1&para=2" are not entities.
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# An ampersand, encoded any number of times: "&amp;amp;", "&#38;#38;".
_AMPERSANDS = re.compile("&(?:(?:amp|AMP|#0{0,5}38|#[xX]0{0,4}26);)+")
_PASSES = 16  # of decoding: deeper encoding is deliberate
_MARKS = 30  # combining marks in a row, as in Unicode's stream-safe format; real text has two or three
# Invisible characters: controls other than whitespace, soft hyphen, zero-width and direction marks, byte order mark.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    "\ufff9-\ufffb]"
)
_PLAIN = re.compile(rb"[!-%'-~]+(?: [!-%'-~]+)*")  # ASCII words, single spaces, no "&": already clean
_BYTES_PER_CHARACTER = 16  # of raw text, entities included: anything longer is too long without decoding it


class CleanRules(BaseModel):
    """Requirements for captions and sentences. Lengths are measured after cleaning."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_words: int = Field(default=1, ge=1, description="minimum number of words; shorter texts are rejected")
    max_words: int = Field(default=100, ge=1, description="maximum number of words; longer texts are rejected")
    max_characters: int = Field(default=2000, ge=1, le=100_000, description="maximum number of characters; longer texts are rejected")
    entities: bool = Field(default=True, description="decode HTML entities (&amp; &#39;)")

    @model_validator(mode="after")
    def _check(self) -> CleanRules:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words {self.min_words} is above max_words {self.max_words}")
        return self


@dataclass(frozen=True)
class Cleaned:
    """Cleaned texts, n rows.

    `text` string [n], null where the row is bad or was null; `reasons` int8 [n], indices into `REASONS`, `KEPT` for good rows;
    `details` string [n], "" for good rows.
    """

    text: pa.StringArray
    reasons: np.ndarray
    details: pa.StringArray


def clean_text(text: str, entities: bool = True) -> str:
    """`text` in Unicode NFC, without control and zero-width characters, whitespace collapsed and stripped.

    `entities`: HTML entities that end in a semicolon are decoded, doubly encoded ones (&amp;amp;) completely. The first 30 of a
    run of combining marks are kept. Idempotent, and roughly linear in the length of `text`: text that is nested in more than 16
    levels of encoding, other than of ampersands, loses its "&".
    """
    for _ in range(_PASSES):
        new = text
        if entities and "&" in new:
            new = _ENTITY.sub(lambda match: html.unescape(match.group()), _AMPERSANDS.sub("&", new))
        new = _INVISIBLE.sub("", new)
        if len(new) > _MARKS and not new.isascii():
            new = _long_mark_runs().sub(r"\1", new)  # NFC sorts each run, in time quadratic in its length
        new = " ".join(unicodedata.normalize("NFC", new).split())
        if new == text:
            return new
        text = new
    return clean_text(text.replace("&", " "), entities=False)


@cache
def _long_mark_runs() -> re.Pattern[str]:
    """Runs of more than `_MARKS` characters that are combining marks or (three Tibetan ones) decompose into them."""
    marks = "".join(chr(code) for code in range(0x300, 0x1F000) if unicodedata.combining(chr(code))) + "\u0f73\u0f75\u0f81"
    return re.compile(f"([{marks}]{{{_MARKS}}})[{marks}]+")


def clean_captions(captions: pa.Array, rules: CleanRules | None = None) -> Cleaned:
    """Cleans the binary or string array `captions` [n]; nulls (images without a caption) stay null and count as good.

    Bad rows: invalid UTF-8 (BAD_ENCODING), nothing left after cleaning (EMPTY), TOO_SHORT, TOO_LONG.
    Raises TypeError for arrays of other types.
    """
    if captions.type not in (pa.binary(), pa.large_binary(), pa.string(), pa.large_string()):
        raise TypeError(f"clean_captions takes an array of bytes or strings, not {captions.type}")
    rules = rules or CleanRules()
    texts: list[str | None] = []
    details: list[str] = []
    reasons = np.full(len(captions), KEPT, dtype=np.int8)
    for row, data in enumerate(captions.cast(pa.large_binary()).to_pylist()):
        text, reason, detail = (None, None, "") if data is None else _clean_one(data, rules)
        texts.append(text)
        details.append(detail)
        if reason is not None:
            reasons[row] = reason_position(reason)
    return Cleaned(pa.array(texts, pa.string()), reasons, pa.array(details, pa.string()))


def _clean_one(data: bytes, rules: CleanRules) -> tuple[str | None, Reason | None, str]:
    if len(data) > rules.max_characters * _BYTES_PER_CHARACTER:
        return None, Reason.TOO_LONG, f"{len(data)} bytes; the limit is {rules.max_characters} characters"
    if _PLAIN.fullmatch(data):
        text = data.decode("ascii")
    else:
        try:
            text = clean_text(data.decode("utf-8"), rules.entities)
        except UnicodeDecodeError as error:
            around = data[max(0, error.start - 20) : error.start + 20]
            return None, Reason.BAD_ENCODING, f"invalid UTF-8 at byte {error.start} ({error.reason}), near {around!r}"
    words = text.count(" ") + 1 if text else 0
    if not words:
        return None, Reason.EMPTY, "empty after cleaning"
    if words < rules.min_words:
        return None, Reason.TOO_SHORT, f"{words} words, fewer than {rules.min_words}: {text}"
    if words > rules.max_words or len(text) > rules.max_characters:
        return (
            None,
            Reason.TOO_LONG,
            (f"{words} words and {len(text)} characters; the limits are {rules.max_words} and {rules.max_characters}: {text[:60]}"),
        )
    return text, None, ""
