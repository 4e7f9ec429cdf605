"""Objects, attributes and counts of a caption."""

from __future__ import annotations

from transforms.english.morphology import plural
from transforms.english.words import (
    COLOURS,
    COPULAS,
    EMPTY_ADJECTIVES,
    LIGHT_ADVERBS,
    MEASURES,
    NOUN_TAGS,
    NUMBERS,
    PLACES,
    PLURAL_TAGS,
    SHADES,
    SUBSTANCES,
    VAGUE_COUNTS,
    VERB_TAGS,
)
from transforms.scene_graph.nodes import AttributeNode, CountNode, Graph, ObjectNode
from transforms.scene_graph.tokens import Tokens

# Measures that say next to nothing about the noun they measure.
_SILENT_MEASURES = frozenset({"lot", "number", "kind", "type", "sort", "bit", "ton", "hundred", "variety", "bunch"})


class Nominals:
    """The nouns of a document, classified as objects, measures ("group of people") and places ("side of the road").

    `node_of`: head noun -> index of its object. `stands_for`: measure noun -> the noun that it measures.
    `place_of`: place noun -> the "of" below it. Nouns are token indices.
    """

    __slots__ = ("tokens", "graph", "node_of", "stands_for", "place_of", "conjuncts")

    def __init__(self, tokens: Tokens, graph: Graph):
        self.tokens = tokens
        self.graph = graph
        self.node_of: dict[int, int] = {}
        self.stands_for: dict[int, int] = {}
        self.place_of: dict[int, int] = {}
        self.conjuncts: dict[int, list[int]] = {}
        heads = self._sort()
        for index in heads:
            self._object(index)
        for index in heads:
            self._modifiers(index)

    def resolve(self, token: int) -> int:
        """The object that a noun denotes, -1 for none."""
        token = self.stands_for.get(token, token)
        return self.node_of.get(token, -1)

    def all_of(self, token: int) -> list[int]:
        """The objects that a noun and its conjuncts denote."""
        found = []
        while token >= 0:
            node = self.resolve(token)
            if node >= 0:
                found.append(node)
            following = self.conjuncts.get(token) or self.conjuncts.get(self.stands_for.get(token, token))
            token = following[0] if following else -1
        return found

    def _sort(self) -> list[int]:
        """Classifies the nouns; the indices of those that are objects, ascending."""
        tokens = self.tokens
        tags, deps, heads = tokens.tags, tokens.deps, tokens.heads
        found = []
        for index in range(tokens.size):
            if tags[index] not in NOUN_TAGS:
                continue
            dep = deps[index]
            head = heads[index]
            if dep == "compound" and head > index and tags[head] in NOUN_TAGS:
                continue
            if dep in ("amod", "nmod", "npadvmod") and head > index and tags[head] in NOUN_TAGS:
                continue
            if dep == "conj" and tags[head] in NOUN_TAGS:
                self.conjuncts.setdefault(head, []).append(index)
            of, inner = self._of(index)
            if of >= 0:
                lemma = tokens.lemma(index)
                if lemma in MEASURES and inner >= 0:
                    self.stands_for[index] = inner
                    continue
                if lemma in PLACES and deps[index] == "pobj":
                    self.place_of[index] = of
                    continue
            found.append(index)
        return found

    def _of(self, index: int) -> tuple[int, int]:
        """The "of" below a noun and the noun below that, -1 for none."""
        tokens = self.tokens
        for kid in tokens.kids[index]:
            if tokens.deps[kid] == "prep" and kid > index and tokens.lower(kid) == "of":
                inner = tokens.child(kid, "pobj")
                return kid, inner if inner >= 0 and tokens.tags[inner] in NOUN_TAGS else -1
        return -1, -1

    def _object(self, index: int) -> None:
        tokens = self.tokens
        deps, tags, kids = tokens.deps, tokens.tags, tokens.kids[index]
        first, phrase = index, index
        for kid in reversed(kids):
            if kid > index:
                continue
            dep = deps[kid]
            noun = tags[kid] in NOUN_TAGS
            name = dep in ("compound", "nmod") and noun and first - kid <= 2
            if name and kid == first - 1 and tokens.lower(kid) not in SUBSTANCES:
                first = kid
            elif name and first - kid == 2 and tokens.word(kid + 1) == "-":
                first = kid
            if dep in ("det", "amod", "nummod", "compound", "nmod", "poss", "predet", "advmod", "quantmod"):
                phrase = min(phrase, _leftmost(tokens, kid))
        start, end = tokens.starts[first], tokens.ends[index]
        text = tokens.text[start:end]
        head = tokens.lemma(index)
        prefix = tokens.text[start : tokens.starts[index]].lower()
        several = tags[index] in PLURAL_TAGS
        if several and tokens.lower(index) == head:  # "racquet", which taggers know from "racquets" alone; but "sheep"
            several = plural(head) == head
        number = "plural" if several else "singular"
        count = 0
        for kid in kids:
            if deps[kid] == "nummod" and kid < index:
                count = _value(tokens.lower(kid))
        self.node_of[index] = len(self.graph.objects)
        self.graph.objects.append(
            ObjectNode(
                text,
                prefix + head,
                start,
                end,
                number,
                head,
                count,
                tokens.starts[phrase],
                end,
            )
        )

    def _modifiers(self, index: int) -> None:
        tokens, node = self.tokens, self.node_of[index]
        start = self.graph.objects[node].start
        for kid in tokens.kids[index]:
            dep = tokens.deps[kid]
            if kid < index:
                if dep == "amod" or (dep in ("compound", "nmod") and tokens.starts[kid] < start):
                    self._adjective(node, kid, "before")
                elif dep == "nummod":
                    self._count(node, kid)
            elif dep == "amod" or dep == "acl":
                self._adjective(node, kid, "clause")
        for measure, inner in self.stands_for.items():
            if inner == index:
                self._measure(node, measure)

    def _measure(self, node: int, measure: int) -> None:
        tokens, graph = self.tokens, self.graph
        of = self._of(measure)[0]
        start, end = tokens.starts[measure], tokens.ends[of]
        lemma = tokens.lemma(measure)
        for kid in tokens.kids[measure]:
            if tokens.deps[kid] == "amod" and kid < measure:
                self._adjective(node, kid, "measure")
        if MEASURES[lemma]:
            graph.counts.append(CountNode(node, tokens.text[start:end], lemma, start, end, MEASURES[lemma]))
        elif lemma not in _SILENT_MEASURES:
            number = "plural" if tokens.tags[measure] in PLURAL_TAGS else "singular"
            text = tokens.text[start:end]
            named = lemma + " of" if lemma == "group" else lemma
            graph.attributes.append(AttributeNode(node, text, named, start, end, number, "NN", "measure"))

    def _count(self, node: int, token: int) -> None:
        tokens = self.tokens
        start, end = tokens.starts[token], tokens.ends[token]
        lower = tokens.lower(token)
        self.graph.counts.append(CountNode(node, tokens.text[start:end], lower, start, end, _value(lower)))

    def _adjective(self, node: int, token: int, place: str) -> None:
        tokens = self.tokens
        tag, lower = tokens.tags[token], tokens.lower(token)
        if lower in VAGUE_COUNTS and place == "before":
            start, end = tokens.starts[token], tokens.ends[token]
            self.graph.counts.append(CountNode(node, tokens.text[start:end], lower, start, end, 0))
        elif (
            lower in SHADES
            and token + 1 < tokens.size
            and tokens.lower(token + 1) in COLOURS
            and tokens.heads[token] == tokens.heads[token + 1]
        ):
            pass  # "dark green" is one attribute
        elif lower not in EMPTY_ADJECTIVES and not (tag in VERB_TAGS and place == "clause"):
            self.attribute(node, token, token, place)
        for kid in tokens.kids[token]:
            if (
                tokens.deps[kid] == "conj"
                and tokens.tags[kid] not in VERB_TAGS
                or (tokens.deps[kid] in ("amod", "compound") and place == "before" and kid < token and tokens.lower(kid) in SUBSTANCES)
            ):
                self._adjective(node, kid, place)

    def attribute(self, node: int, token: int, last: int, place: str) -> None:
        """Adds tokens `token` to `last` as an attribute of an object."""
        tokens = self.tokens
        first = token
        while (
            place == "before"
            and first >= 2
            and tokens.word(first - 1) == "-"
            and tokens.heads[first - 2] in (first, token)
            and tokens.ends[first - 2] == tokens.starts[first - 1]
        ):
            first -= 2
        if place == "before" and first and tokens.lower(first - 1) == "partly":
            first -= 1
        elif (
            place == "before"
            and first
            and tokens.lower(first - 1) in SHADES
            and tokens.heads[first - 1] in (token, tokens.heads[token])
            and tokens.lower(token) in COLOURS
        ):
            first -= 1
        start, end = tokens.starts[first], tokens.ends[last]
        text = tokens.text[start:end]
        tag = tokens.tags[token]
        lemma = text.lower() if tag not in VERB_TAGS or last > token or first < token or place == "before" else tokens.lower(token)
        number = "plural" if tag in PLURAL_TAGS else "singular" if tag in NOUN_TAGS else ""
        self.graph.attributes.append(AttributeNode(node, text, lemma, start, end, number, tag, place))


def _value(word: str) -> int:
    """The number that a word denotes, 0 if it is not one below a million."""
    if word.isdecimal() and len(word) < 7:
        return int(word)
    return NUMBERS.get(word, 0)


def _leftmost(tokens: Tokens, index: int) -> int:
    kids = tokens.kids[index]
    while kids and kids[0] < index:
        index = kids[0]
        kids = tokens.kids[index]
    return index


def predicates(nominals: Nominals, verb: int, subjects: list[int]) -> None:
    """Adds the attributes that a verb gives its subjects: "the car is red", "a dog sleeping", "people sitting down"."""
    tokens = nominals.tokens
    deps, tags = tokens.deps, tokens.tags
    lemma = tokens.lemma(verb)
    if lemma in COPULAS:
        for kid in tokens.kids[verb]:
            if deps[kid] in ("acomp", "oprd") and (tags[kid] == "JJ" or tags[kid] in ("VBN", "VBG", "JJR", "NN")):
                if any(deps[grand] == "prep" for grand in tokens.kids[kid]) and tags[kid] != "JJ":
                    continue
                chain = [kid, *(grand for grand in tokens.kids[kid] if deps[grand] == "conj" and tags[grand] == "JJ")]
                for node in subjects:
                    for word in chain:
                        nominals.attribute(node, word, word, "predicate")
        return
    if tags[verb] not in ("VBG", "VBN", "VBZ", "VBP", "VBD", "VB") or lemma in ("have", "do"):
        return
    last = verb
    for kid in tokens.kids[verb]:
        dep = deps[kid]
        if dep in ("dobj", "prep", "agent", "attr", "acomp", "xcomp", "ccomp", "dative", "oprd"):
            return
        if dep in ("prt", "advmod") and kid == last + 1 and tokens.lower(kid) in LIGHT_ADVERBS:
            last = kid
    for node in subjects:
        nominals.attribute(node, verb, last, "clause")
