"""Paraphrases in another order: what "and" joins changes places, be they things, clauses or what one subject does.

Only parts that stand on their own move: a phrase at the edge of one might be taken for a description of the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from transforms.back_translation.likeness import is_location
from transforms.english.wordnet import lexicon
from transforms.english.words import NOUN_TAGS, NUMBERS, PLURAL_TAGS, VERB_TAGS
from transforms.scene_graph.tokens import Tokens

_PRONOUN = re.compile(
    r"\b(?:he|she|it|they|his|her|its|their|him|them|himself|herself|itself|themselves|who|which|that|other|another|both|each)\b",
    re.IGNORECASE,
)
_ARTICLES = frozenset({"a", "an", "some", "several", *NUMBERS})
_AT = frozenset("in on at near by inside under beside".split())
_LEADS = (("there", "is"), ("there", "are"), ("picture", "of"), ("photo", "of"), ("image", "of"), ("see",))


def lower(text: str) -> str:
    """The text with a small initial, unless its first word has other capitals."""
    first = text.split(" ", 1)[0]
    return text if len(first) > 1 and (first.isupper() or first[1:] != first[1:].lower()) else text[:1].lower() + text[1:]


def upper(text: str) -> str:
    """The text with a capital initial."""
    return text[:1].upper() + text[1:]


def reordered(tokens: Tokens) -> Iterator[tuple[str, str]]:
    """(name, text) of each other order of a caption, with its final stop."""
    if tokens.size < 4 or tokens.tags[-1] != "." or _PRONOUN.search(tokens.text):
        return
    yield from _things(tokens)
    yield from _clauses(tokens)
    yield from _actions(tokens)


def _text(tokens: Tokens, start: int, end: int) -> str:
    return tokens.text[tokens.starts[start] : tokens.ends[end - 1]] if end > start else ""


def _things(tokens: Tokens) -> Iterator[tuple[str, str]]:
    """ "A dog, a cat and a ball in a park" as "A ball, a cat and a dog in a park"."""
    words = [tokens.lower(at) for at in range(tokens.size)]
    start = next((at for at in range(tokens.size) if words[at] in _ARTICLES), -1)
    if start < 0 or start and not any(tuple(words[start - len(lead) : start]) == lead for lead in _LEADS):
        return
    tail = _end_of_things(tokens, start)
    joint = next((at for at in range(start, tail) if words[at] == "and"), -1)
    if joint < 0 or any(words[at] in (",", "and") for at in range(joint + 1, tail)):
        return
    comma = words[joint - 1] == ","
    edges = [*(at for at in range(start, joint - comma) if words[at] == ","), joint]
    ends = [*edges[:-1], joint - comma, tail]
    spans = list(zip([start, *(at + 1 for at in edges)], ends, strict=True))
    if not all(_is_thing(tokens, *span) for span in spans):
        return
    if start and words[start - 1] in ("is", "are") and _several(tokens, *spans[0]) != _several(tokens, *spans[-1]):
        return
    parts = [_text(tokens, *span) for span in reversed(spans)]
    if not start:
        parts = [upper(parts[0]), *parts[1:-1], lower(parts[-1])]
    joined = f"{', '.join(parts[:-1])}{',' if comma else ''} and {parts[-1]}"
    after = tokens.text[tokens.ends[tail - 1] :]
    yield "conjuncts", tokens.text[: tokens.starts[start]] + joined + after


def _end_of_things(tokens: Tokens, start: int) -> int:
    """Where a list of things ends: at a plural verb, or at the location where they all are."""
    for at in range(start, tokens.size - 1):
        if tokens.lower(at) == "are" or tokens.tags[at] == "VBP" or tokens.lower(at) in _AT and _is_place(tokens, at):
            return at if tokens.lower(at - 1) != "," else start
    return tokens.size - 1


def _is_place(tokens: Tokens, prep: int) -> bool:
    """Whether a phrase up to the end says where it all is: "in a park."."""
    inside = range(prep + 1, tokens.size - 1)
    nouns = [at for at in inside if tokens.tags[at] in NOUN_TAGS]
    plain = all(tokens.tags[at] in (*NOUN_TAGS, "DT", "JJ") for at in inside)
    return bool(nouns) and plain and nouns[-1] == tokens.size - 2 and is_location(tokens.lemma(nouns[-1]))


def _is_thing(tokens: Tokens, start: int, end: int) -> bool:
    """Whether a span is a noun with its determiner and adjectives; people may be "in a red shirt". Clothing may be worn by the one
    before."""
    if end <= start or tokens.lower(start) not in _ARTICLES:
        return False
    worn = next((at for at in range(start + 1, end) if tokens.lower(at) in ("in", "wearing")), end)
    plain = all(
        tokens.tags[at] in (*NOUN_TAGS, "DT", "JJ", "CD", "VBN", "HYPH") for span in ((start, worn), (worn + 1, end)) for at in range(*span)
    )
    if not plain or tokens.tags[worn - 1] not in NOUN_TAGS or _clothing(tokens, worn - 1):
        return False
    return worn == end or end - worn > 2 and _clothing(tokens, end - 1)


def _clothing(tokens: Tokens, noun: int) -> bool:
    return any(lexicon().hypernym(above, tokens.lemma(noun)) for above in ("clothing", "accessory", "glasses"))


def _several(tokens: Tokens, start: int, end: int) -> bool:
    noun = next(
        (at for at in range(start, end) if tokens.tags[at] in NOUN_TAGS and at + 1 < tokens.size and tokens.tags[at + 1] not in NOUN_TAGS),
        start,
    )
    return tokens.tags[noun] in PLURAL_TAGS or tokens.lower(noun) == "people"


def _joint(tokens: Tokens, first: int, second: int) -> int:
    """The "and" or "while" before a conjunct, -1 for none."""
    return next((at for at in range(second - 1, first, -1) if tokens.lower(at) in ("and", "while")), -1)


def _clauses(tokens: Tokens) -> Iterator[tuple[str, str]]:
    """ "A dog is brown and a cat is black" as "A cat is black and a dog is brown"."""
    root = next((at for at in range(tokens.size) if tokens.heads[at] == at), 0)
    if tokens.lower(0) == "there" or not _has_subject(tokens, root):
        return
    others = [kid for kid in tokens.kids[root] if tokens.deps[kid] in ("conj", "advcl") and _has_subject(tokens, kid) and kid > root]
    if len(others) != 1:
        return
    joint = _joint(tokens, root, min(_left(tokens, others[0]), others[0]) + 1)
    joints = sum(tokens.lower(at) in ("and", "while", "as", "but", "or") for at in range(tokens.size))
    if joint <= root or joints != 1 or not joint < _left(tokens, others[0]) + 2:
        return
    comma = tokens.lower(joint - 1) == ","
    first, second = _text(tokens, 0, joint - comma), _text(tokens, joint + 1, tokens.size - 1)
    yield "clauses", f"{upper(second)}{',' if comma else ''} {tokens.lower(joint)} {lower(first)}."


def _has_subject(tokens: Tokens, verb: int) -> bool:
    tags = [tokens.tags[verb], *(tokens.tags[kid] for kid in tokens.kids[verb] if tokens.deps[kid] in ("aux", "auxpass"))]
    return any(tag in ("VBZ", "VBP") for tag in tags) and any(
        tokens.deps[kid] in ("nsubj", "nsubjpass") and kid < verb for kid in tokens.kids[verb]
    )


def _left(tokens: Tokens, at: int) -> int:
    while tokens.kids[at] and tokens.kids[at][0] < at:
        at = tokens.kids[at][0]
    return at


def _actions(tokens: Tokens) -> Iterator[tuple[str, str]]:
    """ "A man is on a board and is holding a rope" as "A man is holding a rope and is on a board"."""
    joints = [at for at in range(1, tokens.size - 1) if tokens.lower(at) == "and"]
    if len(joints) != 1 or any(tokens.lower(at) in (",", "while", "as", "but", "or", "to") for at in range(joints[0], tokens.size)):
        return
    joint = joints[0]
    second = next((at for at in range(joint + 1, tokens.size) if tokens.deps[at] == "conj"), -1)
    if second < 0 or tokens.tags[second] not in VERB_TAGS or second > joint + 2 or _has_subject(tokens, second):
        return
    first = tokens.heads[second]
    start = min([first, *(kid for kid in tokens.kids[first] if tokens.deps[kid] in ("aux", "auxpass"))])
    if tokens.tags[start] != tokens.tags[joint + 1] or tokens.tags[start] not in ("VBZ", "VBP", "VBG") or first > joint or not start:
        return
    if any(tokens.tags[at] in VERB_TAGS for at in range(start)) or tokens.lower(joint - 1) == ",":
        return
    one, other = _text(tokens, start, joint), _text(tokens, joint + 1, tokens.size - 1)
    yield "actions", f"{tokens.text[: tokens.starts[start]]}{other} and {one}."
