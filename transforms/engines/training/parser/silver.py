"""Caption trees for training, parsed by a first model and kept only with independent support.

    python -m transforms.engines.training.parser.silver MODEL OUT.spacy --factual train.csv [--captions captions.json --without
    instances.json]

Each caption is parsed in several variants (as it is, with a capital and a full stop, after "There is" and "I see"): the first model
parses noun phrases better within a sentence than alone. A tree is supported in one of two ways:

- FACTUAL captions come with scene graphs: the first variant whose tree yields exactly the data set's graph is used.
- COCO captions come without: a tree is used if at least four of the five variants agree on it. Images of `--without` (used by
benchmarks) are left out.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin

from transforms.engines.training.parser.convert import Node, is_tree
from transforms.engines.training.parser.factual import Normaliser, gold
from transforms.scene_graph.extract import extract

_OPENINGS = ("", "", "There is ", "I see ", "There are ")


def variants(caption: str) -> list[str]:
    """The caption in five variants; after the opening, only the case of the caption's first letter may differ."""
    bare = caption.rstrip(" .")
    inner = bare[:1].lower() + bare[1:]
    return [caption, bare[:1].upper() + bare[1:] + ".", *(opening + inner + "." for opening in _OPENINGS[2:])]


def caption_tree(doc: Doc, opening: str, words: int) -> list[Node] | None:
    """The caption's tree in a variant's document, None unless it is a single tree of `words` tokens (without the full stop)."""
    skipped = len(opening.split())
    inside = range(skipped, skipped + words)
    if len(doc) < skipped + words:
        return None
    nodes = []
    for index in inside:
        token = doc[index]
        outside = token.head.i not in inside
        root = token.head.i == index or outside
        nodes.append(
            Node(
                token.text,
                token.lemma_,
                token.pos_,
                token.tag_,
                -1 if root else token.head.i - skipped,
                "ROOT" if root else token.dep_,
                bool(token.whitespace_),
            )
        )
    roots = [index for index, node in enumerate(nodes) if node.head < 0]
    if len(roots) > 1:  # other children of "is" are attached to the noun
        tops = [index for index in roots if doc[index + skipped].dep_ in ("attr", "dobj", "nsubj")]
        if not opening or len(tops) != 1:
            return None
        for index in roots:
            if index != tops[0]:
                nodes[index].head, nodes[index].dep = tops[0], doc[index + skipped].dep_
                if nodes[index].dep not in ("prep", "punct", "acl", "advmod", "npadvmod"):
                    return None
    return nodes if is_tree(nodes) else None


def as_document(nlp: Language, nodes: list[Node], words: list[str], spaces: list[bool]) -> Doc:
    """A document of the caption's words with these tags and heads, and with predicted lemmas and parts of speech."""
    heads = [index if node.head < 0 else node.head for index, node in enumerate(nodes)]
    doc = Doc(nlp.vocab, words=words, spaces=spaces, tags=[node.tag for node in nodes], deps=[node.dep for node in nodes], heads=heads)
    for name in ("attribute_ruler", "lemmatizer"):
        doc = nlp.get_pipe(name)(doc)
    return doc


def candidates(nlp: Language, captions: list[str]) -> Iterator[tuple[int, list[list[Node] | None], list[str], list[bool]]]:
    """For each caption: its index, its tree in each variant, its tokens, and whether each is followed by a space."""
    texts = [variant for caption in captions for variant in variants(caption)]
    parsed = nlp.pipe(texts, batch_size=512)
    for index in range(len(captions)):
        docs = [next(parsed) for _ in _OPENINGS]
        own = docs[0]
        count = len(own)
        while count > 1 and own[count - 1].text in (".", ".."):
            count -= 1
        trees = [caption_tree(doc, opening, count) for doc, opening in zip(docs, _OPENINGS, strict=True)]
        yield index, trees, [token.text for token in own], [bool(token.whitespace_) for token in own]


def closed(nodes: list[Node], words: list[str]) -> list[Node]:
    """The tree plus the caption's final full stops."""
    top = next(index for index, node in enumerate(nodes) if node.head < 0)
    return nodes + [Node(word, word, "PUNCT", ".", top, "punct") for word in words[len(nodes) :]]


def supported_by_graph(nlp: Language, path: Path) -> Iterator[Doc]:
    """Trees of FACTUAL captions that yield the data set's graph."""
    with path.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    normalise = Normaliser(nlp)
    for index, trees, words, spaces in candidates(nlp, [record["caption"] for record in records]):
        wanted = tuple(normalise(part) for part in gold(records[index]["scene_graph"]))
        if not wanted[1]:
            continue
        for tree in trees:
            if tree is None:
                continue
            doc = as_document(nlp, closed(tree, words), words, spaces)
            graph = extract(doc)
            if (normalise(graph.pairs()), normalise(graph.triples())) == wanted:
                yield doc
                break


def _shape(tree: list[Node] | None) -> Any:
    return [(node.tag, node.head, node.dep) for node in tree] if tree else None


def supported_by_agreement(nlp: Language, captions: list[str]) -> Iterator[Doc]:
    """Trees on which at least four of the five variants agree."""
    for _, trees, words, spaces in candidates(nlp, captions):
        for tree in trees[:2]:
            if tree and sum(_shape(tree) == _shape(other) for other in trees) >= 4:
                yield as_document(nlp, closed(tree, words), words, spaces)
                break


def main() -> None:
    """Writes the selected documents."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--factual", type=Path, required=True)
    parser.add_argument("--captions", type=Path)
    parser.add_argument("--without", type=Path)
    parser.add_argument("--most", type=int, default=15000, help="maximum number of COCO captions to parse")
    arguments = parser.parse_args()
    nlp = spacy.load(arguments.model)
    documents = list(supported_by_graph(nlp, arguments.factual))
    print(f"{len(documents)} trees supported by graphs")
    if arguments.captions:
        held = {image["id"] for image in json.loads(arguments.without.read_text())["images"]} if arguments.without else set()
        found = [
            note["caption"].strip()
            for note in json.loads(arguments.captions.read_text())["annotations"]
            if note["image_id"] not in held and 20 < len(note["caption"]) < 120
        ]
        agreed = list(supported_by_agreement(nlp, found[: arguments.most]))
        print(f"{len(agreed)} trees of {min(len(found), arguments.most)} supported by agreement")
        documents.extend(agreed)
    DocBin(attrs=["TAG", "HEAD", "DEP", "SENT_START"], docs=documents).to_disk(arguments.out)


if __name__ == "__main__":
    main()
