"""Rule-based paraphrases: another construction, another order, other words for the same. They are candidates like a translation's, and
have to pass the same filters.

Constructions follow from the tree: "a man riding a horse" is "there is a man riding a horse", "a man rides a horse", "a horse being
ridden by a man"; a location may come first, and two conjuncts may change places. Words follow from a closed list (`wordings`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from transforms.back_translation.grammar import mistaken_verb
from transforms.back_translation.likeness import is_location
from transforms.back_translation.order import between
from transforms.back_translation.reordering import lower, reordered, upper
from transforms.back_translation.wordings import RULES
from transforms.english.morphology import article, inflect
from transforms.english.wordnet import lexicon
from transforms.english.words import FRAMES, MEASURES, NOUN_TAGS, NUMBERS, PLURAL_TAGS, VAGUE_COUNTS
from transforms.scene_graph.tokens import Tokens

# Verbs that captions use in the passive, with the thing first.
_PASSIVE = frozenset(
    "ride hold carry chase push pull fly throw kick hit eat drive watch cut lead feed pet hug wash cross use pour prepare serve".split()
)
_STATES = frozenset(
    "have be contain show feature depict display include see seem look appear own want need overlook say read consist be get".split()
)
_WORN = frozenset(
    "hat shirt suit dress jacket coat shorts jeans pants uniform helmet cap wetsuit vest sweater skirt costume hoodie sweatshirt t-shirt "
    "gown robe kimono apron jersey outfit".split()
)
_PEOPLE = frozenset(
    "man woman boy girl child kid lady guy person player men women boys girls children kids people ladies guys players skier surfer".split()
)
_JOINTS = frozenset("and or with of in on at to".split())
_FIRST = frozenset({"a", "an", "some", "one", *NUMBERS, *VAGUE_COUNTS}) - {"few"}
_BEFORE = frozenset("in on at near by inside under beside".split())
_PRONOUN = re.compile(r"\b(?:his|her|its|their|him|them|it|himself|herself|itself|themselves|who|which|that|other)\b", re.IGNORECASE)
_LEAD = re.compile(
    r"(?:(?:(?:an?|the|this) (?:picture|photo|image|photograph) (?:of|shows|showing))|we (?:can )?see|you can see"
    r"|in (?:the|this) (?:picture|photo|image),? (?:there (?:is|are)|we see|you can see)) ",
    re.IGNORECASE,
)
_COUNTED = re.compile(r"\b([Tt]here) is(?= (?:two|three|several|multiple|many|lots)\b)")
_ARTICLE = re.compile(r"\b([Aa])n?(?= (\w[\w'-]*))")


class _Frame:
    """A caption as subject, verb and rest. `verb`: index of the first verb that belongs to the subject, -1 for none; `aux`: of its
    "is" or "are", -1 for none; `head`: of the subject's noun."""

    def __init__(self, tokens: Tokens):
        self.tokens = tokens
        self.end = tokens.size - 1 if tokens.size and tokens.tags[-1] == "." else tokens.size
        root = next((at for at in range(tokens.size) if tokens.heads[at] == at), 0)
        self.verb, self.aux, self.head = -1, -1, -1
        if tokens.tags[root] in NOUN_TAGS and tokens.deps[root] == "ROOT":
            self.head = root
            verb = next((at for at in range(root + 1, self.end) if tokens.tags[at].startswith("VB")), -1)
            fits = tokens.tags[verb] in ("VBG", "VBN") and tokens.deps[verb] == "acl" and verb >= 0
            measured = fits and tokens.heads[verb] != root and self._is_subject(tokens.heads[verb])
            apart = measured and tokens.lemma(root) not in MEASURES  # "a statue of two men sitting": whichever sits
            if fits and self._is_subject(tokens.heads[verb]) and not apart and not self._finite_after(verb):
                self.verb = verb
            # Verbs taken for nouns: "a toilet seat sits", "two zebras stand"
            mistaken = any(pair == ("NNS", tag) for pair in pairwise(tokens.tags) for tag in NOUN_TAGS)
            self.plain = (verb < 0 or apart) and not (tokens.tags[root] == "NNS" and tokens.lower(0) in ("a", "an")) and not mistaken
        else:
            self.plain = False
            subject = max(tokens.child(root, "nsubj"), tokens.child(root, "nsubjpass"))
            self.aux = max(tokens.child(root, "aux"), tokens.child(root, "auxpass"))
            first = next((at for at in range(self.end) if tokens.tags[at].startswith(("VB", "MD"))), -1)
            kids = {tokens.deps[kid] for kid in tokens.kids[root]}
            fits = (tokens.tags[root] in ("VBZ", "VBP") and self.aux < 0 and tokens.lemma(root) != "be") or (
                tokens.tags[root] in ("VBG", "VBN") and (self.aux < 0 or tokens.lower(self.aux) in ("is", "are"))
            )
            if 0 <= subject < root and fits and first in (root, self.aux) and not {"neg", "advcl", "ccomp"} & kids:
                self.head, self.verb = subject, root
        self._settle()

    def _finite_after(self, verb: int) -> bool:
        """Whether a finite verb outside a relative clause follows: then the tree is wrong about the first verb."""
        tokens = self.tokens
        return any(
            tokens.tags[at] in ("VBZ", "VBP", "VBD", "MD") and tokens.lower(at - 1) not in ("that", "which", "who")
            for at in range(verb + 1, self.end)
        )

    def _settle(self) -> None:
        """Gives up constructions with the verb of a picture ("a photo of a girl riding"), or of a subject from which another thing
        separates it."""
        if self.head >= 0 and self.tokens.lemma(self.head) in FRAMES:
            self.head = self.verb = -1
        elif self.tokens.tags[0] in ("IN", "TO") or mistaken_verb(self.tokens, 0) not in (-1, self.verb):
            self.head = self.verb = -1
        elif self.verb >= 0 and between(self.tokens, self.aux if self.aux >= 0 else self.verb):
            self.head = self.verb = -1

    def _is_subject(self, noun: int) -> bool:
        """Whether a noun is the root, or what the root measures."""
        tokens = self.tokens
        if noun == self.head:
            return True
        above = tokens.heads[noun]
        return tokens.lower(above) == "of" and tokens.heads[above] == self.head and tokens.deps[noun] == "pobj"

    def text(self, start: int, end: int) -> str:
        """The text of tokens `start` to `end`, without the blank after."""
        return self.tokens.text[self.tokens.starts[start] : self.tokens.ends[end - 1]] if end > start else ""

    @property
    def several(self) -> bool:
        """Whether the subject is plural."""
        tokens = self.tokens
        if self.verb >= 0 and "VBP" in (tokens.tags[self.verb], tokens.tags[self.aux] if self.aux >= 0 else ""):
            return True
        if NUMBERS.get(tokens.lower(0), 0) > 1:  # "two giraffe"
            return True
        if any(tokens.lower(at) == "and" and tokens.lower(at + 1) in _FIRST | {"the"} for at in range(max(self.verb, 0))):
            return True  # "a man and a girl"
        nouns = [self.head]
        if tokens.lemma(self.head) in MEASURES:
            nouns += [kid for kid in range(self.head, self.head + 4) if kid < tokens.size and self._is_subject(kid)]
        return any(tokens.tags[noun] in PLURAL_TAGS or tokens.lower(noun) == "people" for noun in nouns)

    @property
    def exists(self) -> str:
        """ "is" or "are" after "there": that of the noun next to it, but "there are a couple of men"."""
        tokens = self.tokens
        single = tokens.lower(0) in ("a", "an", "one") and tokens.lemma(self.head) not in ("couple", "lot", "dozen", "few")
        return "are" if self.several and not single else "is"

    @property
    def joined(self) -> bool:
        """Whether the subject is a coordination, or another verb is coordinated with the verb."""
        tokens = self.tokens
        return any(tokens.deps[kid] == "conj" for kid in tokens.kids[self.head]) or (
            self.verb >= 0 and any(tokens.deps[kid] == "conj" for kid in tokens.kids[self.verb])
        )

    @property
    def indefinite(self) -> bool:
        """Whether "there is" may come before the subject."""
        tokens = self.tokens
        first = next((at for at in range(tokens.size) if tokens.tags[at] in NOUN_TAGS), 0)  # "small plane inches" is a sentence
        return tokens.lower(0) in _FIRST or tokens.tags[0] in ("NNS", "JJ") and self.several and first == self.head


def constructions(tokens: Tokens) -> Iterator[tuple[str, str]]:
    """(name, text) of each other construction of a caption, with its final stop; names describe the change."""
    frame = _Frame(tokens)
    if frame.head >= 0 and tokens.lower(0) != "there":
        yield from _clauses(frame)
    yield from _without_there(tokens)
    yield from _shown(tokens)
    yield from _copular(tokens)


def _clauses(frame: _Frame) -> Iterator[tuple[str, str]]:
    tokens, verb = frame.tokens, frame.verb
    be = "are" if frame.several else "is"
    if verb < 0:
        if not frame.plain or frame.head > 4:
            return
        whole = frame.text(0, frame.end)
        place, rest = _location(frame, frame.head)
        if frame.indefinite and not any(tokens.deps[kid] == "conj" for kid in tokens.kids[frame.head]):
            yield "existential", f"There {frame.exists} {lower(whole)}."
            if place:
                yield "location first", f"{upper(place)} there {frame.exists} {lower(rest)}."
        with_ = next((kid for kid in tokens.kids[frame.head] if tokens.lower(kid) == "with" and kid > frame.head), -1)
        if with_ == frame.head + 1 and frame.indefinite and _may_have(tokens, frame.head, with_):
            has = "have" if frame.several else "has"
            yield "clause", f"{frame.text(0, with_)} {has} {frame.text(with_ + 1, frame.end)}."
            yield "relative clause", f"{frame.text(0, with_)} that {has} {frame.text(with_ + 1, frame.end)}."
        return
    subject = frame.text(0, frame.aux if 0 <= frame.aux < verb else verb)
    if not subject or frame.aux > verb:
        return
    lemma, tag = tokens.lemma(verb), tokens.tags[verb]
    if lemma == "lay" and tokens.child_behind(verb, "dobj") < 0:
        lemma = "lie"
    if tag == "VBN":
        yield from _participle(frame, subject, be)
        return
    amid = frame.text(frame.aux + 1, verb) if 0 <= frame.aux < verb else ""
    gerund = f"{amid} {tokens.lower(verb) if tag == 'VBG' else inflect(lemma, 'VBG')}".strip()
    rest = frame.text(verb + 1, frame.end)
    dressed = lemma == "wear" and any(tokens.tags[at] == "VBG" for at in range(verb + 1, frame.end))  # "wearing a skirt standing"
    active = lemma not in _STATES and not dressed
    finite = inflect(lemma, "VBP" if frame.several else "VBZ")
    if (active or tag == "VBG") and frame.indefinite and not _joined_subject(frame):
        if tag == "VBG" or not frame.joined:
            yield "existential", _sentence(f"There {frame.exists} {lower(subject)} {gerund}", rest)
    if active and tag == "VBG" and frame.aux < 0:
        yield "progressive", _sentence(f"{subject} {be} {gerund}", rest)
    if active and tag != "VBG" and not frame.joined:
        yield "progressive", _sentence(f"{subject} {be} {gerund}", rest)
        yield "participle", _sentence(f"{subject} {gerund}", rest)
    if tag == "VBG" and frame.aux >= 0:
        yield "participle", _sentence(f"{subject} {gerund}", rest)
    if active and tag == "VBG" and not frame.joined and not amid:
        yield "finite", _sentence(f"{subject} {finite}", rest)
    place, remainder = _location(frame, verb)
    if place and active and not _joined_subject(frame):
        left = remainder[len(frame.text(0, verb + 1)) :].strip()
        yield "location first", _sentence(f"{upper(place)} {lower(subject)} {be} {gerund}", left)
        if frame.indefinite:
            yield "location first", _sentence(f"{upper(place)} there {frame.exists} {lower(subject)} {gerund}", left)
    yield from _passive(frame, subject)


def _may_have(tokens: Tokens, head: int, with_: int) -> bool:
    """Whether "with" after a noun may become "has": "a bathroom with a sink", but not "a dog with a person" or "a cup with a table"."""
    thing = tokens.child_behind(with_, "pobj")
    if thing < 0 or any(lexicon().hypernym(living, tokens.lemma(thing)) for living in ("person", "animal")):
        return False
    holder = tokens.lemma(head)
    return is_location(holder) or any(lexicon().is_a(holder, above) for above in ("structure", "vehicle", "conveyance", "furniture"))


def _participle(frame: _Frame, subject: str, be: str) -> Iterator[tuple[str, str]]:
    """The constructions of "a bus parked on a street" and "a bus is parked on a street"."""
    tokens, verb = frame.tokens, frame.verb
    done, rest = frame.text(frame.aux + 1 if frame.aux >= 0 else verb, verb + 1), frame.text(verb + 1, frame.end)
    if not rest:  # "a ball is spotted"
        return
    if frame.indefinite and not _joined_subject(frame):
        yield "existential", _sentence(f"There {frame.exists} {lower(subject)} {done}", rest)
    if frame.aux >= 0:
        yield "participle", _sentence(f"{subject} {done}", rest)
    else:
        yield "finite", _sentence(f"{subject} {be} {done}", rest)
    place, remainder = _location(frame, verb)
    if place and frame.indefinite and not _joined_subject(frame) and tokens.lower(verb) != "being":
        left = remainder[len(frame.text(0, verb + 1)) :].strip()
        yield "location first", _sentence(f"{upper(place)} there {frame.exists} {lower(subject)} {done}", left)


def _joined_subject(frame: _Frame) -> bool:
    tokens = frame.tokens
    return any(tokens.deps[kid] == "conj" and kid < frame.verb for kid in range(frame.verb) if tokens.tags[kid] in NOUN_TAGS)


def _location(frame: _Frame, head: int) -> tuple[str, str]:
    """The final phrase that says where it all is, as ("in a park,", what is before it), or twice "". It depends on the verb, or on the
    subject if there is none."""
    tokens = frame.tokens
    preps = [kid for kid in tokens.kids[head] if tokens.deps[kid] == "prep" and kid > head and tokens.lower(kid) in _BEFORE]
    if not preps:
        return "", ""
    prep = preps[-1]
    noun = tokens.child_behind(prep, "pobj")
    if noun < 0 or prep <= head + (frame.verb < 0) - 1 or not is_location(tokens.lemma(noun)) or _rightmost(tokens, prep) != frame.end - 1:
        return "", ""
    inside = range(prep + 1, frame.end)
    if any(tokens.deps[at] in ("prep", "conj", "acl", "relcl", "punct", "cc") for at in inside):
        return "", ""
    phrase = frame.text(prep, frame.end)
    if _PRONOUN.search(phrase) or tokens.lower(prep - 1) in ("and", ",", "or", "next", "close"):
        return "", ""
    return phrase + ",", frame.text(0, prep)


def _rightmost(tokens: Tokens, at: int) -> int:
    while tokens.kids[at] and tokens.kids[at][-1] > at:
        at = tokens.kids[at][-1]
    return at


def _passive(frame: _Frame, subject: str) -> Iterator[tuple[str, str]]:
    tokens, verb = frame.tokens, frame.verb
    lemma = tokens.lemma(verb)
    thing = tokens.child_behind(verb, "dobj")
    if lemma not in _PASSIVE or thing < 0 or frame.joined or any(tokens.deps[kid] == "prt" for kid in tokens.kids[verb]):
        return
    last = _rightmost(tokens, thing) + 1
    first = verb + 1
    phrase, rest = frame.text(first, last), frame.text(last, frame.end)
    if tokens.lower(first) not in ("a", "an", "the") or _PRONOUN.search(phrase) or _PRONOUN.search(rest) or _PRONOUN.search(subject):
        return
    if any(tokens.deps[at] in ("conj", "relcl", "acl") or tokens.deps[at] == "prep" for at in range(first, last)):
        return
    several = tokens.tags[thing] in PLURAL_TAGS
    be = "are" if several else "is"
    done = inflect(lemma, "VBN")
    by = f"by {lower(subject)}"
    if frame.aux >= 0:
        yield "passive", _sentence(f"{upper(phrase)} {be} being {done} {by}", rest)
    elif tokens.tags[verb] == "VBG":
        yield "passive", _sentence(f"{upper(phrase)} being {done} {by}", rest)
        yield "passive", _sentence(f"{upper(phrase)} {be} being {done} {by}", rest)
    else:
        yield "passive", _sentence(f"{upper(phrase)} {be} {done} {by}", rest)


def _shown(tokens: Tokens) -> Iterator[tuple[str, str]]:
    """ "A picture of two dogs", "we see two dogs", "in the photo there are two dogs" as "there are two dogs" and "two dogs"."""
    found = _LEAD.match(tokens.text)
    if not found:
        return
    rest = tokens.text[found.end() :]
    first = next((at for at in range(tokens.size) if tokens.starts[at] >= found.end()), -1)
    noun = next((at for at in range(max(first, 0), tokens.size) if tokens.tags[at] in NOUN_TAGS), -1)
    if first < 0 or noun < 0 or tokens.lower(first) not in _FIRST or tokens.size - first < 3:
        return
    while noun + 1 < tokens.size and tokens.tags[noun + 1] in NOUN_TAGS:
        noun += 1
    several = tokens.tags[noun] in PLURAL_TAGS or tokens.lower(noun) == "people"
    yield "existential", f"There {'are' if several and tokens.lower(first) not in ('a', 'an') else 'is'} {rest}"
    yield "phrase", upper(rest)


def _copular(tokens: Tokens) -> Iterator[tuple[str, str]]:
    """ "A cat is next to a dog" as "there is a cat next to a dog"."""
    root = next((at for at in range(tokens.size) if tokens.heads[at] == at), 0)
    subject = tokens.child(root, "nsubj")
    if tokens.lower(root) not in ("is", "are") or not 0 <= subject < root or tokens.lower(0) not in _FIRST or between(tokens, root):
        return
    after = root + 1
    if after >= tokens.size or tokens.tags[after] not in ("IN", "TO") and tokens.lower(after) not in ("next", "left", "right", "close"):
        return
    if any(tokens.lower(at) in ("and", ",", "while") for at in range(tokens.size)):
        return
    yield "existential", f"There {tokens.lower(root)} {lower(tokens.text[: tokens.starts[root]])}{tokens.text[tokens.starts[after] :]}"


def _without_there(tokens: Tokens) -> Iterator[tuple[str, str]]:
    """ "There is a man riding a horse" as "A man is riding a horse"."""
    if tokens.size < 5 or tokens.lower(0) != "there" or tokens.lower(1) not in ("is", "are") or tokens.tags[0] != "EX":
        return
    noun = tokens.child_behind(1, "attr")
    noun = noun if noun >= 0 else tokens.child_behind(1, "nsubj")
    if noun < 0 or any(tokens.lower(at) in ("not", "no") for at in range(2, noun)):
        return
    rest = tokens.text[tokens.starts[2] :]
    yield "phrase", upper(rest)
    verb = next((at for at in range(noun + 1, tokens.size) if tokens.tags[at].startswith("VB")), -1)
    own = verb >= 0 and tokens.tags[verb] == "VBG" and tokens.heads[verb] in (noun, 1) and tokens.child(noun, "conj") < 0
    if own and not between(tokens, verb):
        subject = tokens.text[tokens.starts[2] : tokens.ends[verb - 1]]
        yield "progressive", f"{upper(subject)} {tokens.lower(1)} {tokens.text[tokens.starts[verb] :]}"


def _reclothed(text: str) -> str:
    """A text with "wearing a hat" as "in a hat", and the reverse after a person."""
    words = text.split(" ")
    for at in range(1, len(words) - 2):
        worn = next((near for near in range(at + 2, min(at + 6, len(words))) if words[near].rstrip(".,") in _WORN), -1)
        if worn < 0 or words[at + 1] not in ("a", "an") or any(word in _JOINTS for word in words[at + 1 : worn]):
            continue
        if words[at] == "wearing" and words[at - 1] not in ("is", "are", "and", "while") and not words[at - 1].endswith(","):
            words[at] = "in" if words[worn + 1 : worn + 2] != ["and"] else words[at]
        elif words[at] == "in" and words[at - 1].lower() in _PEOPLE:
            words[at] = "wearing"
    return " ".join(words)


def reworded(text: str, most: int = 3) -> Iterator[str]:
    """A text with other words: with all replacements that `wordings` has for it (at most `most`), and without the first of them."""
    found: list[tuple[int, int, str]] = []
    for pattern, new in RULES:
        for match in pattern.finditer(text):
            if not any(match.start() < end and start < match.end() for start, end, _ in found):
                found.append((match.start(), match.end(), new))
    if not found:
        return
    yield _replaced(text, found[:most])
    if len(found) > 1:
        yield _replaced(text, found[1 : most + 1])


def _replaced(text: str, edits: list[tuple[int, int, str]]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + (upper(new) if start == 0 else new) + text[end:]
    text = _ARTICLE.sub(lambda found: found[1] + article(found[2])[1:], text)
    return " ".join(_COUNTED.sub(r"\1 are", text).split())


def rewordings(tokens: Tokens) -> list[tuple[str, str]]:
    """(name, text) of every rewording of a prepared caption (capital, final stop), without repetitions: constructions, each also with
    other words, and other words alone."""
    found: dict[str, str] = {}
    bases = [("", tokens.text), *constructions(tokens), *reordered(tokens)]
    for name, text in bases:
        dressed = _reclothed(text)
        for other in (*reworded(dressed), *(reworded(text) if dressed != text else ())):
            found.setdefault(other, f"{name}, words" if name else "words")
        for other in dict.fromkeys((dressed, text)):
            found.setdefault(other, name or "words")
    found.pop(tokens.text, None)
    return [(name, text) for text, name in found.items()]


def _sentence(start: str, rest: str) -> str:
    return f"{start} {rest}.".replace(" .", ".").replace("  ", " ") if rest else f"{start}."
