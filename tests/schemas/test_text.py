"""Text from data in messages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.text import quoted


@given(st.text(max_size=300), st.integers(1, 100))
def test_quoted_text_is_printable_and_short(text: str, limit: int):
    assert quoted(text, limit).isprintable() and len(quoted(text, limit)) <= 12 * limit + 3
    if text.isprintable() and len(text) <= limit:
        assert quoted(text, limit) == text
