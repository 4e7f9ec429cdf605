"""Starting from RoBERTa, BERT and UNITER files: the same outputs, and errors that name what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers

from model.batch import Batch, Texts
from model.checkpoint import CheckpointError
from model.heads import Network
from model.pretrained import start_from
from model.transformer import ModelSettings, Shape
from tests.model.batches import texts

WIDTH, VOCABULARY = 192, 60


def _network(positions: int = 16, **changes: Any) -> Network:
    return Network(
        ModelSettings(**{"size": "tiny", "positions": positions, "dropout": 0.0, **changes}),
        Shape(vocabulary=VOCABULARY, features=12, geometry=7, classes=7),
    ).eval()


def _published(kind: str, folder: Path, bare: bool = False) -> Any:
    """A model of `transformers` with random weights, as it saves itself; bare: without heads, so that names have no prefix."""
    torch.manual_seed(0)
    shape = dict(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=4,
        num_attention_heads=3,
        intermediate_size=4 * WIDTH,
        pad_token_id=1,
        layer_norm_eps=1e-5,
    )
    if kind == "roberta":
        roberta: Any = transformers.RobertaModel if bare else transformers.RobertaForMaskedLM
        made = roberta(transformers.RobertaConfig(max_position_embeddings=18, type_vocab_size=1, **shape))
    else:
        bert: Any = transformers.BertModel if bare else transformers.BertForMaskedLM
        made = bert(transformers.BertConfig(max_position_embeddings=16, type_vocab_size=2, **shape))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    made.save_pretrained(folder)
    return made.eval()


@pytest.mark.parametrize("kind", ["roberta", "bert"])
def test_text_has_the_states_and_scores_of_transformers(tmp_path: Path, kind: str) -> None:
    import numpy as np

    published, network = _published(kind, tmp_path), _network()
    unused = start_from(network, str(tmp_path / "model.safetensors"))
    assert all("pooler" in name or "decoder" in name for name in unused)
    said: Texts = texts(np.random.default_rng(0), 4)
    valid = torch.arange(9) < said.lengths[:, None]
    with torch.no_grad():
        expected = published(input_ids=said.ids, attention_mask=valid.long(), output_hidden_states=True)
        states = network.body.encode(network.body.embed(Batch("texts", tuple("abcd"), texts=said)), None, torch.arange(4)).tokens
        scores = network.token_scores(states)  # type: ignore[arg-type]
    assert float((states - expected.hidden_states[-1])[valid].abs().max()) < 1e-5  # type: ignore[operator]
    assert float((scores - expected.logits)[valid].abs().max()) < 1e-4


@pytest.mark.parametrize("kind", ["roberta", "bert"])
def test_a_model_without_heads_and_its_folder_are_read_too(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    import numpy as np

    published, network = _published(kind, tmp_path, bare=True), _network()
    start_from(network, str(tmp_path))
    said: Texts = texts(np.random.default_rng(0), 4)
    valid = torch.arange(9) < said.lengths[:, None]
    with torch.no_grad():
        expected = published(input_ids=said.ids, attention_mask=valid.long()).last_hidden_state
        states = network.body.encode(network.body.embed(Batch("texts", tuple("abcd"), texts=said)), None, torch.arange(4)).tokens
    assert float((states - expected)[valid].abs().max()) < 1e-5  # type: ignore[operator]
    assert not caplog.records
    start_from(_network(epsilon=1e-12), str(tmp_path))
    assert "was trained with model.epsilon: 1e-05, not 1e-12" in caplog.text


def test_half_precision_is_widened_before_anything_is_added(tmp_path: Path) -> None:
    held = _uniter()
    half = {name: tensor.half() for name, tensor in held.items()}
    networks = []
    for number, tensors in enumerate((half, {name: tensor.float() for name, tensor in half.items()})):
        torch.save(tensors, tmp_path / f"{number}.pt")
        networks.append(_network(embedding="uniter", epsilon=1e-12))
        start_from(networks[-1], str(tmp_path / f"{number}.pt"))
    names = [name for name in networks[0].state_dict() if name.startswith(("body.", "match."))]
    assert all(torch.equal(networks[0].state_dict()[name], networks[1].state_dict()[name]) for name in names)


def test_what_a_start_changes_or_leaves_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(_uniter(), tmp_path / "uniter.pt")
    start_from(_network(embedding="uniter"), str(tmp_path / "uniter.pt"))
    assert "model.region_mask: learned uses it" in caplog.text and "model.epsilon: 1e-12, not 1e-05" in caplog.text


def _uniter() -> dict[str, torch.Tensor]:
    """The tensors of a UNITER pretraining checkpoint, under the names that its code gives them."""
    torch.manual_seed(0)
    made: dict[str, torch.Tensor] = {}

    def linear(name: str, out: int, into: int) -> None:
        made[f"{name}.weight"], made[f"{name}.bias"] = torch.randn(out, into) * 0.1, torch.randn(out) * 0.1

    def norm(name: str) -> None:
        made[f"{name}.weight"], made[f"{name}.bias"] = 1 + torch.randn(WIDTH) * 0.1, torch.randn(WIDTH) * 0.1

    for name, rows in (("word", VOCABULARY), ("position", 512), ("token_type", 2)):
        made[f"uniter.embeddings.{name}_embeddings.weight"] = torch.randn(rows, WIDTH) * 0.1
    norm("uniter.embeddings.LayerNorm")
    for name, into in (("img_linear", 12), ("pos_linear", 7)):
        linear(f"uniter.img_embeddings.{name}", WIDTH, into)
    for name in ("img_layer_norm", "pos_layer_norm", "LayerNorm"):
        norm(f"uniter.img_embeddings.{name}")
    made["uniter.img_embeddings.mask_embedding.weight"] = torch.randn(2, 12)
    for layer in range(4):
        where = f"uniter.encoder.layer.{layer}."
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            linear(f"{where}attention.{part}", WIDTH, WIDTH)
        norm(f"{where}attention.output.LayerNorm")
        linear(f"{where}intermediate.dense", 4 * WIDTH, WIDTH)
        linear(f"{where}output.dense", WIDTH, 4 * WIDTH)
        norm(f"{where}output.LayerNorm")
    linear("uniter.pooler.dense", WIDTH, WIDTH)
    linear("cls.predictions.transform.dense", WIDTH, WIDTH)
    norm("cls.predictions.transform.LayerNorm")
    made["cls.predictions.bias"], made["cls.predictions.decoder.weight"] = (
        torch.randn(VOCABULARY),
        made["uniter.embeddings.word_embeddings.weight"],
    )
    for head in ("feat_regress", "region_classifier"):
        linear(f"{head}.net.0", WIDTH, WIDTH)
        norm(f"{head}.net.2")
    linear("region_classifier.net.3", 7, WIDTH)
    made["feat_regress.weight"], made["feat_regress.bias"] = made["uniter.img_embeddings.img_linear.weight"], torch.randn(12)
    linear("itm_output", 2, WIDTH)
    return made


def test_uniter_is_taken_over_whole(tmp_path: Path) -> None:
    held = _uniter()
    torch.save(held, tmp_path / "uniter.pt")
    network = _network(embedding="uniter", region_mask="learned", epsilon=1e-12)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert set(start_from(network, str(tmp_path / "uniter.pt"))) == {"cls.predictions.decoder.weight", "feat_regress.weight"}  # tied
    kept = {name for name, tensor in network.state_dict().items() if torch.equal(tensor, before[name])}
    assert all(name.startswith("contrast.") for name in kept)

    def norm(values: torch.Tensor, name: str) -> torch.Tensor:
        return torch.nn.functional.layer_norm(values, (WIDTH,), held[f"{name}.weight"], held[f"{name}.bias"], 1e-12)

    def linear(values: torch.Tensor, name: str) -> torch.Tensor:
        return values @ held[f"{name}.weight"].T + held[f"{name}.bias"]

    feature, box, where = torch.randn(12), torch.rand(7), "uniter.img_embeddings."
    expected = norm(
        norm(linear(feature, f"{where}img_linear"), f"{where}img_layer_norm")
        + norm(linear(box, f"{where}pos_linear"), f"{where}pos_layer_norm")
        + held["uniter.embeddings.token_type_embeddings.weight"][1],
        f"{where}LayerNorm",
    )
    image = network.body.image
    found = image.norm(image.feature_norm(image.feature(feature)) + image.location_norm(image.location(box)))
    assert torch.allclose(found, expected, atol=1e-5)
    cls = torch.randn(3, WIDTH)
    both = linear(torch.tanh(linear(cls, "uniter.pooler.dense")), "itm_output").softmax(-1)[:, 1]
    assert torch.allclose(torch.sigmoid(network.match(cls)), both, atol=1e-6)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    held = _uniter()
    path = str(tmp_path / "uniter.pt")
    torch.save(held, path)
    with pytest.raises(CheckpointError, match="requires model.embedding: uniter, not unimo"):
        start_from(_network(), path)
    with pytest.raises(CheckpointError, match=r"body.text.word.weight is \[60, 192\] in it and \[61, 192\]"):
        start_from(
            Network(ModelSettings(size="tiny", positions=16, embedding="uniter"), Shape(vocabulary=61, features=12, geometry=7, classes=7)),
            path,
        )
    with pytest.raises(CheckpointError, match="has 512 positions, fewer than model.positions: 600"):
        start_from(_network(positions=600, embedding="uniter"), path)
    torch.save({name: tensor for name, tensor in held.items() if ".layer.3." not in name}, path)
    with pytest.raises(CheckpointError, match="has 3 layers, but model.size: tiny has 4"):
        start_from(_network(embedding="uniter"), path)
    torch.save({**held, "uniter.encoder.layer.4.output.dense.bias": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="has 5 layers, but model.size: tiny has 4"):
        start_from(_network(embedding="uniter"), path)
    safetensors.torch.save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="not a RoBERTa, BERT, UNITER or converted UNIMO checkpoint"):
        start_from(_network(), str(tmp_path / "other.safetensors"))
    with pytest.raises(CheckpointError, match="does not exist"):
        start_from(_network(), str(tmp_path / "absent.pt"))


class _Executes:
    def __reduce__(self) -> Any:
        import os

        return os.mkdir, (str(Path("/tmp") / "cmcl-must-not-exist"),)


def test_a_pickle_is_not_executed_and_a_cut_file_is_named(tmp_path: Path) -> None:
    torch.save({"weight": _Executes()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="not a complete checkpoint of tensors only"):
        start_from(_network(), str(tmp_path / "evil.pt"))
    assert not Path("/tmp/cmcl-must-not-exist").exists()
    torch.save(_uniter(), tmp_path / "uniter.pt")
    whole = (tmp_path / "uniter.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cut.pt is not a complete checkpoint"):
        start_from(_network(), str(tmp_path / "cut.pt"))
