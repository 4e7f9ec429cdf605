"""What a GPU and limits refuse, before any work."""

from __future__ import annotations

import pytest

pytest.importorskip("faiss", reason="retrieval needs its extra: pip install 'cmcl[retrieval]'")
pytest.importorskip("sentence_transformers", reason="retrieval needs its extra: pip install 'cmcl[retrieval]'")

from pipelines.config import parse_config
from pipelines.run import run
from schemas.errors import ConfigError
from tests.transforms.retrieval.help import settings, write_inputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize(
    ("retrieval", "text"),
    [
        ({"device": "cuda", "images": {"k": 2049}}, "images.k is 2049, but FAISS finds at most 2048 on a GPU"),
        ({"device": "cuda", "texts": {"depth": 3000}}, "texts.depth is 3000, but FAISS finds at most 2048"),
        ({"device": "cuda", "texts": {"index": "IVF16,PQ8x4fs"}}, "texts.index 'IVF16,PQ8x4fs' cannot be searched on a GPU"),
        ({"device": "cuda", "images": {"index": "IVF16,RaBitQ"}}, "images.index 'IVF16,RaBitQ' cannot be searched on a GPU"),
        ({"device": "tpu"}, "retrieval.device"),
        ({"images": {"max_uses": 0}}, "max_uses"),
        ({"max_memory": 0}, "max_memory"),
        ({"threads": 0}, "threads"),
    ],
)
def test_wrong_devices_and_limits_are_named(inputs, tmp_path, retrieval, text):
    with pytest.raises(ConfigError, match=text):
        parse_config(settings(inputs, tmp_path / "c", retrieval=retrieval), "/")


def test_a_gpu_that_is_not_there_is_an_error_before_any_work(inputs, tmp_path):
    import faiss

    if faiss.get_num_gpus():
        pytest.skip("this machine has a GPU that FAISS can use")
    with pytest.raises(ConfigError, match="retrieval.device is cuda, but"):
        run(parse_config(settings(inputs, tmp_path / "c", retrieval={"device": "cuda"}), "/"))
    assert not (tmp_path / "c/pairs").exists()
