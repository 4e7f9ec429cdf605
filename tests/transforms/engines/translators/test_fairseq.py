"""The fairseq engine, and CTranslate2's agreement on the same weights. Requires fairseq: see `fairseq_engine.INSTALL`."""

from __future__ import annotations

import json
import os
import time
from argparse import Namespace
from pathlib import Path

import pytest

from tests.transforms.engines.translators.help import at_once, fairseq_folder, scene_captions
from transforms.engines.translators.base import Decoding, TranslatorError
from transforms.engines.translators.fairseq_engine import ARCHITECTURES, INSTALL, checkpoint_of, read_checkpoint, require_fairseq

try:
    import fairseq  # noqa: F401

    HERE = True
except ImportError:
    HERE = False
wanted = pytest.mark.skipif(not HERE, reason=f"fairseq is not installed: {INSTALL}")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return fairseq_folder(tmp_path_factory.mktemp("fairseq") / "tiny", scene_captions(500))


@pytest.mark.skipif(HERE, reason="fairseq is installed")
def test_without_fairseq_the_command_is_named():
    with pytest.raises(TranslatorError, match="pip install --no-deps fairseq-fixed"):
        require_fairseq("this")


def test_which_checkpoint_is_meant_must_be_clear(tmp_path):
    with pytest.raises(TranslatorError, match="has no .pt checkpoints"):
        checkpoint_of(tmp_path)
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).touch()
    with pytest.raises(TranslatorError, match="has several .pt checkpoints"):
        checkpoint_of(tmp_path)
    (tmp_path / "model1.pt").touch()
    assert checkpoint_of(tmp_path).name == "model1.pt"


SETTINGS = {"arch": "transformer_wmt_en_de_big", "task": "translation", "source_lang": "en", "target_lang": "de", "encoder_layers": 6,
            "dropout": 0.1, "share_all_embeddings": True, "left_pad_source": "True", "encoder_embed_path": None, "activation_fn": "relu",
            "user_dir": "/somewhere", "criterion": "label_smoothed_cross_entropy", "lr": [0.1], "eval_bleu": True}  # fmt: skip
RUNS = "__import__('os').mkdir({!r})"


def kept(folder: Path, **state) -> Path:
    """A folder with dictionaries and a checkpoint with these settings but no weights."""
    import torch

    folder.mkdir(exist_ok=True)
    for language in ("de", "en"):
        (folder / f"dict.{language}.txt").write_text("a 1\n")
    (folder / "sentencepiece.bpe.model").touch()
    torch.save({"model": {}, **state}, folder / "model.pt")
    return folder


def _container(**changed):
    """Settings as stored by fairseq since 2020."""
    model = {**SETTINGS, **changed}
    return {"model": {**model, "_name": model["arch"]}, "task": {"_name": model["task"], "source_lang": "en", "target_lang": "de"}}


@pytest.mark.parametrize(
    "state",
    [
        {"args": Namespace(**SETTINGS)},
        {"args": None, "cfg": _container()},
        {"cfg": {**_container(), "model": Namespace(**SETTINGS)}},
        {"args": Namespace(**{name: value for name, value in SETTINGS.items() if name != "task"}), "cfg": None},
    ],
)
def test_settings_are_rebuilt_from_numbers(tmp_path, state):
    pytest.importorskip("torch")
    made = vars(read_checkpoint(kept(tmp_path / "m", **state))["args"])
    assert made == {
        "arch": "transformer_wmt_en_de_big",
        "task": "translation",
        "source_lang": "en",
        "target_lang": "de",
        "encoder_layers": 6,
        "dropout": 0.1,
        "share_all_embeddings": True,
        "left_pad_source": True,
        "encoder_embed_path": None,
        "activation_fn": "relu",
        "eval_bleu": False,
        "data": str(tmp_path / "m"),
    }


def test_our_trainings_network_is_read_as_a_transformer(tmp_path):
    pytest.importorskip("torch")
    args = read_checkpoint(kept(tmp_path / "m", cfg=_container(arch="caption_transformer")), "de", "en")["args"]
    assert (args.arch, args.source_lang, args.target_lang) == ("transformer", "de", "en")


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"arch": "fconv"}, "architecture 'fconv', whose settings"),
        ({"arch": "transformer_lm"}, "architecture 'transformer_lm'"),
        ({"arch": None}, "architecture None"),
        ({"arch": ["transformer"]}, "architecture "),
        ({"arch": "${common.x}"}, "architecture "),
        ({"task": "multilingual_masked_lm"}, "task 'multilingual_masked_lm'"),
        ({"task": ["translation"]}, "task "),
        ({"adaptive_softmax_cutoff": "print()"}, "setting adaptive_softmax_cutoff is 'print"),
        ({"adaptive_softmax_cutoff": ["print()"]}, "setting adaptive_softmax_cutoff is"),
        ({"encoder_xformers_att_config": "print()"}, "setting encoder_xformers_att_config is 'print"),
        ({"xformers_att_config": "print()"}, "setting xformers_att_config"),
        ({"decoder": {"xformers_att_config": "print()"}}, "setting decoder is"),
        ({"encoder": "${oc.create:{xformers_att_config: x}}"}, "setting encoder is"),
        ({"encoder_layers": "[(16, 3)]"}, "setting encoder_layers is"),
        ({"activation_fn": "print()"}, "setting activation_fn is"),
        ({"encoder_layers_to_keep": "print()"}, "setting encoder_layers_to_keep is"),
    ],
)
def test_settings_that_might_be_run_are_refused(tmp_path, changed, text):
    pytest.importorskip("torch")
    for state in ({"args": Namespace(**{**SETTINGS, **changed}), "cfg": None}, {"args": None, "cfg": _container(**changed)}):
        with pytest.raises(TranslatorError, match=text):
            read_checkpoint(kept(tmp_path / "m", **state))


def test_both_names_of_an_architecture_and_of_a_task_must_be_known(tmp_path):
    pytest.importorskip("torch")
    for place, name in (("model", "arch"), ("model", "_name"), ("model", "task"), ("task", "task"), ("task", "_name")):
        told = _container()
        told[place][name] = "fconv"
        with pytest.raises(TranslatorError, match="'fconv'"):
            read_checkpoint(kept(tmp_path / "m", args=None, cfg=told))


def test_broken_checkpoints_are_named(tmp_path):
    pytest.importorskip("torch")
    folder = kept(tmp_path / "m", args=Namespace(**SETTINGS))
    whole = (folder / "model.pt").read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"no checkpoint"):
        (folder / "model.pt").write_bytes(content)
        with pytest.raises(TranslatorError, match="its checkpoint"):
            read_checkpoint(folder)
    for state, text in (
        ({"model": 1}, "not a fairseq checkpoint"),
        ({"args": None}, "no settings"),
        ({"cfg": {"model": 3}}, "no settings"),
        ({"args": {"arch": 1}}, "architecture 1"),
        ({"args": [1]}, "no settings"),
    ):
        with pytest.raises(TranslatorError, match=text):
            read_checkpoint(kept(folder, **state))


@wanted
@pytest.mark.slow
def test_the_architectures_are_fairseqs_and_unknown_to_run_settings():
    from fairseq.models import ARCH_MODEL_REGISTRY

    assert {ARCH_MODEL_REGISTRY[name].__module__ for name in ARCHITECTURES.values()} == {
        "fairseq.models.transformer.transformer_legacy",
        "fairseq.models.transformer_align",
    }


@wanted
@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        {
            "arch": "fconv",
            "encoder_layers": "RUNS or [(16, 3)]",
            "decoder_layers": "[(16, 3)]",
            "decoder_attention": "True",
            "encoder_embed_dim": 16,
            "decoder_embed_dim": 16,
            "decoder_out_embed_dim": 16,
            "decoder_embed_path": None,
            "share_input_output_embed": False,
        },
        {"arch": "transformer_tiny", "adaptive_softmax_cutoff": "RUNS or [2]", "share_all_embeddings": False},
        {"arch": "transformer_tiny", "encoder_xformers_att_config": "RUNS"},
    ],
)
def test_a_checkpoint_whose_settings_would_run_code_is_refused(tmp_path, changed):
    """By engine and converter; fairseq itself would execute the code in each."""
    from fairseq import checkpoint_utils

    from transforms.engines.translators import convert
    from transforms.engines.translators.fairseq_engine import FairseqTranslator, safely

    made = tmp_path / "ran"
    told = {name: value.replace("RUNS", RUNS.format(str(made))) if isinstance(value, str) else value for name, value in changed.items()}
    args = Namespace(
        **{
            **SETTINGS,
            "encoder_layers": 1,
            "left_pad_source": True,
            "eval_bleu": False,
            "user_dir": None,
            "left_pad_target": False,
            "max_source_positions": 99,
            "max_target_positions": 99,
            **told,
        }
    )
    folder = kept(
        tmp_path / "m",
        args=args,
        cfg=None,
        extra_state={},
        task_state={},
        optimizer_history=[{"num_updates": 1, "criterion_name": "x", "optimizer_name": "x", "lr_scheduler_state": {}}],
        last_optimizer_state=None,
    )
    for refused in (lambda: FairseqTranslator(folder, "m", "en", "de"), lambda: convert.convert_fairseq(folder, tmp_path / "out")):
        with pytest.raises(TranslatorError, match="fairseq may execute as code"):
            refused()
        assert not made.exists() and not (tmp_path / "out").exists()
    with pytest.raises(TranslatorError), safely(folder):  # no weights
        checkpoint_utils.load_model_ensemble_and_task([str(folder / "model.pt")], arg_overrides={"data": str(folder)})
    assert made.exists()


@wanted
@pytest.mark.slow
def test_weights_that_do_not_fit_are_named(checkpoint, tmp_path):
    from transforms.engines.translators import convert
    from transforms.engines.translators.fairseq_engine import FairseqTranslator

    folder = kept(
        tmp_path / "m",
        args=Namespace(
            **{
                **SETTINGS,
                "arch": "transformer_tiny",
                "encoder_normalize_before": False,
                "decoder_normalize_before": False,
                "encoder_attention_heads": 2,
                "decoder_attention_heads": 2,
                "decoder_layers": 6,
            }
        ),
    )
    (folder / "sentencepiece.bpe.model").write_bytes((checkpoint / "sentencepiece.bpe.model").read_bytes())
    with pytest.raises(TranslatorError, match="cannot be loaded: RuntimeError.*TransformerModel"):
        FairseqTranslator(folder, "m")
    with pytest.raises(TranslatorError, match="RuntimeError.*TransformerModel"):
        convert.convert_fairseq(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@wanted
@pytest.mark.slow
def test_samples_of_two_translators_at_once_are_those_of_their_seeds(checkpoint, monkeypatch):
    import torch

    from transforms.engines.translators import fairseq_engine

    engines = [fairseq_engine.FairseqTranslator(checkpoint, name, "en", "de") for name in ("one", "two")]
    captions, decoding = scene_captions(8), Decoding(n_best=2, top_k=5, max_length=10)
    state = torch.get_rng_state()
    alone = [engine.translate(captions, decoding, seed) for seed, engine in enumerate(engines)]
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is unaffected
    setting = torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda seed: (setting(seed), time.sleep(0.2)))
    together = at_once([lambda engine=engine, seed=seed: engine.translate(captions, decoding, seed) for seed, engine in enumerate(engines)])
    assert together == alone
    with fairseq_engine._SAMPLING:
        assert at_once([lambda: engines[0].translate(captions, Decoding(max_length=10))])[0]


@wanted
@pytest.mark.slow
def test_fairseq_and_ctranslate2_agree_token_for_token(checkpoint, tmp_path, shared_data):
    """Greedy search on 200 COCO captions, in float32 in both engines."""
    from transforms.engines.translators import convert
    from transforms.engines.translators.ctranslate import CTranslate2Translator
    from transforms.engines.translators.fairseq_engine import FairseqTranslator

    notes = json.loads((shared_data / "coco_val2017/captions_val2017.json").read_text())["annotations"][:200]
    captions = [note["caption"].strip() for note in notes]
    convert.convert_fairseq(checkpoint, tmp_path / "ct2", "float32")
    theirs, ours = FairseqTranslator(checkpoint, "fairseq"), CTranslate2Translator(tmp_path / "ct2", "ct2")
    assert theirs.tokens(captions) == ours.tokens(captions)  # both add the end of the sentence themselves
    greedy = Decoding(beam=1, max_length=120)
    expected = [found[0][0] for found in theirs.hypotheses(captions, greedy)]
    assert sum(len(set(tokens)) for tokens in expected) > 1000  # not a single repeated word
    result = ours._translator.translate_batch(
        ours.tokens(captions), beam_size=1, max_input_length=0, max_decoding_length=120, disable_unk=True
    )
    assert [one.hypotheses[0] for one in result] == expected
    texts = [[one[0].text for one in engine.translate(captions, greedy)] for engine in (theirs, ours)]
    assert texts[0] == texts[1]


@wanted
@pytest.mark.slow
def test_beams_and_samples_of_fairseq(checkpoint):
    from transforms.engines.translators.load import check_spec, translator

    spec = f"fairseq:{checkpoint}#en:de"
    check_spec(spec)
    engine, captions = translator(spec), scene_captions(40)
    found = engine.translate(captions, Decoding(beam=4, n_best=3, max_length=20))
    assert all(len(one) == 3 and one[0].score >= one[1].score >= one[2].score for one in found)
    alone = engine.translate(captions[:1], Decoding(beam=4, n_best=3, max_length=20))[0]
    assert [one.text for one in alone] == [one.text for one in found[0]]
    drawn = [engine.translate(captions, Decoding(n_best=2, top_k=5, max_length=20), seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@wanted
@pytest.mark.slow
def test_a_checkpoint_that_would_run_code_is_refused(checkpoint, tmp_path):
    import shutil

    import torch

    from transforms.engines.translators.fairseq_engine import FairseqTranslator

    folder = Path(shutil.copytree(checkpoint, tmp_path / "hostile"))
    torch.save({"args": None, "cfg": _Trap(tmp_path / "ran"), "model": {}}, folder / "checkpoint_best.pt")
    with pytest.raises(TranslatorError, match="contains more than tensors and settings"):
        FairseqTranslator(folder, "hostile", "en", "de")
    assert not (tmp_path / "ran").exists()


class _Trap:
    """Its pickle creates a folder when it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@wanted
@pytest.mark.slow
def test_missing_dictionaries_are_named(checkpoint, tmp_path):
    import shutil

    from transforms.engines.translators.load import check_spec

    folder = Path(shutil.copytree(checkpoint, tmp_path / "half"))
    with pytest.raises(TranslatorError, match=r"has no dict\.fr\.txt; it has dictionaries for de, en"):
        check_spec(f"fairseq:{folder}#en:fr")
    (folder / "sentencepiece.bpe.model").unlink()
    with pytest.raises(TranslatorError, match="nor any of sentencepiece.bpe.model"):
        check_spec(f"fairseq:{folder}")
