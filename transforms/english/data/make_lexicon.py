"""Generates `wordnet.tsv.gz`, the part of WordNet 3.0 that is relevant to captions.

    python -m transforms.english.data.make_lexicon WORDNET --words FILE ... [--out wordnet.tsv.gz]

WORDNET is the folder of the database (Debian: `apt-get install wordnet-base`, then /usr/share/wordnet). The table contains the
nouns, verbs and adjectives that have counts in WordNet's tagged texts or occur in the `--words` files (any text: captions,
word lists), each with its first six senses, and the chains of their hypernyms without words. WordNet's licence is next to the
table, in `LICENSE.wordnet`.

One line per synset, tab-separated: part of speech (n, v, a); id; lexicographer file (e.g. noun.animal); hypernym ids;
antonym ids (the cluster head's, for an adjective without its own); ids of the adjective cluster; words as
`lemma:sense:count`, with "_" for a space.
"""

from __future__ import annotations

import argparse
import gzip
import io
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

POS = {"n": "noun", "v": "verb", "a": "adj"}
SENSES = 6
LEXNAMES = (
    "adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body noun.cognition "
    "noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive noun.object noun.person "
    "noun.phenomenon noun.plant noun.possession noun.process noun.quantity noun.relation noun.shape noun.state noun.substance "
    "noun.time verb.body verb.change verb.cognition verb.communication verb.competition verb.consumption verb.contact "
    "verb.creation verb.emotion verb.motion verb.perception verb.possession verb.social verb.stative verb.weather adj.ppl"
).split()


@dataclass
class Synset:
    """One line of a WordNet data file; ids are byte offsets."""

    id: str
    lexname: str
    words: list[str]
    hypernyms: list[str] = field(default_factory=list)
    antonyms: list[str] = field(default_factory=list)
    similar: list[str] = field(default_factory=list)


def read_data(path: Path) -> Iterator[Synset]:
    """The synsets of a data file (format: wndb(5WN))."""
    for line in path.read_text().splitlines():
        if line.startswith("  "):
            continue
        parts = line.split(" | ")[0].split()
        count = int(parts[3], 16)
        words = [(word.partition("(")[0] if word.endswith(")") else word).lower() for word in parts[4 : 4 + 2 * count : 2]]
        synset = Synset(parts[0], LEXNAMES[int(parts[1])], words)
        start = 4 + 2 * count
        for pointer in range(int(parts[start])):
            kind, target = parts[start + 1 + 4 * pointer], parts[start + 2 + 4 * pointer]
            if kind in ("@", "@i"):
                synset.hypernyms.append(target)
            elif kind == "!":
                synset.antonyms.append(target)
            elif kind == "&":
                synset.similar.append(target)
        yield synset


def wanted_words(paths: list[Path]) -> set[str]:
    """The words and word bigrams of text files, in lower case, bigrams joined by "_"."""
    found: set[str] = set()
    for path in paths:
        words = re.findall(r"[a-z]+|[^a-z ]", path.read_text(encoding="utf-8").lower())
        found.update(words)
        found.update(f"{a}_{b}" for a, b in zip(words, words[1:], strict=False) if a.isalpha() and b.isalpha())
    for word in list(found):
        for old, new in (("s", ""), ("es", ""), ("ies", "y"), ("ing", ""), ("ing", "e"), ("ed", ""), ("ed", "e"), ("men", "man")):
            if word.endswith(old):
                found.add(word[: len(word) - len(old)] + new)
    return found


def table(wordnet: Path, words: set[str]) -> list[str]:
    """The lines of the table, sorted."""
    counts: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for line in (wordnet / "cntlist.rev").read_text().splitlines():
        key, number, count = line.split()
        lemma, _, rest = key.partition("%")
        counts["nvara"[int(rest[0]) - 1], lemma][int(number)] = int(count)
    lines = []
    for pos, name in POS.items():
        synsets = {synset.id: synset for synset in read_data(wordnet / f"data.{name}")}
        kept: dict[str, list[str]] = defaultdict(list)
        for line in (wordnet / f"index.{name}").read_text().splitlines():
            if line.startswith("  "):
                continue
            parts = line.split()
            lemma, pointers = parts[0], int(parts[3])
            known = counts.get((pos, lemma), {})
            if not re.fullmatch(r"[a-z][a-z_'-]*", lemma) or not (known or lemma in words):
                continue
            for sense, target in enumerate(parts[6 + pointers :][:SENSES], start=1):
                kept[target].append(f"{lemma}:{sense}:{known.get(sense, 0)}")
        chain = set(kept)
        while True:
            above = {upper for id_ in chain for upper in synsets[id_].hypernyms} - chain
            if not above:
                break
            chain |= above
        for id_ in sorted(chain):
            synset = synsets[id_]
            antonyms = synset.antonyms or sorted({far for head in synset.similar for far in synsets[head].antonyms})
            near = [other for other in antonyms if other in kept or other in chain]
            cluster = [other for other in synset.similar if other in chain]
            ids = [",".join(found) for found in (synset.hypernyms, near, cluster)]
            lines.append("\t".join([pos, id_, synset.lexname, *ids, " ".join(sorted(kept.get(id_, [])))]))
    return lines


def main() -> None:
    """Writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wordnet", type=Path)
    parser.add_argument("--words", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "wordnet.tsv.gz")
    arguments = parser.parse_args()
    lines = table(arguments.wordnet, wanted_words(arguments.words))
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, compresslevel=9) as file:
        file.write(("\n".join(lines) + "\n").encode())
    arguments.out.write_bytes(buffer.getvalue())
    print(f"{len(lines)} synsets, {arguments.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
