"""The text sources: plain text, Markdown, JSON Lines, Parquet; and the conversion of Markdown and tokenised text."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.errors import SourceError
from tests.transforms.ingest.source_help import bad, good, read_all, reasons, text_source
from transforms.ingest.sources.markdown import markdown_paragraphs
from transforms.ingest.sources.tokenised import detokenise, is_tokenised_heading


def read(folder: Path, content: bytes | str, /, name: str = "a.txt", **settings: Any) -> list[dict[str, Any]]:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return read_all(text_source(**{"format": "text", "files": str(folder / name), **settings}))


def texts(rows: list[dict[str, Any]]) -> list[bytes]:
    return [row["text"] for row in good(rows)]


def lines(rows: list[dict[str, Any]]) -> list[int]:
    return [int(row["where"].rpartition(":")[2]) for row in rows]


def test_paragraphs_and_lines(tmp_path: Path):
    content = "\ufeffone\ntwo\r\n\r\n \t\nthree\n\n\nfour"
    rows = read(tmp_path, content)
    assert texts(rows) == [b"one\ntwo", b"three", b"four"] and lines(rows) == [1, 5, 8]
    rows = read(tmp_path, content, unit="line")
    assert texts(rows) == [b"one", b"two", b"three", b"four"] and lines(rows) == [1, 2, 5, 8]
    assert texts(read(tmp_path, gzip.compress(b"one"), name="a.txt.gz")) == [b"one"]
    assert texts(read(tmp_path, b"caf\xe9\0 x")) == [b"caf\xe9\0 x"]
    assert read(tmp_path, b"") == []


@pytest.mark.parametrize("unit", ["line", "paragraph"])
def test_endless_text_is_rejected(unit: str, tmp_path: Path):
    rows = read(tmp_path, b"first\n\n" + b"x" * 5_000_000 + b"\n\nlast", unit=unit)
    assert texts(rows) == [b"first", b"last"] and reasons(rows) == ["too_long"]
    rows = read(tmp_path, b"first\n\n" + b"word\n" * 1_000_000 + b"\nlast", unit="paragraph")
    assert texts(rows) == [b"first", b"last"] and reasons(rows) == ["too_long"]


MARKDOWN = """---
title: front matter
---
# A Heading

Some *emphasis*, **strong**, `code`, a [link](http://e.org "t"), ~~struck~~ and snake_case_word
wrapped. ![picture](a.png) 2 * 3 * 4

- item one
- item two

> quoted

```python
code = 1

more = 2
```

| a | b |
|---|---|
| 1 | 2 |

<div>html</div>

***

Under
-----

Last &amp; least\\*.
"""


def test_markdown_loses_its_markup(tmp_path: Path):
    rows = read(tmp_path, MARKDOWN, name="a.md", format="markdown")
    assert [text.decode() for text in texts(rows)] == [
        "Some emphasis, strong, code, a link, struck and snake_case_word wrapped. 2 * 3 * 4",
        "item one",
        "item two",
        "quoted",
        "Last & least*.",
    ]
    assert lines(rows) == [6, 9, 10, 12, 31]
    assert [text for _, text in markdown_paragraphs(MARKDOWN, headings=True)][0] == "A Heading"
    assert "Under" in [text for _, text in markdown_paragraphs(MARKDOWN, headings=True)]


def test_markdown_in_blocks_reads_as_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    content = "\n".join([MARKDOWN.partition("---\n#")[2].join(["#", ""]) for _ in range(20)])
    whole = read(tmp_path, MARKDOWN + content, name="a.md", format="markdown")
    monkeypatch.setattr("transforms.ingest.sources.texts._MARKDOWN_BLOCK", 1)
    assert read(tmp_path, MARKDOWN + content, name="a.md", format="markdown") == whole
    assert len(whole) > 100


@pytest.mark.parametrize("content", ["---\nnever closed\n", "```\nnever closed\n\nmore\n", "", "\n\n"])
def test_markdown_that_is_left_open(content: str, tmp_path: Path):
    assert all(row["reason"] is None for row in read(tmp_path, content, name="a.md", format="markdown"))


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        ("{broken", "bad_row", "not valid JSON"),
        ("[1]", "bad_row", "a list, without"),
        ("5", "bad_row", "a int"),
        ('{"other": "x"}', "bad_row", "other"),
        ('{"text": 5}', "bad_row", "not a string"),
        ("[" * 100_000, "bad_row", "not valid JSON"),
        ('{"text": "' + "x" * 5_000_000 + '"}', "too_long", "4194304"),
    ],
)
def test_bad_json_lines(line: str, reason: str, detail: str, tmp_path: Path):
    rows = read(tmp_path, f'{{"text": "first"}}\n{line}\n\n{{"text": "last", "more": 1}}\n', format="jsonl")
    assert texts(rows) == [b"first", b"last"]
    assert [found for found, _ in bad(rows)] == [reason] and detail in bad(rows)[0][1]


def test_json_lines_keep_bad_bytes_and_take_a_field(tmp_path: Path):
    rows = read(tmp_path, b'{"body": "caf\xe9"}\n' + json.dumps({"body": "ok\n"}).encode(), format="jsonl", field="body")
    assert texts(rows) == [b"caf\xe9", b"ok\n"]


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.string_view(),
        pa.binary_view(),
        pa.dictionary(pa.int8(), pa.large_string()),
    ],
)
def test_parquet_texts(kind: pa.DataType, tmp_path: Path):
    column = pa.array(["one", None, "", " ", "two"]).cast(kind)
    pq.write_table(pa.table({"body": column}), tmp_path / "a.parquet")
    source = text_source(format="parquet", files=str(tmp_path / "a.parquet"), column="body")
    rows = read_all(source)
    assert texts(rows) == [b"one", b"two"] and not bad(rows)  # blank rows are skipped
    with pytest.raises(SourceError, match=r"exactly one column 'text'; it has \['body'\]"):
        read_all(text_source(format="parquet", files=str(tmp_path / "a.parquet")))


@pytest.mark.parametrize(
    ("tokens", "plain"),
    [
        ("a guest @-@ starring role , on the series .", "a guest-starring role, on the series."),
        ("0 @.@ 7 – 2 @.@ 2 kg ( 1 @,@ 500 lb )", "0.7 – 2.2 kg (1,500 lb)"),
        ('role as " Craig " in " Teddy \'s Story " of', 'role as "Craig" in "Teddy\'s Story" of'),
        ('" Quoted " first', '"Quoted" first'),
        ('he said ( " so " ) .', 'he said ("so").'),
        ("it was n't the dogs ' day ; we 're", "it wasn't the dogs' day; we're"),
        ("costs $ 5 , or £ 4", "costs $5, or £4"),
        ("Robert <unk> is", "Robert <unk> is"),
        ('already, plain (text) "here".', 'already, plain (text) "here".'),
    ],
)
def test_detokenise(tokens: str, plain: str):
    assert detokenise(tokens) == plain


def test_unknown_words_can_be_removed():
    assert detokenise("Robert <unk> is an <unk> .", "remove") == "Robert is an."


def test_texts_left_out_by_detokenising_are_counted(tmp_path: Path):
    content = " = Head = \n\n<unk>\n <unk> <unk> \nA dog .\n"
    rows = read(tmp_path, content, unit="line", detokenise=True, unknown="remove")
    assert texts(rows) == [b"A dog."] and lines(rows) == [1, 3, 4, 5]
    assert bad(rows) == [
        ("excluded", "detokenise leaves out headings: = Head ="),
        ("empty", "empty after detokenise: <unk>"),
        ("empty", "empty after detokenise: <unk> <unk>"),
    ]
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "<unk>"}))
    source = text_source(format="jsonl", files=str(tmp_path / "a.jsonl"), detokenise=True, unknown="remove")
    assert reasons(read_all(source)) == ["empty"]


def test_headings_of_wikitext():
    assert is_tokenised_heading(" = Robert <unk> = ") and is_tokenised_heading(" = = Career = = ")
    assert not is_tokenised_heading(" a = b , as = said ") and not is_tokenised_heading("=")


def test_real_wikitext(shared_data: Path):
    files = str(shared_data / "text" / "wikitext2" / "*.txt")
    rows = read_all(text_source(format="text", files=files, unit="line", detokenise=True))
    assert set(reasons(rows)) == {"excluded"} and len(good(rows)) == 4026
    joined = b"\n".join(texts(rows))
    for token in (b"@-@", b"@,@", b"@.@", b" , ", b" . ", b" 's ", b"( ", b" )"):
        assert joined.count(token) <= 20, token
    raw = read_all(text_source(format="text", files=files, unit="line"))
    assert len(raw) == len(rows) and b"".join(texts(raw)).count(b"@-@") > 1000


def test_real_books(shared_data: Path):
    source = text_source(format="markdown", files=str(shared_data / "text" / "books" / "*.md"))
    assert len(source.splits()) == 12
    rows = read_all(source)
    assert not bad(rows) and len(rows) > 15_000
    joined = b" ".join(texts(rows))
    assert b"**" not in joined and b"# " not in joined
    assert any(text.startswith(b"It is a truth universally acknowledged") for text in texts(rows))
