"""Relations of a caption: verbs with their objects and prepositions, bare prepositions, possession."""

from __future__ import annotations

from transforms.english.words import (
    COPULAS,
    FRAMES,
    LIGHT_ADVERBS,
    NOUN_TAGS,
    PLACES,
    PRONOUNS,
    RELATION_ADVERBS,
    SUBJECT_PRONOUNS,
    VERB_TAGS,
)
from transforms.scene_graph.nodes import RelationNode
from transforms.scene_graph.nominals import Nominals, predicates

_LEFT_OUT = ("det", "poss", "predet", "amod", "advmod", "quantmod")


class Links:
    """Walks a document's verbs and prepositions and adds its relations to the graph of `nominals`."""

    __slots__ = ("nominals", "tokens", "graph", "subjects")

    def __init__(self, nominals: Nominals):
        self.nominals = nominals
        self.tokens = nominals.tokens
        self.graph = nominals.graph
        self.subjects: dict[int, tuple[list[int], bool]] = {}

    def run(self) -> None:
        """Adds all relations, in caption order."""
        tokens = self.tokens
        for index in range(tokens.size):
            tag = tokens.tags[index]
            if tag in VERB_TAGS:
                dep = tokens.deps[index]
                if dep not in ("aux", "auxpass", "amod", "compound", "prep"):
                    self._verb(index)
            elif tag in NOUN_TAGS:
                self._noun(index)
        self.graph.relations.sort(key=lambda relation: relation.start)

    # Subjects

    def _subjects(self, verb: int, depth: int = 0) -> tuple[list[int], bool]:
        """The subjects of a verb, and whether it is passive."""
        if verb in self.subjects:
            return self.subjects[verb]
        tokens, nominals = self.tokens, self.nominals
        deps, head = tokens.deps, tokens.heads[verb]
        dep = deps[verb]
        passive = (
            tokens.tags[verb] == "VBN"
            and (dep in ("acl", "ROOT", "advcl") or tokens.child(verb, "auxpass") >= 0)
            and tokens.child(verb, "dobj") < 0
            and tokens.child(verb, "aux") < 0
            or tokens.child(verb, "auxpass") >= 0
        )
        found: list[int] = []
        for kid in tokens.kids[verb]:
            if deps[kid] in ("nsubj", "nsubjpass"):
                passive = passive or deps[kid] == "nsubjpass"
                if tokens.lower(kid) in SUBJECT_PRONOUNS and dep == "relcl":
                    found = nominals.all_of(head)
                elif tokens.lower(kid) in PRONOUNS:
                    found = self._antecedent(kid, [])
                else:
                    found = nominals.all_of(kid)
            elif deps[kid] == "expl":
                attr = tokens.child(verb, "attr")
                found = nominals.all_of(attr) if attr >= 0 else []
        if not found and depth < 4 and tokens.child(verb, "nsubj") < 0:
            if dep in ("acl", "relcl"):
                # All of "trees and bushes growing on a lawn" are growing, whichever conjunct the clause is attached to.
                found = nominals.all_of(self._first_conjunct(head))
            elif dep in ("conj", "xcomp", "advcl", "ccomp", "dep", "pcomp") and head != verb:
                above = head if dep != "pcomp" else tokens.heads[head]
                if tokens.tags[above] in VERB_TAGS:
                    found = self._subjects(above, depth + 1)[0]
                    if dep in ("xcomp", "ccomp") and tokens.child(above, "dobj") >= 0:
                        found = nominals.all_of(tokens.child(above, "dobj"))
                elif tokens.tags[above] in NOUN_TAGS:
                    found = nominals.all_of(above)
        self.subjects[verb] = found, passive
        return found, passive

    def _first_conjunct(self, token: int) -> int:
        tokens = self.tokens
        while (
            tokens.deps[token] == "conj"
            and tokens.tags[tokens.heads[token]] in NOUN_TAGS
            and tokens.tags[token] in NOUN_TAGS
            and not any(tokens.deps[kid] in ("det", "nummod", "poss") for kid in tokens.kids[token])
        ):
            token = tokens.heads[token]
        return token

    def _antecedent(self, pronoun: int, subjects: list[int]) -> list[int]:
        number = PRONOUNS[self.tokens.lower(pronoun)]
        start = self.tokens.starts[pronoun]
        person = self.tokens.lower(pronoun) not in ("it", "itself", "they", "them", "themselves")
        for node, thing in enumerate(self.graph.objects):
            if thing.end > start:
                break
            if node not in subjects and thing.number == number and (not person or node == 0):
                return [node]
        return []

    # Verbs

    def _verb(self, verb: int) -> None:
        tokens, nominals = self.tokens, self.nominals
        deps, kids = tokens.deps, tokens.kids[verb]
        subjects, passive = self._subjects(verb)
        lemma = tokens.lemma(verb)
        if not subjects:
            return
        predicates(nominals, verb, subjects)
        direct = -1
        for kid in kids:
            dep = deps[kid]
            if dep == "dobj" or (dep == "attr" and lemma not in COPULAS and tokens.child(verb, "expl") < 0):
                direct = kid
                if tokens.lower(kid) not in SUBJECT_PRONOUNS:
                    last = self._particle(verb)
                    named = f"{lemma} {tokens.lower(last)}" if last != verb else lemma
                    self._add(subjects, self._things(kid, subjects), verb, last, named, "active")
        relative = (
            deps[verb] == "relcl"
            and tokens.heads[verb] != verb
            and direct < 0
            and not passive
            and nominals.resolve(tokens.heads[verb]) not in subjects
        )
        used = False
        for kid in kids:
            dep = deps[kid]
            if dep == "agent":
                target = tokens.child(kid, "pobj")
                if target >= 0:
                    self._add(self._things(target, subjects), subjects, verb, kid, lemma, "inverse")
            elif dep == "prep" or (dep == "prt" and direct < 0 and tokens.child(kid, "pobj") >= 0):
                used = self._preposition(verb, kid, subjects, passive, direct, relative and not used) or used
            elif dep in ("advmod", "acomp") and tokens.lower(kid) in RELATION_ADVERBS:
                inner = tokens.child_behind(kid, "prep")
                if inner >= 0:
                    self._preposition(verb, inner, subjects, passive, direct, False, kid)
            elif dep in ("acomp", "oprd") and lemma in COPULAS:
                for inner in tokens.kids[kid]:
                    if deps[inner] == "prep":
                        self._preposition(kid, inner, subjects, tokens.tags[kid] == "VBN", direct, False)
        if relative and not used and lemma not in COPULAS:
            self._add(subjects, nominals.all_of(tokens.heads[verb]), verb, self._particle(verb), lemma, "inverse")

    def _particle(self, verb: int) -> int:
        kid = self.tokens.child(verb, "prt")
        return kid if kid == verb + 1 else verb

    def _things(self, token: int, subjects: list[int]) -> list[int]:
        """The objects that a noun or pronoun denotes."""
        if self.tokens.lower(token) in PRONOUNS:
            return self._antecedent(token, subjects)
        return self.nominals.all_of(token)

    def _preposition(self, verb: int, prep: int, subjects: list[int], passive: bool, direct: int, relative: bool, adverb: int = -1) -> bool:
        """Handles a preposition below a verb; True if it has no noun of its own and takes that of the relative clause."""
        tokens = self.tokens
        lemma = tokens.lemma(verb)
        copula = lemma == "be"
        last, words, target = self._end_of(prep)
        if adverb >= 0 and tokens.lower(adverb) not in LIGHT_ADVERBS | {"away", "ahead"} or adverb >= 0 and prep == adverb + 1:
            words = f"{tokens.lower(adverb)} {words}"
        if target < 0:
            if relative:
                first = verb if self._adjacent(verb, prep) else prep
                self._add(subjects, self.nominals.all_of(tokens.heads[verb]), first, last, f"{lemma} {words}", "inverse")
            return relative
        things = self._things(target, subjects)
        first = adverb if adverb >= 0 else prep
        if words in ("during", "as", "like"):
            return False
        if copula or direct >= 0:
            owners = subjects
            if direct >= 0 and not copula and words in ("of", "with"):
                owners = self._things(direct, subjects) or subjects
            self._add(owners, things, first, last, words, "active")
        else:
            start = verb if self._adjacent(verb, first) else first
            named = f"{lemma} {words}"
            self._add(subjects, things, start, last, named, "passive" if passive else "active")
        return False

    def _adjacent(self, verb: int, other: int) -> bool:
        """Whether `other` follows `verb` with only light adverbs or particles in between."""
        return verb < other and all(
            self.tokens.lower(between) in LIGHT_ADVERBS or self.tokens.tags[between] == "RP" for between in range(verb + 1, other)
        )

    def _end_of(self, prep: int) -> tuple[int, str, int]:
        """The last token of a preposition, its words ("on side of") and the noun that it governs (-1: none)."""
        tokens = self.tokens
        words = [tokens.lower(prep)]
        last = prep
        if words == ["in"] and prep + 1 < tokens.size and tokens.lower(prep + 1) == "between" and tokens.child(prep, "prep") == prep + 1:
            words, last = ["between"], prep + 1
        while True:
            target = tokens.child(last, "pobj")
            if target < 0:
                inner = tokens.child_behind(last, "prep")
                if inner < 0 or len(words) > 4:
                    return last, " ".join(words), -1
                words.append(tokens.lower(inner))
                last = inner
                continue
            of = self.nominals.place_of.get(target, -1)
            if of < 0 or len(words) > 5:
                return last, " ".join(words), target
            words.append(tokens.lower(target))
            words.append("of")
            last = of

    # Nouns

    def _noun(self, noun: int) -> None:
        tokens, nominals = self.tokens, self.nominals
        deps = tokens.deps
        if noun in nominals.place_of:
            return
        owner = self._first_conjunct(noun) if tokens.kids[noun] else noun
        for kid in tokens.kids[noun]:
            dep = deps[kid]
            if dep == "prep" and kid > noun:
                self._noun_preposition(noun, owner, kid, -1)
            elif dep == "poss":
                self._possessor(noun, kid)
            elif dep in ("advmod", "amod", "acl") and kid > noun and tokens.lower(kid) in RELATION_ADVERBS:
                inner = tokens.child_behind(kid, "prep")
                if inner >= 0:
                    self._noun_preposition(noun, owner, inner, kid)
            elif dep == "amod" and kid > noun:
                inner = tokens.child_behind(kid, "prep")
                if inner >= 0:
                    self._preposition(kid, inner, nominals.all_of(owner), tokens.tags[kid] == "VBN", -1, False)

    def _noun_preposition(self, noun: int, owner: int, prep: int, adverb: int) -> None:
        tokens, nominals = self.tokens, self.nominals
        last, words, target = self._end_of(prep)
        if target < 0:
            return
        if tokens.lower(target) in PRONOUNS:
            self._back(noun, prep, last, words, target)
            return
        first = adverb if adverb >= 0 else prep
        if adverb >= 0:
            words = f"{tokens.lower(adverb)} {words}"
        if noun in nominals.stands_for and words == "of":
            return
        if tokens.lemma(noun) in FRAMES and words == "of":
            return
        subjects = nominals.all_of(owner) if owner != noun or noun not in nominals.conjuncts else [nominals.resolve(noun)]
        if words != "of":
            things = self._things(target, subjects)
            self._add(subjects, things, first, last, words, "active")
        else:
            things = nominals.all_of(target)
            if tokens.lemma(noun) in (
                "plate",
                "bowl",
                "cup",
                "glass",
                "basket",
                "box",
                "bag",
                "tray",
                "slice",
                "jar",
                "vase",
                "pot",
            ):
                self._add(things, subjects, first, last, "in" if tokens.lemma(noun) not in ("plate", "tray") else "on", "inverse")
            else:
                self._add(things, subjects, first, last, "have", "inverse")

    def _back(self, noun: int, prep: int, last: int, words: str, pronoun: int) -> None:
        """ "A cart with luggage on it": the luggage is on the cart, wherever the preposition is attached in the tree."""
        found = self._antecedent(pronoun, [])
        own = [self.nominals.resolve(noun)]
        if found == own:
            before = [node for node, thing in enumerate(self.graph.objects) if thing.end <= self.tokens.starts[prep]]
            own = before[-1:]
        self._add(own, found, prep, last, words, "active")

    def _possessor(self, noun: int, owner: int) -> None:
        tokens, nominals = self.tokens, self.nominals
        if tokens.tags[owner] in NOUN_TAGS:
            mark = tokens.child(owner, "case")
            if mark >= 0 and tokens.lemma(noun) not in PLACES:
                self._add(nominals.all_of(owner), [nominals.resolve(noun)], mark, mark, "have", "active")

    def _add(self, subjects: list[int], things: list[int], first: int, last: int, lemma: str, voice: str) -> None:
        tokens = self.tokens
        start, end = tokens.starts[first], tokens.ends[last]
        tag = tokens.tags[first]
        text, head = tokens.text[start:end], tokens.lemma(first)
        number = "singular" if tag == "VBZ" else "plural" if tag == "VBP" else ""
        for subject in subjects:
            for thing in things:
                if subject >= 0 and thing >= 0 and subject != thing:
                    self.graph.relations.append(RelationNode(subject, thing, text, lemma, start, end, number, head, tag, voice))
