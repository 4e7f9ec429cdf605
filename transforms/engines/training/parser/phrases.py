"""Caption-like training sentences extracted from a treebank, with their gold trees.

Captions are more often noun phrases than sentences ("a dog running on a beach"), which are rare on their own in a treebank of web
text. They are extracted from converted sentences (`convert.py`) without a model: noun phrases as separate sentences, and
progressive or passive clauses without their auxiliaries ("the car is parked on the street" -> "the car parked on the street").
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from transforms.engines.training.parser.convert import Node, is_tree

_NOUNS = ("NN", "NNS")
_CLAUSE_EDGE = frozenset(
    {"nsubj", "nsubjpass", "auxpass", "aux", "mark", "cc", "advcl", "ccomp", "parataxis", "conj", "neg", "expl"}
)  # fmt: skip


def subtree(nodes: list[Node], top: int) -> list[int]:
    """Indices of `top` and its descendants, ascending."""
    inside = {top}
    grown = True
    while grown:
        more = {index for index, node in enumerate(nodes) if node.head in inside} - inside
        inside |= more
        grown = bool(more)
    return sorted(inside)


def cut(nodes: list[Node], kept: list[int], top: int) -> list[Node] | None:
    """The tokens `kept` as a sentence with root `top`; None if they do not form a tree. Outer punctuation is dropped."""
    while kept and kept[0] != top and nodes[kept[0]].dep in ("punct", "cc"):
        kept = kept[1:]
    while kept and kept[-1] != top and nodes[kept[-1]].dep in ("punct", "cc"):
        kept = kept[:-1]
    new_index = {index: position for position, index in enumerate(kept)}
    made = []
    for index in kept:
        node = nodes[index]
        if index != top and node.head not in new_index:
            return None
        head = -1 if index == top else new_index[node.head]
        made.append(replace(node, head=head, dep="ROOT" if index == top else node.dep, children=[]))
    return made if is_tree(made) else None


def noun_phrases(nodes: list[Node], longest: int = 16) -> Iterator[list[Node]]:
    """Noun phrases of 3 to `longest` tokens with a preposition, an adjective, a clause or a conjunct."""
    for index, node in enumerate(nodes):
        if node.tag not in _NOUNS or node.dep not in ("nsubj", "dobj", "pobj", "attr", "nsubjpass", "appos", "conj"):
            continue
        kept = subtree(nodes, index)
        if not 3 <= len(kept) <= longest or kept[-1] - kept[0] + 1 != len(kept):
            continue
        deps = {child.dep for child in nodes if child.head == index}
        if deps & {"prep", "acl", "conj", "amod", "relcl"}:
            made = cut(nodes, kept, index)
            if made:
                yield made


def reduced_clauses(nodes: list[Node], longest: int = 18) -> Iterator[list[Node]]:
    """Progressive and passive clauses with a noun subject, turned into that noun with an `acl`."""
    for index, node in enumerate(nodes):
        if node.tag not in ("VBG", "VBN"):
            continue
        below = [child for child, other in enumerate(nodes) if other.head == index]
        deps = {nodes[child].dep: child for child in below}
        subject = deps.get("nsubj" if node.tag == "VBG" else "nsubjpass")
        helper = deps.get("aux" if node.tag == "VBG" else "auxpass")
        if subject is None or helper is None or nodes[helper].lemma != "be" or nodes[subject].tag not in _NOUNS:
            continue
        dropped = {child for child in below if child != subject and (child < subject or nodes[child].dep in _CLAUSE_EDGE)}
        kept = set(subtree(nodes, index))
        for child in dropped:
            kept -= set(subtree(nodes, child))
        order = sorted(kept)
        if not 3 <= len(order) <= longest or order[0] not in subtree(nodes, subject):
            continue
        changed = [replace(other) for other in nodes]
        changed[subject].head, changed[subject].dep = -1, "ROOT"
        changed[index].head, changed[index].dep = subject, "acl"
        made = cut(changed, order, subject)
        if made:
            yield made


def dressed(nodes: list[Node], rng: random.Random) -> list[Node]:
    """The sentence in a caption's style: with or without an initial capital and a full stop."""
    made = [replace(node) for node in nodes]
    if made[0].tag not in ("NNP", "NNPS", "PRP"):
        first = made[0].form
        made[0].form = first[:1].upper() + first[1:] if rng.random() < 0.5 else first[:1].lower() + first[1:]
    if rng.random() < 0.5:
        made[-1].space = rng.random() < 0.3
        top = next(index for index, node in enumerate(made) if node.head < 0)
        made.append(Node(".", ".", "PUNCT", ".", top, "punct", False))
    return made
