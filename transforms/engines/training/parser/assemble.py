"""Turns a trained tagger and parser into the embedded model: parts of speech from tags, lemmas from rules, nothing else.

    python -m transforms.engines.training.parser.assemble TRAINED UD_FOLDER WORDNET OUT [--words FILE ...]

Parts of speech are derived from tags and labels by rules that `parts.py` learns from UD_FOLDER's training part.

WORDNET is the folder of WordNet 3.0's database (Debian: `apt-get install wordnet-base`, then /usr/share/wordnet). The lemmatiser
is spaCy's rule lemmatiser with Morphy's detachment rules (WordNet 3.0, morphy(7)), WordNet's exception lists, and the WordNet
lemmas that have counts in its tagged texts or occur in one of the `--words` files.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.lookups import Lookups

from transforms.engines.training.parser.convert import convert, read_conllu
from transforms.engines.training.parser.parts import Rule, learn

_FILES = {"noun": "noun", "verb": "verb", "adj": "adj", "adv": "adv"}
RULES: dict[str, list[list[str]]] = {
    "noun": [["s", ""], ["ses", "s"], ["ves", "f"], ["xes", "x"], ["zes", "z"], ["ches", "ch"], ["shes", "sh"], ["men", "man"],
             ["ies", "y"]],
    "verb": [["s", ""], ["ies", "y"], ["es", "e"], ["es", ""], ["ed", "e"], ["ed", ""], ["ing", "e"], ["ing", ""]],
    "adj": [["er", ""], ["est", ""], ["er", "e"], ["est", "e"]],
    "adv": [],
}  # fmt: skip
_BE = ["be", "is", "are", "was", "were", "am", "been", "being", "'s", "'re", "'m", "’s", "’re", "’m"]
_AUXILIARIES = {
    **{form: ["be"] for form in _BE}, **dict.fromkeys(("has", "had", "having", "have", "'ve", "'d"), ["have"]),
    **dict.fromkeys(("does", "did", "done", "doing", "do"), ["do"]), "wo": ["will"], "'ll": ["will"], "ca": ["can"],
}  # fmt: skip
# Morphology by which spaCy's English lemmatiser recognises base forms ("bus" is not the plural of "bu").
MORPHS = {
    "NN": "Number=Sing", "NNP": "Number=Sing", "NNS": "Number=Plur", "NNPS": "Number=Plur", "VB": "VerbForm=Inf",
    "JJ": "Degree=Pos", "JJR": "Degree=Cmp", "JJS": "Degree=Sup",
}  # fmt: skip


def lemma_tables(wordnet: Path, words: set[str]) -> Lookups:
    """spaCy's three lemma tables from WordNet's files; `words` are lemmas to keep in addition to those with counts in WordNet's
    tagged texts."""
    tagged: Counter[str] = Counter()
    for line in (wordnet / "cntlist.rev").read_text().splitlines():
        key, _, count = line.split()
        tagged[key.partition("%")[0] + " " + key.partition("%")[2][:1]] += int(count)
    seen = {key.split(" ")[0] for key in tagged}
    exceptions: dict[str, dict[str, list[str]]] = {"aux": _AUXILIARIES}
    index: dict[str, list[str]] = {"aux": ["be", "have", "do"]}
    for pos, name in _FILES.items():
        lemmas = set()
        for line in (wordnet / f"index.{name}").read_text().splitlines():
            lemma = line.split(" ", 1)[0]
            if lemma.isalpha() and (lemma in seen or lemma in words):
                lemmas.add(lemma)
        index[pos] = sorted(lemmas)
        table: dict[str, list[str]] = {}
        for line in (wordnet / f"{name}.exc").read_text().splitlines():
            form, *found = line.split()
            if form.isalpha() and (found[0] in lemmas or form in words):
                table[form] = found[:1]
        exceptions[pos] = table
    # "riding": ride, not rid; "singing": sing, not singe. The rarer verb is removed from the index, so that only its base form
    # resolves to it.
    verbs = set(index["verb"])
    for lemma in index["verb"]:
        if lemma + "e" in verbs:
            verbs.discard(lemma if tagged[lemma + "e 2"] >= tagged[lemma + " 2"] else lemma + "e")
    index["verb"] = sorted(verbs)
    for form, base in _AUXILIARIES.items():  # "'s" is a full verb in "there's"
        exceptions["verb"].setdefault(form, base)
    exceptions["verb"].update(
        {form: ["have"] for form in ("has", "had", "having")},
        does=["do"],
        did=["do"],
        done=["do"],
        lying=["lie"],
        laying=["lay"],
        skiing=["ski"],
        skis=["ski"],
    )
    exceptions["noun"].update(
        people=["people"],
        glasses=["glasses"],
        skis=["ski"],
        men=["man"],
        women=["woman"],
        buses=["bus"],
        pants=["pants"],
        shorts=["shorts"],
        jeans=["jeans"],
    )
    lookups = Lookups()
    lookups.add_table("lemma_rules", {**RULES, "aux": []})
    lookups.add_table("lemma_exc", exceptions)
    lookups.add_table("lemma_index", index)
    return lookups


def assemble(trained: str, wordnet: Path, words: set[str], rules: list[Rule]) -> Language:
    """The pipeline tok2vec, tagger, parser, attribute_ruler with these rules for parts of speech, lemmatizer."""
    nlp = spacy.load(trained, exclude=["attribute_ruler", "lemmatizer"])  # those of an already assembled model
    ruler: Any = nlp.add_pipe("attribute_ruler")
    ruler.add(patterns=[[{"TAG": "_SP"}]], attrs={"POS": "SPACE"})
    for rule in rules:
        tag = rule.key[0][2]
        morph = {"MORPH": MORPHS[tag]} if len(rule.key) == 1 and tag in MORPHS else {}
        ruler.add(patterns=[rule.pattern], attrs={"POS": rule.pos, **morph}, index=rule.position)
    lemmatizer: Any = nlp.add_pipe("lemmatizer", config={"mode": "rule"})
    lemmatizer.initialize(lookups=lemma_tables(wordnet, words))
    nlp.config["paths"].update(train=None, dev=None)  # do not publish local data paths
    nlp.meta.update(
        name="cmcl_captions",
        version="1.0.0",
        license="CC BY-SA 4.0",
        description="Tagger, parser (ClearNLP-style labels) and lemmatiser for captions; see docs/model_cards/parser.md",
    )
    return nlp


def main() -> None:
    """Writes the model folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained")
    parser.add_argument("treebank", type=Path)
    parser.add_argument("wordnet", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--words", type=Path, nargs="*", default=[], help="text files whose words the lemmatiser should know")
    arguments = parser.parse_args()
    words: set[str] = set()
    for path in arguments.words:
        found = set(re.findall(r"[a-z]+", path.read_text(encoding="utf-8").lower()))
        words |= found
        for endings in RULES.values():
            words |= {word[: len(word) - len(old)] + new for old, new in endings for word in found if word.endswith(old)}
    treebank = arguments.treebank / "en_ewt-ud-train.conllu"
    rules = learn(convert(nodes) for nodes in read_conllu(str(treebank)))
    nlp = assemble(arguments.trained, arguments.wordnet, words, rules)
    nlp.to_disk(arguments.out)
    total = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{arguments.out}: {total / 1e6:.2f} MB, {len(rules)} rules for parts of speech")


if __name__ == "__main__":
    main()
