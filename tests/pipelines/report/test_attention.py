"""The attention page, of weights that are given; what a network's are is tested in tests/model/test_look.py."""

import base64

import numpy as np
import pytest

from pipelines.cli import main
from pipelines.report import attention
from pipelines.report.attention import PATTERNS, pattern_shares
from schemas.attention_maps import AttentionMaps, AttentionSource
from tests.pipelines.report.help import Report, report, small
from tests.pipelines.report.test_report import HOSTILE

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

REGIONS, TOKENS = 4, 5
SIZE = REGIONS + TOKENS + 3
KIND = np.array([2, *[0] * REGIONS, 2, *[1] * TOKENS, 2])  # region, token, special


def heads_of_each_pattern():
    """Weights [1, 5, S, S] of a head of each pattern, and an even one."""
    place = np.arange(SIZE)
    near = np.abs(place[:, None] - place) <= 1
    same, plain = KIND[:, None] == KIND, np.broadcast_to(KIND != 2, (SIZE, SIZE))
    parts = [
        np.broadcast_to(KIND == 2, (SIZE, SIZE)),
        same & near & plain,
        same & ~near & plain,
        ~same & plain,
        np.ones((SIZE, SIZE), bool),
    ]
    weights = np.stack([part / np.maximum(part.sum(1, keepdims=True), 1) for part in parts])
    return weights[None].astype(np.float32)


def maps(tokens=("a", "black", "dog", "runs", "."), weights=None):
    """Maps of a pair with four regions."""
    boxes = np.array([[8, 6, 40, 30], [50, 30, 60, 44], [0, 0, 64, 48], [1, 2, 3, 4]], np.float32)
    return AttentionMaps(list(tokens), 64, 48, boxes, np.array([1, 2, 0, 1]), heads_of_each_pattern() if weights is None else weights)


def looked(folder, of=lambda pair, image: maps(), joint=True, captions=None, **settings) -> Report:
    corpus = small(folder, captions) if captions else small(folder)
    return report(corpus, folder / "r", attention=AttentionSource(1234, joint, of), **settings)


def test_shares_are_those_of_each_pattern_and_sum_to_one():
    shares = pattern_shares(maps())
    assert shares.shape == (1, 5, 4) and shares.sum(-1) == pytest.approx(1)
    assert shares[0, :4] == pytest.approx(np.eye(4), abs=1e-6)
    # In an even head, regions have 3 special keys, 2.5 near on average, 1.5 others of their own and 5 of the text; tokens 3, 2.6, 2.4, 4.
    assert shares[0, 4] * SIZE == pytest.approx([3, (2.5 + 2.6) / 2, (1.5 + 2.4) / 2, (5 + 4) / 2])


def test_heads_are_sorted_by_pattern_and_maps_can_be_read_back(tmp_path):
    held = looked(tmp_path)
    told = held.data("attention.js")
    assert told["heads"] == [[1, at + 1, pattern] for at, pattern in enumerate(PATTERNS)]
    assert sorted(pair[0] for pair in told["pairs"]) == sorted(held.data("index-0000.js")["ids"])
    page = held.page("attention.html")
    assert "A checkpoint of 1,234 updates, on 4 pairs" in page.text and "Reversed block: 1 of 5 heads" in page.text
    assert "was never trained" not in page.text and "Attention" in held.page("index.html").text
    packed = held.data("attention/0000.js")
    weights = np.frombuffer(base64.b64decode(packed["weights"]), np.uint8).reshape(1, 5, SIZE, SIZE)
    tops = np.frombuffer(base64.b64decode(packed["tops"]), "<f4").reshape(1, 5, SIZE, 1)
    assert weights / 255 * tops == pytest.approx(heads_of_each_pattern(), abs=1 / 255)
    assert packed["boxes"][0] == [8, 6, 40, 30] and packed["classes"] == [1, 2, 0, 1]


def test_the_same_maps_give_the_same_bytes_and_another_report_replaces_them(tmp_path):
    files = looked(tmp_path).files()
    assert report(tmp_path / "corpus", tmp_path / "r", attention=AttentionSource(1234, True, lambda *_: maps())).files() == files
    without = report(tmp_path / "corpus", tmp_path / "r")
    assert not [name for name in without.files() if "attention" in name] and "Attention" not in without.page("gallery.html").text


def test_pairs_without_maps_are_passed_over_and_a_report_without_any_says_so(tmp_path):
    asked = []

    def few(pair, image):
        asked.append((pair, image))
        return maps() if image == "src/2" else None

    assert [pair[1] for pair in looked(tmp_path / "a", few).data("attention.js")["pairs"]] == ["A cat."] and len(asked) == 4
    held = looked(tmp_path / "b", lambda *_: None)
    assert "there is nothing to draw" in held.page("attention.html").text and held.data("attention.js")["pairs"] == []


def test_what_separate_encoding_means_is_said(tmp_path):
    assert "attention between the two was never trained" in looked(tmp_path, joint=False).page("attention.html").text


def test_large_maps_are_of_fewer_pairs(tmp_path, monkeypatch):
    monkeypatch.setattr(attention, "_MOST_WEIGHTS", 2.5 * 5 * SIZE * SIZE)
    assert len(looked(tmp_path).data("attention.js")["pairs"]) == 2


def test_hostile_words_and_numbers_are_text(tmp_path):
    broken = maps(("</script>", "\u202e", "{{ 7 }}", "'\"", "__proto__"))
    broken = broken._replace(boxes=np.array([[np.nan, -np.inf, np.inf, 1e9]] * REGIONS, np.float32), classes=None)
    held = looked(tmp_path, lambda *_: broken, captions=HOSTILE[:6])
    assert held.data("attention/0000.js")["tokens"] == broken.tokens
    tags = held.page("attention.html").tags
    assert tags.count("script") == 3 and "img" not in tags


def test_a_checkpoint_that_is_absent_leaves_the_earlier_report(tmp_path, capsys):
    pytest.importorskip("safetensors")
    corpus = small(tmp_path)
    before = report(corpus, tmp_path / "r").files()
    assert main(["report", corpus.url, "--out", str(tmp_path / "r"), "--checkpoint", str(tmp_path / "none")]) == 1
    assert "is not a complete checkpoint" in capsys.readouterr().err
    assert Report(tmp_path / "r", []).files() == before
