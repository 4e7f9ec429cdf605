"""Translation errors that a parse reveals: verbs that disagree with their subjects or with coordinated verbs, prepositions without
an object, and non-words."""

from __future__ import annotations

from collections.abc import Iterator

from transforms.back_translation.texts import known
from transforms.english.morphology import INVARIANT, inflections, lemmas, plural
from transforms.english.wordnet import lexicon
from transforms.english.words import BE, COLOURS, FRAMES, MEASURES, NOUN_TAGS, NUMBERS, PLURAL_TAGS, VERB_TAGS
from transforms.scene_graph.tokens import Tokens

_SUBJECTS = ("nsubj", "nsubjpass", "nsubj:pass")
_AUXILIARIES = ("aux", "auxpass", "aux:pass", "cop")
_SINGULAR_VERBS = frozenset({"is", "has", "was"})
_PLURAL_VERBS = frozenset({"are", "have", "were"})
# Nouns that take either a singular or a plural verb: "a group are", "there is lots of".
_EITHER = frozenset((*MEASURES, "majority", "family", "audience", "band", "police", "rest", "half", "none", "most", "lots",
                     "staff", "class", "school", "range", "mix", "gathering", "party", "army", "pack", "swarm", "squad"))  # fmt: skip

_BE = {*BE, "being"}
# Nouns that do not take "a".
_MASS = frozenset("water sand grass snow mud dirt land cement hay luggage furniture traffic clothing skis pants jeans scissors shorts air "
                  "equipment bread rice weather scenery".split())  # fmt: skip
_COUNTS = frozenset({"few", "many", "couple", "dozen", "pair", "lot", "number", "variety"})  # "a" before a plural requires one of these
_PRONOUNS = ("thing", "one", "body")  # "something", tagged as nouns
# "leaning on under a wall": pairs of prepositions in which the first lacks its object.
_FIRST = frozenset("on at with of against into onto near".split())
_SECOND = frozenset("on in at with of under beside against near".split())


# Verbs of captions that taggers take for nouns: "two zebras graze", "a woman poses".
_MISTAKEN = frozenset(
    "sit sits stand stands pose poses graze grazes hang hangs lay lays lie lies ride rides walk walks look looks rest rests fly flies "
    "play plays eat eats hold holds wait waits swim swims sail sails travel travels lean leans run runs jump jumps set sets wear wears "
    "sleep sleeps talk talks watch watches gather gathers peer peers stare stares cross crosses pull pulls cut cuts".split()
)
_AFTER_VERB = frozenset({"IN", "DT", "RB", "RP", "TO", "PRP$", "CD"})
_CLAUSES = frozenset("that which who whose where while as and when but or".split())
_PICTURES = FRAMES | {"painting", "drawing", "statue", "sculpture"}


def faults(tokens: Tokens) -> set[str]:
    """All errors in a text, as the words concerned: "boys is", "holding and look", "on under", "carrowd"."""
    kinds = (_disagreements, _sums, _misjoined, _stranded, _counted, _unknown, _two_verbs, _couples, _pictures, _pronouns, _plurals)
    return {fault for find in kinds for fault in find(tokens)}


def _disagreements(tokens: Tokens) -> Iterator[str]:
    """Subject-verb disagreement: "boys is", "there are a man"."""
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
            yield f"{tokens.lower(subject)} {tokens.lower(verb)}"  # with "and", the tree may have attached one of several subjects
        if wanted == "plural" and found == "singular" and not any(tag in NOUN_TAGS for tag in tokens.tags[: min(subject, verb)]):
            yield f"{tokens.lower(subject)} {tokens.lower(verb)}"  # after another noun, that one may be the subject


def _sums(tokens: Tokens) -> Iterator[str]:
    """ "A man and a girl is standing"."""
    verb = next((at for at in range(tokens.size) if tokens.tags[at] in ("VBZ", "VBP", "VBD", "MD")), -1)
    joint = next((at for at in range(max(verb, 0)) if tokens.lower(at) == "and"), -1)
    plain = all(tokens.tags[at] in ("DT", "JJ", "CD", *NOUN_TAGS) for at in range(max(verb, 0)) if at != joint)
    if joint > 0 and plain and tokens.tags[joint + 1] in ("DT", "CD") and tokens.lower(verb) in _SINGULAR_VERBS:
        yield f"{tokens.lower(joint + 1)} ... {tokens.lower(verb)} after and"


def _finite(tokens: Tokens, head: int) -> int:
    """The token that carries a verb's number: its first auxiliary, or itself; -1 for none."""
    bearer = next((kid for kid in tokens.kids[head] if tokens.deps[kid] in _AUXILIARIES), head)
    return bearer if tokens.tags[bearer] in ("VBZ", "VBP", "VBD") else -1


def _number_of_verb(tokens: Tokens, verb: int) -> str:
    word, tag = tokens.lower(verb), tokens.tags[verb]
    if word in _SINGULAR_VERBS or tag == "VBZ":
        return "singular"
    return "plural" if word in _PLURAL_VERBS or tag == "VBP" else ""


def _number(tokens: Tokens, noun: int) -> str:
    """Singular, plural, or "" if either is possible."""
    tag, word = tokens.tags[noun], tokens.lower(noun)
    if word == "people":
        return "plural"
    if tag not in NOUN_TAGS or word in _EITHER or tokens.lemma(noun) in _EITHER or word in INVARIANT:
        return ""
    below = [kid for kid in tokens.kids[noun] if tokens.deps[kid] in ("conj", "nummod")]
    if any(NUMBERS.get(tokens.lower(kid), 0) > 1 and tokens.deps[kid] == "nummod" for kid in below):
        return "plural"  # "two giraffe"
    if tag in PLURAL_TAGS:
        return "plural"
    if below or word.endswith("s"):  # "there is a dog and a cat", "two sheep"; besides, the tagger is unreliable on plurals
        return "plural" if any(tokens.tags[kid] in PLURAL_TAGS for kid in below) else ""
    return "singular"


def _misjoined(tokens: Tokens) -> Iterator[str]:
    """Coordinated verbs in different forms: "holding a ball and look"."""
    for at in range(tokens.size):
        head = tokens.heads[at]
        if tokens.tags[at] in PLURAL_TAGS and tokens.deps[at] == "conj" and tokens.child(at, "dobj") >= 0:
            yield f"and {tokens.lower(at)}"  # "standing on a beach and flies a kite", parsed as insects
        if tokens.deps[at] != "conj" or tokens.lemma(head) == "be" or not any(tokens.lower(kid) == "and" for kid in tokens.kids[head]):
            continue
        own, above = ({tokens.deps[kid] for kid in tokens.kids[verb]} for verb in (at, head))
        tags = {tokens.tags[head], tokens.tags[at]}
        if "VBG" in tags and tags & {"VB", "VBP", "VBZ"} and not own & {*_SUBJECTS, *_AUXILIARIES} and not above & {*_AUXILIARIES}:
            yield f"{tokens.lower(head)} and {tokens.lower(at)}"


def _stranded(tokens: Tokens) -> Iterator[str]:
    """Pairs of words that cannot be adjacent: "on under", "to surfing", "is chases"."""
    for at in range(tokens.size - 1):
        if tokens.lower(at) in _BE:
            word, tag = tokens.lower(at + 1), tokens.tags[at + 1]
            bare = tag in ("VB", "VBP", "VBZ") or tag == "VBN" and word == tokens.lemma(at + 1)
            unfit = bare and word not in inflections(tokens.lemma(at + 1), "VBN")  # "being walk by", but not "being cut"
            if unfit or tag == "NN" and tokens.lower(at) == "being":
                yield f"{tokens.lower(at)} {word}"
        gerund = tokens.tags[at + 1] == "VBG" and tokens.lemma(at + 1) != tokens.lower(at + 1)  # not "swing"
        if tokens.lower(at) == "to" and gerund and tokens.lower(at - 1) not in ("next", "close", "up", "down"):
            yield f"to {tokens.lower(at + 1)}"
        if at + 2 < tokens.size and tokens.lemma(at) == "have" and tokens.lower(at + 2) == "by" and tokens.tags[at + 1] in ("VBN", "VBD"):
            yield f"{tokens.lower(at)} {tokens.lower(at + 1)} by"  # "has held by"
        if tokens.lower(at) in _FIRST and tokens.tags[at + 1] == "IN" and tokens.lower(at + 1) in _SECOND:
            yield f"{tokens.lower(at)} {tokens.lower(at + 1)}"


def _counted(tokens: Tokens) -> Iterator[str]:
    """ "a trees", "a water", with only adjectives in between: the tagger takes "leans" in "a cat leans" for a noun."""
    words, tags = [tokens.lower(at) for at in range(tokens.size)], [*tokens.tags, ""]
    for at in range(tokens.size - 1):
        if words[at] not in ("a", "an"):
            continue
        noun = next(
            (
                index
                for index in range(at + 1, tokens.size)
                if tags[index] != "JJ" and words[index] not in COLOURS or words[index] in _COUNTS
            ),
            at,
        )
        while tags[noun] in NOUN_TAGS and tags[noun + 1] == "NNS" and words[noun + 1] not in _MISTAKEN:
            noun += 1  # "a video games"
        word, after = words[noun], tags[noun + 1]
        several = tags[noun] in PLURAL_TAGS and (word.endswith("s") or tokens.lemma(noun) != word) and after not in (*NOUN_TAGS, "POS")
        mass = word in _MASS and tags[noun] == "NN" and after not in (*NOUN_TAGS, "VBN", "HYPH")
        if mass or several and word not in _COUNTS:
            yield f"a {word}"
        ends = after == "DT" if tags[noun] == "CC" else tags[noun] == "." or word in _BE
        if noun > at + 1 and ends and words[noun - 1] != "orange":
            yield f"a {words[noun - 1]} {word}"  # "a gray and a dog", "is a yellow."


def _unknown(tokens: Tokens) -> Iterator[str]:
    """Nouns, adjectives and verbs that are neither in the lexicon nor compounds of two words in it: misspellings, and names."""
    for at, tag in enumerate(tokens.tags):
        word = tokens.lower(at)
        if tag not in (*NOUN_TAGS, *VERB_TAGS, "JJ") or len(word) < 3 or not word[0].isalpha() or word.endswith(_PRONOUNS):
            continue
        if not known(word) and not known(tokens.lemma(at)) and not _made_of_two(word):
            yield word
        elif tag == "VBG" and word.endswith("ing") and not any(lexicon().knows(form, "v") for form in (word, *lemmas(word))):
            yield word  # "cuting"


def _made_of_two(word: str) -> bool:
    return any(
        lexicon().knows(word[:cut], "nva") and lexicon().knows(word[cut:].removesuffix("s"), "nva") for cut in range(3, len(word) - 2)
    )


def mistaken_verb(tokens: Tokens, start: int) -> int:
    """Index of the first verb from `start` on that directly follows a noun and looks finite, though it may be tagged as a noun, before any
    clause begins; -1 for none."""
    for at in range(start + 1, tokens.size - 1):
        if tokens.lower(at) in _CLAUSES:
            return -1
        finite = tokens.tags[at] in ("VBZ", "VBP") or tokens.lower(at) in _MISTAKEN and tokens.tags[at] not in ("VBG", "VBN")
        plural_before = tokens.lower(at - 1).endswith("s") and known(tokens.lower(at - 1))  # "bananas", taken for an adjective
        if finite and (tokens.tags[at - 1] in NOUN_TAGS or plural_before) and tokens.tags[at + 1] in _AFTER_VERB:
            return at
    return -1


def _two_verbs(tokens: Tokens) -> Iterator[str]:
    """ "There is a woman poses in a dress"."""
    start = next((at for at in range(tokens.size - 1) if tokens.tags[at] == "EX" and tokens.lower(at + 1) in ("is", "are")), -1)
    verb = mistaken_verb(tokens, start + 2) if start >= 0 else -1
    if verb >= 0:
        yield f"there {tokens.lower(start + 1)} ... {tokens.lower(verb)}"


def _couples(tokens: Tokens) -> Iterator[str]:
    """ "A couple of zebra stands"."""
    for start in range(tokens.size - 2):
        if (tokens.lower(start), tokens.lower(start + 1)) != ("couple", "of"):
            continue
        verb = next((at for at in range(start + 2, tokens.size) if tokens.tags[at] not in ("JJ", "CD", "DT", "NN")), tokens.size - 1)
        if tokens.tags[verb] == "NNS" and tokens.lower(verb) not in _MISTAKEN:
            verb += 1
        singular = tokens.tags[verb] == "VBZ" or tokens.tags[verb] == "NNS" and tokens.lower(verb) in _MISTAKEN
        if singular and tokens.tags[verb + 1 : verb + 2] and tokens.tags[verb + 1] in (*_AFTER_VERB, "VBG", "VBN", "JJ"):
            yield f"couple {tokens.lower(verb)}"


def _pictures(tokens: Tokens) -> Iterator[str]:
    """ "A painting of two men are"."""
    first = next((at for at in range(tokens.size) if tokens.tags[at] in NOUN_TAGS), -1)
    if first < 0 or tokens.lower(first) not in _PICTURES or first + 1 >= tokens.size or tokens.lower(first + 1) != "of":
        return
    for at in range(first + 2, tokens.size):
        if tokens.lower(at) in _CLAUSES - {"and", "or"}:
            return
        if tokens.lower(at) in ("are", "have") and tokens.tags[at] in ("VBP", "VBZ"):
            yield f"{tokens.lower(first)} {tokens.lower(at)}"


def _pronouns(tokens: Tokens) -> Iterator[str]:
    """ "A clock who is on the wall", "a toilet seated in a bathroom", "a dish sitting down"."""
    for at in range(1, tokens.size):
        noun = at - 2 if at > 1 and tokens.lower(at - 1) in ("is", "are") else at - 1
        down = tokens.lemma(at) == "sit" and at + 1 < tokens.size and tokens.lower(at + 1) == "down"
        if (down or tokens.lower(at) in ("who", "seated")) and tokens.tags[noun] in NOUN_TAGS and lexicon().lists(tokens.lemma(noun), "n"):
            if not any(lexicon().is_a(tokens.lemma(noun), above) for above in ("person", "people", "group")):
                yield f"{tokens.lower(noun)} {tokens.lower(at)}"


def _plurals(tokens: Tokens) -> Iterator[str]:
    """ "Two sheeps", "three mans"."""
    for at, tag in enumerate(tokens.tags):
        word = tokens.lower(at)
        if tag == "NNS" and word.endswith("s") and lexicon().lists(word[:-1], "n") and not lexicon().lists(word, "n"):
            if plural(word[:-1]) != word and (word[:-1] in INVARIANT or not plural(word[:-1]).endswith("s")):
                yield word
