import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.corpus import Corpus
from schemas.store import TableWriter
from schemas.tables import EXAMPLES, IMAGES, LABEL, PAIRS, REWRITES
from transforms.core.beam import RunContext, run_task
from transforms.core.params import NoParams
from transforms.core.stage import Input
from transforms.core.task import Task
from transforms.examples.join import Join, RewriteCursor


def label(values):
    return pa.array(values, LABEL)


def rewrites_table(rows):
    return pa.Table.from_pylist(rows, schema=REWRITES) if rows else REWRITES.empty_table()


def rewrite(pair_id, text, polarity, scores=(), truth=None):
    return {
        "pair_id": pair_id,
        "text": text,
        "polarity": polarity,
        "level": "sentence",
        "kind": "tfidf",
        "edits": None,
        "origin": "o",
        "scores": [{"name": name, "value": value} for name, value in scores],
        "why": "because",
        "truth": truth,
    }


def write(corpus, stage, tables):
    """Writes tables as a completed stage: files and the record that commits them."""
    from schemas.manifest import Counts, TaskRecord
    from schemas.seals import write_sealed

    infos = []
    for table, rows in tables.items():
        with TableWriter(corpus.table_url(stage, table, 0), rows.schema, batch_rows=7) as writer:
            writer.write(rows)
        infos.append(writer.info)
    write_sealed(corpus.record_url(stage, 0), TaskRecord(stage, 0, "k", infos, Counts(), 0).to_json())


def make(corpus, owners, seed=0):
    """A partition of pairs, two per image, and two stages of rewrites; `owners`: number of rewrites of each stage for each pair."""
    pairs = [{"pair_id": f"p{n:04d}", "image_id": f"s/{n // 2}", "caption": f"caption {n}", "source": "s"} for n in range(len(owners))]
    images = [
        {
            "image_id": f"s/{n}",
            "source": "s",
            "uri": f"/photos/{n}.jpg",
            "offset": None,
            "length": None,
            "width": 10 + n,
            "height": 20,
            "sha256": bytes(32),
        }
        for n in range((len(owners) + 1) // 2)
    ]
    random.Random(seed).shuffle(images)  # the join must not depend on their order
    first, second = [], []
    for pair, (one, two) in zip(pairs, owners, strict=True):
        first += [
            rewrite(pair["pair_id"], f"{pair['caption']} near {n}", "negative", [("cosine", 0.5), ("own", 0.1)], n / 64) for n in range(one)
        ]
        second += [rewrite(pair["pair_id"], f"{pair['caption']} said {n}", "positive" if n % 2 else "negative") for n in range(two)]
    write(corpus, "pairs", {"pairs": pa.Table.from_pylist(pairs, schema=PAIRS), "images": pa.Table.from_pylist(images, schema=IMAGES)})
    write(corpus, "tfidf", {"rewrites": rewrites_table(first)})
    write(corpus, "other", {"rewrites": rewrites_table(second)})
    return pairs, {image["image_id"]: image for image in images}, [*first, *second]


def expected(pairs, images, rewrites):
    """A plain reference implementation of the join."""
    for pair in pairs:
        own = [row for row in rewrites if row["pair_id"] == pair["pair_id"]]
        image = images[pair["image_id"]]
        yield {
            **pair,
            "image": {name: image[name] for name in ("uri", "offset", "length", "width", "height")},
            "region_row": None,
            "positives": [{name: row[name] for name in ("text", "level", "kind", "truth")} for row in own if row["polarity"] == "positive"],
            "negatives": [
                {
                    **{name: row[name] for name in ("text", "level", "kind", "truth")},
                    "score": row["scores"][0]["value"] if row["scores"] else None,
                }
                for row in own
                if row["polarity"] == "negative"
            ],
            "matches_image": [],
            "matches_text": [],
        }


def joined(corpus):
    run_task(
        RunContext(corpus, 0, 0.05, {}),
        Join(NoParams(), resolved=(*Join(NoParams()).inputs, Input("tfidf", "rewrites"), Input("other", "rewrites"))),
        0,
    )
    return corpus.open("examples", "examples", 0).read()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=40))
def test_the_join_equals_the_reference(tmp_path_factory, owners):
    corpus = Corpus(str(tmp_path_factory.mktemp("c")), 1)
    parts = make(corpus, owners)
    table = joined(corpus)
    assert table.schema.equals(EXAMPLES, check_metadata=True)
    assert table.to_pylist() == list(expected(*parts))


def test_more_pairs_than_a_batch(tmp_path):
    corpus = Corpus(str(tmp_path), 1)
    counts = np.random.default_rng(0).integers(0, 9, (2500, 2)).tolist()
    parts = make(corpus, counts)
    assert joined(corpus).to_pylist() == list(expected(*parts))


def test_rewrites_out_of_order_are_refused(tmp_path):
    corpus = Corpus(str(tmp_path), 1)
    make(corpus, [(1, 0), (1, 0), (1, 0)])
    rows = [rewrite(f"p000{n}", "x", "negative") for n in (0, 2, 1)]
    write(corpus, "tfidf", {"rewrites": rewrites_table(rows)})
    task = Task(corpus, Join(NoParams()), 0, 0)
    cursor = RewriteCursor(task, "tfidf")
    cursor.take(pa.array(["p0000"]))
    with pytest.raises(ValueError, match="not in the order of its pairs"):
        cursor.take(pa.array(["p0001"]))
        cursor.take(pa.array(["p0002"]))
        cursor.finish()


def test_rewrites_of_unknown_pairs_are_refused(tmp_path):
    corpus = Corpus(str(tmp_path), 1)
    make(corpus, [(1, 0), (1, 0)])
    write(corpus, "other", {"rewrites": rewrites_table([rewrite("p9999", "x", "negative")])})
    with pytest.raises(ValueError, match="not in the order of its pairs, or contains rewrites of other pairs"):
        joined(corpus)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Two shards of examples and the rows that they contain."""
    rows = []
    for _ in range(2):
        corpus = Corpus(str(tmp_path_factory.mktemp("c")), 1)
        make(corpus, [(2, 2)] * 5)
        rows.append((corpus.table_url("examples", "examples", 0), joined(corpus).to_pylist()))
    return rows


def test_shards_open_with_plain_pyarrow(shards):
    for url, rows in shards:
        with pa.memory_map(url) as source:
            assert pa.ipc.open_file(source).read_all().to_pylist() == rows
    dataset = pyarrow.dataset.dataset([url for url, _ in shards], format="ipc")
    assert dataset.count_rows() == 10


def test_shards_open_with_datasets(shards, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset("arrow", data_files=[url for url, _ in shards], cache_dir=str(tmp_path), split="train")
    assert json.loads(json.dumps(loaded.to_list())) == [row for _, rows in shards for row in rows]
