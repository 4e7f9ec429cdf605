"""TF-IDF negatives with a fixed vocabulary: new captions against all, all against new, and the files of a search for all."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import ids
from schemas.corpus import BEFORE, Corpus
from schemas.tables import IMAGES, PAIRS
from schemas.tfidf import vocabulary_schema
from tests.given import scene_pairs
from tests.transforms.core.test_rows import PARTITIONS, content, made
from transforms.core.params import NoParams, Params
from transforms.core.stage import Stage
from transforms.core.task import Task
from transforms.tfidf.counts import count_terms
from transforms.tfidf.document_frequencies import frequencies_of, vocabulary_batch
from transforms.tfidf.settings import TfidfSettings
from transforms.tfidf.stages import TfidfCounts, TfidfNegatives, TfidfVectors

WORDS = "cat dog red bus tree on two".split()


class PhotoParams(Params):
    """photos: image -> bytes and captions."""

    photos: dict[str, tuple[str, tuple[str, ...]]]


class Photos(Stage[PhotoParams]):
    """Writes `pairs` and `images`."""

    name = "pairs"
    main_table = "pairs"
    writes = {"pairs": PAIRS, "images": IMAGES}

    def process(self, task: Task, payload: Any) -> None:
        placed = sorted((ids.placement(f"made/{key}"), key) for key in self.params.photos)
        own = [key for place, key in placed if ids.partition_of(pa.array([place]).to_numpy(), task.corpus.partitions)[0] == task.partition]
        images, pairs = [], []
        for key in own:
            data, captions = self.params.photos[key]
            image = ids.image_id("made", key)
            images.append({"image_id": image, "source": "made", "width": 1, "height": 1, "sha256": sha256(data.encode()).digest()})
            rows = sorted((ids.pair_id(image, caption), caption) for caption in set(captions))
            pairs += [{"pair_id": pair, "image_id": image, "caption": caption, "source": "made"} for pair, caption in rows]
        task.counts.rows_in = len(pairs)
        task.write("images", pa.Table.from_pylist(images, schema=IMAGES))
        task.write("pairs", pa.Table.from_pylist(pairs, schema=PAIRS))


class FixedVocabulary(Stage[NoParams]):
    """The vocabulary of the seven words, and of made scenes."""

    name = "tfidf_vocabulary"
    corpus_wide = True
    writes = {"tfidf_vocabulary": vocabulary_schema(0)}

    def process(self, task: Task, payload: Any) -> None:
        texts = [" ".join(WORDS[: number % 8]) for number in range(20)] + [caption for _, caption in scene_pairs(5)]
        pairs = pa.table({"pair_id": list(map(str, range(len(texts)))), "image_id": list(map(str, range(len(texts)))), "caption": texts})
        options = TfidfSettings(max_df=1.0)
        task.write("tfidf_vocabulary", vocabulary_batch(frequencies_of(count_terms(pairs, None, options)), options))


def stages(photos: dict[str, tuple[str, tuple[str, ...]]], **options: Any) -> list[Stage]:
    how = TfidfSettings(max_df=1.0, **options)
    return [Photos(PhotoParams(photos=photos)), TfidfCounts(how), FixedVocabulary(NoParams()), TfidfVectors(how), TfidfNegatives(how)]


CAPTIONS = st.lists(st.sampled_from(WORDS), min_size=0, max_size=4).map(" ".join)
PHOTO = st.tuples(st.sampled_from("abcdefgh"), st.lists(CAPTIONS, min_size=1, max_size=3).map(tuple))
PHOTOS = st.dictionaries(st.integers(0, 11).map(str), PHOTO, min_size=6)
CHANGES = st.dictionaries(st.integers(0, 13).map(str), PHOTO | st.none(), min_size=1, max_size=2)  # None: the photo is removed
FAST = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FAST
@given(
    photos=PHOTOS,
    steps=st.lists(CHANGES, min_size=1, max_size=2),
    k=st.sampled_from([1, 3]),
    drop_rows=st.sampled_from([True, True, False]),
)
def test_any_history_ends_in_the_files_of_a_search_for_all(
    tmp_path_factory: pytest.TempPathFactory, photos: dict, steps: list, k: int, drop_rows: bool
) -> None:
    folder = tmp_path_factory.mktemp("history")
    for number, changes in enumerate([{}, *steps]):
        photos = {key: photo for key, photo in {**photos, **changes}.items() if photo} or photos
        grown = made(folder / "grown", stages(photos, k=k, drop_rows=drop_rows))
        base = Corpus(str(folder / str(number - 1)), PARTITIONS) if number else None
        fresh = made(folder / str(number), stages(photos, k=k, drop_rows=drop_rows))
        based = made(folder / f"{number} based", stages(photos, k=k, drop_rows=drop_rows), base=base)
        assert content(grown, "tfidf") == content(fresh, "tfidf") == content(based, "tfidf")
        assert not list(folder.rglob(f"{BEFORE}*"))


def scenes(number: int) -> dict[str, tuple[str, tuple[str, ...]]]:
    found: dict[str, tuple[str, ...]] = {}
    for key, caption in scene_pairs(number):
        found[key] = (*found.get(key, ()), caption)
    return {key: (key, captions) for key, captions in found.items()}


def test_most_captions_keep_their_negatives(tmp_path: Path) -> None:
    made(tmp_path / "old", stages(scenes(60), k=1))
    made(tmp_path / "grown", stages(scenes(60), k=1))
    for folder, base in (("grown", None), ("based", Corpus(str(tmp_path / "old"), PARTITIONS))):
        grown = made(tmp_path / folder, stages(scenes(61), k=1), base=base)
        manifest = grown.manifest("tfidf")
        assert 0 < manifest.made < 0.8 * manifest.counts.rows_in
    fresh = made(tmp_path / "fresh", stages(scenes(61), k=1))
    assert content(grown, "tfidf") == content(fresh, "tfidf")


def test_a_killed_run_leaves_what_the_next_one_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "grown", stages(scenes(60), k=1))
    whole = TfidfNegatives.process

    def dies(self: TfidfNegatives, task: Task, payload: Any) -> None:
        if task.partition == PARTITIONS - 1:
            raise KeyboardInterrupt
        whole(self, task, payload)

    monkeypatch.setattr(TfidfNegatives, "process", dies)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "grown", stages(scenes(61), k=1))
    monkeypatch.undo()
    assert list((tmp_path / "grown").rglob(f"{BEFORE}*"))
    for number in (61, 62):
        grown = made(tmp_path / "grown", stages(scenes(number), k=1))
        assert content(grown, "tfidf") == content(made(tmp_path / str(number), stages(scenes(number), k=1)), "tfidf")
        assert grown.manifest("tfidf").made < 0.9 * grown.manifest("tfidf").counts.rows_in
        assert not list((tmp_path / "grown").rglob(f"{BEFORE}*"))
