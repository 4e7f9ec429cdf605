"""Faults of grammar that translation makes and a parser shows: verbs that do not fit their subjects or the verbs beside them, and
prepositions without what they go with."""

from __future__ import annotations

from collections.abc import Iterator

from transforms.scene_graph.tokens import Tokens
from transforms.scene_graph.words import MEASURES, NOUN_TAGS, PLURAL_TAGS
from transforms.swaps.morphology import plural

_SUBJECTS = ("nsubj", "nsubjpass", "nsubj:pass")
_AUXILIARIES = ("aux", "auxpass", "aux:pass", "cop")
_SINGULAR_VERBS = frozenset({"is", "has", "was"})
_PLURAL_VERBS = frozenset({"are", "have", "were"})
# Nouns that go with either number: "a group are", "there is lots of".
_EITHER = frozenset((*MEASURES, "majority", "family", "audience", "band", "police", "rest", "half", "none", "most", "lots",
                     "staff", "class", "school", "range", "mix", "gathering", "party", "army", "pack", "swarm", "squad"))

# "leaning on under a wall": prepositions of which the first lacks its thing.
_FIRST = frozenset("on at with of against into onto near".split())
_SECOND = frozenset("on in at with of under beside against near".split())


def faults(tokens: Tokens) -> set[str]:
    """Every fault of a text, as words: "boys is", "holding and look", "on under"."""
    return {*_disagreements(tokens), *_misjoined(tokens), *_stranded(tokens)}


def _disagreements(tokens: Tokens) -> Iterator[str]:
    for at in range(tokens.size):
        expletive = tokens.tags[at] == "EX"
        if tokens.deps[at] not in _SUBJECTS and not expletive:
            continue
        verb = _finite(tokens, tokens.heads[at])
        subject = tokens.child(tokens.heads[at], "attr") if expletive else at
        if verb < 0 or subject < 0:
            continue
        wanted, found = _number(tokens, subject), _number_of_verb(tokens, verb)
        if wanted == "singular" and found == "plural" and not any(tokens.lower(other) == "and" for other in range(verb)):
            yield f"{tokens.lower(subject)} {tokens.lower(verb)}"  # with an "and" the tree may have taken one of several
        if wanted == "plural" and found == "singular" and not any(tag in NOUN_TAGS for tag in tokens.tags[:min(subject, verb)]):
            yield f"{tokens.lower(subject)} {tokens.lower(verb)}"  # behind another noun, that one may be the subject


def _finite(tokens: Tokens, head: int) -> int:
    """The token that bears the number of a verb: its first auxiliary, or itself; -1 for none."""
    bearer = next((kid for kid in tokens.kids[head] if tokens.deps[kid] in _AUXILIARIES), head)
    return bearer if tokens.tags[bearer] in ("VBZ", "VBP", "VBD") else -1


def _number_of_verb(tokens: Tokens, verb: int) -> str:
    word, tag = tokens.lower(verb), tokens.tags[verb]
    if word in _SINGULAR_VERBS or tag == "VBZ":
        return "singular"
    return "plural" if word in _PLURAL_VERBS or tag == "VBP" else ""


def _number(tokens: Tokens, noun: int) -> str:
    """Singular, plural, or "" where either goes."""
    tag, word = tokens.tags[noun], tokens.lower(noun)
    if tag not in NOUN_TAGS or word in _EITHER or tokens.lemma(noun) in _EITHER or plural(word) == word:
        return ""
    below = [kid for kid in tokens.kids[noun] if tokens.deps[kid] in ("conj", "nummod")]
    if tag in PLURAL_TAGS:
        return "plural"
    if below or word.endswith("s"):  # "there is a dog and a cat", "two sheep"; and the tagger is not sure of plurals
        return "plural" if any(tokens.tags[kid] in PLURAL_TAGS for kid in below) else ""
    return "singular"


def _misjoined(tokens: Tokens) -> Iterator[str]:
    for at in range(tokens.size):
        head = tokens.heads[at]
        if tokens.deps[at] != "conj" or tokens.lemma(head) == "be" or not any(tokens.lower(kid) == "and" for kid in tokens.kids[head]):
            continue
        own, above = ({tokens.deps[kid] for kid in tokens.kids[verb]} for verb in (at, head))
        tags = {tokens.tags[head], tokens.tags[at]}
        if "VBG" in tags and tags & {"VB", "VBP", "VBZ"} and not own & {*_SUBJECTS, *_AUXILIARIES} and not above & {*_AUXILIARIES}:
            yield f"{tokens.lower(head)} and {tokens.lower(at)}"


def _stranded(tokens: Tokens) -> Iterator[str]:
    for at in range(tokens.size - 1):
        if tokens.lower(at) in _FIRST and tokens.tags[at + 1] == "IN" and tokens.lower(at + 1) in _SECOND:
            yield f"{tokens.lower(at)} {tokens.lower(at + 1)}"
