"""Converts Universal Dependencies (English) to the ClearNLP-style labels of spaCy's English models.

UD makes content words heads and attaches prepositions and copulas to them; ClearNLP makes the preposition the head of its noun
(prep + pobj) and the copula the head of its predicate (attr, acomp). Labels follow Choi & Palmer, "Guidelines for the Clear
Style Constituent to Dependency Conversion" (2012), as far as UD distinguishes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

_RENAMED = {
    "obj": "dobj",
    "iobj": "dative",
    "nsubj:pass": "nsubjpass",
    "csubj:pass": "csubjpass",
    "nsubj:outer": "nsubj",
    "csubj:outer": "csubj",
    "aux:pass": "auxpass",
    "acl:relcl": "relcl",
    "advcl:relcl": "relcl",
    "nmod:poss": "poss",
    "compound:prt": "prt",
    "det:predet": "predet",
    "cc:preconj": "preconj",
    "obl:unmarked": "npadvmod",
    "obl:npmod": "npadvmod",
    "obl:tmod": "npadvmod",
    "nmod:unmarked": "npadvmod",
    "nmod:npmod": "npadvmod",
    "nmod:tmod": "npadvmod",
    "nmod:desc": "compound",
    "discourse": "intj",
    "vocative": "npadvmod",
    "list": "dep",
    "orphan": "dep",
    "reparandum": "dep",
    "dislocated": "dep",
    "goeswith": "dep",
    "obl": "npadvmod",
    "obl:agent": "npadvmod",
    "cop": "aux",
    "fixed": "pcomp",
    "flat": "compound",
    "flat:foreign": "compound",
    "root": "ROOT",
}
_MOVES_TO_COPULA = frozenset(
    {
        "nsubj",
        "nsubj:pass",
        "nsubj:outer",
        "csubj",
        "csubj:pass",
        "csubj:outer",
        "aux",
        "aux:pass",
        "mark",
        "punct",
        "expl",
        "advcl",
        "parataxis",
        "discourse",
        "vocative",
        "obl:unmarked",
        "dislocated",
    }
)
_NEGATIONS = frozenset({"not", "n't", "never", "n’t", "nt"})
_CASED = frozenset(
    {
        "nmod",
        "obl",
        "obl:agent",
        "root",
        "conj",
        "xcomp",
        "ccomp",
        "advcl",
        "acl",
        "acl:relcl",
        "parataxis",
        "obl:unmarked",
        "nmod:unmarked",
        "appos",
        "dep",
        "list",
        "advmod",
        "amod",
        "nmod:desc",
        "csubj",
        "nsubj",
    }
)


@dataclass
class Node:
    """A token: `head` is the index of its head in the sentence, -1 for the root."""

    form: str
    lemma: str
    upos: str
    tag: str
    head: int
    dep: str
    space: bool = True
    children: list[int] = field(default_factory=list)


def read_conllu(path: str) -> Iterator[list[Node]]:
    """The sentences of a CoNLL-U file; empty nodes are skipped, words of one surface token have no space between them."""
    with open(path, encoding="utf-8") as file:
        lines: list[list[str]] = []
        for line in file:
            line = line.rstrip("\n")
            if line and not line.startswith("#"):
                lines.append(line.split("\t"))
            elif not line and lines:
                yield _sentence(lines)
                lines = []
        if lines:
            yield _sentence(lines)


def _sentence(lines: list[list[str]]) -> list[Node]:
    nodes: list[Node] = []
    joined: dict[int, bool] = {}  # last word of a multiword token -> whether a space follows
    inside = 0
    for columns in lines:
        if "." in columns[0]:
            continue
        spaced = "SpaceAfter=No" not in columns[9]
        if "-" in columns[0]:
            inside = int(columns[0].split("-")[1])
            joined[inside] = spaced
            continue
        number = int(columns[0])
        space = joined[number] if number in joined else (spaced and number >= inside)
        nodes.append(Node(columns[1], columns[2], columns[3], columns[4], int(columns[6]) - 1, columns[7], space))
    return nodes


def convert(nodes: list[Node]) -> list[Node]:
    """Converts the heads and labels of a sentence in place and returns it."""
    _flat_names(nodes)
    copulas = _raise_copulas(nodes)
    links = _chain_conjuncts(nodes)
    _raise_prepositions(nodes)
    for conjunction, conjunct in links:  # cc has the same head as its conjunct
        top = _top_of(nodes, conjunct)
        if nodes[top].head >= 0 and nodes[top].head != conjunction:
            nodes[conjunction].head = nodes[top].head
    for index, node in enumerate(nodes):
        node.dep = _label(nodes, index, copulas)
    return nodes


def _top_of(nodes: list[Node], index: int) -> int:
    """The preposition or copula that replaced a conjunct as head, or the conjunct itself."""
    while nodes[index].dep in ("pobj", "attr", "acomp") and nodes[index].head >= 0:
        index = nodes[index].head
    return index


def _children(nodes: list[Node], index: int) -> list[int]:
    return [child for child, node in enumerate(nodes) if node.head == index]


def _flat_names(nodes: list[Node]) -> None:
    """ "John Smith": the last name becomes the head, except numbers ("May 5")."""
    for index, node in enumerate(nodes):
        parts = [child for child in _children(nodes, index) if nodes[child].dep.startswith("flat")]
        for part in parts:
            if nodes[part].tag == "CD":
                nodes[part].dep = "nummod"
        parts = [part for part in parts if nodes[part].dep.startswith("flat")]
        if not parts:
            continue
        last = parts[-1]
        for child in _children(nodes, index):
            if child != last:
                nodes[child].head = last
                nodes[child].dep = "compound" if child in parts else nodes[child].dep
        nodes[last].head, nodes[last].dep = node.head, node.dep
        node.head, node.dep = last, "compound"


def _raise_copulas(nodes: list[Node]) -> dict[int, int]:
    """Makes copulas the heads of their predicates; returns predicate -> copula."""
    raised: dict[int, int] = {}
    for predicate, node in enumerate(nodes):
        copulas = [child for child in _children(nodes, predicate) if nodes[child].dep == "cop"]
        if not copulas:
            continue
        copula = copulas[0]
        raised[predicate] = copula
        for child in _children(nodes, predicate):
            dep = nodes[child].dep
            if child == copula:
                continue
            verbal = dep == "conj" and (
                nodes[child].upos in ("VERB", "AUX")
                and node.upos not in ("VERB",)
                or any(nodes[grand].dep.startswith(("nsubj", "cop")) for grand in _children(nodes, child))
            )
            adverb = dep == "advmod" and (child < copula or nodes[child].form.lower() in _NEGATIONS)
            clause = dep == "ccomp" and child > predicate and node.upos not in ("ADJ", "NOUN")
            late = dep == "obl" and node.upos not in ("ADJ", "ADV")
            if dep in _MOVES_TO_COPULA or verbal or adverb or clause or late:
                nodes[child].head = copula
        nodes[copula].head, nodes[copula].dep = node.head, node.dep
        node.head = copula
        if node.upos == "ADJ" or node.tag in ("JJ", "VBN", "VBG"):
            node.dep = "acomp"
        elif node.upos == "ADV":
            node.dep = "advmod"
        else:
            node.dep = "attr"
    return raised


def _chain_conjuncts(nodes: list[Node]) -> list[tuple[int, int]]:
    """Attaches each conjunct, and commas in between, to the previous one; returns (conjunction, conjunct) pairs."""
    links = []
    for first in range(len(nodes)):
        previous = first
        for conjunct in [child for child in _children(nodes, first) if nodes[child].dep == "conj"]:
            nodes[conjunct].head = previous
            for child in _children(nodes, conjunct):
                if nodes[child].dep == "cc":
                    nodes[child].head = previous
                    links.append((child, conjunct))
                elif nodes[child].dep == "punct" and child < conjunct and nodes[child].form in (",", ";"):
                    nodes[child].head = previous
            previous = conjunct
    return links


def _raise_prepositions(nodes: list[Node]) -> None:
    """Makes prepositions the heads of their nouns (prep + pobj) or gerunds (prep + pcomp)."""
    for index, node in enumerate(list(nodes)):
        children = _children(nodes, index)
        cases = [child for child in children if nodes[child].dep == "case" and nodes[child].tag != "POS" and child < index]
        gerund = node.tag == "VBG" and node.dep in ("advcl", "acl", "xcomp", "ccomp", "obl", "nmod", "conj")
        if gerund and not cases:
            cases = [child for child in children if nodes[child].dep == "mark" and nodes[child].tag == "IN" and child < index]
        if not cases or node.dep not in _CASED | {"attr", "acomp", "pobj"}:
            continue
        first, last = cases[0], cases[-1]
        for child in children:
            if child < first:
                nodes[child].head = first
        head, dep = node.head, node.dep
        for above, below in zip(cases, cases[1:], strict=False):
            nodes[below].head, nodes[below].dep = above, "prep"
        node.head, node.dep = last, "pcomp" if gerund else "pobj"
        if dep == "conj" and nodes[head].dep == "pobj":
            nodes[first].head, nodes[first].dep = nodes[head].head, "conj"
        elif dep == "root":
            nodes[first].head, nodes[first].dep = head, "root"
            for child in children:
                if nodes[child].dep in ("punct", "discourse", "parataxis") and nodes[child].head == index:
                    nodes[child].head = first
        else:
            agent = dep == "obl:agent" and nodes[first].form.lower() == "by"
            nodes[first].head, nodes[first].dep = head, "agent" if agent else "prep"


def _label(nodes: list[Node], index: int, copulas: dict[int, int]) -> str:
    node = nodes[index]
    form, head = node.form.lower(), nodes[node.head] if node.head >= 0 else None
    if head is None:
        return "ROOT"
    if node.dep == "mark" and node.tag == "TO":
        return "aux"
    if node.dep == "advmod":
        if form in _NEGATIONS:
            return "neg"
        return "quantmod" if head.upos == "NUM" and index < node.head else "advmod"
    if node.dep == "xcomp" and index not in copulas.values():
        if node.upos == "ADJ":
            return "oprd" if _has_object(nodes, node.head) else "acomp"
        if node.upos in ("NOUN", "PROPN", "PRON"):
            return "oprd" if _has_object(nodes, node.head) else "attr"
        return "xcomp"
    if (
        node.dep == "nsubj"
        and head.lemma == "be"
        and index > node.head
        and any(nodes[child].dep == "expl" for child in _children(nodes, node.head))
    ):
        return "attr"
    if (node.dep == "case" and node.tag != "POS") or (node.dep.startswith("obl") and node.tag == "IN"):
        return "prep"
    return _RENAMED.get(node.dep, node.dep.partition(":")[0] if ":" in node.dep else node.dep)


def _has_object(nodes: list[Node], verb: int) -> bool:
    return any(nodes[child].dep in ("obj", "dobj") for child in _children(nodes, verb))


def is_tree(nodes: list[Node]) -> bool:
    """Whether there is one root and every token reaches it."""
    if sum(node.head < 0 for node in nodes) != 1:
        return False
    for index in range(len(nodes)):
        seen = 0
        while index >= 0:
            index, seen = nodes[index].head, seen + 1
            if seen > len(nodes):
                return False
    return True
