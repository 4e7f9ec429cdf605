"""Batches agree with the tables."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch

from model.batch import IGNORED, Batch, Group, Known
from model.data.collate import Buffers, Wanted, _with_mismatch
from model.masking import Masking
from schemas.corpus import Corpus, open_corpus
from schemas.ids import placements
from schemas.regions import RegionFile
from tests.model.data.conftest import EVERYTHING, batches


def joined(held: Corpus, table: str, index: str, part: int) -> list[dict]:
    """Rows of a table, each merged with its row in the index."""
    both = (held.open("tokens", name, part).read().to_pylist() for name in (table, index))
    return [row | told for row, told in zip(*both, strict=True)]


@pytest.fixture(scope="module")
def tables(corpus):
    """Rows of `tokens` by pair id, of `text_tokens` by text id, regions by placement of the image."""
    held, _ = open_corpus(corpus)
    pairs, texts, regions = {}, {}, {}
    for part in range(held.partitions):
        pairs |= {row["pair_id"]: row for row in joined(held, "tokens", "pair_index", part)}
        texts |= {row["text_id"]: row for row in joined(held, "text_tokens", "text_index", part)}
        for stage in ("regions", "image_regions"):
            with RegionFile(held.table_url(stage, "regions", part)) as file:
                found = [file[row] for row in range(len(file))]
            regions |= dict(zip(placements([one.image_id for one in found]).tolist(), found, strict=True))
    return pairs, texts, regions


def by_stream(found: list[Batch], stream: str) -> list[Batch]:
    return [batch for batch in found if batch.stream == stream]


@pytest.fixture(scope="module")
def epoch(corpus):
    made = batches(corpus)
    return [made[step] for step in range(len(made))]


def words(batch: Batch, row: int) -> list[int]:
    assert batch.texts
    return batch.texts.ids[row, 1 : int(batch.texts.lengths[row]) - 1].tolist()


def test_pairs_are_the_rows_of_the_tables(epoch, tables):
    pairs, _, regions = tables
    most = max(len(shown.boxes) for shown in regions.values())  # no image is padded beyond the corpus's longest
    for batch in by_stream(epoch, "pairs"):
        images, texts = batch.images, batch.texts
        for at, name in enumerate(batch.names):
            row = pairs[name]
            assert words(batch, at) == row["caption"] and int(texts.keys[at]) == row["key"]
            assert (int(texts.ids[at, 0]), int(texts.ids[at, int(texts.lengths[at]) - 1])) == (2, 3)
            assert (texts.ids[at, int(texts.lengths[at]) :] == 0).all()
            shown, count = regions[row["image"]], int(images.counts[at])
            assert (count, int(images.keys[at])) == (row["regions"], row["image_key"])
            assert np.array_equal(images.features[at, :count].numpy(), shown.features)
            assert np.allclose(images.boxes[at, :count].numpy(), shown.geometry_5)
            assert not images.features[at, count:].any() and not images.boxes[at, count:].any()
        assert images.features.shape[1] in (16, 36, 64, most) and texts.ids.shape[1] in (16, 24, 32, 48, 64)
        assert images.full == bool((images.counts == images.features.shape[1]).all())


def test_companions_belong_to_their_pairs(epoch, tables):
    pairs, texts, regions = tables
    of_image = {}
    for row in pairs.values():
        of_image.setdefault(row["image"], []).append(row)
    places = {int(place): row for place, row in zip(placements(list(texts)).tolist(), texts.values(), strict=True)}
    for batch in by_stream(epoch, "pairs"):
        count = len(batch)
        assert len({pairs[name]["image"] for name in batch.names}) == count  # at most one caption per image
        for group in (batch.positives, batch.negatives, batch.matched_images, batch.matched_texts):
            assert (torch.diff(group.owners) >= 0).all() and (group.rows >= count).all() and (group.weights == 1).all()
        for at, name in enumerate(batch.names):
            row = pairs[name]
            drawn = [words(batch, int(one)) for one in batch.positives.rows[batch.positives.owners == at]]
            assert len(drawn) == 1 and drawn[0] in row["positives"]
            mine = batch.negatives.owners == at
            kinds = batch.negatives.kinds[mine].tolist()
            assert sorted(kinds) == [0, 1, 2, 3]
            for one, kind in zip(batch.negatives.rows[mine], kinds, strict=True):
                found = row["negatives"].index(words(batch, int(one)))
                assert row["negative_kinds"][found] == kind and row["negative_keys"][found] == int(batch.texts.keys[one])
            for one in batch.matched_texts.rows[batch.matched_texts.owners == at]:
                assert words(batch, int(one)) in [places[place]["tokens"] for place in row["matched_texts"]]
            for one in batch.matched_images.rows[batch.matched_images.owners == at]:
                features = batch.images.features[one, : int(batch.images.counts[one])].numpy()
                assert any(np.array_equal(features, regions[place].features) for place in row["matched_images"])
            told = set(batch.known_texts.keys[batch.known_texts.owners == at].tolist())
            assert told == {other["key"] for other in of_image[row["image"]]} | set(row["positive_keys"]) | {
                places[place]["key"] for place in row["matched_texts"]
            }
            assert set(batch.known_images.keys[batch.known_images.owners == at].tolist()) == {
                place ^ 0x5555 for place in row["matched_images"]
            }


def test_streams_of_images_and_of_texts(epoch, tables):
    _, texts, regions = tables
    shown = dict(zip((one.image_id for one in regions.values()), regions.values(), strict=True))
    for batch in by_stream(epoch, "images"):
        assert batch.texts is None and batch.positives is None
        assert all(
            np.array_equal(batch.images.features[at, : len(shown[name].boxes)].numpy(), shown[name].features)
            for at, name in enumerate(batch.names)
        )
    for batch in by_stream(epoch, "texts"):
        assert batch.images is None and [words(batch, at) for at in range(len(batch))] == [texts[name]["tokens"] for name in batch.names]
        fragments = batch.fragments
        assert (fragments.sources < fragments.lengths).all()
        for at in range(len(batch)):
            laid = fragments.ids[at, : int(fragments.lengths[at])].tolist()
            assert sorted(laid) == sorted(batch.texts.ids[at, : int(batch.texts.lengths[at])].tolist())
    assert Counter(batch.stream for batch in epoch[:7]) == {"pairs": 5, "images": 1, "texts": 1}


def test_soft_labels_are_those_of_the_hidden_regions(epoch, tables):
    pairs, _, regions = tables
    for batch in by_stream(epoch, "pairs"):
        hidden, wanted = batch.images.hidden, []
        assert not hidden[len(batch) :].any()
        for at, name in enumerate(batch.names):
            assert hidden[at].any() and not hidden[at, int(batch.images.counts[at]) :].any()
            wanted.append(regions[pairs[name]["image"]].soft_labels[np.flatnonzero(hidden[at, : int(batch.images.counts[at])])])
        assert np.array_equal(batch.images.soft_labels.numpy(), np.concatenate(wanted))


def test_soft_labels_of_other_regions_are_never_read(corpus, monkeypatch):
    """The soft labels are replaced by an object that only records which rows are read."""
    taken, asked = Counter(), Counter()

    class Counted:
        def __init__(self, values):
            self.values = values

        def __len__(self):
            return len(self.values)

        def __getitem__(self, rows):
            taken["rows"] += len(rows)
            return self.values[rows]

    plain = RegionFile.__getitem__

    def counted(file, row):
        found = plain(file, row)
        asked["rows"] += len(found.boxes)
        return dataclasses.replace(found, soft_labels=Counted(found.soft_labels))

    made = batches(corpus)
    monkeypatch.setattr(RegionFile, "__getitem__", counted)
    found = [made[step] for step in range(14)]
    hidden = sum(int(batch.images.hidden.sum()) for batch in found if batch.images)
    assert 0 < taken["rows"] == hidden < 0.6 * asked["rows"]
    taken.clear()
    unasked = batches(corpus, wanted=Wanted(tokens=True, regions=True))
    assert unasked[0].images.hidden is not None and unasked[0].images.soft_labels is None and not taken


def test_masks_are_of_the_streams_own_rows(epoch):
    for batch in by_stream(epoch, "pairs") + by_stream(epoch, "texts"):
        texts, count = batch.texts, len(batch)
        predicted = texts.labels != IGNORED
        assert predicted[:count].any(1).all() and not predicted[count:].any()
        assert torch.equal(texts.labels[predicted], texts.ids[predicted]) and torch.equal(texts.masked[~predicted], texts.ids[~predicted])


def test_mismatches_do_not_belong_together(epoch):
    share = []
    for batch in by_stream(epoch, "pairs"):
        images, texts, labels = batch.mismatch.images, batch.mismatch.texts, batch.mismatch.labels
        assert (images[labels == 1] == texts[labels == 1]).all() and (images[labels == 0] != texts[labels == 0]).all()
        share.append(float(labels.mean()))
    assert 0.3 < np.mean(share) < 0.7


def test_draws_change_with_the_epoch_and_with_nothing_else(corpus, tables):
    made = batches(corpus, mix={"pairs": 1})
    drawn: dict[str, set] = {}
    for step in range(4 * len(made)):
        batch = made[step]
        for at, name in enumerate(batch.names):
            mine = batch.negatives.rows[batch.negatives.owners == at]
            drawn.setdefault(name, set()).add(tuple(tuple(words(batch, int(row))) for row in mine))
    assert np.mean([len(found) for found in drawn.values()]) > 1.5


def test_a_pair_without_a_positive_gets_a_sibling_or_none(tmp_path):
    from benchmarks.training_corpus import Sizes, write_corpus

    corpus = write_corpus(str(tmp_path / "c"), Sizes(images=40, captions=[1, 3] * 20, positives=0))
    rows = [row for part in range(3) for row in joined(corpus, "tokens", "pair_index", part)]
    of_pair = {row["pair_id"]: row for row in rows}
    for siblings in (True, False):
        made = batches(corpus.url, mix={"pairs": 1}, siblings=siblings, keep_last=True, matched_images=0, matched_texts=0)
        assert made.facts.drawn["positives"] == int(siblings)
        for step in range(len(made)):
            batch = made[step]
            for at, name in enumerate(batch.names):
                drawn = [words(batch, int(row)) for row in batch.positives.rows[batch.positives.owners == at]]
                others = [row["caption"] for row in rows if row["image"] == of_pair[name]["image"] and row["pair_id"] != name]
                assert len(drawn) == (1 if siblings and others else 0) and all(found in others for found in drawn)


def test_negatives_near_the_ceiling_weigh_less(corpus, tables):
    pairs, _, _ = tables
    batch = batches(corpus, soften=0.4, negatives={"tfidf": 2, "object": 1})[0]
    seen = set()
    for row, owner, weight, kind in zip(*(column.tolist() for column in dataclasses.astuple(batch.negatives)), strict=True):
        pair = pairs[batch.names[owner]]
        score = pair["negative_scores"][pair["negatives"].index(words(batch, row))]
        expected = 1 if kind or score <= 0.4 else max(0.1, (0.8 - score) / 0.4)
        assert weight == pytest.approx(expected, rel=1e-5)
        seen.add(weight < 1)
    assert seen == {True, False}


def test_packed_texts_hold_every_word_once(corpus, tables):
    _, texts, _ = tables
    made = batches(corpus, pack_texts=True, mix={"texts": 1}, max_tokens=40)
    names = []
    for step in range(len(made)):
        batch = made[step]
        for at, name in enumerate(batch.names):
            assert words(batch, at) == [token for one in name.split("+") for token in texts[one]["tokens"]]
            assert int(batch.texts.lengths[at]) <= 40
            names += name.split("+")
        assert len(batch) < 8
    assert sorted(names) == sorted(texts)


def test_seven_numbers_a_box_and_fewer_regions(corpus, tables):
    pairs, _, regions = tables
    batch = batches(corpus, geometry=7, max_regions=4)[0]
    for at, name in enumerate(batch.names):
        count = int(batch.images.counts[at])
        assert count == min(4, pairs[name]["regions"])
        assert np.allclose(batch.images.boxes[at, :count].numpy(), regions[pairs[name]["image"]].geometry_7[:count])


def test_facts_say_what_comes(corpus):
    facts = batches(corpus, negatives={"count": 2}, max_tokens=30).facts
    assert (facts.features, facts.classes, facts.geometry, facts.max_regions, facts.max_tokens) == (8, 5, 5, 9, 30)
    assert facts.drawn == {"positives": 1, "negatives": 2, "matched_images": 1, "matched_texts": 2} and facts.vocabulary.size == 1000


def test_two_ranks_have_what_one_has(corpus):
    """Pairs, masks and companions depend on the row, not on who reads it."""
    whole, halves = batches(corpus), [batches(corpus, rank=rank, world=2) for rank in range(2)]
    for step in range(14):
        one, two = whole[step], [half[step] for half in halves]
        assert one.names == tuple(name for half in two for name in half.names)
        for part, start in zip(two, (0, len(two[0])), strict=True):
            if one.images:
                width = min(one.images.features.shape[1], part.images.features.shape[1])
                rows = slice(start, start + len(part))
                assert torch.equal(one.images.features[rows, :width], part.images.features[: len(part), :width])
                assert torch.equal(one.images.hidden[rows, :width], part.images.hidden[: len(part), :width])
            for at in range(len(part)):
                if one.texts:
                    assert words(one, start + at) == words(part, at)
                    length = int(part.texts.lengths[at])
                    assert torch.equal(one.texts.masked[start + at, :length], part.texts.masked[at, :length])
                for group in ("positives", "negatives", "matched_texts"):
                    if one.stream == "pairs":
                        first, second = getattr(one, group), getattr(part, group)
                        assert [words(one, int(row)) for row in first.rows[first.owners == start + at]] == [
                            words(part, int(row)) for row in second.rows[second.owners == at]
                        ]


def test_nothing_is_made_that_nobody_asked_for(corpus):
    batch = batches(corpus, wanted=Wanted())[0]
    assert batch.texts.masked is batch.texts.labels is batch.images.hidden is batch.images.soft_labels is batch.mismatch is None
    assert EVERYTHING != Wanted()


def test_companions_are_masked_only_if_wanted(corpus):
    """Masks must not distinguish a pair from its companions."""
    for wanted in (EVERYTHING, dataclasses.replace(EVERYTHING, masked_companions=True)):
        batch = batches(corpus, wanted=wanted)[0]
        texts, images, own = batch.texts, batch.images, len(batch)
        assert (texts.labels[:own] != IGNORED).any(1).all() and images.hidden[:own].any(1).all()
        masked, hidden = (texts.labels[own:] != IGNORED).any(1), images.hidden[own:].any(1)
        assert len(masked) and len(hidden) and bool(masked.all()) == bool(hidden.all()) == wanted.masked_companions
        assert wanted.masked_companions or not (masked.any() or hidden.any())
        assert len(images.soft_labels) == int(images.hidden[:own].sum())


def test_the_mask_of_a_companion_depends_on_its_words_and_the_epoch_not_on_the_batch(corpus):
    def masks(**changes):
        made = batches(corpus, wanted=dataclasses.replace(EVERYTHING, masked_companions=True), mix={"pairs": 1}, **changes)
        return {
            int(batch.texts.keys[at]): batch.texts.masked[at, : int(batch.texts.lengths[at])].tolist()
            for batch in (made[step] for step in range(len(made)))
            for at in range(len(batch), len(batch.texts))
        }

    found = masks(), masks(batch={"pairs": 5})
    common = found[0].keys() & found[1].keys()
    assert len(common) > 20 and all(found[0][key] == found[1][key] for key in common)


def test_matching_needs_no_hard_negatives(corpus):
    batch = batches(corpus, negatives={}, mix={"pairs": 1}, wanted=Wanted(mismatch=True))[0]
    assert len(batch.negatives) == 0 and set(batch.mismatch.labels.tolist()) == {0.0, 1.0}


def test_memory_of_features_is_reused_only_when_nobody_has_them():
    buffers = Buffers()
    first = torch.from_numpy(buffers.array((4, 8)))
    second = buffers.array((4, 8))
    assert not np.shares_memory(first.numpy(), second)
    row, was = second[1], first.data_ptr()
    del first
    third = buffers.array((2, 8))
    assert third.ctypes.data == was
    del second
    assert not np.shares_memory(row, buffers.array((4, 8)))


def test_a_hard_negative_that_is_known_to_be_true_is_no_mismatch(corpus):
    batch = next(one for one in map(batches(corpus, mix={"pairs": 1}).__getitem__, range(20)) if len(one.negatives))
    owner, row = int(batch.negatives.owners[0]), int(batch.negatives.rows[0])
    only = Group(*(getattr(batch.negatives, name)[:1] for name in ("rows", "owners", "weights", "kinds")))
    true = Known(batch.texts.keys[[row]], torch.tensor([owner]))
    always = Masking(hard=True, mismatched=1.0)
    drawn = {
        known: {int(_with_mismatch(one, always, np.random.default_rng(seed)).mismatch.texts[owner]) for seed in range(30)}
        for known, one in (
            (False, dataclasses.replace(batch, negatives=only)),
            (True, dataclasses.replace(batch, negatives=only, known_texts=true)),
        )
    }
    assert drawn[False] == {row} and row not in drawn[True]
