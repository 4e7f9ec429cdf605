"""UNIMO's released weights, persistable variables of Paddle 1.8 (one file a variable), as safetensors under this network's names.

Paddle is not required. A file holds, in little endian: uint32 version; uint64 number of LoD levels, each a uint64 size and as many bytes;
uint32 version; int32 size of a protobuf message (`VarType.TensorDesc`: 1, type; 2, dimensions), the message; the values.
Names are those of UNIMO's model code. Layers of Paddle multiply from the left, so their matrices are transposed.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator

import numpy as np
import safetensors.numpy

from schemas import files
from schemas.errors import SourceError

_TYPES = {4: "<f2", 5: "<f4", 6: "<f8"}
_LAYER = {"qkv": "multi_head_att_", "out": "multi_head_att_output_fc", "up": "ffn_fc_0", "down": "ffn_fc_1",
          "attention_norm": "post_att_layer_norm", "norm": "post_ffn_layer_norm"}  # fmt: skip
_HEADS = {"contrast.text": "pooled_fc_text", "contrast.image": "pooled_fc_image", "contrast.out": "match_fc",
          "tokens.dense": "mask_lm_trans_fc"}  # fmt: skip
_FIRST = 2  # positions are counted from the padding's id + 1


def convert_unimo(source: str, output: str) -> tuple[int, list[str]]:
    """Writes a safetensors file, for `start`; returns the number of variables that it holds, and the names of the others.

    Left out are the segment embedding, which UNIMO has and never adds, the heads of its downstream tasks, and the optimizer's variables.

    Raises SourceError, naming the variable, when one is missing, damaged or of another shape.
    """
    there = sorted(files.listing(source))
    used: set[str] = set()

    def take(name: str, *shape: int | None) -> np.ndarray:
        if name not in there:
            raise SourceError(f"{source} has no variable {name}: it must be the folder of UNIMO's parameters, with one file a variable")
        with files.open_read(files.join(source, name)) as file:
            held = read_variable(file.read(), name)
        if len(held.shape) != len(shape) or any(size not in (None, own) for size, own in zip(shape, held.shape, strict=True)):
            raise SourceError(f"{source}: {name} has the shape {list(held.shape)}, not {[size or 'any' for size in shape]}")
        used.add(name)
        return held

    def linear(ours: str, theirs: str, across: int | None, width: int) -> Iterator[tuple[str, np.ndarray]]:
        yield f"{ours}.weight", take(f"{theirs}.w_0", across, width).T
        yield f"{ours}.bias", take(f"{theirs}.b_0", width)

    def norm(ours: str, theirs: str) -> Iterator[tuple[str, np.ndarray]]:
        yield f"{ours}.weight", take(f"{theirs}_scale", width)
        yield f"{ours}.bias", take(f"{theirs}_bias", width)

    made = {"body.text.word.weight": take("word_embedding", None, None)}
    vocabulary, width = made["body.text.word.weight"].shape
    made["body.text.position.weight"] = take("pos_embedding", None, width)[_FIRST:]
    made.update(norm("body.text.norm", "pre_encoder_layer_norm"))
    made.update(linear("body.image.feature", "image_emb", None, width))
    made.update(linear("body.image.location", "image_loc", 5, width))
    made.update(norm("body.image.norm", "v_pre_encoder_layer_norm"))
    numbers = {int(found[1]) for name in there if (found := re.match(r"encoder_layer_(\d+)_", name))}
    for number in range(max(numbers, default=-1) + 1):
        ours, theirs = f"body.layers.{number}.", f"encoder_layer_{number}_"
        parts = [dict(linear("qkv", f"{theirs}{_LAYER['qkv']}{part}_fc", width, width)) for part in ("query", "key", "value")]
        made.update({f"{ours}{name}": np.concatenate([part[name] for part in parts]) for name in ("qkv.weight", "qkv.bias")})
        for name, (across, down) in {"out": (width, width), "up": (width, 4 * width), "down": (4 * width, width)}.items():
            made.update(linear(ours + name, theirs + _LAYER[name], across, down))
        for name in ("attention_norm", "norm"):
            made.update(norm(ours + name, theirs + _LAYER[name]))
    for ours, theirs in _HEADS.items():
        if f"{theirs}.w_0" in there:
            made.update(linear(ours, theirs, width, 1 if theirs == "match_fc" else width))
    if "mask_lm_trans_layer_norm_scale" in there:
        made.update(norm("tokens.norm", "mask_lm_trans_layer_norm"))
    if "mask_lm_out_fc.b_0" in there:
        made["tokens.bias"] = take("mask_lm_out_fc.b_0", vocabulary)
    with files.atomic_write(output) as sink:
        sink.write(safetensors.numpy.save({name: np.ascontiguousarray(held, np.float32) for name, held in made.items()}))
    return len(used), [name for name in there if name not in used]


def read_variable(data: bytes, name: str) -> np.ndarray:
    """The array in a variable's file. Raises SourceError when the file is cut, longer than its array, or holds anything but floats."""
    try:
        version, levels = struct.unpack_from("<IQ", data)
        at = 12
        for _ in range(levels):
            at += 8 + struct.unpack_from("<Q", data, at)[0]
        inner, size = struct.unpack_from("<Ii", data, at)
        at += 8
        kind, shape = _description(data[at : at + size])
    except (struct.error, IndexError):
        raise SourceError(f"{name} is not a variable as Paddle 1.8 saves it, or its file is cut") from None
    if version or inner or size < 0 or kind not in _TYPES:
        raise SourceError(f"{name} is not a variable of floats as Paddle 1.8 saves it (version {version}, {inner}; type {kind})")
    at += size
    wanted = math.prod(shape) * np.dtype(_TYPES[kind]).itemsize
    if len(data) - at != wanted:
        raise SourceError(f"{name} is damaged: it has {len(data) - at} bytes of values, not {wanted} for the shape {shape}")
    return np.frombuffer(data, _TYPES[kind], offset=at).reshape(shape)


def _description(message: bytes) -> tuple[int | None, list[int]]:
    """Type and dimensions of a `TensorDesc`; dimensions may be packed. Raises IndexError when it is cut."""
    kind, shape, at = None, [], 0
    while at < len(message):
        key, at = _varint(message, at)
        value, at = _varint(message, at)
        if key == 8:
            kind = value
        elif key == 16:
            shape.append(value)
        elif key == 18:
            end = at + value
            while at < end:
                value, at = _varint(message, at)
                shape.append(value)
        else:
            raise IndexError
    return kind, shape


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and where it ends."""
    value = shift = 0
    while True:
        value |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if message[at - 1] < 0x80:
            return value, at
