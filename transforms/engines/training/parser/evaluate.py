"""Evaluates a model's tags, attachment and lemmas on converted treebank files, from raw text: spaCy's tokens are aligned with the
treebank's.

    python -m transforms.engines.training.parser.evaluate MODEL FILE.spacy [--conllu FILE.conllu]

The accuracies of spaCy's scorer (tag_acc, pos_acc) count differently split tokens as wrong. With `--conllu`, parts of speech and
lemmas are also compared on identically split tokens only (pos_aligned, lemma_aligned).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import spacy
from spacy.tokens import DocBin
from spacy.training import Example

from transforms.engines.training.parser.convert import read_conllu


def main() -> None:
    """Prints scores in percent; attachment excludes punctuation."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("model")
    options.add_argument("file", type=Path)
    options.add_argument("--conllu")
    arguments = options.parse_args()
    nlp = spacy.load(arguments.model)
    gold = list(DocBin().from_disk(arguments.file).get_docs(nlp.vocab))
    scores = nlp.evaluate([Example(nlp.make_doc(doc.text), doc) for doc in gold])
    found = {name: round(100 * scores[name], 2) for name in ("token_acc", "tag_acc", "pos_acc", "dep_uas", "dep_las")}
    if arguments.conllu:
        right, lemmas, total = 0, 0, 0
        sentences = list(read_conllu(arguments.conllu))
        for doc, sentence in zip(nlp.pipe([doc.text for doc in gold]), sentences, strict=True):
            node_at, offset = {}, 0
            for node in sentence:
                node_at[offset, offset + len(node.form)] = node
                offset += len(node.form) + node.space
            for token in doc:
                node = node_at.get((token.idx, token.idx + len(token)))  # type: ignore[assignment]
                if node is not None:
                    total += 1
                    right += token.pos_ == node.upos
                    lemmas += token.lemma_.lower() == node.lemma.lower()
        found |= {"pos_aligned": round(100 * right / total, 2), "lemma_aligned": round(100 * lemmas / total, 2)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
