"""Tiny translation models made from a seed: real engines, random weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from transforms.scenes.language import captions
from transforms.scenes.layout import sample_scene


def scene_captions(count: int, seed: int = 5) -> list[str]:
    """Captions of generated scenes."""
    return [caption.text for at in range(-(-count // 5)) for caption in captions(sample_scene(seed, at), seed)][:count]


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of the calls, each made in its own thread. Raises TimeoutError if one hangs."""
    pool = ThreadPoolExecutor(len(calls))
    try:
        return [found.result(timeout=60) for found in [pool.submit(call) for call in calls]]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def sentence_pieces(prefix: Path, texts: Sequence[str], pieces: int = 200) -> Path:
    """Trains a SentencePiece model on these texts, written to `prefix`.model."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(prefix),
        vocab_size=pieces,
        model_type="bpe",
        character_coverage=1.0,
        minloglevel=2,
        num_threads=1,
        hard_vocab_limit=False,
    )
    return Path(f"{prefix}.model")


def marian_folder(folder: Path, texts: Sequence[str], seed: int = 0, languages: Sequence[str] = ()) -> Path:
    """A Marian model as saved by transformers, one layer, random weights; `languages` become tokens like >>fra<<."""
    import torch
    from transformers import MarianConfig, MarianMTModel

    folder.mkdir(parents=True)
    path = sentence_pieces(folder / "pieces", texts)
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    pieces = [model.id_to_piece(at) for at in range(model.vocab_size())]
    words = [
        "</s>",
        "<unk>",
        *(f">>{code}<<" for code in languages),
        *(piece for piece in pieces if piece not in ("<s>", "</s>", "<unk>")),
        "<pad>",
    ]
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(words)}))
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(path.read_bytes())
    path.unlink()
    (folder / "pieces.vocab").unlink()
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "de"})
    )
    torch.manual_seed(seed)
    network = MarianMTModel(
        MarianConfig(
            vocab_size=len(words),
            decoder_vocab_size=len(words),
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            max_position_embeddings=128,
            pad_token_id=len(words) - 1,
            decoder_start_token_id=len(words) - 1,
            eos_token_id=0,
            forced_eos_token_id=0,
            init_std=0.5,
        )
    )
    network.save_pretrained(folder)
    return folder


def fairseq_folder(folder: Path, texts: Sequence[str], seed: int = 0, steps: int = 150) -> Path:
    """A fairseq checkpoint folder as written by training: a small transformer that has started to learn to copy these texts."""
    import torch
    from fairseq import options, tasks
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from omegaconf import OmegaConf

    from transforms.engines.torch_threads import kernel_threads

    folder.mkdir(parents=True)
    path = sentence_pieces(folder / "pieces", texts)
    path.rename(folder / "sentencepiece.bpe.model")
    lines = (folder / "pieces.vocab").read_text(encoding="utf-8").splitlines()[3:]
    (folder / "pieces.vocab").unlink()
    for language in ("en", "de"):
        (folder / f"dict.{language}.txt").write_text("".join(f"{line.split(chr(9))[0]} 1\n" for line in lines), encoding="utf-8")
    parsed = options.parse_args_and_arch(
        options.get_training_parser(),
        [
            str(folder),
            "-s",
            "en",
            "-t",
            "de",
            "--arch",
            "transformer",
            "--share-all-embeddings",
            "--encoder-layers",
            "2",
            "--decoder-layers",
            "2",
            "--encoder-embed-dim",
            "64",
            "--decoder-embed-dim",
            "64",
            "--encoder-ffn-embed-dim",
            "128",
            "--decoder-ffn-embed-dim",
            "128",
            "--encoder-attention-heads",
            "4",
            "--decoder-attention-heads",
            "4",
            "--cpu",
        ],
    )
    config = convert_namespace_to_omegaconf(parsed)
    task = tasks.setup_task(config.task)
    torch.manual_seed(seed)
    model = task.build_model(config.model)
    with kernel_threads(1):  # on a busy machine the threads of such a small network spend their time waiting
        _teach(model, task, sentence_rows(folder / "sentencepiece.bpe.model", task.source_dictionary, texts), steps)
    history = {"num_updates": 0, "optimizer_name": "FairseqAdam", "lr_scheduler_state": {}}
    torch.save(
        {
            "args": None,
            "cfg": OmegaConf.to_container(config, resolve=True, enum_to_str=True),
            "model": model.state_dict(),
            "extra_state": {},
            "optimizer_history": [history],
            "task_state": {},
        },
        folder / "checkpoint_best.pt",
    )
    return folder


def sentence_rows(pieces: Path, dictionary, texts: Sequence[str]) -> list[list[int]]:
    """Texts as rows of ids, without the end-of-sentence token."""
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
    return [[dictionary.index(piece) for piece in model.encode(text, out_type=str)] for text in texts]


def _teach(model, task, rows: list[list[int]], steps: int) -> None:
    """A few training steps: untrained weights repeat one word forever."""
    import torch

    dictionary, optimiser = task.source_dictionary, torch.optim.Adam(model.parameters(), lr=2e-3, foreach=True)
    rows = sorted(rows, key=len)
    model.train()
    for step in range(steps):
        start = (step * 7919) % max(1, len(rows) - 32)
        batch = rows[start : start + 32]
        width = max(map(len, batch)) + 1
        source = torch.tensor([[dictionary.pad()] * (width - len(row) - 1) + row + [dictionary.eos()] for row in batch])
        target = torch.tensor([row + [dictionary.eos()] + [dictionary.pad()] * (width - len(row) - 1) for row in batch])
        before = torch.cat([torch.full((len(batch), 1), dictionary.eos()), target[:, :-1]], 1)
        scores, _ = model(source, torch.tensor([len(row) + 1 for row in batch]), before)
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), target.flatten(), ignore_index=dictionary.pad())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
