"""The stage that writes back-translated positives as Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import chain
from typing import Any

import pyarrow as pa

from schemas.corpus import WHOLE
from schemas.rejects import Reason
from schemas.tables import REWRITES
from transforms.back_translation.candidates import fingerprints, origin_of, unmoved
from transforms.back_translation.choose import Choice, Positive
from transforms.back_translation.known_words import read_known
from transforms.back_translation.positives import find_positives
from transforms.back_translation.settings import BackTranslationSettings
from transforms.back_translation.texts import prepared, restored, why_not_caption, words_of
from transforms.core.gc_pause import gc_paused
from transforms.core.instructions import in_force
from transforms.core.stage import Input, Stage
from transforms.core.task import Task
from transforms.engines.encoders.sentence import sentence_encoder
from transforms.engines.encoders.sentence import spec_fingerprint as encoder_fingerprint
from transforms.engines.parsers.load import caption_parser, check_spec, spec_fingerprint
from transforms.english.wordnet import lexicon

WINDOW = 2048  # distinct captions held at a time with all their candidates
_COUNTED = frozenset({Reason.REPEATED_TEXT})  # counted without rows: another candidate's row already has the text


class BackTranslate(Stage[BackTranslationSettings]):
    """Writes `rewrites`: sentence-level positives of every caption, in the order of the pairs.

    A text that is not a caption gets a reject instead; one that an engine fails on gets a reject and the other pivots' positives.

    Raises ValueError, naming what is missing, if a translator, the parser or the encoder is unavailable. Loads none of them.
    """

    name = "back_translation"
    revision = 10
    packages = ("ctranslate2", "sentencepiece", "torch", "transformers", "sentence-transformers", "spacy")
    extra = "translate"
    rows_by = ("image_id",)
    reads = (
        Input("pairs", "pairs", columns=("pair_id", "image_id", "caption")),
        Input("pair_words", "pair_words", optional=True),
        Input("translator_words", "stand_ins", "corpus", optional=True),
    )
    writes = {"rewrites": REWRITES}

    def __post_init__(self) -> None:
        check_spec(self.params.parser)
        fingerprints(self.params)
        encoder_fingerprint(self.params.encoder, self.params.threads)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The parameters with every engine's fingerprint; excludes the models' paths."""
        how = self.params
        return {
            **super().settings,
            "translators": [list(way) for way in fingerprints(how)],
            "origins": [origin_of(way, how) for way in how.ways()],  # part of the rows
            "encoder": encoder_fingerprint(how.encoder, how.threads),
            "parser": spec_fingerprint(how.parser),
            "lexicon": lexicon().fingerprint,
        }

    def process(self, task: Task, payload: Any) -> None:
        """Processes one partition: its distinct captions window by window, then the rows of its pairs."""
        pairs = task.read("pairs", "pairs")
        task.counts.rows_in = pairs.num_rows
        pair_ids, captions = pairs["pair_id"].to_pylist(), pairs["caption"].to_pylist()
        known: dict[str, str] = {}  # caption -> translators' input
        for pair_id, caption in zip(pair_ids, captions, strict=True):
            problem = why_not_caption(caption, self.params.max_words)
            if problem:
                task.rejects.add(pair_id, Reason.NO_CAPTION, f"{problem}: {caption}")
            else:
                known[caption] = prepared(caption)
        texts = sorted(set(known.values()), key=lambda text: (len(text), text))
        choices = self._choices(task, texts)
        if texts:
            translated = [pair_id for pair_id, caption in zip(pair_ids, captions, strict=True) if caption in known]
            task.count("texts_translated", translated)
            task.count(f"texts_on cpu {in_force()}", translated)  # to trace differences between machines
            if not unmoved(self.params):
                task.count("texts_dependent_on_batch", translated)
            own = [choices[known[caption]] for caption in captions if caption in known]
            task.count("texts_with_stand_ins", translated, [choice.stand_ins for choice in own])
            task.count("texts_translated_again", translated, [choice.again > 0 for choice in own])
            task.count("candidates", translated, [choice.candidates for choice in own])
            task.count("candidates_of_second_attempt", translated, [choice.again for choice in own])
        origins = [*(origin_of(way, self.params) for way in self.params.ways()), "rewording"]
        image_ids = pairs["image_id"].to_pylist()
        said: dict[str, set[tuple[str, ...]]] = {}
        for image_id, caption in zip(image_ids, captions, strict=True):
            said.setdefault(image_id, set()).add(tuple(words_of(caption)))
        rows = [
            row
            for pair_id, image_id, caption in zip(pair_ids, image_ids, captions, strict=True)
            if caption in known
            for row in self._rows(task, pair_id, caption, choices[known[caption]], origins, said[image_id])
        ]
        if rows:
            task.write("rewrites", pa.RecordBatch.from_pylist(rows, schema=REWRITES))

    def _choices(self, task: Task, texts: list[str]) -> dict[str, Choice]:
        """The choice for each text, by text; every text is translated once, those that get nothing twice."""
        found: dict[str, Choice] = {}
        how, known = self.params, None
        if texts and self.has("pair_words"):
            own = (entry for words in task.read("pair_words", "pair_words")["words"].to_pylist() for entry in words)
            stand_ins = task.read("translator_words", "stand_ins", WHOLE).to_pylist()
            known = read_known(chain(stand_ins, own), [way.name for way in how.ways()])
        with task.engine(), gc_paused():
            for start in range(0, len(texts), WINDOW):
                task.check_cancelled()
                window = texts[start : start + WINDOW]
                parser, encoder = caption_parser(how.parser), sentence_encoder(how.encoder, how.threads)
                found |= find_positives(window, how, task.seed, parser, encoder, known)
        return found

    def _rows(
        self, task: Task, pair_id: str, caption: str, choice: Choice, origins: Sequence[str], said: Set[tuple[str, ...]]
    ) -> Iterator[dict[str, Any]]:
        """The rewrites of one pair; records its rejects. `said`: the words of the image's captions, which a positive must not repeat."""
        repeats = {one for one in (*choice.positives, *choice.spares) if tuple(words_of(one.text)) in said}
        able = [one for one in (*choice.positives, *choice.spares) if one not in repeats]
        positives, surplus = able[: self.params.positives], able[self.params.positives :]
        if choice.failures:  # the pair itself is rejected only if it has no positives
            task.rejects.add(pair_id, Reason.CANDIDATE_FAILED if positives else Reason.ENGINE_FAILED, "; ".join(choice.failures))
        for many in range(1, self.params.positives + 1):
            task.count(f"pairs_with_{many}", [pair_id], [len(positives) >= many])
        others = [(Reason.IN_SIBLING, one.text) for one in sorted(repeats)] + [(Reason.SURPLUS, one.text) for one in surplus]
        for reason, detail in (*choice.refused, *others):
            if self.params.record_refusals and reason not in _COUNTED:
                task.rejects.add(pair_id, reason, detail)
            else:
                task.count_refused([pair_id], [reason])
        for positive in positives:
            yield _row(pair_id, caption, positive, origins[positive.pivot])


def _row(pair_id: str, caption: str, positive: Positive, origin: str) -> dict[str, Any]:
    scores = (("similarity", positive.similarity), ("change", positive.change), ("rank", positive.rank))
    return {
        "pair_id": pair_id,
        "text": restored(positive.text, caption),
        "polarity": "positive",
        "level": "sentence",
        "kind": "rewording" if positive.how else "back_translation",
        "edits": None,
        "origin": f"{origin}: {positive.how}" if positive.how else origin,
        "scores": [{"name": name, "value": value} for name, value in scores],
        "why": "same_claims",
        "truth": None,
    }
