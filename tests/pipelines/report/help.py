"""A small corpus with every kind of table, written without a run, and a reader of reports."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from PIL import Image

from pipelines.report.build import ReportSettings, write_report
from schemas.attention_maps import AttentionSource
from schemas.corpus import Corpus, open_corpus
from schemas.ids import pair_id
from schemas.regions import ATTRIBUTES_KEY, NAMES_KEY
from schemas.rejects import Reason
from schemas.tables import GRAPHS, IMAGES, MATCHES, PAIRS, REWRITES, regions_schema
from tests.written import write_corpus

CAPTIONS = ("A black dog runs after a ball.", "Two dogs on a beach.", "A cat.", "A red kite over the sea.")
_REGIONS = regions_schema(2, 3)
REGIONS = _REGIONS.with_metadata(
    {
        **_REGIONS.metadata,
        NAMES_KEY: json.dumps(["background", "dog", "ball, toy"]).encode(),
        ATTRIBUTES_KEY: json.dumps(["red", "black"]).encode(),
    }
)


def image_row(folder: Path, name: str, photo: bool = True) -> dict[str, Any]:
    """A row of `images`, with a small photo."""
    path = folder / f"{name}.png"
    if photo:
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), (len(name) * 20 % 255, 90, 120)).save(path)
    return {"image_id": f"src/{name}", "source": "src", "uri": str(path) if photo else None, "width": 64, "height": 48}


def small(folder: Path, captions: tuple[str, ...] = CAPTIONS, partitions: int = 2, photo: bool = True, **changes: Any) -> Corpus:
    """A corpus at `folder`/corpus of one pair an image; `changes`: stages that replace others, None takes one out."""
    pairs = [
        {"pair_id": pair_id(f"src/{at}", caption), "image_id": f"src/{at}", "caption": caption, "source": "src"}
        for at, caption in enumerate(captions)
    ]
    ids = [pair["pair_id"] for pair in pairs]
    images = [image_row(folder / "photos of mine", str(at), photo) for at in range(len(captions))]
    alone = image_row(folder / "photos of mine", "alone")
    tfidf = [
        {"pair_id": one, "text": captions[at - 1], "polarity": "negative", "level": "sentence", "kind": "tfidf", "origin": ids[at - 1],
         "scores": [{"name": "cosine", "value": 0.25 + at / 16}], "why": "most_similar_below_margin"}
        for at, one in enumerate(ids)
    ] if len(ids) > 1 else []  # fmt: skip
    swap = {"pair_id": ids[0], "text": captions[0].replace("black", "white", 1), "polarity": "negative", "level": "word", "kind": "attribute",
            "edits": [{"start": 2, "end": 7, "text": "white"}], "origin": "black dog > white", "scores": [], "why": "absent_from_labels"}  # fmt: skip
    positive = {"pair_id": ids[0], "text": "A black dog is running after a ball.", "polarity": "positive", "level": "sentence",
                "kind": "back_translation", "origin": "de", "scores": [{"name": "similarity", "value": 0.9}], "why": "same_claims"}  # fmt: skip
    graph = {"pair_id": ids[0], "objects": [{"text": "dog", "lemma": "dog", "start": 8, "end": 11, "number": "singular", "head": "dog",
             "count": 0, "phrase_start": 0, "phrase_end": 11}], "attributes": [], "relations": [], "counts": []}  # fmt: skip
    match = {"query_id": "src/0", "modality": "image", "matched_id": "src/alone", "rank": 0, "score": 0.75, "visual": 0.5, "objects": 1.0,
             "partition": 0, "row": 0}  # fmt: skip
    text = {**match, "query_id": ids[0], "modality": "text", "matched_id": "t1", "text": "The dog ran.", "visual": None, "objects": None}
    regions = {"image_id": "src/0", "width": 64, "height": 48, "boxes": [[8.0, 6.0, 40.0, 30.0], [50.0, 30.0, 60.0, 44.0]],
               "confidence": [0.9, 0.4], "features": [[0.0, 1.0]] * 2, "soft_labels": None, "class": [1, 2], "attributes": [1, 0]}  # fmt: skip
    stages = {
        "pairs": {"images": (IMAGES, images), "pairs": (PAIRS, pairs)},
        "images": {"images": (IMAGES, [alone])},
        "regions": {"regions": (REGIONS, [regions])},
        "tfidf": {"rewrites": (REWRITES, tfidf)},
        "graphs": {"graphs": (GRAPHS, [graph])},
        "swaps": {"rewrites": (REWRITES, [swap])},
        "back_translation": {"rewrites": (REWRITES, [positive])},
        "image_matches": {"matches": (MATCHES, [match])},
        "text_matches": {"matches": (MATCHES, [text])},
        **changes,
    }
    rejects = {"swaps": {Reason.SYNONYM: 3}} if stages["swaps"] else {}
    return write_corpus(folder / "corpus", partitions, {name: held for name, held in stages.items() if held is not None}, rejects)


def report(corpus: Corpus | Path | str, out: Path, attention: AttentionSource | None = None, **settings: Any) -> Report:
    """Writes a report and reads it."""
    url = corpus.url if isinstance(corpus, Corpus) else str(corpus)
    said = write_report(*open_corpus(url), str(out), ReportSettings(**settings), attention)
    return Report(out, said)


class Report:
    """A report's files. warnings: what writing it returned."""

    def __init__(self, folder: Path, said: list[str]):
        self.folder, self.warnings = folder, said

    def page(self, name: str) -> Page:
        """A page, parsed."""
        made = Page()
        made.feed((self.folder / name).read_text(encoding="utf-8"))
        return made

    def data(self, path: str) -> Any:
        """The value that a data file hands to the page."""
        text = (self.folder / "data" / path).read_text(encoding="utf-8")
        found = re.fullmatch(r'cmcl\.put\("[a-z]+",\d+,(.*)\);\n', text, re.DOTALL)
        assert found and not re.search("[<>&\u2028\u2029]", text)
        return json.loads(found[1])

    def files(self) -> dict[str, bytes]:
        """Every file, by its path in the folder."""
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()}


class Page(HTMLParser):
    """Text, elements, and the counts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.tags, self.counts = "", [], {}
        self._count: str | None = None
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src") and value]
        assert not any(name.startswith("on") or name == "style" for name in held), held
        self._count = held.get("data-count")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._count:
            self.counts[self._count], self._count = int(data.replace(",", "")), None
