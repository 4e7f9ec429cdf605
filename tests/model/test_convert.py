"""UNIMO's variables: files written by the format are read, placed or named, and give the states of a NumPy forward pass."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from scipy.special import erf

from model.batch import Batch, Images, Texts
from model.convert import convert_unimo, read_variable
from model.heads import Network
from model.pretrained import start_from
from model.transformer import ModelSettings, Shape
from pipelines.cli import main
from schemas.errors import CmclError, SourceError

WIDTH, LAYERS, WORDS, FEATURES, POSITIONS = 192, 4, 30, 12, 18  # as size tiny


def varint(value: int) -> bytes:
    made = b""
    while value >= 0x80:
        made, value = made + bytes([value & 0x7F | 0x80]), value >> 7
    return made + bytes([value])


def variable(array: np.ndarray, levels: Sequence[bytes] = (), packed: bool = False, kind: int = 5) -> bytes:
    """A variable as Paddle 1.8 saves it."""
    sizes = b"".join(map(varint, array.shape)) if packed else b"".join(b"\x10" + varint(size) for size in array.shape)
    message = b"\x08" + varint(kind) + (b"\x12" + varint(len(sizes)) + sizes if packed else sizes)
    lod = struct.pack("<IQ", 0, len(levels)) + b"".join(struct.pack("<Q", len(level)) + level for level in levels)
    return lod + struct.pack("<Ii", 0, len(message)) + message + array.astype({4: "<f2", 5: "<f4", 6: "<f8", 3: "<i8"}[kind]).tobytes()


def unimo(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """UNIMO's variables, random, by the names of its model code."""
    made: dict[str, np.ndarray] = {}

    def linear(name: str, across: int, down: int) -> None:
        made[f"{name}.w_0"], made[f"{name}.b_0"] = rng.normal(0, 0.1, (across, down)), rng.normal(0, 0.1, down)

    def norm(name: str) -> None:
        made[f"{name}_scale"], made[f"{name}_bias"] = rng.normal(1, 0.1, WIDTH), rng.normal(0, 0.1, WIDTH)

    for name, rows in (("word_embedding", WORDS), ("pos_embedding", POSITIONS), ("sent_embedding", 2)):
        made[name] = rng.normal(0, 0.5, (rows, WIDTH))
    for name in ("pre_encoder_layer_norm", "v_pre_encoder_layer_norm", "mask_lm_trans_layer_norm"):
        norm(name)
    linear("image_emb", FEATURES, WIDTH)
    linear("image_loc", 5, WIDTH)
    for number in range(LAYERS):
        layer = f"encoder_layer_{number}_"
        for part in ("query", "key", "value", "output"):
            linear(f"{layer}multi_head_att_{part}_fc", WIDTH, WIDTH)
        linear(f"{layer}ffn_fc_0", WIDTH, 4 * WIDTH)
        linear(f"{layer}ffn_fc_1", 4 * WIDTH, WIDTH)
        norm(f"{layer}post_att_layer_norm")
        norm(f"{layer}post_ffn_layer_norm")
    for name, down in (("pooled_fc_text", WIDTH), ("pooled_fc_image", WIDTH), ("match_fc", 1), ("mask_lm_trans_fc", WIDTH)):
        linear(name, WIDTH, down)
    made["mask_lm_out_fc.b_0"] = rng.normal(0, 0.1, WORDS)
    made["cls_out_w"], made["word_embedding_moment1_0"] = rng.normal(size=(WIDTH, 2)), made["word_embedding"]
    return {name: array.astype(np.float32) for name, array in made.items()}


@pytest.fixture(scope="module")
def held() -> dict[str, np.ndarray]:
    return unimo(np.random.default_rng(0))


def write(folder: Path, held: dict[str, np.ndarray], **changed: bytes | None) -> str:
    folder.mkdir(exist_ok=True)
    for name, array in held.items():
        (folder / name).write_bytes(variable(array))
    for name, data in changed.items():
        (folder / name).unlink() if data is None else (folder / name).write_bytes(data)
    return str(folder)


def network(**changes: Any) -> Network:
    torch.manual_seed(1)
    settings = ModelSettings(**{"size": "tiny", "positions": 16, "max_regions": 5, "contrast": "head", **changes})
    return Network(settings, Shape(vocabulary=WORDS, features=FEATURES)).eval()


def forward(w: dict[str, np.ndarray], features: np.ndarray, boxes: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """UNIMO on one image, [1 + R, D] and [1 + R, 5], and one text: last states, [N, H]."""

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.w_0"] + w[f"{name}.b_0"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w[f"{name}_scale"] + w[f"{name}_bias"]

    image = norm(linear(features, "image_emb") + linear(boxes, "image_loc"), "v_pre_encoder_layer_norm")
    text = norm(w["word_embedding"][ids] + w["pos_embedding"][2 : 2 + len(ids)], "pre_encoder_layer_norm")
    x = np.concatenate([image, text])
    for number in range(LAYERS):
        layer = f"encoder_layer_{number}_"
        query, key, value = (
            linear(x, f"{layer}multi_head_att_{part}_fc").reshape(len(x), 3, -1).transpose(1, 0, 2) for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        seen = (weights / weights.sum(-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(len(x), -1)
        x = norm(x + linear(seen, f"{layer}multi_head_att_output_fc"), f"{layer}post_att_layer_norm")
        inner = linear(x, f"{layer}ffn_fc_0")
        x = norm(x + linear(inner * (1 + erf(inner / np.sqrt(2))) / 2, f"{layer}ffn_fc_1"), f"{layer}post_ffn_layer_norm")
    return x


def test_states_and_matching_score_are_those_of_a_numpy_forward_pass(
    tmp_path: Path, held: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "unimo.safetensors")
    assert main(["convert", "unimo", write(tmp_path / "unimo", held), out]) == 0
    assert f"{len(held) - 3} variables; left out: cls_out_w, sent_embedding, word_embedding_moment1_0" in capsys.readouterr().out
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert start_from(model, out) == []
    kept = {name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])}
    assert all(name.startswith(("match.", "features.", "classes.", "contrast.temperature", "contrast.bias")) for name in kept)

    rng, wide = np.random.default_rng(1), {name: array.astype(np.float64) for name, array in held.items()}
    features, corners, ids = rng.normal(size=(3, FEATURES)), np.sort(rng.random((3, 2, 2)), 1).reshape(3, 4), np.array([0, 5, 7, 29, 2])
    boxes = np.concatenate([corners, (corners[:, 2:] - corners[:, :2]).prod(-1, keepdims=True)], 1)
    whole = np.concatenate([features.mean(0, keepdims=True), features]), np.concatenate([[[0, 0, 1, 1, 1]], boxes])
    expected = forward(wide, *whole, ids)

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.tensor(values[None], dtype=torch.float64)

    one = torch.tensor([0])
    images = Images(tensor(features), tensor(boxes), torch.tensor([3]), one, True)
    batch = Batch("pairs", ("a",), images, Texts(torch.tensor(ids)[None], torch.tensor([5]), one, True))
    with torch.no_grad():
        states = model.double().body.encode(model.body.embed(batch), one, one)
        assert states.img is not None and states.regions is not None and states.tokens is not None and states.cls is not None
        found = torch.cat([states.img, states.regions[0], states.tokens[0]]).numpy()
        score = model.contrast.pairs(model.contrast.of_images(states.img), model.contrast.of_texts(states.cls))
    assert np.abs(found - expected).max() < 1e-5
    text, image = (
        np.maximum(expected[row] @ wide[f"pooled_fc_{name}.w_0"] + wide[f"pooled_fc_{name}.b_0"], 0)
        for name, row in (("text", 4), ("image", 0))
    )
    assert float(score) == pytest.approx(float((text * image) @ wide["match_fc.w_0"][:, 0] + wide["match_fc.b_0"][0]), abs=1e-5)


@pytest.mark.parametrize("kind", [4, 5, 6])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("levels", [(), (b"12345678", b"")])
def test_variables_of_every_form_are_read(kind: int, packed: bool, levels: Sequence[bytes]) -> None:
    array = np.arange(600, dtype=np.float32).reshape(2, 300)
    assert np.array_equal(read_variable(variable(array, levels, packed, kind), "v"), array)


# Run by Paddle's own interpreter: makes the arrays of a file persistable variables, and saves each to a file of a folder.
PADDLE = """
import sys
import numpy as np
import paddle
paddle.enable_static()
from paddle.distributed.io import save_persistables
held = dict(np.load(sys.argv[1]))
program, start = paddle.static.Program(), paddle.static.Program()
with paddle.static.program_guard(program, start):
    for name, array in held.items():
        paddle.static.create_parameter(list(array.shape), str(array.dtype), name=name)
executor = paddle.static.Executor(paddle.CPUPlace())
executor.run(start)
for name, array in held.items():
    paddle.static.global_scope().find_var(name).get_tensor().set(array, paddle.CPUPlace())
save_persistables(executor, sys.argv[2], program)
"""


@pytest.mark.slow
def test_variables_that_paddle_itself_saves_are_read(tmp_path: Path, held: dict[str, np.ndarray]) -> None:
    python = os.environ.get("CMCL_PADDLE", "python")
    environment = {**os.environ, "FLAGS_enable_pir_api": "0"}  # as in Paddle 1.8, a program is not Paddle 3's intermediate representation
    environment.pop("PYTHONPATH", None)
    try:
        subprocess.run([python, "-c", "import paddle"], check=True, capture_output=True, env=environment, timeout=120)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("Paddle is not installed: `pip install paddlepaddle` elsewhere and set CMCL_PADDLE to that Python")
    np.savez(tmp_path / "held.npz", **held)
    told = [python, "-c", PADDLE, str(tmp_path / "held.npz"), str(tmp_path / "paddle")]
    ran = subprocess.run(told, capture_output=True, text=True, env=environment, timeout=240)
    assert ran.returncode == 0, ran.stderr
    for name, array in held.items():
        data = (tmp_path / "paddle" / name).read_bytes()
        assert data == variable(array) and np.array_equal(read_variable(data, name), array)
    for folder in (str(tmp_path / "paddle"), write(tmp_path / "own", held)):
        convert_unimo(folder, f"{folder}.safetensors")
    assert (tmp_path / "paddle.safetensors").read_bytes() == (tmp_path / "own.safetensors").read_bytes()


def test_damaged_variables_are_named() -> None:
    data = variable(np.ones((2, 3)))
    for cut in range(len(data)):
        with pytest.raises(SourceError, match="^v is "):
            read_variable(data[:cut], "v")
    for wrong in (
        data + b"\0",
        b"\1" + data[1:],
        variable(np.ones(3), kind=3),
        b"\x80" + bytes(11) + data,
        data[:4] + b"\xff" * 8 + data[12:],
    ):
        with pytest.raises(SourceError, match="^v is "):
            read_variable(wrong, "v")


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"pos_embedding": None}, "has no variable pos_embedding: it must be the folder of UNIMO's parameters"),
        ({"image_loc.w_0": variable(np.ones((7, WIDTH)))}, rf"image_loc.w_0 has the shape \[7, {WIDTH}\], not \[5, {WIDTH}\]"),
        ({"encoder_layer_1_ffn_fc_0.b_0": None}, "has no variable encoder_layer_1_ffn_fc_0.b_0"),
        ({"encoder_layer_2_ffn_fc_1.w_0": variable(np.ones(3))}, rf"has the shape \[3\], not \[{4 * WIDTH}, {WIDTH}\]"),
        ({"word_embedding": b"no"}, "word_embedding is not a variable as Paddle 1.8 saves it, or its file is cut"),
    ],
)
def test_a_folder_of_another_kind_is_named(tmp_path: Path, held: dict[str, np.ndarray], changed: dict[str, Any], message: str) -> None:
    source, out = write(tmp_path / "unimo", held, **changed), tmp_path / "out.safetensors"
    with pytest.raises(SourceError, match=message):
        convert_unimo(source, str(out))
    assert not out.exists()


def test_what_does_not_fit_a_network_is_named(tmp_path: Path, held: dict[str, np.ndarray]) -> None:
    out = str(tmp_path / "unimo.safetensors")
    convert_unimo(write(tmp_path / "unimo", held), out)
    assert load_file(out)["body.text.position.weight"].shape == (POSITIONS - 2, WIDTH)
    assert start_from(network(contrast="dot"), out) == ["contrast.out.bias", "contrast.out.weight"]
    for changes, message in (
        ({"positions": 17}, "has 16 positions, fewer than model.positions: 17"),
        ({"embedding": "uniter"}, "has no tensor body.image.feature_norm.weight; .* requires model.embedding: unimo"),
        ({"size": "small"}, "does not fit|has 4 layers"),
    ):
        with pytest.raises(CmclError, match=message):
            start_from(network(**changes), out)
