"""Tiny translation models out of nothing but a seed: real engines, random weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from transforms.scenes.language import captions
from transforms.scenes.layout import sample_scene


def scene_captions(count: int, seed: int = 5) -> list[str]:
    """Captions of made scenes."""
    return [caption.text for at in range(-(-count // 5)) for caption in captions(sample_scene(seed, at), seed)][:count]


def sentence_pieces(prefix: Path, texts: Sequence[str], pieces: int = 200) -> Path:
    """A SentencePiece model of these texts at `prefix`.model."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_prefix=str(prefix), vocab_size=pieces, model_type="bpe",
                                             character_coverage=1.0, minloglevel=2, num_threads=1, hard_vocab_limit=False)
    return Path(f"{prefix}.model")


def marian_folder(folder: Path, texts: Sequence[str], seed: int = 0, languages: Sequence[str] = ()) -> Path:
    """A Marian model as transformers keeps it, one layer, random weights; `languages` become tokens such as >>fra<<."""
    import torch
    from transformers import MarianConfig, MarianMTModel

    folder.mkdir(parents=True)
    path = sentence_pieces(folder / "pieces", texts)
    import sentencepiece

    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    pieces = [model.id_to_piece(at) for at in range(model.vocab_size())]
    words = ["</s>", "<unk>", *(f">>{code}<<" for code in languages), *(piece for piece in pieces if piece not in ("<s>", "</s>", "<unk>")), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(words)}))
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(path.read_bytes())
    path.unlink()
    (folder / "pieces.vocab").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "de"}))
    torch.manual_seed(seed)
    network = MarianMTModel(MarianConfig(
        vocab_size=len(words), decoder_vocab_size=len(words), d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=128, pad_token_id=len(words) - 1,
        decoder_start_token_id=len(words) - 1, eos_token_id=0, forced_eos_token_id=0, init_std=0.5))
    network.save_pretrained(folder)
    return folder
