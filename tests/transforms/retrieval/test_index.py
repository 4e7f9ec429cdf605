"""Approximate indexes: what they may miss, what they must not do, and what is reported."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("faiss", reason="retrieval needs its extra: pip install 'cmcl[retrieval]'")

from pipelines.config import parse_config
from pipelines.run import run
from pipelines.verify import forget, verify
from schemas.corpus import WHOLE, open_corpus
from schemas.errors import CmclError
from tests.transforms.retrieval.help import made, rows, settings, write_inputs
from tests.transforms.retrieval.test_search import cut, unit
from transforms.retrieval.index import (
    EXACT,
    Searcher,
    Work,
    estimate,
    factory_for,
    fill,
    first_bytes,
    lists_of,
    recalled,
    train,
    what_fits,
)
from transforms.retrieval.packages import RetrievalError
from transforms.retrieval.search import exact_scores

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(40, 32))
VECTORS = unit(CENTRES[RNG.integers(0, 40, 2000)] + RNG.normal(size=(2000, 32)) * 0.4)
QUERIES = unit(CENTRES[RNG.integers(0, 40, 30)] + RNG.normal(size=(30, 32)) * 0.4)


def searcher(factory: str, places: list[int], nprobe: int) -> Searcher:
    collection, trained = cut(VECTORS, places), train(factory, VECTORS[::2])
    starts = collection.partition_starts
    shards = [
        pa.py_buffer(fill(trained, [VECTORS[start:end]]) if end > start else b"") for start, end in zip(starts, starts[1:], strict=False)
    ]
    return Searcher(collection, 500, 7, shards, nprobe, lists_of(factory))


@pytest.mark.parametrize(
    "factory", ["IVF16,Flat", "IVF16,SQ8", "IVF16,SQ4", "IVF16,PQ16x4fs", "IVF16,RaBitQ", "PCA16,IVF16,SQ8", "OPQ8_16,IVF8,PQ8x4fs"]
)
def test_an_index_may_miss_but_never_scores_wrongly(factory):
    index = searcher(factory, [100, 100, 900], 8)
    found, exact = index.search(QUERIES, 10), replace(index, shards=()).search(QUERIES, 10)
    assert np.array_equal(found.scores, exact_scores(index.collection, QUERIES, found.positions))
    order = np.lexsort((found.positions, -found.scores), axis=1)
    assert np.array_equal(order, np.tile(np.arange(10), (30, 1)))
    assert all(len(set(own.tolist())) == 10 for own in found.positions)
    assert recalled(found, exact, 10) > 0.6 * 300


def test_all_lists_of_whole_vectors_are_the_exact_search_for_any_cut():
    for places in ([], [5], [100, 100, 1999]):
        index = searcher("IVF16,Flat", places, 16)
        found, exact = index.search(QUERIES, 25), replace(index, shards=()).search(QUERIES, 25)
        assert np.array_equal(found.positions, exact.positions) and np.array_equal(found.scores, exact.scores)


def test_training_gives_the_same_bytes_again():
    for factory in ("IVF16,SQ8", "OPQ8_16,IVF8,PQ8x4fs", "PCA16,IVF16,SQ8"):
        assert train(factory, VECTORS) == train(factory, VECTORS)


def test_more_is_asked_for_than_the_lists_hold():
    found = searcher("IVF16,SQ8", [], 1).search(QUERIES, 1500)
    assert (found.positions[:, -1] == -1).all() and (found.positions[:, 0] >= 0).all()


@pytest.mark.parametrize(
    ("asked", "count", "factory"),
    [
        ("auto", 100_000, "Flat"),
        ("auto", 100_001, "IVF1024,SQ8"),
        ("auto", 1_000_000, "IVF2048,SQ8"),
        ("auto", 3_000_000, "IVF4096,PQ192x4fs"),
        ("Flat", 10**7, "Flat"),
        ("IVF4096,SQ8", 1000, "IVF16,SQ8"),
        ("IVF64,RaBitQ", 100, "Flat"),
        ("IVF16,SQ8", 10**6, "IVF16,SQ8"),
    ],
)
def test_an_index_is_chosen_by_size_and_made_smaller_where_vectors_are_few(asked, count, factory):
    assert factory_for(asked, count, 384) == factory
    takes = estimate(factory, Work(count, 384, 1000))
    assert takes.seconds >= 0 and (factory == EXACT or takes.index_bytes > count * 100)


def test_a_shard_is_read_where_it_is():
    column = pa.chunked_array([pa.array([b"another", b"abc", b"defg"], pa.large_binary())[1:]])
    found = first_bytes(column)
    assert found.to_pybytes() == b"abc"
    assert found.address == column.chunk(0).buffers()[2].address + len(b"another")  # a view


def test_what_does_not_divide_is_told():
    with pytest.raises(RetrievalError, match="cannot train 'IVF4,PQ7x4fs' on 2000 vectors of 32 numbers"):
        train("IVF4,PQ7x4fs", VECTORS)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("many"), alone=200)


def asked(inputs, place, **images):
    return made(inputs, place, retrieval={"texts": None, "images": {"k": 5, **images}})


def test_a_corpus_with_an_index(inputs, tmp_path, caplog):
    caplog.set_level("INFO", logger="transforms.retrieval")
    exact, found = asked(inputs, tmp_path / "a"), asked(inputs, tmp_path / "b", index="IVF64,SQ8")
    logged = "image_search_index: IVF4,SQ8 for 200 vectors of 22 numbers and 8 queries: about "
    assert any(record.getMessage().startswith(logged) for record in caplog.records)
    extra = found.manifest("image_search_index").extra
    assert extra["index"] == "IVF4,SQ8" and extra["index_because"] == "200 vectors are too few to train IVF64,SQ8"
    assert found.manifest("image_neighbours").extra["recall_at_k"] == 1.0
    assert rows(found, "image_matches", "matches") == rows(exact, "image_matches", "matches")
    assert verify(*open_corpus(found.url)) == []

    path = max(Path(found.url).glob("image_search_shards/shard-*.arrow"), key=lambda one: one.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CmclError, match="SHA-256 differs"):
        asked(inputs, tmp_path / "b", index="IVF64,SQ8", nprobe=2, min_recall=0.1)
    forget(open_corpus(found.url)[0], verify(*open_corpus(found.url)))
    again = asked(inputs, tmp_path / "b", index="IVF64,SQ8")
    assert verify(*open_corpus(again.url)) == [] and rows(again, "image_matches", "matches") == rows(exact, "image_matches", "matches")


def test_the_sample_that_an_index_is_trained_on_does_not_depend_on_partitions(inputs, tmp_path, monkeypatch):
    from transforms.retrieval import index as sizes

    monkeypatch.setattr(sizes, "TRAINED", 0)  # 39 a list, fewer than there are vectors
    trained = [made(inputs, tmp_path / str(count), partitions=count, retrieval={"texts": None, "images": {"index": "IVF4,SQ8"}})
               for count in (1, 5)]  # fmt: skip
    assert {corpus.manifest("image_search_index").extra["training_vectors"] for corpus in trained} == {4 * 39}
    first, second = (corpus.open("image_search_index", "index", WHOLE).read()["data"][0].as_py() for corpus in trained)
    assert first == second


def test_an_index_that_finds_too_little_fails_the_run_and_names_the_nprobe_that_would_do(inputs, tmp_path):
    place = shutil.copytree(inputs, tmp_path / "in")
    with pytest.raises(CmclError, match=r"less than min_recall \(0.99\): set retrieval.images.nprobe to [24]"):
        asked(place, tmp_path / "c", index="IVF4,SQ8", nprobe=1, min_recall=0.99)


@pytest.mark.parametrize(
    ("factory", "limit", "text"),
    [
        ("IVF2048,PQ192x4fs", 200 << 20, "IVF128,SQ8 fits"),
        ("IVF2048,SQ8", 60 << 20, "Flat with retrieval.block_rows at 32768 fits"),
        ("Flat", 20 << 20, "Flat with retrieval.block_rows at 8192 fits"),
        ("IVF2048,SQ8", 1 << 20, "no setting fits"),
    ],
)
def test_what_fits_is_said(factory, limit, text):
    work = Work(1_000_000, 384, 1000, 8)
    assert estimate(factory, work).memory_bytes > limit and what_fits(factory, work, 131_072, limit).startswith(text)


@pytest.mark.parametrize(
    ("index", "limit", "cure"), [("IVF4,SQ8", 500, "no setting fits"), ("Flat", 18_000, "Flat with retrieval.block_rows")]
)
def test_what_takes_more_memory_than_allowed_is_refused_with_what_fits(inputs, tmp_path, index, limit, cure):
    changes = {"retrieval": {"texts": None, "images": {"index": index, "k": 1, "depth": 1}, "max_memory": limit}}
    with pytest.raises(
        CmclError, match=rf"image_search_index: {index} .*takes about \d+ bytes, more than retrieval.max_memory \({limit}\): {cure}"
    ):
        run(parse_config(settings(inputs, tmp_path / "c", **changes), "/"))
