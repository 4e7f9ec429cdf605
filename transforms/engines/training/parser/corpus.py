"""Writes spaCy training files (`.spacy`: msgpack, no pickle) from CoNLL-U treebanks.

    python -m transforms.engines.training.parser.corpus UD_FOLDER OUT_FOLDER [--silver FILE]

UD_FOLDER contains `en_ewt-ud-{train,dev,test}.conllu`. Training data: the treebank in documents of one to three sentences, and the
phrases of `phrases.py`. `--silver` adds the sentences selected by `silver.py`.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from transforms.engines.training.parser.convert import Node, convert, read_conllu
from transforms.engines.training.parser.phrases import dressed, noun_phrases, reduced_clauses

SEED = 20210


def document(vocab: Vocab, sentences: list[list[Node]]) -> Doc:
    """A spaCy document of converted sentences, with tags, parts of speech, heads and labels."""
    words: list[str] = []
    spaces, tags, parts, deps, heads = [], [], [], [], []
    starts: list[bool | int | None] = []
    for sentence in sentences:
        offset = len(words)
        for index, node in enumerate(sentence):
            words.append(node.form)
            spaces.append(node.space)
            tags.append(node.tag)
            parts.append(node.upos)
            deps.append(node.dep)
            heads.append(offset + (index if node.head < 0 else node.head))
            starts.append(index == 0)
        spaces[-1] = True
    return Doc(vocab, words=words, spaces=spaces, tags=tags, pos=parts, deps=deps, heads=heads, sent_starts=starts)


def training_documents(vocab: Vocab, path: str, rng: random.Random) -> list[Doc]:
    """The treebank at `path` in documents of one to three sentences, then its phrases as one document each."""
    treebank = [convert(nodes) for nodes in read_conllu(path)]
    documents, start = [], 0
    while start < len(treebank):
        size = rng.choice((1, 1, 2, 3))
        documents.append(document(vocab, treebank[start : start + size]))
        start += size
    for nodes in treebank:
        cuts = [*reduced_clauses(nodes), *(made for made in noun_phrases(nodes) if rng.random() < 0.4)]
        documents.extend(document(vocab, [dressed(made, rng)]) for made in cuts)
    return documents


def main() -> None:
    """Writes train.spacy, dev.spacy and test.spacy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("treebank", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--silver", type=Path, help="a .spacy file to add to the training data")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    vocab, rng = Vocab(), random.Random(SEED)
    documents = training_documents(vocab, str(arguments.treebank / "en_ewt-ud-train.conllu"), rng)
    if arguments.silver:
        silver = DocBin().from_disk(arguments.silver).get_docs(vocab)
        documents.extend(silver)
    rng.shuffle(documents)
    DocBin(docs=documents).to_disk(arguments.out / "train.spacy")
    for part in ("dev", "test"):
        sentences = read_conllu(str(arguments.treebank / f"en_ewt-ud-{part}.conllu"))
        held = [document(vocab, [convert(nodes)]) for nodes in sentences]
        DocBin(docs=held).to_disk(arguments.out / f"{part}.spacy")
    print(f"{len(documents)} training documents, {sum(map(len, documents))} tokens")


if __name__ == "__main__":
    main()
