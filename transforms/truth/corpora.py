"""Pairs of images and texts with known or estimated truth, to fit and to check the judge."""

from __future__ import annotations

import csv
import json
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sparse_dot_topn import sp_matmul_topn

from transforms.engines.encoders.sentence import sentence_encoder
from transforms.engines.parsers.load import caption_parser
from transforms.graphs.stage import graph_batch
from transforms.ingest.exclusion_lists import CAPTION_NUMBER
from transforms.scenes.language import captions
from transforms.scenes.layout import sample_scene
from transforms.scenes.parser import parse
from transforms.scenes.truth import judge
from transforms.scenes.world import KINDS
from transforms.truth.claims import read_claims
from transforms.truth.evidence import Captioned, Texts, evidence_of, whole
from transforms.truth.judge import LABELS
from transforms.truth.words import Words

K, DRAWN = 100, 12  # neighbours of a caption, and the number of them that are drawn
_TOP = 0.25  # share of the likeliest own captions: candidates as likely as these are nearly all true

_EXTENSION = re.compile(r"\.(?:jpe?g|png|webp|gif|bmp|tiff?)$", re.IGNORECASE)
_OVERLOOKED = 0.1  # factor of a text's probability if it names a thing around which annotators could have drawn a box, but did not


_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """n pairs: evidence int32 [n] by name; truth float64 [n], 0 to 1; weight float64 [n]; image int64 [n]."""

    evidence: dict[str, np.ndarray]
    truth: np.ndarray
    weight: np.ndarray
    image: np.ndarray


class Captions:
    """Images with captions, encoded and parsed, from which pairs are taken."""

    def __init__(
        self,
        images: Sequence[Sequence[str]],
        others: Sequence[str] = (),
        labels: Sequence[Counter[str] | None] | None = None,
        known: Sequence[str] = (),
        encoder: str | None = "embedded",
    ):
        """`others`: texts that are no image's captions; they come last. encoder: None: similarities are left out."""
        self.texts = [text for own in images for text in own] + list(others)
        self.starts = np.concatenate([[0], np.cumsum([len(own) for own in images])]).astype(np.int64)
        self.image = np.repeat(np.arange(len(images)), np.diff(self.starts))
        self.labels, self.known, self.encoder = labels, known, encoder
        self.words = Words()
        for label in known:
            self.words.number(label)
        self.vectors, graphs = self.read()
        self.claims = read_claims(graphs, np.arange(len(self.texts)), self.texts, self.words)
        self.weights: csr_matrix = TfidfVectorizer(max_df=0.5).fit_transform(self.texts)

    def read(self) -> tuple[np.ndarray | None, pa.Table]:
        """Vectors and graphs of all texts."""
        graphs = list(caption_parser("embedded").parse(self.texts))
        table = pa.Table.from_batches([graph_batch(pa.array([str(at) for at in range(len(graphs))]), graphs)])
        return whole(sentence_encoder(self.encoder).encode(self.texts)) if self.encoder else None, table

    def neighbours(self, rng: np.random.Generator, drawn: int = DRAWN) -> tuple[np.ndarray, np.ndarray]:
        """Image and text of `drawn` of each caption's `K` nearest captions of other images, drawn at random."""
        own = self.weights[: len(self.image)]
        found = sp_matmul_topn(own, own.T.tocsr(), top_n=K + 8, sort=True)
        rows = []
        for caption in range(len(self.image)):
            near = found.indices[found.indptr[caption] : found.indptr[caption + 1]]
            near = near[self.image[near] != self.image[caption]]
            rows += [(self.image[caption], text) for text in rng.permutation(near)[:drawn]]
        image, text = np.unique(np.array(rows, np.int64).reshape(-1, 2), axis=0).T
        return image, text

    def evidence(self, image: np.ndarray, text: np.ndarray, without: int | None = None) -> dict[str, np.ndarray]:
        """Evidence about pairs, `image` ascending. `without`: leave out the caption of this number, counted from each image's first."""
        rows = np.arange(len(self.image))
        if without is not None:
            rows = np.flatnonzero(rows - self.starts[self.image] != without)
        starts = np.searchsorted(self.image[rows], np.arange(len(self.starts)))
        vectors = None if self.vectors is None else self.vectors[rows]
        captioned = Captioned(starts, Texts(vectors, self.claims.take(rows)), self.labels, self.known)
        found = evidence_of(captioned, Texts(self.vectors, self.claims), self.words, image, text)
        own = self.weights[rows]
        cosine = np.zeros(len(text), np.int32)
        for step in range(int(np.diff(starts).max(initial=0))):
            row = np.minimum(starts[image] + step, starts[image + 1] - 1)
            cosine = np.maximum(cosine, (np.asarray(own[row].multiply(self.weights[text]).sum(axis=1)).ravel() * 1000).astype(np.int32))
        return found | {"cosine": cosine}


def scenes(count: int, seed: int, drawn: int = DRAWN) -> Sample:
    """Neighbours among the captions of scenes, judged by the scenes' records; unclear ones are left out.

    `drawn` of each caption's; however many they are, together they weigh the same.
    """
    worlds = [sample_scene(seed, at) for at in range(count)]
    texts = [[caption.text for caption in captions(scene, seed)] for scene in worlds]
    held = Captions(texts, (), [Counter(item.kind for item in scene.objects) for scene in worlds], tuple(KINDS))
    image, text = held.neighbours(np.random.default_rng(seed), drawn)
    graphs = [parse(words) for words in held.texts]
    verdict = np.array([judge(graphs[other], worlds[at]) for at, other in zip(image.tolist(), text.tolist(), strict=True)])
    clear = verdict != "unclear"
    image, text = image[clear], text[clear]
    return Sample(held.evidence(image, text), (verdict[clear] == "true").astype(np.float64), np.full(len(text), DRAWN / drawn), image)


def photos(path: Path, seed: int, boxes: Path | None = None, limit: int = 1590) -> Sample:
    """Neighbours among the captions of at most `limit` photos, with the estimated probability that each is true.

    path: CSV, or COCO's captions as JSON. boxes: COCO's instances as JSON, of some of the photos, which then come first.
    """
    own, labels = captions_in(path), boxes_in(boxes) if boxes else {}
    names = sorted(own, key=lambda name: (name not in labels, name.zfill(12)))[:limit]
    found = [labels.get(name) for name in names]
    return estimated(Captions([own[name] for name in names], (), found if labels else None, _known(labels)), seed)


def _known(labels: Mapping[str, Counter[str]]) -> list[str]:
    return sorted({label for found in labels.values() for label in found})


def captions_in(path: Path) -> dict[str, list[str]]:
    """Captions by image, from a CSV file with the columns image and caption, or from COCO's JSON. Raises ValueError, as `read_csv` does."""
    found: dict[str, list[str]] = defaultdict(list)
    if path.suffix == ".json":
        try:
            notes = json.loads(path.read_text(encoding="utf-8-sig"))["annotations"]
            rows = [(str(note["image_id"]), str(note["caption"])) for note in notes]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not COCO's JSON of captions ({type(error).__name__}: {error})") from None
    else:
        rows = [(image, caption) for _, image, caption in read_csv(path, "image", "caption")]
    for image, caption in rows:
        if caption.strip():
            found[CAPTION_NUMBER.sub(r"\1", image)].append(" ".join(caption.split()))
    return found


def same_images(names: Iterable[str], captioned: Collection[str]) -> dict[str, str]:
    """The captioned image that each of these names means: the same name, or else the only one with the same last part, extension, case
    and leading zeros aside. The others are left out."""
    by_stem = defaultdict(list)
    for name in captioned:
        by_stem[_stem(name)].append(name)
    found = {name: [name] if name in captioned else by_stem.get(_stem(name), []) for name in names}
    return {name: given[0] for name, given in found.items() if len(given) == 1}


def _stem(name: str) -> str:
    stem = _EXTENSION.sub("", re.split(r"[/\\]", name)[-1]).casefold()
    return stem.lstrip("0") if stem.isdecimal() else stem


def read_csv(path: Path, *columns: str) -> Iterator[tuple[Any, ...]]:
    """The line and the values, stripped, of some columns of each row that is not blank; names in any case, a byte order mark is skipped.

    Raises ValueError, naming the file, when it is not UTF-8, lacks a column, or a row, naming its line, lacks a value.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = [name.strip().lower() for name in next(rows, [])]
            missing = [name for name in columns if name not in header]
            if missing:
                raise ValueError(f"{path} has no column {', '.join(missing)}, only {', '.join(header) or 'none'}: name it in the first row")
            at = [header.index(name) for name in columns]
            for row in rows:
                if any(value.strip() for value in row):
                    if len(row) <= max(at):
                        raise ValueError(f"{path}, line {rows.line_num}: {len(row)} values instead of {len(header)}")
                    yield rows.line_num, *(row[one].strip() for one in at)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as CSV in UTF-8 ({error})") from None


def boxes_in(path: Path) -> dict[str, Counter[str]]:
    """The number of boxes by label of each image, from COCO's instances JSON."""
    notes = json.loads(path.read_text(encoding="utf-8"))
    names = {one["id"]: one["name"] for one in notes["categories"]}
    found: dict[str, Counter[str]] = {str(image["id"]): Counter() for image in notes["images"]}
    for note in notes["annotations"]:
        found[str(note["image_id"])][names[note["category_id"]]] += 1
    return found


def estimated(held: Captions, seed: int) -> Sample:
    """Neighbours with their probability of being true: see `transforms.truth.fit`."""
    rng = np.random.default_rng(seed)
    image, text = held.neighbours(rng)
    fold, size = rng.integers(0, 5, len(text)), int(np.diff(held.starts).max())
    own, others = [], np.zeros((len(text), 0))
    for without in range(min(size, 5)):
        able = np.diff(held.starts) > max(without, 1)
        sibling = held.starts[:-1][able] + without
        own.append(_matrix(held.evidence(np.flatnonzero(able), sibling, without)))
        mine = np.flatnonzero(fold == without)
        found = _matrix(held.evidence(image[mine], text[mine], without))
        others = np.zeros((len(text), found.shape[1])) if not others.shape[1] else others
        others[mine] = found
    true = np.concatenate(own)
    scale = make_pipeline(
        StandardScaler(), PolynomialFeatures(2, include_bias=False), StandardScaler(), LogisticRegression(C=0.01, max_iter=200)
    )
    scale.fit(np.concatenate([true, others]), np.repeat([1, 0], [len(true), len(others)]))
    chosen, drawn = scale.decision_function(true), scale.decision_function(others)
    share = (drawn >= np.quantile(chosen, 1 - _TOP)).mean() / _TOP  # of true ones: the least ratio of the two densities
    ratio = len(others) / len(true) * np.exp(drawn)  # of the densities
    evidence = held.evidence(image, text)
    truth = np.minimum(1.0, share * ratio)
    if "labels_missing" in evidence:
        truth[evidence["labels_missing"] > 0] *= _OVERLOOKED
    return Sample(evidence, truth, np.ones(len(text)), image)


def _matrix(evidence: dict[str, np.ndarray]) -> np.ndarray:
    return np.stack([evidence[name] for name in sorted(evidence) if name not in LABELS], axis=1).astype(np.float64)


def rated(ratings: Path, captions: Path, boxes: Path | None = None) -> Sample:
    """Texts that people have rated against an image: true if the mean rating is 3 or more. boxes: as for `photos`."""
    held, image, text, rating = rated_pairs(ratings, captions, boxes)
    return Sample(held.evidence(image, text), (rating >= 3).astype(np.float64), np.ones(len(text)), image)


def ratings_in(path: Path) -> dict[tuple[str, str], float]:
    """Mean rating by image and text, in their order. Raises ValueError as `rated_pairs` does."""
    found = defaultdict(list)
    for line, image, text, rating in read_csv(path, "image", "text", "rating"):
        try:
            value = float(rating)
        except ValueError:
            value = np.nan
        if not 1 <= value <= 4:
            raise ValueError(f"{path}, line {line}: rating {rating!r} is not a number from 1 to 4")
        if text:
            found[CAPTION_NUMBER.sub(r"\1", image), " ".join(text.split())].append(value)
    return {pair: float(np.mean(given)) for pair, given in sorted(found.items())}


def rated_pairs(ratings: Path, captions: Path, boxes: Path | None = None) -> tuple[Captions, np.ndarray, np.ndarray, np.ndarray]:
    """Captions and texts, and n pairs of an image, int64 [n] ascending, and a text, int64 [n], with mean ratings float64 [n].

    ratings: CSV with the columns image, text, rating (1 to 4), one row per rating; captions: as for `captions_in`; boxes: COCO's instances,
    whose labels are evidence if some of the images have them. Images without captions are left out, and logged. Raises ValueError when no
    rated image has a caption, when a rating is not a number from 1 to 4, and as `read_csv` does.
    """
    own = captions_in(captions)
    given = ratings_in(ratings)
    rated_names = sorted({image for image, _ in given})
    same = same_images(rated_names, own)
    missing = [name for name in rated_names if name not in same]
    if not same:
        examples = "".join(f", one of whose images is {next(iter(names))!r}" if names else "" for names in (rated_names, own))
        raise ValueError(f"no image of {ratings} has a caption in {captions}{examples}")
    if missing:
        few = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        _LOG.warning("%s: %d of %d rated images have no caption, left out: %s", captions, len(missing), len(rated_names), few)
    pairs = {(same[image], text): rating for (image, text), rating in given.items() if image in same}
    names, texts = sorted({image for image, _ in pairs}), sorted({text for _, text in pairs})
    labels = boxes_in(boxes) if boxes else {}
    found = [labels.get(name) for name in names]
    held = Captions([own[name] for name in names], texts, found if any(found) else None, _known(labels))
    at, number = {name: at for at, name in enumerate(names)}, {text: len(held.image) + at for at, text in enumerate(texts)}
    image, text = np.array([[at[name], number[words]] for name, words in pairs], np.int64).T
    return held, image, text, np.array(list(pairs.values()))
