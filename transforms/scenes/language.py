"""Captions of a scene: five sentences that are true of it, each with the graph of its claims.

A sentence and its graph are built in parallel, mention by mention in word order, so that parsing the text yields the same graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from transforms.scenes.graph import CaptionGraph, Mention
from transforms.scenes.layout import Scene, SceneObject
from transforms.scenes.lexicon import HEIGHT_WORDS, PLACE_PHRASES, PREPOSITIONS, SINGULAR_LEADS, SIZE_WORDS, VERBS, plural_lead
from transforms.scenes.parser import LanguageError, parse
from transforms.scenes.rng import Rng
from transforms.scenes.truth import TRUE, facts, judge, matches, relation_grade
from transforms.scenes.world import (
    ACTIONS,
    ANIMALS,
    BACKDROPS,
    EXTENSION,
    KINDS,
    NOUNS,
    NUMBERS,
    PEOPLE,
    SPATIAL,
    SPOKEN_SYNONYMS,
    article,
    clothed,
)  # fmt: skip

__all__ = ["Caption", "LanguageError", "captions", "parse"]
STAGE = "scenes.captions"
CAPTIONS = 5
Fact = tuple[int, str, int]


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence and the graph of its claims."""

    text: str
    graph: CaptionGraph

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"text": self.text, "graph": self.graph.to_json()}


def captions(scene: Scene, seed: int) -> list[Caption]:
    """Five captions, all true of the scene, all with different words and different claims.

    Raises RuntimeError if there are not that many, which has not been observed for any sampled scene.
    """
    rng = Rng(seed, STAGE, f"{scene.seed}.{scene.index}")
    known = facts(scene)
    actions = rng.shuffled([fact for fact in known if fact[1] in ACTIONS])
    spatial = _varied(rng.shuffled([fact for fact in known if fact[1] in SPATIAL]))
    out: list[Caption] = []
    seen: set[CaptionGraph] = set()
    plans = _plans(rng, bool(actions), bool(spatial))
    for attempt in range(60):
        plan = plans[len(out)] if attempt < 12 else rng.pick((_listing, _counting, _traits))
        draft = _Draft(scene, rng)
        text = plan(draft, actions, spatial)
        if text is None:
            plans[len(out)] = rng.pick((_listing, _counting, _traits))
            continue
        graph = draft.graph()
        # Checked again on the finished graph: a phrase may claim more in context than its parts do alone.
        if graph not in seen and judge(graph, scene) == "true":
            seen.add(graph)
            out.append(Caption(text[0].upper() + text[1:] + ("." if rng.chance(0.85) else ""), graph))
            if len(out) == CAPTIONS:
                return out
    raise RuntimeError(f"scene {scene.seed}.{scene.index} has fewer than {CAPTIONS} captions")


def _varied(known: list[Fact]) -> list[Fact]:
    """The facts reordered so that every predicate comes once before any is repeated; left and right count as one."""
    turns: dict[str, int] = {}
    keyed = []
    for fact in known:
        name = "beside" if fact[1] in ("left of", "right of") else fact[1]
        turns[name] = turns.get(name, 0) + 1
        keyed.append((turns[name], fact))
    return [fact for _, fact in sorted(keyed, key=lambda pair: pair[0])]


class _Draft:
    """A caption under construction."""

    def __init__(self, scene: Scene, rng: Rng) -> None:
        self.scene, self.rng = scene, rng
        self.mentions: list[Mention] = []
        self.relations: set[Fact] = set()
        self.places: list[str] = []

    def graph(self) -> CaptionGraph:
        """The claims so far."""
        return CaptionGraph(tuple(self.mentions), tuple(sorted(self.relations)), tuple(sorted(set(self.places))))

    def add(self, mention: Mention) -> int:
        """Adds a mention; returns its index."""
        self.mentions.append(mention)
        return len(self.mentions) - 1

    def thing(self, index: int, plain: bool = False) -> tuple[int, str]:
        """Mentions one object of the scene as "a small dog"; returns the mention's index and the words."""
        item, rng = self.scene.objects[index], self.rng
        over = KINDS[item.kind].over
        noun = rng.pick(over) if over and rng.chance(0.12) else item.kind
        words = [] if plain else _some_attributes(rng, item)
        spoken = _spoken(rng, noun)
        text = _described(rng, noun, spoken[0], words, plural=False)
        count = None
        if rng.chance(0.04) and sum(matches(Mention(noun, tuple(sorted(words))), other) > 0 for other in self.scene.objects) == 1:
            count, text = 1, f"one {text}"
        else:
            text = f"{article(text)} {text}"
        return self.add(Mention(noun, tuple(sorted(words)), count)), text

    def place(self) -> str:
        """A phrase for the scene's location, recorded as a claim."""
        place = self.rng.pick(BACKDROPS[self.scene.backdrop].says)
        self.places.append(place)
        return self.rng.pick(PLACE_PHRASES[place])

    def placed(self, text: str, chance: float) -> str:
        """The text, possibly with the location before or after it."""
        if not self.rng.chance(chance):
            return text
        where = self.place()
        return f"{where}, {text}" if self.rng.chance(0.25) else f"{text} {where}"

    def lead(self, text: str, many: bool) -> str:
        """The text, preceded by an opening such as "there is"."""
        lead = self.rng.pick(SINGULAR_LEADS)
        return f"{plural_lead(lead) if many else lead} {text}"


def _some_attributes(rng: Rng, item: SceneObject) -> list[str]:
    words = []
    if item.pattern != "plain" and rng.chance(0.6):
        words.append(item.pattern)
    if item.size != "medium" and rng.chance(0.4):
        words.append(item.size)
    if rng.chance(0.6) and item.pattern != "wooden" or item.pattern == "wooden" and rng.chance(0.2):
        words.append(item.colour)
    return words


def _spoken(rng: Rng, noun: str) -> tuple[str, str]:
    synonyms = SPOKEN_SYNONYMS.get(noun, ())
    return rng.pick(synonyms) if synonyms and rng.chance(0.35) else (noun, NOUNS[noun])


def _described(rng: Rng, noun: str, word: str, attributes: Sequence[str], plural: bool) -> str:
    """The noun with its attributes before it, or for people after it, as clothes."""
    sizes = [word for word in attributes if word in SIZE_WORDS]
    looks = [word for word in attributes if word not in SIZE_WORDS]
    if len(looks) == 2 and (looks[0] == "wooden" or rng.chance(0.5)):
        looks.reverse()
    size = ""
    if sizes:
        upright = clothed(noun) or noun == "tree"
        size = (HEIGHT_WORDS[sizes[0]] if upright else rng.pick(SIZE_WORDS[sizes[0]])) + " "
    if not clothed(noun):
        return size + "".join(look + " " for look in looks) + word
    if not looks:
        return size + word
    opening = rng.pick(("in", "in", "wearing"))
    if len(looks) == 1 and looks[0] not in ("striped", "spotted", "checkered") and opening == "in" and rng.chance(0.5):
        return f"{size}{word} in {looks[0]}"
    clothes = " ".join(looks)
    return f"{size}{word} {opening} {clothes} shirts" if plural else f"{size}{word} {opening} {article(clothes)} {clothes} shirt"


def _plans(rng: Rng, acting: bool, spatial: bool) -> list[Callable[..., str | None]]:
    """The kinds of sentence to try, one per caption."""
    first: Callable[..., str | None] = _acting if acting else _standing
    rest: list[Callable[..., str | None]] = [
        _standing if spatial else _listing,
        rng.pick((_double, _double, _listing)),
        rng.pick((_counting, _counting, _listing)),
        rng.weighted((_traits, _absence, _acting if acting else _listing, _standing), (4, 2, 3, 2)),
    ]
    return rng.shuffled([first, *rest])


def _clause(draft: _Draft, fact: Fact, finite: bool) -> str:
    """A relation in words: a sentence if `finite` ("a boy is holding a ball"), else a phrase ("a boy holding a ball")."""
    rng, (subject, predicate, thing) = draft.rng, fact
    if predicate in VERBS:
        ing, he, _, by = rng.pick(VERBS[predicate])
        if by and rng.chance(0.22):
            second, target = draft.thing(thing)
            first, doer = draft.thing(subject)
            draft.relations.add((first, predicate, second))
            return f"{target} {'is ' if finite else rng.pick(('', 'being '))}{by} {doer}"
        link = (
            rng.pick((f"is {ing}", f"is {ing}", he))
            if finite
            else rng.pick((ing, ing, f"who is {ing}" if _human(draft, subject) else f"that is {ing}"))
        )
    else:
        words = rng.pick(PREPOSITIONS[predicate])
        posture = _posture(rng, draft.scene.objects[subject], predicate)
        link = f"{'is ' if finite else ''}{posture}{words}"
    first, doer = draft.thing(subject)
    second, target = draft.thing(thing)
    draft.relations.add((first, predicate, second))
    return f"{doer} {link} {target}"


def _human(draft: _Draft, index: int) -> bool:
    return draft.scene.objects[index].kind in PEOPLE


def _posture(rng: Rng, item: SceneObject, predicate: str) -> str:
    if predicate not in ("left of", "right of", "behind", "in front of", "next to") or not rng.chance(0.25):
        return ""
    if item.kind in ("car", "bus", "truck"):
        return "parked "
    idle = item.pose == "stand" and not item.airborne and (item.kind in PEOPLE or item.kind in ANIMALS)
    return "standing " if idle and item.kind != "duck" else ""


def _acting(draft: _Draft, actions: list[Fact], spatial: list[Fact]) -> str | None:
    """A sentence about an action."""
    return _single(draft, actions)


def _standing(draft: _Draft, actions: list[Fact], spatial: list[Fact]) -> str | None:
    """A sentence about a spatial relation."""
    return _single(draft, spatial)


def _single(draft: _Draft, known: list[Fact]) -> str | None:
    if not known:
        return None
    known.append(known.pop(0))  # the next caption uses another
    if draft.rng.chance(0.55):
        return draft.placed(_clause(draft, known[-1], finite=True), 0.25)
    text = _clause(draft, known[-1], finite=False)
    return draft.placed(draft.lead(text, False) if draft.rng.chance(0.5) else text, 0.3)


def _double(draft: _Draft, actions: list[Fact], spatial: list[Fact]) -> str | None:
    """A sentence with two relations: of one subject, or of different subjects."""
    rng = draft.rng
    known = actions + spatial
    if len(known) < 2:
        return None
    one = rng.pick(actions) if actions and rng.chance(0.7) else rng.pick(known)
    shared = [fact for fact in known if fact[0] == one[0] and fact[2] != one[2]]
    if shared and rng.chance(0.6):
        other = rng.pick(shared)
        first, doer = draft.thing(one[0])
        second, target = draft.thing(one[2])
        third, also = draft.thing(other[2])
        draft.relations |= {(first, one[1], second), (first, other[1], third)}
        ways = [_bare(rng, one[1]), _bare(rng, other[1])]
        if rng.chance(0.5):
            return f"{doer} {ways[0]} {target} is {ways[1]} {also}"
        return f"{doer} is {ways[0]} {target} and {rng.pick(('', 'is '))}{ways[1]} {also}"
    apart = [fact for fact in known if not {fact[0], fact[2]} & {one[0], one[2]}]
    if not apart:
        return None
    other = rng.pick(apart)
    return f"{_clause(draft, one, True)}{rng.pick((' and ', ', and ', ' while '))}{_clause(draft, other, True)}"


def _bare(rng: Rng, predicate: str) -> str:
    return rng.pick(VERBS[predicate])[0] if predicate in VERBS else rng.pick(PREPOSITIONS[predicate])


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _listing(draft: _Draft, actions: list[Fact], spatial: list[Fact]) -> str | None:
    """A list of two to four things."""
    rng = draft.rng
    everything = range(len(draft.scene.objects))
    chosen = rng.shuffled(everything)[: 2 + rng.below(min(3, len(everything) - 1))]
    parts = [draft.thing(index)[1] for index in chosen]
    text = f"{parts[0]} with {parts[1]}" if len(parts) == 2 and rng.chance(0.2) else _join(parts)
    if rng.chance(0.35):
        # "there is a dog and a cat": the verb agrees with the first noun.
        return draft.placed(draft.lead(text, False), 0.5)
    return f"{text} {draft.place()}" if rng.chance(0.7) else text


def _group(draft: _Draft) -> tuple[list[int], str] | None:
    """Mentions all objects that match a description, at least two, by their number or as a bare plural."""
    rng, scene = draft.rng, draft.scene
    nouns = [noun for noun in NOUNS if sum(item.kind in EXTENSION[noun] for item in scene.objects) >= 2]
    if not nouns:
        return None
    noun = rng.pick(nouns)
    members = [item for item in scene.objects if item.kind in EXTENSION[noun]]
    words: tuple[str, ...] = ()
    alike = sorted({word for item in members for word in item.attributes if sum(word in other.attributes for other in members) >= 2})
    alike = [word for word in alike if word not in SIZE_WORDS or all(item.size != "medium" for item in members)]
    if alike and rng.chance(0.6):
        words = (rng.pick(alike),)
        members = [item for item in members if words[0] in item.attributes]
    text = _described(rng, noun, _spoken(rng, noun)[1], words, plural=True)
    if rng.chance(0.3):
        draft.add(Mention(noun, words, None, plural=True))
        return [item.index for item in members], f"{rng.pick(('some', 'some', 'several'))} {text}"
    draft.add(Mention(noun, words, len(members)))
    return [item.index for item in members], f"{NUMBERS[len(members)]} {text}"


def _counting(draft: _Draft, actions: list[Fact], spatial: list[Fact]) -> str | None:
    """A sentence that counts something, possibly with their common location or with something else."""
    rng, scene = draft.rng, draft.scene
    group = _group(draft)
    if group is None:
        return None
    members, text = group
    others = [item.index for item in scene.objects if item.index not in members]
    holds = [
        (predicate, other) for predicate in SPATIAL for other in others
        if all(relation_grade(scene, member, predicate, other) == TRUE for member in members)
    ] if rng.chance(0.6) else []  # fmt: skip
    if holds:
        predicate, other = rng.pick(holds)
        target, words = draft.thing(other)
        draft.relations.add((0, predicate, target))
        return f"{text} {rng.pick(('are ', ''))}{rng.pick(PREPOSITIONS[predicate])} {words}"
    if others and rng.chance(0.5):
        text = f"{text} and {draft.thing(rng.pick(others))[1]}"
    if rng.chance(0.5):
        return draft.placed(draft.lead(text, True), 0.4)
    return f"{text} {draft.place()}" if rng.chance(0.7) else text


def _traits(draft: _Draft, actions: list[Fact], spatial: list[Fact]) -> str | None:
    """A description of one or two things: "the dog is brown and the ball is striped"."""
    rng = draft.rng
    chosen = rng.shuffled([item for item in draft.scene.objects if item.attributes])[: 1 + rng.below(2)]
    parts = []
    for item in chosen:
        words = [rng.pick(sorted(item.attributes))]
        spoken = _spoken(rng, item.kind)[0]
        word = SIZE_WORDS[words[0]][1] if words[0] in SIZE_WORDS else words[0]
        draft.add(Mention(item.kind, tuple(words)))
        if item.kind in PEOPLE:
            word = HEIGHT_WORDS[words[0]] if words[0] in HEIGHT_WORDS else f"wearing {article(word)} {word} shirt"
        parts.append(f"{rng.pick(('the', article(spoken)))} {spoken} is {word}")
    return draft.placed(" and ".join(parts), 0.15)


def _absence(draft: _Draft, actions: list[Fact], spatial: list[Fact]) -> str | None:
    """A sentence about one thing that is there and one that is not."""
    rng, scene = draft.rng, draft.scene
    _, text = draft.thing(rng.below(len(scene.objects)))
    absent = [kind for kind in KINDS if not any(item.kind in EXTENSION[kind] for item in scene.objects)]
    near = [kind for kind in absent if scene.backdrop in KINDS[kind].places] or absent
    noun = rng.pick(near)
    one, many = _spoken(rng, noun)
    draft.add(Mention(noun, negated=True))
    way = rng.pick((f"but no {one}", f"and no {many}", f"without {article(one)} {one}", f"without any {many}"))
    return draft.placed(draft.lead(f"{text} {way}", False), 0.3)
