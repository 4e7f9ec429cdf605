"""Decides by scene graphs whether a paraphrase claims neither more nor less than its caption: the same things, in the same number, with
the same attributes each, and the same relations in the same direction. (`words` has the checks that need no graph.)"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise

from spacy.tokens import Doc

from schemas.rejects import Reason
from transforms.back_translation.grammar import faults
from transforms.back_translation.likeness import (
    LIGHT,
    is_location,
    joined,
    may_stand_for,
    preposition_class,
    same_attribute,
    same_link,
    same_noun,
    same_scenery,
    same_verb,
)
from transforms.back_translation.order import Word, joints, same_in_order, separators, words_that_count
from transforms.back_translation.words import SAME_COLOUR
from transforms.english.denials import is_denial
from transforms.english.wordnet import lexicon
from transforms.english.words import FRAMES, NOUN_TAGS, PLACES, VERB_TAGS
from transforms.scene_graph.extract import extract
from transforms.scene_graph.nodes import AttributeNode, Graph, RelationNode
from transforms.scene_graph.tokens import Tokens

# Adverbs that make no claim or belong to a preposition ("next to").
_HARMLESS = frozenset("there also just then so too here now currently not n't as very while next close".split())
_SHOWING = frozenset("show have depict feature display be see contain include present portray capture".split())
_VAGUE = {"multiple": "several", "various": "several", "some": "several", "few": "several", "numerous": "many"}
_MANY = frozenset({"group of", "bunch of", "herd", "flock"})  # implied by a plural
_EQUAL = {"multiple": "several", "various": "several", "outdoors": "outside"}
_DETERMINERS = frozenset("a an the one each every no any some another this that his her its their".split())
ADVERB_TAGS = ("RP", "RB", "RBR", "RBS")
_MOST = 2000  # maximum assignments of things to things tried per pair of texts
_STEPS = 20_000  # maximum search steps: a list of many similar things must not hold up its partition


@dataclass(frozen=True)
class Reading:
    """A parsed text. `things`: indices of the graph's objects in the picture (not "a picture of")."""

    tokens: Tokens
    graph: Graph
    things: tuple[int, ...]
    denied: frozenset[int]

    @classmethod
    def of(cls, doc: Doc) -> Reading:
        """The reading of a caption parser's document."""
        tokens, graph = Tokens(doc), extract(doc)
        things = tuple(at for at in range(len(graph.objects)) if not _frames(graph, at, tokens.text))
        return cls(tokens, graph, things, _denied(tokens, graph))

    @cached_property
    def counted(self) -> list[Word]:
        """The content words, in order."""
        return words_that_count(self.tokens)

    @cached_property
    def joints(self) -> tuple[int, ...]:
        """How the parts are joined."""
        return joints(self.tokens)

    @cached_property
    def separators(self) -> int:
        """The number of commas and "and"."""
        return separators(self.tokens.text)

    @cached_property
    def faults(self) -> set[str]:
        """Grammatical errors."""
        return faults(self.tokens)

    def _first_words(self) -> Iterator[tuple[str, str, str]]:
        """(head, word before the phrase, first word of the phrase before the noun or "") of each singular object."""
        text = self.tokens.text.lower()
        for thing in self.graph.objects:
            if thing.number == "singular":
                before, own = text[: thing.phrase_start].split()[-1:], text[thing.phrase_start : thing.start].split()[:1]
                yield thing.head, before[0] if before else "", own[0] if own else ""

    @cached_property
    def with_article(self) -> frozenset[str]:
        """Heads of objects that follow "a" or "an"."""
        return frozenset(head for head, _, first in self._first_words() if first in ("a", "an"))

    @cached_property
    def definite(self) -> frozenset[str]:
        """Heads of objects that follow "the", except locations: "in amazement" is not "in the amazement"."""
        known = {"water", "ocean", "sea", "air", "sky", "sun", "rain", "background", "foreground", "distance", "middle", *PLACES}
        return frozenset(head for head, _, first in self._first_words() if first == "the" and head not in known and not is_location(head))

    @cached_property
    def bare(self) -> frozenset[str]:
        """Heads of singular objects without a determiner, except lone nouns after "and" and commas ("a toilet and sink")."""
        return frozenset(
            head
            for head, before, first in self._first_words()
            if first not in _DETERMINERS and (first or before not in ("and", "or") and not before.endswith(","))
        )

    @cached_property
    def opens_bare(self) -> bool:
        """Whether the text begins with a singular noun without a determiner: "Young man on a bench"."""
        tags = self.tokens.tags
        return bool(tags) and tags[0] in ("NN", "JJ", "VBN") and next((tag for tag in tags if tag in NOUN_TAGS), "") == "NN"

    @cached_property
    def doings(self) -> Counter[str]:
        """Lemmas of all verbs, with their counts, except those that say next to nothing."""
        lemmas = (self.tokens.lemma(at) for at, tag in enumerate(self.tokens.tags) if tag in VERB_TAGS)
        return Counter(lemma for lemma in lemmas if lemma not in LIGHT and lemma != "have")

    @cached_property
    def verbs(self) -> frozenset[str]:
        """Lemmas of all verbs."""
        return frozenset(self.tokens.lemma(at) for at, tag in enumerate(self.tokens.tags) if tag in VERB_TAGS)

    def lemma_at(self, start: int) -> str:
        """The lemma of the token that starts at a character offset."""
        return self.tokens.lemma(self.tokens.starts.index(start))

    def attributes(self, thing: int) -> list[tuple[str, bool]]:
        """(lemma, whether it is a verb) of each attribute of a thing, without counts."""
        found = []
        for attribute in self.graph.attributes:
            if attribute.object == thing and attribute.lemma not in _MANY:
                verb = attribute.tag in VERB_TAGS and attribute.place in ("clause", "predicate")
                found.append((self.lemma_at(attribute.start) if verb else _plain(attribute), verb))
        return found

    @cached_property
    def framed(self) -> set[str]:
        """Attributes of the picture itself."""
        graph = self.graph
        frames = [at for at in range(len(graph.objects)) if at not in self.things]
        compounds = {word for at in frames for word in graph.objects[at].lemma.lower().split()[:-1]}  # "blurry" may be tagged as a noun
        return compounds | {_plain(attribute) for attribute in graph.attributes if attribute.object in frames}

    @cached_property
    def relations(self) -> list[RelationNode]:
        """Relations between things."""
        kept = set(self.things)
        return [link for link in self.graph.relations if link.subject in kept and link.object in kept]

    @cached_property
    def framing(self) -> list[RelationNode]:
        """Relations of the picture itself to things in it, except showing them: "a photo taken from a car"."""
        return [
            link
            for link in self.graph.relations
            if link.subject not in self.things and link.object in self.things and link.head not in _SHOWING
        ]

    @cached_property
    def beside(self) -> dict[int, int]:
        """Things that directly follow another and a preposition ("a boy in a shirt"), by the latter; not locations, nor what follows
        clothing, which may describe its wearer."""
        found, objects = {}, self.graph.objects
        for at, other in pairwise(sorted(self.things, key=lambda thing: objects[thing].start)):
            between = self.tokens.text[objects[at].end : objects[other].phrase_start].strip().lower()
            if not is_location(objects[other].lemma) and not lexicon().hypernym("clothing", objects[at].head):
                if between == "wearing" or preposition_class(between):
                    found[other] = at
        return found

    def vague(self, thing: int) -> set[str]:
        """Inexact counts (several)."""
        return {_VAGUE.get(count.lemma, count.lemma) for count in self.graph.counts if count.object == thing and not count.value}

    def exact(self, thing: int) -> list[int]:
        """Exact counts."""
        return sorted(count.value for count in self.graph.counts if count.object == thing and count.value)

    @cached_property
    def loose(self) -> list[tuple[str, bool]]:
        """(lemma, whether it is a verb) of verbs, prepositions, adverbs, adjectives and nouns before nouns that no node covers."""
        graph = self.graph
        spans = [(node.start, node.end) for nodes in (graph.relations, graph.attributes, graph.counts) for node in nodes]
        spans += [(thing.start, thing.end) for thing in graph.objects]
        verbs = {_link(self, link)[0] for link in graph.relations}
        found = []
        for at, tag in enumerate(self.tokens.tags):
            wanted = tag in ("IN", "JJ", "JJR", "JJS", *ADVERB_TAGS, *VERB_TAGS) or self.tokens.deps[at] == "compound"
            if not wanted or any(start <= self.tokens.starts[at] < end for start, end in spans):
                continue
            lemma, verb = self.tokens.lemma(at), tag in VERB_TAGS
            known = lemma in LIGHT or lemma in verbs or lemma in ("of", "that", "have")
            if not known and (lemma, self.tokens.lower(at - 1)) != ("other", "each") and (verb or lemma not in _HARMLESS):
                found.append((_EQUAL.get(lemma, lemma), verb))
        return sorted(found)


_INTRODUCED = re.compile(
    r"in (?:the|this) (?:picture|photo|image|photograph|scene),? (?:there (?:is|are)|we see|you can see) ", re.IGNORECASE
)


def _frames(graph: Graph, at: int, text: str) -> bool:
    """Whether a thing is the picture itself ("a photo of a dog", "this picture shows") and not in it ("poses for a picture")."""
    thing = graph.objects[at]
    if thing.head not in FRAMES:
        return False
    if text[thing.end :].lower().startswith((" of ", " showing ", " shows ", " with ")):
        return True
    if at == 0 and _INTRODUCED.match(text):
        return True
    return at == 0 and not any(link.object == at and link.head not in _SHOWING for link in graph.relations)


def _plain(attribute: AttributeNode) -> str:
    lemma = attribute.lemma.removesuffix(" colored").removesuffix(" coloured")
    return " ".join(SAME_COLOUR.get(word, word) for word in lemma.split())


def _denied(tokens: Tokens, graph: Graph) -> frozenset[int]:
    """The first thing after each denial."""
    found = set()
    for at in range(tokens.size):
        if is_denial(tokens.lower(at)):
            after = [index for index, thing in enumerate(graph.objects) if thing.end > tokens.ends[at]]
            found.update(after[:1])
    return frozenset(found)


def thing_lost(caption: Reading, paraphrase: Sequence[str]) -> tuple[Reason, str] | None:
    """A thing of the caption that no word of the paraphrase can denote, as reason and detail. `graphs_differ` would find it too; this
    saves parsing, which is slow."""
    for at in caption.things:
        thing = caption.graph.objects[at].lemma.lower()
        head = thing.replace("-", " ").rsplit(" ", 1)[-1]
        if not any(may_stand_for(head, word) for word in paraphrase) and joined(thing) not in joined(" ".join(paraphrase)):
            return Reason.OBJECTS_DIFFER, f"{thing} is lost"
    return None


def graphs_differ(caption: Reading, paraphrase: Reading) -> tuple[Reason, str] | None:
    """Why the scene graphs refute a paraphrase: a reason and a detail, or None.

    Texts with the same words in the same order pass without comparing graphs, since either parse may be wrong.
    """
    if caption.joints != paraphrase.joints:
        return Reason.RELATIONS_DIFFER, "clauses are joined otherwise"
    if caption.separators == paraphrase.separators and same_in_order(caption.counted, paraphrase.counted):
        return None
    for verb in sorted(paraphrase.doings):
        before, after = (sum(count for other, count in one.doings.items() if same_verb(verb, other)) for one in (caption, paraphrase))
        if 0 < before < after:
            return Reason.RELATIONS_DIFFER, f"{verb} {before} times > {after}"
    framed = paraphrase.framed - caption.framed
    if framed:
        return Reason.ATTRIBUTES_DIFFER, f"the picture: {min(framed)} is new"
    pairs = _pairings(caption, paraphrase)
    first = next(pairs, None)
    if first is None:
        return Reason.OBJECTS_DIFFER, f"{_names(caption)} > {_names(paraphrase)}"
    problem: tuple[Reason, str] | None = None
    for tried, pairing in enumerate(chain((first,), pairs)):
        found = (
            _attributes_differ(caption, paraphrase, pairing)
            or _relations_differ(caption, paraphrase, pairing)
            or _order_differs(caption, paraphrase, pairing)
        )
        if found is None:
            return None
        problem = problem or found
        if tried >= _MOST:
            break
    return problem


def _names(reading: Reading) -> str:
    return ", ".join(reading.graph.objects[at].lemma for at in reading.things) or "nothing"


def _pairings(caption: Reading, paraphrase: Reading) -> Iterator[dict[int, int]]:
    """All one-to-one assignments of the caption's things to the paraphrase's."""
    if len(caption.things) != len(paraphrase.things):
        return
    options = [[other for other in paraphrase.things if _same_thing(caption, at, paraphrase, other)] for at in caption.things]
    if {other for choices in options for other in choices} != set(paraphrase.things):
        return
    order = sorted(range(len(options)), key=lambda index: len(options[index]))
    steps = 0

    def extend(step: int, taken: dict[int, int]) -> Iterator[dict[int, int]]:
        nonlocal steps
        steps += 1
        if steps > _STEPS:
            return
        if step == len(order):
            yield dict(taken)
            return
        at = caption.things[order[step]]
        for other in options[order[step]]:
            if other not in taken.values():
                yield from extend(step + 1, {**taken, at: other})

    yield from extend(0, {})


def _same_thing(caption: Reading, at: int, paraphrase: Reading, other: int) -> bool:
    one, two = caption.graph.objects[at], paraphrase.graph.objects[other]
    return (
        one.number == two.number
        and caption.exact(at) == paraphrase.exact(other)
        and (at in caption.denied) == (other in paraphrase.denied)
        and paraphrase.vague(other) <= caption.vague(at)
        and same_noun(one.lemma.lower(), two.lemma.lower())
    )


def _attributes_differ(caption: Reading, paraphrase: Reading, pairing: dict[int, int]) -> tuple[Reason, str] | None:
    for at, other in pairing.items():
        own, theirs = caption.attributes(at), list(paraphrase.attributes(other))
        name = caption.graph.objects[at].lemma
        for lemma, verb in own:
            match = next((entry for entry in theirs if entry[1] == verb and (same_verb if verb else same_attribute)(lemma, entry[0])), None)
            if match:
                theirs.remove(match)
            elif not (verb and lemma in (*LIGHT, "stand")):
                return Reason.ATTRIBUTES_DIFFER, f"{name}: {lemma} is lost"
        left = [lemma for lemma, verb in theirs if not (verb and lemma in LIGHT)]
        if left:
            return Reason.ATTRIBUTES_DIFFER, f"{name}: {left[0]} is new"
    return None


def _link(reading: Reading, relation: RelationNode) -> tuple[str, str]:
    """(verb, preposition) of a relation, "" for none."""
    if relation.lemma == "have":
        return "have", ""
    verb, prep = "", relation.lemma
    if relation.tag in VERB_TAGS or relation.lemma.partition(" ")[0] != relation.head:  # the verb may be apart from its preposition
        verb, _, prep = relation.lemma.partition(" ")
    if prep == "to" and relation.text.lower() == "to":  # the tree may have attached "next" elsewhere
        before = reading.tokens.text[: relation.start].lower().split()[-1:]
        prep = f"{before[0]} to" if before and before[0] in ("next", "close") else prep
    return verb, prep


def _relations_differ(caption: Reading, paraphrase: Reading, pairing: dict[int, int]) -> tuple[Reason, str] | None:
    taken = {(link.lemma, pairing[link.object]) for link in caption.framing} ^ {(link.lemma, link.object) for link in paraphrase.framing}
    if taken:
        return Reason.RELATIONS_DIFFER, f"the picture: {min(taken)[0]}"
    theirs = paraphrase.relations
    for at, before in caption.beside.items():
        other = paraphrase.beside.get(pairing[at], pairing[before])
        if other != pairing[before]:
            thing, others = caption.graph.objects[at].lemma, paraphrase.graph.objects[other].lemma
            return Reason.RELATIONS_DIFFER, f"{thing} after {caption.graph.objects[before].lemma} > {others}"
    used: set[int] = set()
    for link in caption.relations:
        thing = caption.graph.objects[link.object].lemma
        anywhere = is_location(thing)
        ends = pairing[link.subject], pairing[link.object]
        match = [
            at
            for at, other in enumerate(theirs)
            if other.object == ends[1]
            and (anywhere or other.subject == ends[0])
            and (
                same_link(_link(caption, link), _link(paraphrase, other), thing)
                or anywhere
                and same_scenery(_link(caption, link), _link(paraphrase, other), thing, caption.verbs)
            )
        ]
        if not match:
            return Reason.RELATIONS_DIFFER, f"{caption.graph.objects[link.subject].lemma} {link.lemma} {thing} is lost"
        used.update(match)
    left = [other for at, other in enumerate(theirs) if at not in used]
    if left:
        objects = paraphrase.graph.objects
        return Reason.RELATIONS_DIFFER, f"{objects[left[0].subject].lemma} {left[0].lemma} {objects[left[0].object].lemma} is new"
    return None


def _order_differs(caption: Reading, paraphrase: Reading, pairing: dict[int, int]) -> tuple[Reason, str] | None:
    """Words not covered by the graphs must be the same, and then the things must be in the same order."""
    loose, others = caption.loose, paraphrase.loose
    if loose != others:
        before, after = (" ".join(lemma for lemma, _ in found) or "nothing" for found in (loose, others))
        return Reason.RELATIONS_DIFFER, f"{before} > {after}"
    if loose and [pairing[at] for at in caption.things] != sorted(pairing[at] for at in caption.things):
        return Reason.RELATIONS_DIFFER, f"another order around {' '.join(lemma for lemma, _ in loose)}"
    return None
