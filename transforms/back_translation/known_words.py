"""The words that translators keep, measured by round trips, and the stage that measures a corpus' own vocabulary."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from schemas.corpus import WHOLE
from schemas.tables import PAIR_WORDS, STAND_INS, TRANSLATOR_WORDS
from transforms.back_translation.candidates import fingerprints, translate_all, unmoved
from transforms.back_translation.settings import BackTranslationSettings, Pivot
from transforms.back_translation.stand_ins import ADJECTIVES, NOUNS, QUANTITIES
from transforms.back_translation.texts import looked_up, why_not_caption, words_of
from transforms.core.stage import Input, Stage, SummaryStage
from transforms.core.task import Task
from transforms.engines.translators.base import Decoding
from transforms.engines.translators.load import translator
from transforms.english.morphology import lemmas, plural
from transforms.english.wordnet import lexicon
from transforms.english.words import NUMBERS

# Sentences in which a word's round trip is tried, by part of speech. "the" goes with singulars and mass nouns alike.
CARRIERS = {
    "plural": ("A man is looking at two {}.", "Some {} are in the background.", "Several {} are on a street."),
    "noun": ("A man is looking at the {}.", "The {} is in the background.", "Two people are near the {}."),
    "adjective": ("A man is wearing a {} hat.", "The {} dog is outside.", "A woman is looking at a {} car."),
    "number": ("{} men are on a street.", "A woman is looking at {} dogs.", "There are {} children in a park."),
}
SUBSTITUTES = (*NOUNS, *ADJECTIVES, *QUANTITIES)
_SEARCH = Decoding(beam=1)


def parts_of_speech(word: str) -> list[str]:
    """The parts of speech of a lower-case word for which there are carriers. An unknown word, such as a name, is a noun."""
    if word in NUMBERS or word.isdecimal():
        return ["number"]
    forms = lemmas(word)
    found = [name for name, pos in (("noun", "n"), ("adjective", "a")) if any(lexicon().knows(form, pos) for form in forms)]
    return found or ([] if any(lexicon().knows(form, "v") for form in forms) else ["noun"])


def is_plural(word: str) -> bool:
    """Whether a lower-case word is the plural of another noun."""
    return any(form != word and plural(form) == word for form in lemmas(word))


def measure(words: Iterable[str], way: Pivot, settings: BackTranslationSettings) -> dict[tuple[str, str], float]:
    """(word, part of speech) -> share of the carriers whose best round trip contains the word again, in this form and once."""
    tried = {
        (word, part): [carrier.format(word) for carrier in CARRIERS["plural" if part == "noun" and is_plural(word) else part]]
        for word in words
        for part in parts_of_speech(word)
    }
    texts = sorted({text[:1].upper() + text[1:] for own in tried.values() for text in own})
    best = {text: text for text in texts}
    for spec in (way.forward, way.back):
        engine = translator(spec, settings.compute_type, settings.threads)
        found, _ = translate_all(engine, list(best.values()), _SEARCH, "")
        best = {text: found[now][0].text for text, now in best.items() if found.get(now) and found[now][0].text.strip()}
    kept = {}
    for (word, part), own in tried.items():
        back = [words_of(best.get(text[:1].upper() + text[1:], "")) for text in own]
        kept[word, part] = sum(found.count(word) == 1 for found in back) / len(back)
    return kept


class TranslatorWords(SummaryStage[BackTranslationSettings]):
    """Writes, for each pivot, how often a word survives the round trip: `translator_words` for the words of the corpus, `stand_ins` for
    those that may stand in for others."""

    name = "translator_words"
    internal = True
    depends_on = ("compute_type", "threads", "max_words", "stand_ins", "vocabulary")
    packages = ("ctranslate2", "sentencepiece")
    extra = "translate"
    reads_earlier = True  # the words that were measured for it
    reads = (Input("pairs", "pairs", "corpus"),)
    writes = {"translator_words": TRANSLATOR_WORDS, "stand_ins": STAND_INS}

    @classmethod
    def applies(cls, params: BackTranslationSettings) -> bool:
        """Whether stand-ins are enabled."""
        return params.stand_ins

    @property
    def settings(self) -> Mapping[str, Any]:
        """The parameters, and each engine's fingerprint with the pivot's name."""
        return {**super().settings, "translators": [list(way) for way in fingerprints(self.params)], "lexicon": lexicon().fingerprint}

    def summarise(self, task: Task) -> dict[str, int]:
        """The words of one partition's captions, with their counts."""
        counts: dict[str, int] = {}
        for caption in task.read("pairs", "pairs")["caption"].to_pylist():
            if not why_not_caption(caption, self.params.max_words):
                for word in words_of(caption):
                    counts[word] = counts.get(word, 0) + 1
        return counts

    def combine(self, summaries: Sequence[dict[str, int]]) -> dict[str, int]:
        """Adds the counts to the first summary in place."""
        total = summaries[0]
        for summary in summaries[1:]:
            for word, count in summary.items():
                total[word] = total.get(word, 0) + count
        return total

    def process(self, task: Task, payload: Any) -> None:
        """Measures the most frequent words, and those that may stand in for others, unless an earlier task has."""
        counts: dict[str, int] = payload or {}
        frequent = sorted(counts, key=lambda word: (-counts[word], word))[: self.params.vocabulary]
        with task.engine():
            for table, words in (("translator_words", frequent), ("stand_ins", SUBSTITUTES)):
                held = task.earlier.get(table)
                before = held.to_pylist() if held and unmoved(self.params, _SEARCH) else ()
                known = read_known(before, [way.name for way in self.params.ways()])
                rows = [
                    {"pivot": way.name, "word": word, "part": part, "kept": share}
                    for way in self.params.ways()
                    for (word, part), share in sorted(self._shares(words, way, known[way.name]).items())
                ]
                task.write(table, pa.RecordBatch.from_pylist(rows, schema=self.writes[table]))
        task.counts.numbers["words_measured"] = len(frequent)

    def _shares(self, words: Iterable[str], way: Pivot, known: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
        """As `measure`, which is only asked about words that are not known."""
        keys = {word: [(word, part) for part in parts_of_speech(word)] for word in words}
        new = [word for word, own in keys.items() if not known.keys() >= set(own)]
        shares = {**known, **measure(new, way, self.params)}
        return {key: shares[key] for own in keys.values() for key in own}


class PairWords(Stage[BackTranslationSettings]):
    """Writes `pair_words`: what each pivot keeps of the words of each caption. So a new word in the corpus only concerns the captions that
    contain it."""

    name = "pair_words"
    revision = 2
    main_table = "pair_words"
    internal = True
    depends_on = ("max_words", "stand_ins")
    reads = (Input("pairs", "pairs"), Input("translator_words", "translator_words", "corpus"))
    writes = {"pair_words": PAIR_WORDS}

    @classmethod
    def applies(cls, params: BackTranslationSettings) -> bool:
        """Whether stand-ins are enabled."""
        return params.stand_ins

    def process(self, task: Task, payload: Any) -> None:
        """Looks up the words of one partition's captions."""
        known: dict[str, list[dict[str, Any]]] = {}
        for row in task.read("translator_words", "translator_words", WHOLE).to_pylist():
            known.setdefault(row["word"], []).append(row)
        pairs = task.read("pairs", "pairs")
        task.counts.rows_in = pairs.num_rows
        rows = []
        for pair_id, caption in zip(pairs["pair_id"].to_pylist(), pairs["caption"].to_pylist(), strict=True):
            words = () if why_not_caption(caption, self.params.max_words) else sorted(looked_up(caption))
            rows.append({"pair_id": pair_id, "words": [entry for word in words for entry in known.get(word, ())]})
        task.write("pair_words", pa.RecordBatch.from_pylist(rows, schema=PAIR_WORDS))


def read_known(rows: Iterable[Mapping[str, Any]], pivots: Collection[str]) -> dict[str, dict[tuple[str, str], float]]:
    """pivot -> (word, part of speech) -> share kept, from rows of `translator_words`."""
    known: dict[str, dict[tuple[str, str], float]] = {pivot: {} for pivot in pivots}
    for row in rows:
        known[row["pivot"]][row["word"], row["part"]] = row["kept"]
    return known
