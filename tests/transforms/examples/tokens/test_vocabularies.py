"""Tokenizers: training gives the same bytes; published files give the same ids as the reference implementations."""

from __future__ import annotations

import json

import numpy as np
import pytest

from schemas.errors import CorpusError
from schemas.tokenizer import Tokenizer
from transforms.examples.tokens.settings import TokenSettings
from transforms.examples.tokens.vocabularies import read_vocabulary, train_sentencepiece

TEXTS = ["A dog's leash (2 m) lies on the café's floor!", "[MASK] <mask> </s> <s>", "  spaces\tand\nlines ", "日本語 🐕", "", "naïve ﬁgure"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "##s", "run", "##ning", "cafe", "café", "!", "'", "s"]


@pytest.fixture(scope="module")
def captions(shared_data) -> list[str]:
    lines = (shared_data / "flickr8k" / "captions.csv").read_text(encoding="utf-8").splitlines()[1:]
    return [line.partition(",")[2] for line in lines]


@pytest.fixture(scope="module")
def roberta(shared_data) -> TokenSettings:
    folder = shared_data / "roberta_bpe"
    return TokenSettings(
        kind="byte_bpe",
        vocabulary=str(folder / "unimo_en.encoder.json"),
        merges=str(folder / "unimo_en.vocab.bpe"),
        order=str(folder / "unimo_en.vocab.txt"),
    )


def test_sentencepiece_gives_the_same_bytes_and_loses_no_caption(captions):
    first, second = (train_sentencepiece(captions, 600) for _ in range(2))
    assert first == second != train_sentencepiece(captions[:1000], 600)
    tokenizer = Tokenizer({"sentencepiece.model": first})
    assert (tokenizer.cls, tokenizer.pad, tokenizer.sep, tokenizer.unk, tokenizer.mask, tokenizer.size) == (0, 1, 2, 3, 4, 600)
    rows = tokenizer.encode(captions[:500])
    assert [tokenizer.decode(row) for row in rows] == [" ".join(caption.split()) for caption in captions[:500]]
    assert all(row.dtype == np.int32 and row.min() > 2 for row in rows)


def test_few_texts_give_fewer_pieces_and_no_text_an_error():
    assert Tokenizer({"sentencepiece.model": train_sentencepiece(["a dog runs", "a cat sits"], 8000)}).size < 100
    with pytest.raises(ValueError, match="SentencePiece cannot be trained"):
        train_sentencepiece([], 8000)


def test_byte_level_bpe_has_the_ids_of_roberta(roberta, captions, tmp_path):
    """UNIMO's three files, ordered as they specify, compared with transformers' reader of RoBERTa's two."""
    from transformers import RobertaTokenizer

    held = read_vocabulary(roberta)
    tokenizer = Tokenizer(held)
    vocabulary = json.loads(held["vocab.json"])
    assert (tokenizer.cls, tokenizer.pad, tokenizer.sep, tokenizer.unk, tokenizer.size) == (0, 1, 2, 3, 50265)
    assert (tokenizer.mask, vocabulary["."], vocabulary["\u0120the"]) == (50264, 4, 5)  # as in RoBERTa's dict.txt
    theirs = RobertaTokenizer(
        vocab=vocabulary,
        merges=[tuple(line.split()) for line in held["merges.txt"].decode().splitlines()[1:]],
        bos_token="[CLS]",
        eos_token="[SEP]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        pad_token="[PAD]",
        mask_token="[MASK]",
    )
    texts = [*captions[:300], *(text for text in TEXTS if "[MASK]" not in text)]
    assert [row.tolist() for row in tokenizer.encode(texts)] == [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert [tokenizer.decode(row) for row in tokenizer.encode(texts)] == texts


def test_fairseqs_dictionary_orders_the_pieces_likewise(roberta, shared_data, tmp_path):
    lines = (shared_data / "roberta_bpe" / "unimo_en.vocab.txt").read_text().splitlines()
    (tmp_path / "dict.txt").write_text("".join(f"{name} {9 - number % 9}\n" for number, name in enumerate(lines[4:-1])))
    fairseq = Tokenizer(read_vocabulary(roberta.model_copy(update={"order": str(tmp_path / "dict.txt")})))
    own = Tokenizer(read_vocabulary(roberta))
    assert fairseq.pieces[4:-1] == own.pieces[4:-1] and (fairseq.pieces[0], fairseq.pieces[-1]) == ("<s>", "<mask>")
    assert [row.tolist() for row in fairseq.encode(TEXTS)] == [row.tolist() for row in own.encode(TEXTS)]


def test_wordpiece_is_berts(tmp_path):
    from transformers import BertTokenizer

    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    texts = ["A dogs running!", "café's cafe", "xyz a", "dog" * 60]
    for lowercase in (True, False):
        tokenizer = Tokenizer(read_vocabulary(TokenSettings(kind="wordpiece", vocabulary=str(path), lowercase=lowercase)))
        theirs = BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)}, do_lower_case=lowercase)
        found = [row.tolist() for row in tokenizer.encode(texts)]
        assert found == [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert (tokenizer.pad, tokenizer.cls, tokenizer.mask) == (0, 2, 4)


def test_no_text_is_read_as_a_special_token(roberta, captions, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    for held in (
        read_vocabulary(roberta),
        {"sentencepiece.model": train_sentencepiece(captions, 400)},
        read_vocabulary(TokenSettings(kind="wordpiece", vocabulary=str(tmp_path / "vocab.txt"))),
    ):
        tokenizer = Tokenizer(held)
        special = {tokenizer.cls, tokenizer.pad, tokenizer.sep, tokenizer.mask}
        assert not special & {
            int(number) for row in tokenizer.encode(["<s> </s> <pad> <mask>", "[CLS] [SEP] [PAD] [MASK]"]) for number in row
        }


def test_the_tokenizer_round_trips_through_the_table(roberta):
    tokenizer = Tokenizer(read_vocabulary(roberta))
    again = Tokenizer.of(tokenizer.table())
    assert again.sha256 == tokenizer.sha256 and again.pieces == tokenizer.pieces


@pytest.mark.parametrize(("held", "text"), [
    ({"sentencepiece.model": b"rubbish"}, "damaged"), ({"vocab.json": b"{", "merges.txt": b""}, "damaged"),
    ({"vocab.json": b"[]", "merges.txt": b"a b c"}, "damaged"), ({"vocab.txt": b"a\nb", "tokenizer.json": b"{}"}, "damaged"),
    ({"model.bin": b""}, "a known tokenizer"),
    ({"vocab.txt": b"[UNK]\na", "tokenizer.json": b'{"lowercase": true}'}, r"no <s> or \[CLS\]"),
    ({"vocab.json": b'{"<s>": 0, "a": 7}', "merges.txt": b""}, "consecutive from 0"),
])  # fmt: skip
def test_damaged_files_are_named(held, text):
    with pytest.raises(CorpusError, match=text):
        Tokenizer(held)


def test_wrong_settings_say_what_is_required(roberta, tmp_path):
    for settings, text in (
        ({"kind": "byte_bpe"}, "byte_bpe requires vocabulary"),
        ({"kind": "wordpiece"}, "wordpiece requires vocabulary"),
        ({"merges": "m.txt"}, "merges applies only to byte_bpe"),
    ):
        with pytest.raises(ValueError, match=text):
            TokenSettings(**settings)
    with pytest.raises(ValueError, match="has no special tokens"):
        read_vocabulary(roberta.model_copy(update={"order": None}))
    with pytest.raises(ValueError, match="absent.json cannot be read"):
        read_vocabulary(roberta.model_copy(update={"vocabulary": str(tmp_path / "absent.json")}))
    (tmp_path / "twice.txt").write_text("[CLS]\n13\n13\n")
    with pytest.raises(ValueError, match="twice"):
        read_vocabulary(roberta.model_copy(update={"order": str(tmp_path / "twice.txt")}))


def test_pieces_may_contain_what_python_takes_for_the_end_of_a_line(tmp_path):
    words = [*WORDS, "\u2028", "a\u0085b"]
    (tmp_path / "vocab.txt").write_text("\r\n".join(words) + "\r\n", encoding="utf-8", newline="")
    held = read_vocabulary(TokenSettings(kind="wordpiece", vocabulary=str(tmp_path / "vocab.txt")))
    assert Tokenizer(held).size == len(words)


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "byte_bpe", "vocabulary": "v", "merges": "m", "size": 500},
        {"kind": "wordpiece", "vocabulary": "v", "coverage": 0.95},
        {"kind": "sentencepiece", "vocabulary": "v", "sample": 5},
        {"kind": "sentencepiece", "lowercase": False},
    ],
)
def test_settings_that_have_no_effect_are_refused(settings):
    with pytest.raises(ValueError, match="has no effect|applies only"):
        TokenSettings(**settings)
