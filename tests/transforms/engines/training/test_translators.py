"""The parts of the translators' training, each compared with the reference that it replaces; the whole in a slow test."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sentencepiece", reason="translators require SentencePiece: pip install 'cmcl[translate]'")
pytest.importorskip("torch", reason="training needs torch")

import torch

from transforms.engines.training.translators import average, corpus, recipe

SEEDS = st.integers(0, 2**31)


@pytest.fixture(scope="module")
def parts():
    """fairseq's user folder, imported as fairseq-train imports it."""
    pytest.importorskip("fairseq", reason="training requires fairseq: pip install 'cmcl[fairseq]'")
    from transforms.engines.training.translators import fairseq_user

    return fairseq_user


@pytest.mark.slow
@given(seed=SEEDS, rows=st.integers(1, 600), classes=st.integers(2, 40), epsilon=st.sampled_from([0.0, 0.1, 0.4]))
def test_the_loss_and_its_gradients_are_fairseqs(parts, seed, rows, classes, epsilon):
    from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

    draw = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, (rows,), generator=draw)
    given_to = [torch.randn(size, 8, generator=draw) * 2 for size in (rows, classes)]
    found, expected = [], []
    for kept, fused in ((found, True), (expected, False)):
        features, weight = (tensor.clone().requires_grad_() for tensor in given_to)
        if fused:
            loss, nll = parts.smoothed_loss(features, weight, target, epsilon)
        else:
            loss, nll = label_smoothed_nll_loss((features @ weight.t()).log_softmax(-1), target, epsilon)
        (loss * 0.5).backward()
        kept.extend([loss.detach(), nll.detach(), features.grad, weight.grad])
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
@given(seed=SEEDS, batch=st.integers(1, 3), length=st.integers(1, 6), hidden=st.integers(0, 2), causal=st.booleans())
def test_attention_is_fairseqs(parts, seed, batch, length, hidden, causal):
    torch.manual_seed(seed)
    theirs = parts.MultiheadAttention(16, 4, self_attention=True)
    x, padding = torch.randn(length, batch, 16), torch.zeros(batch, length, dtype=torch.bool)
    padding[0, : min(hidden, length - 1)] = not causal  # left padding, as in a source
    mask = torch.full((length, length), float("-inf")).triu(1) if causal else None
    expected, _ = theirs(x, x, x, key_padding_mask=padding, attn_mask=mask, need_weights=False)
    theirs.__class__ = parts.PlainAttention
    found, _ = theirs.train()(x, x, x, key_padding_mask=padding, attn_mask=mask)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@given(seed=SEEDS, p=st.floats(0.05, 0.6))
def test_dropout_drops_its_share_and_keeps_the_mean(parts, seed, p):
    torch.manual_seed(seed)
    dropped = parts.ByteDropout(p)(torch.ones(331, 100))
    assert float((dropped == 0).double().mean()) == pytest.approx(p, abs=0.02)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.05)
    assert len(dropped.unique()) == 2
    assert parts.ByteDropout(p).eval()(dropped) is dropped


@pytest.mark.slow
@given(seed=SEEDS, rows=st.integers(2, 12), more=st.integers(0, 20))
def test_orthogonal_has_singular_values_near_one_and_the_same_axes(parts, seed, rows, more):
    given_to = np.random.default_rng(seed).standard_normal((2, rows, rows + more + 8))
    found = parts.muon.orthogonal(torch.tensor(given_to, dtype=torch.float32)).double().numpy()
    for one, from_one in zip(found, given_to, strict=True):
        assert np.all(np.abs(np.linalg.svd(one, compute_uv=False) - 0.95) < 0.35)
        left, _, right = np.linalg.svd(from_one, full_matrices=False)
        assert np.trace(one.T @ (left @ right)) > 0.6 * rows


def test_checkpoint_averages(tmp_path):
    states = [{"a": torch.full((2, 3), value), "b": torch.tensor([value])} for value in (1.0, 2.0, 6.0)]
    mean = average.mean_of(states)
    assert mean["a"].tolist() == [[3.0] * 3] * 2 and mean["b"].dtype == torch.float32
    with pytest.raises(ValueError, match="different networks"):
        average.mean_of([states[0], {"a": torch.zeros(1)}])
    for name in ("checkpoint_1_900.pt", "checkpoint_2_1000.pt", "checkpoint_3_1100.pt", "checkpoint_best.pt", "checkpoint_last.pt"):
        (tmp_path / name).touch()
    assert [path.name for path in average.last_checkpoints(tmp_path, 2)] == ["checkpoint_2_1000.pt", "checkpoint_3_1100.pt"]
    with pytest.raises(ValueError, match="train first"):
        average.last_checkpoints(tmp_path / "none", 2)


@pytest.mark.parametrize("pair", recipe.PAIRS)
def test_the_options_of_a_direction(pair, tmp_path):
    start = tmp_path / "model.pt" if pair in recipe.STARTS else None
    options = recipe.command(pair, tmp_path, tmp_path, start)
    assert ("--finetune-from-model" in options) == (start is not None)
    assert (
        options[options.index("--max-update") + 1] == options[options.index("--total-num-update") + 1] == str(recipe.schedule(pair).until)
    )
    with pytest.raises(ValueError, match="no recipe for 'en-es'"):
        recipe.schedule("en-es")


def test_mismatched_text_is_refused(tmp_path):
    (tmp_path / "val.en").write_text("A dog.\nA cat.\n", encoding="utf-8")
    (tmp_path / "val.de").write_text("Ein Hund.\n", encoding="utf-8")
    assert corpus.sentences(tmp_path, "val", "en") == ["A dog.", "A cat."]
    with pytest.raises(ValueError, match="2 lines in en, 1 lines in de"):
        corpus.parallel(tmp_path, "val", ("en", "de"))
    with pytest.raises(ValueError, match=r"val\.fr not found"):
        corpus.sentences(tmp_path, "val", "fr")
    (tmp_path / "val.fr").touch()
    with pytest.raises(ValueError, match=r"val\.fr is empty"):
        corpus.sentences(tmp_path, "val", "fr")


@pytest.fixture(scope="module")
def multi30k(shared_data):
    return shared_data / "multi30k"


def test_the_subword_model_is_reproducible_and_lossless(multi30k, tmp_path):
    import sentencepiece

    corpus.train_subwords(multi30k, tmp_path / "made.model")
    corpus.train_subwords(multi30k, tmp_path / "again.model")
    model, again = (sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / name)) for name in ("made.model", "again.model"))
    pieces = [model.id_to_piece(at) for at in range(corpus.PIECES)]
    assert pieces == [again.id_to_piece(at) for at in range(corpus.PIECES)] and len(set(pieces)) == corpus.PIECES
    for language in corpus.LANGUAGES:
        texts = corpus.sentences(multi30k, "val", language)
        assert model.decode([row.split() for row in corpus.cut(tmp_path / "made.model", texts)]) == [
            " ".join(model.normalize(text).replace("▁", " ").split()) for text in texts
        ]
    corpus.write_dictionary(tmp_path / "made.model", tmp_path / "dict.txt")
    assert len((tmp_path / "dict.txt").read_text(encoding="utf-8").splitlines()) == corpus.PIECES - 1


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_training_resumes_and_ends_in_a_model(parts, multi30k, tmp_path, monkeypatch, capsys):
    from transforms.engines.training.translators import make

    (tmp_path / "data").mkdir()
    for language in corpus.LANGUAGES:  # all of train for the pieces, a little of val to measure on
        (tmp_path / "data" / f"train.{language}").symlink_to(multi30k / f"train.{language}")
        lines = corpus.sentences(multi30k, "val", language)[:20]
        (tmp_path / "data" / f"val.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.setattr(recipe, "schedule", lambda pair: recipe.Schedule(1, 2))
    monkeypatch.setattr(recipe, "EVERY", 2)
    work = tmp_path / "work"
    binarised = make.prepare(tmp_path / "data", work, "en-de")
    make.train(work, binarised, "en-de")
    monkeypatch.setattr(recipe, "schedule", lambda pair: recipe.Schedule(1, 4))
    make.train(work, binarised, "en-de")
    log = work / "train_en-de.log"
    assert "Loaded checkpoint" not in log.read_text(encoding="utf-8")  # already done: not run again
    (work / "checkpoints_en-de" / "done").unlink()  # as if interrupted there
    make.train(work, binarised, "en-de")
    log = (work / "train_en-de.log").read_text(encoding="utf-8")
    assert "@ 2 updates" in log.split("Loaded checkpoint")[1]  # it resumed
    assert make.main([str(tmp_path / "data"), str(work), "--pairs", "en-de", "--out", str(tmp_path / "out")]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [row["translator"] for row in rows] == ["fairseq:en-de", "embedded:en-de"] and {row["updates"] for row in rows} == {4}
    assert all(0 <= row["bleu"] < 5 for row in rows)
    assert (tmp_path / "out" / "en-de" / "model.bin").stat().st_size < 3 << 20
