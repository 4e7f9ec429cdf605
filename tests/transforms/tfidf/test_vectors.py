"""Counts, vocabulary and vectors compared with scikit-learn's."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pyarrow as pa
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from schemas.errors import SchemaError
from schemas.ids import pair_id
from schemas.tables import check_schema
from schemas.tfidf import TFIDF_COUNTS, TFIDF_TERMS, TFIDF_VECTORS, documents_of, vocabulary_schema
from tests.transforms.tfidf.reference import Row, corpus_of, counts_of, vectors_of, vocabulary_of
from transforms.tfidf.captions import Captions
from transforms.tfidf.counts import count_terms
from transforms.tfidf.document_frequencies import frequencies_of, merge_frequencies, no_frequencies, vocabulary_batch
from transforms.tfidf.settings import TfidfSettings
from transforms.tfidf.vectors import read_vectors, vector_batch

TEXTS = st.lists(st.one_of(st.text(max_size=30), st.lists(st.sampled_from(["ΟΔΟΣ", "İx", "cat", "a", "cat's", "\n", "日本"]),
                                                         max_size=6).map(" ".join)), min_size=1, max_size=12)  # fmt: skip


def rows_of(texts: list[str]) -> list[Row]:
    """Rows with one caption per image."""
    return [Row(pair_id(f"i{n}", text), f"i{n}", text) for n, text in enumerate(texts)]


@settings(max_examples=150, deadline=None)
@given(
    TEXTS,
    st.integers(1, 4),
    st.sampled_from([(1, 1), (1, 2), (2, 2)]),
    st.booleans(),
    st.sampled_from([1.0, 0.5, 3]),
    st.sampled_from([1, 2]),
)
def test_vectors_are_those_of_scikit_learn(texts, partitions, ngrams, sublinear, max_df, min_df):
    rows = rows_of(texts)
    options = TfidfSettings(ngrams=ngrams, sublinear_tf=sublinear, max_df=max_df, min_df=min_df)
    counts = counts_of(rows, partitions, options)
    vocabulary = vocabulary_of(counts, options)
    corpus = Captions(vectors_of(counts, vocabulary, options))
    reference = TfidfVectorizer(ngram_range=ngrams, sublinear_tf=sublinear, max_df=max_df, min_df=min_df)
    captions = [text for part in corpus.parts for text in part.caption.to_pylist()]
    try:
        expected = reference.fit_transform(captions).toarray()
    except ValueError:  # empty vocabulary
        assert len(vocabulary.terms) == 0
        return
    names = vocabulary.terms.to_pylist()
    assert sorted(names) == reference.get_feature_names_out().tolist()
    order = [reference.vocabulary_[name] for name in names]
    np.testing.assert_allclose(corpus.gather(np.arange(len(corpus))).toarray(), expected[:, order], atol=1e-12)


def test_document_frequencies_merge_in_any_order():
    rows = rows_of(["red cat", "red dog", "blue cat", "", "cat"])
    parts = [frequencies_of(part) for part in counts_of(rows, 3, TfidfSettings())]
    merged = [merge_frequencies([merge_frequencies([a, no_frequencies()]), merge_frequencies([b, c])]) for a, b, c in permutations(parts)]
    assert all(one == merged[0] for one in merged)
    assert merged[0].documents == 5
    assert dict(zip(*merged[0].terms.to_pydict().values(), strict=True)) == {"blue": 1, "cat": 3, "dog": 1, "red": 2}
    assert merge_frequencies([]) == no_frequencies()


def test_artefacts_have_their_schemas():
    rows = rows_of(["red cat", "red dog"])
    counts = counts_of(rows, 1, TfidfSettings())[0]
    check_schema(counts.rows.schema, "tfidf_counts", "here", TFIDF_COUNTS)
    check_schema(counts.terms.schema, "tfidf_terms", "here", TFIDF_TERMS)
    artefact = vocabulary_batch(frequencies_of(counts), TfidfSettings())
    check_schema(artefact.schema, "tfidf_vocabulary", "here", vocabulary_schema(0))
    assert documents_of(artefact.schema) == 2
    assert artefact.column("term").to_pylist() == ["cat", "dog", "red"]
    assert artefact.column("kept").to_pylist() == [True, True, False]  # red is in more than half of them
    with pytest.raises(SchemaError, match="number of documents"):
        documents_of(TFIDF_TERMS)


def test_vectors_read_from_a_memory_map_are_views(tmp_path):
    options = TfidfSettings(max_df=1.0)
    counts = counts_of(rows_of(["red cat", "red dog", "blue dog here"]), 1, options)[0]
    vocabulary = vocabulary_of([counts], options)
    batch = vector_batch(counts.rows, counts.terms.column(0), vocabulary, options)
    with pa.OSFile(str(tmp_path / "v.arrow"), "wb") as sink, pa.ipc.new_file(sink, TFIDF_VECTORS) as writer:
        writer.write_batch(batch)
    mapped = pa.memory_map(str(tmp_path / "v.arrow"))
    found = read_vectors(pa.ipc.open_file(mapped).get_batch(0), len(vocabulary.terms))
    assert not any(
        array.flags.owndata or array.flags.writeable
        for array in (found.matrix.data, found.matrix.indices, found.matrix.indptr, found.image, found.text)
    )
    whole = read_vectors(batch, len(vocabulary.terms)).matrix
    assert (found.matrix != whole).nnz == 0
    sliced = read_vectors(batch.slice(1, 2), len(vocabulary.terms))
    assert (sliced.matrix != whole[1:]).nnz == 0
    halves = [vector_batch(counts.rows.slice(first, 2), counts.terms.column(0), vocabulary, options) for first in (0, 2)]
    assert pa.Table.from_batches(halves).combine_chunks().equals(pa.Table.from_batches([batch]))


def test_text_keys_see_words_and_their_order_only():
    options = TfidfSettings(max_df=1.0)
    part = corpus_of(rows_of(["A red cat.", "a  RED cat", "cat red a", "red cat", "a red cats"]), 1, options).parts[0]
    keys = dict(zip(part.caption.to_pylist(), part.text.tolist(), strict=True))
    assert keys["A red cat."] == keys["a  RED cat"]
    assert len(set(keys.values())) == 4


def test_ties_of_id_prefixes_are_broken_by_the_whole_id():
    options = TfidfSettings(max_df=1.0)
    ids = ["prefix-0000", "b", "prefix-00", "prefix-0", "a", "prefix-01", "prefix"]
    corpus = corpus_of([Row(name, f"i{n}", "red cat") for n, name in enumerate(ids)], 3, options)
    names = [name for part in corpus.parts for name in part.pair_id.to_pylist()]
    assert [names[number] for number in corpus.by_rank] == sorted(ids)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="sha256 has 1 rows, pairs has 0"):
        count_terms(pa.table({"pair_id": [], "image_id": [], "caption": []}), pa.array([b"x" * 32]), TfidfSettings())
    with pytest.raises(ValueError, match="one vocabulary"):
        Captions([])
    with pytest.raises(pydantic.ValidationError, match="ngrams"):
        TfidfSettings(ngrams=(2, 1))
    with pytest.raises(pydantic.ValidationError, match="rescore"):
        TfidfSettings(k=2000, bound=100)
    with pytest.raises(pydantic.ValidationError, match="ceilling"):
        TfidfSettings.model_validate({"ceilling": 1})


def test_settings_distinguish_counts_from_shares():
    assert TfidfSettings(max_df=1).max_df == 1 and isinstance(TfidfSettings(max_df=1).max_df, int)
    assert isinstance(TfidfSettings(max_df=1.0).max_df, float)
