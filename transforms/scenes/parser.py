"""A parser of the scene language: from a sentence to the graph of its claims.

The sentence is split into the longest phrases in the lexicon, then read from left to right. Attachment is fixed: a phrase
right after a noun phrase belongs to that noun phrase ("a dog next to a car on a street"); after "and" or a comma, and after
"is" or a finite verb, it belongs to the subject; "are" and plural verbs take all subjects joined by "and", "is" the last one.
"A boy with a ball" claims that there is also a ball, not that he holds it; words of posture such as "standing" claim nothing.
"""

from __future__ import annotations

import re

from transforms.scenes.graph import CaptionGraph, GraphError, Mention
from transforms.scenes.lexicon import Token, phrases

_WORDS = re.compile(r"[a-z0-9'’-]+|,")
_LONGEST = 6
_NOUN_STARTS = frozenset(("DET", "NUM", "SOME", "NO", "ADJ", "NOUN"))
_TAILS = frozenset(("PREP", "ING", "PASS", "REL", "IN", "POSTURE"))


class LanguageError(ValueError):
    """A sentence that is not in the scene language."""


def parse(text: str) -> CaptionGraph:
    """The graph of the claims of `text`, regardless of case, articles, a final full stop and the lexicon's synonyms.

    Raises LanguageError if a word is unknown or the words do not form a sentence of the language.
    """
    return _Reader(text, _tokens(text)).read()


def _tokens(text: str) -> list[Token]:
    lowered = text.lower().strip().rstrip(".!").replace("’", "'")
    words = _WORDS.findall(lowered)
    if not words or re.sub(r"[a-z0-9'’,\s-]", "", lowered):
        raise LanguageError(f"not a sentence of the scene language: {text!r}")
    known, out, at = phrases(), [], 0
    while at < len(words):
        for length in range(min(_LONGEST, len(words) - at), 0, -1):
            token = known.get(tuple(words[at : at + length]))
            if token is not None:
                out.append(token)
                at += length
                break
        else:
            raise LanguageError(f"the word {words[at]!r} in {text!r} is not in the scene language")
    return [token for token in out if token.role != "SKIP"]


class _Reader:
    """Reads tokens from left to right and collects mentions, relations and place words."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
        self.text, self.tokens, self.at = text, tokens, 0
        self.mentions: list[Mention] = []
        self.relations: set[tuple[int, str, int]] = set()
        self.places: set[str] = set()
        self.heads: list[int] = []  # the noun phrases that form the subject of the clause
        self.subjects: list[int] | None = None  # set once the clause has its verb
        self.last = -1
        self.joined = False  # whether "and" or a comma was just read

    def role(self, ahead: int = 0) -> str:
        """The role of the next token, or of the one `ahead` tokens after it."""
        return self.tokens[self.at + ahead].role if self.at + ahead < len(self.tokens) else ""

    def take(self) -> Token:
        """Consumes the next token and returns it."""
        token = self.tokens[self.at]
        self.at += 1
        return token

    def fail(self, why: str) -> LanguageError:
        """The error to raise."""
        return LanguageError(f"{why} in {self.text!r}")

    def read(self) -> CaptionGraph:
        """Reads all tokens."""
        while self.at < len(self.tokens):
            self._step()
        if not self.mentions:
            raise self.fail("nothing is mentioned")
        try:
            return CaptionGraph(tuple(self.mentions), tuple(sorted(self.relations)), tuple(sorted(self.places)))
        except GraphError as error:
            raise self.fail(str(error)) from error

    def _step(self) -> None:
        role = self.role()
        if role == "SEP":
            self.take()
            self.joined = True
            return
        if role == "PLACE":
            self.places.add(self.take().value)
            return
        if role == "LEAD":
            self.take()
            self.heads, self.subjects = [], None
            if self.role() == "COP":
                self.take()
        elif role in ("WITH", "WITHOUT", "BUTNOT"):
            self.take()
            if role == "WITH" and self.last >= 0 and self._shirt_follows():
                self._describe([self.last], self._clothes())
            else:
                self._noun_phrase(negated=role != "WITH")
        elif role in _NOUN_STARTS:
            self._head()
        elif role in ("COP", "FIN", "WEARS"):
            self._verb()
        elif role in _TAILS:
            self._tail()
        else:
            raise self.fail(f"unexpected {self.take().role.lower()}")
        self.joined = False

    def _head(self) -> None:
        if self.mentions and self.heads and not self.joined:
            raise self.fail("two adjacent noun phrases")
        index = self._noun_phrase()
        if self.subjects is not None:
            self.heads, self.subjects = [], None
        self.heads.append(index)

    def _verb(self) -> None:
        token = self.take()
        if self.subjects is None:
            if not self.heads:
                raise self.fail("a verb without a subject")
            self.subjects = list(self.heads) if token.plural else [self.heads[-1]]
        if token.role == "FIN":
            self._relate(self.subjects, token.value)
        elif token.role == "WEARS":
            self._describe(self.subjects, self._clothes())
        else:
            self._predicate(self.subjects)

    def _tail(self) -> None:
        if self.last < 0:
            raise self.fail("a description without a noun")
        owner = [self.last]
        if self.joined:
            owner = self.subjects if self.subjects is not None else self.heads[-1:] or owner
        if self.role() == "REL":
            self.take()
            if self.role() == "FIN":
                self._relate(owner, self.take().value)
                return
            if self.role() == "COP":
                self.take()
        self._predicate(owner)

    def _predicate(self, subjects: list[int]) -> None:
        """Reads what follows "is", "who is" or a noun phrase: a place, a relation, clothes or adjectives."""
        while self.role() == "POSTURE" or (self.role() == "ING" and self._hangs()):
            self.take()
        role = self.role()
        if role in ("PREP", "ING"):
            self._relate(subjects, self.take().value)
        elif role == "PASS":
            predicate = self.take().value
            thing = self._noun_phrase()
            self.relations.update((thing, predicate, subject) for subject in subjects)
        elif role == "IN":
            self.take()
            self._describe(subjects, self._clothes())
        elif role == "ADJ":
            self._describe(subjects, self._adjectives())
        elif role == "PLACE":
            self.places.add(self.take().value)
        else:
            raise self.fail("an incomplete phrase")

    def _hangs(self) -> bool:
        """Whether the next -ing word is mere posture: "a bird flying above a tree", "a man walking on the beach"."""
        return self.tokens[self.at].value in ("flying", "walking") and self.role(1) in ("PREP", "PLACE")

    def _relate(self, subjects: list[int], predicate: str) -> None:
        thing = self._noun_phrase()
        self.relations.update((subject, predicate, thing) for subject in subjects)

    def _describe(self, subjects: list[int], words: list[str]) -> None:
        for at in subjects:
            old = self.mentions[at]
            self.mentions[at] = Mention(old.noun, tuple(sorted({*old.attributes, *words})), old.count, old.plural, old.negated)

    def _adjectives(self, before_noun: bool = False) -> list[str]:
        """Adjectives, with "and" or commas between them if another adjective follows."""
        words: list[str] = []
        while self.role() == "ADJ":
            words.append(self.take().value)
            if self.role() == "SEP" and self.role(1) == "ADJ" and (before_noun or self._more_adjectives()):
                self.take()
        return words

    def _more_adjectives(self) -> bool:
        """Whether the adjectives after a joint still describe the same thing, that is, have no noun of their own."""
        ahead = 1
        while self.role(ahead) == "ADJ":
            ahead += 1
        return self.role(ahead) != "NOUN"

    def _shirt_follows(self) -> bool:
        ahead = 0
        while self.role(ahead) in ("DET", "ADJ", "SEP", "NUM", "SOME"):
            ahead += 1
        return self.role(ahead) == "SHIRT"

    def _clothes(self) -> list[str]:
        while self.role() in ("DET", "SOME", "NUM"):
            self.take()
        words = self._adjectives()
        if self.role() == "SHIRT":
            self.take()
        if not words:
            raise self.fail("clothes without a colour or pattern")
        return words

    def _noun_phrase(self, negated: bool = False) -> int:
        """Reads "two small dogs" and returns its index among the mentions."""
        count: int | None = None
        some = False
        while self.role() in ("DET", "NUM", "SOME", "NO"):
            token = self.take()
            if token.role == "NUM":
                count = int(token.value)
            some = some or token.role == "SOME"
            negated = negated or token.role == "NO"
        words = self._adjectives(before_noun=True)
        if self.role() != "NOUN":
            raise self.fail("a noun is missing")
        noun = self.take()
        plural = not negated and count is None and (some or noun.plural)
        if negated and count is not None:
            raise self.fail("a number with a negated noun")
        self.mentions.append(Mention(noun.value, tuple(sorted(set(words))), count, plural, negated))
        self.last = len(self.mentions) - 1
        return self.last
