"""Extracts the scene graph of a parsed caption.

The rules are modelled on sng-parser (Mao 2018): nouns are objects, their adjectives attributes, verbs and prepositions between
them relations. In addition: spans for every node, predicate adjectives and intransitive verbs as attributes, verbs together with
their prepositions, counts, places ("on the side of") and measures ("a group of") not taken for objects, pronouns resolved or left
out, conjuncts shared.
"""

from __future__ import annotations

from spacy.tokens import Doc

from transforms.scene_graph.links import Links
from transforms.scene_graph.nodes import Graph
from transforms.scene_graph.nominals import Nominals
from transforms.scene_graph.tokens import Tokens


def extract(doc: Doc) -> Graph:
    """The scene graph of a document that has tags, lemmas and ClearNLP-style dependencies."""
    graph = Graph()
    tokens = Tokens(doc)
    nominals = Nominals(tokens, graph)
    Links(nominals).run()
    graph.attributes.sort(key=lambda attribute: (attribute.start, attribute.object))
    graph.counts.sort(key=lambda count: (count.start, count.object))
    return graph
