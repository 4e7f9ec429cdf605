"""Swaps: edits, morphology, guards, kinds."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.ids import counter_rng
from schemas.rejects import REASONS, Outcome, Reason
from tests.given import scene_pairs
from transforms.engines.parsers.load import caption_parser
from transforms.english.people import incompatible
from transforms.english.wordnet import lexicon
from transforms.graphs.vocabulary import prune, summarise
from transforms.swaps.context import ImageContext
from transforms.swaps.contrasts import alike, contrasting_attributes, exclusive_for, exclusive_verbs
from transforms.swaps.draft import Draft, Negative, is_title
from transforms.swaps.edits import apply_edits, undo_edits
from transforms.swaps.generate import negatives
from transforms.swaps.index import Index
from transforms.swaps.objects import likely_a_verb, swap_objects
from transforms.swaps.settings import KINDS, SwapSettings

ROWS = scene_pairs(150, seed=21)


@cache
def index() -> Index:
    graphs = caption_parser("embedded").parse([caption for _, caption in ROWS])
    return Index(prune(summarise([key for key, _ in ROWS], [caption for _, caption in ROWS], graphs), 2, 4000), lexicon())


def make(
    captions: list[str],
    labels: dict[str, int] | None = None,
    chosen: SwapSettings | None = None,
    seed: int = 1,
    shown: dict[str, set[str]] | None = None,
) -> tuple[list[list[Negative]], Counter]:
    """Negatives of each caption of one image, and the number of refusals by reason."""
    chosen = chosen or SwapSettings()
    graphs = caption_parser("embedded").parse(captions)
    context = ImageContext(index(), chosen, captions, graphs, labels, tuple(labels or ()), shown)
    refused: Counter = Counter()
    found = [
        negatives(caption, graph, index(), context, chosen, counter_rng(seed, "swaps", str(at)), lambda r, d: refused.update([r]))
        for at, (caption, graph) in enumerate(zip(captions, graphs, strict=True))
    ]
    return found, refused


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40), st.data())
def test_an_edit_undone_gives_the_caption(caption: str, data: st.DataObject) -> None:
    bounds = sorted(data.draw(st.lists(st.integers(0, len(caption)), max_size=8)))
    spans = list(zip(bounds[::2], bounds[1::2], strict=False))
    edits = [(start, end, data.draw(st.text(max_size=6))) for start, end in spans]
    changed = apply_edits(caption, edits)
    assert undo_edits(changed, edits, [caption[start:end] for start, end in spans]) == caption


def test_edits_that_overlap_are_refused() -> None:
    for edits in ([(0, 3, "x"), (2, 4, "y")], [(2, 1, "x")], [(0, 9, "x")], [(-1, 1, "x")]):
        with pytest.raises(ValueError, match="edit"):
            apply_edits("abcd", edits)


def test_nested_phrases_are_not_exchanged() -> None:
    caption, chosen = "a red ball on a blue box", SwapSettings(kinds=("order",))
    graph = caption_parser("embedded").parse([caption])[0]
    context = ImageContext(index(), chosen, [caption], [graph], None, ())

    def found() -> list[Negative]:
        return [one for one in negatives(caption, graph, index(), context, chosen, counter_rng(1, "swaps", "0")) if " on " in one.origin]

    assert [one.text for one in found()] == ["a blue box on a red ball"]
    box = next(index for index, thing in enumerate(graph.objects) if thing.head == "box")
    graph.objects[box] = graph.objects[box]._replace(phrase_start=0)
    assert found() == []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 149), st.integers(0, 5))
def test_every_negative_is_an_exact_edit_of_its_caption(image: int, seed: int) -> None:
    captions = [caption for key, caption in ROWS if key == f"{image:05d}"]
    found, _ = make(captions, seed=seed)
    for caption, own in zip(captions, found, strict=True):
        assert len({negative.text for negative in own}) == len(own)
        assert max(Counter(negative.kind for negative in own).values(), default=0) <= 20
        for negative in own:
            assert apply_edits(caption, negative.edits) == negative.text != caption
            assert undo_edits(negative.text, negative.edits, [caption[start:end] for start, end, _ in negative.edits]) == caption
            assert negative.text.lower().rstrip(".") not in {other.lower().rstrip(".") for other in captions}
            assert negative.text[:1].isupper() == caption[:1].isupper()
            assert "  " not in negative.text
            for wrong in (
                " a apple",
                " a elephant",
                " a orange",
                " a umbrella",
                " a airplane",
                " an dog",
                " an man",
                " an cat",
                " an bus",
            ):
                assert wrong not in negative.text.lower()
    assert make(captions, seed=seed)[0] == found


@pytest.mark.parametrize(
    ("caption", "others", "kind", "without"),
    [
        ("A girl is on the left of a dog.", ["Two people and a dog."], "relation", ["A girl and a dog."]),
        ("A girl is on the left of a dog.", ["A girl and a girl."], "relation", ["A girl and a man."]),
        ("A girl is on the left of a dog.", ["A girl is standing to the right of a dog."], "relation", ["A girl near a dog."]),
        ("A vehicle is on the left of a car.", [], "relation", None),
        ("A fruit is on the left of a dog.", ["An apple and a banana."], "relation", ["A banana near a dog."]),
        ("A vehicle is on the left of a dog.", ["Two cars."], "relation", ["A car."]),
        ("A toy is on the left of a dog.", ["A balloon and a toy."], "relation", ["A toy."]),
        ("A boat is on the left of a dog.", ["Two sailboats."], "relation", ["A sailboat."]),
        ("a red ball on a blue box", ["Two boxes."], "order", ["One box."]),
        ("A green sofa underneath a fruit is beneath a book.", [], "order", None),
    ],
)
def test_nothing_is_changed_that_may_be_true_of_another_one(caption: str, others: list[str], kind: str, without: list[str] | None) -> None:
    chosen = SwapSettings(kinds=(kind,))
    assert make([caption, *others], chosen=chosen)[0][0] == []
    assert without is None or make([caption, *without], chosen=chosen)[0][0] != []


def test_a_shirt_is_one_of_several_where_its_wearer_is() -> None:
    caption = "A girl is wearing a white shirt."
    assert make([caption, "Three girls."], chosen=SwapSettings(kinds=("attribute",)))[1][Reason.AMBIGUOUS] == 1
    assert make([caption, "A girl."], chosen=SwapSettings(kinds=("attribute",)))[1][Reason.AMBIGUOUS] == 0


def test_a_sailboat_is_a_boat() -> None:
    rows = [(str(at), caption) for at, caption in enumerate(["A sailboat and a dog.", "A boat near a dog.", "A boat and a sailboat."] * 3)]
    graphs = caption_parser("embedded").parse([caption for _, caption in rows])
    own = Index(prune(summarise([key for key, _ in rows], [caption for _, caption in rows], graphs), 2, 4000), lexicon())
    assert own.position["sailboat"] in own.related("boat")
    assert own.position["boat"] in own.related("sailboat")
    assert own.position["dog"] not in own.related("boat")


@pytest.mark.parametrize(
    ("caption", "denied"),
    [
        ("A kite is being flown above a tree.", "A kite is not being flown above a tree."),
        ("A boy is getting ready to kick a ball.", "A boy is not getting ready to kick a ball."),
        ("A red car has been parked near a tree.", "A red car has not been parked near a tree."),
        ("A girl is holding a kite.", "A girl is not holding a kite."),
    ],
)
def test_not_stands_before_the_whole_passive(caption: str, denied: str) -> None:
    found = make([caption], chosen=SwapSettings(kinds=("negation",)))[0][0]
    assert denied in [negative.text for negative in found]
    assert not any("being not" in negative.text or "been not" in negative.text for negative in found)


@pytest.mark.parametrize("caption", ["A man lays on a bed near a dog.", "A ball lies on a table."])
def test_a_finite_verb_that_is_taken_for_a_participle_is_not_denied_as_one(caption: str) -> None:
    found = make([caption], chosen=SwapSettings(kinds=("negation",)))[0][0]
    assert not any("not lays" in negative.text or "not lies" in negative.text for negative in found)


def test_every_kind_is_made() -> None:
    kinds: Counter = Counter()
    for image in range(60):
        for own in make([caption for key, caption in ROWS if key == f"{image:05d}"])[0]:
            kinds.update((negative.kind, negative.level) for negative in own)
    assert {kind for kind, _ in kinds} == set(KINDS)
    assert {("object", "word"), ("object", "phrase"), ("relation", "word"), ("attribute", "word")} <= set(kinds)


def test_guards_by_siblings_and_meaning() -> None:
    found, refused = make(["A dog next to a tree.", "A cat and a dog by a tree.", "An animal near a tree"])
    words = " ".join(negative.text.lower() for own in found for negative in own if negative.kind == "object")
    assert " cat " not in words.replace("A cat and", "") or "a cat next" not in words
    assert "pet" not in words.split() and "animal next" not in words
    assert refused[Reason.IN_SIBLING]


def test_guards_by_labels() -> None:
    free, _ = make(["A dog on a street."])
    horse = [negative for negative in free[0] if "horse" in negative.text]
    held, refused = make(["A dog on a street."], labels={"dog": 1, "horse": 1, "cat": 1})
    assert not [negative for negative in held[0] if "horse" in negative.text or "cat" in negative.text]
    assert refused[Reason.IN_LABELS] or not horse
    ambiguous, refused = make(["A brown dog on a street."], labels={"dog": 2})
    assert not [negative for negative in ambiguous[0] if negative.kind == "attribute"]
    assert refused[Reason.AMBIGUOUS]


def _attributes(caption: str, *others: str, shown: dict[str, set[str]] | None = None) -> set[str]:
    """The attributes that swaps put into the first caption of an image with one dog."""
    found, _ = make([caption, *others], labels={"dog": 1, "tree": 1}, shown=shown)
    return {negative.origin.partition(" > ")[2] for negative in found[0] if negative.kind == "attribute"}


def test_what_regions_show_is_refused_and_what_they_contradict_allowed() -> None:
    free = _attributes("A brown dog near a tree.")
    assert {"blue", "green"} <= free
    assert not _attributes("A brown dog near a tree.", shown={"dog": {"blue"}}) & {"blue", "green"}  # nor what blue may look like
    assert _attributes("A brown dog near a tree.", shown={"dog": {"brown"}}) == free
    assert _attributes("A brown dog near a tree.", shown={"tree": {"blue"}}) == free
    assert not _attributes("A small dog near a tree.")  # a matter of degree
    assert _attributes("A small dog near a tree.", shown={"dog": {"small"}}) & {"large", "big"}
    assert not _attributes("A small dog near a tree.", shown={"dog": {"large"}})
    assert not _attributes("A small dog near a tree.", shown={"tree": {"small"}})


def test_things_of_several_colours_keep_them() -> None:
    assert not _attributes("A brown and white dog near a tree.")
    assert not _attributes("A brown and white dog near a tree.", shown={"dog": {"brown"}})
    assert "blue" in _attributes("A brown and white dog near a tree.", "A white dog sits near a tree.")


@pytest.mark.parametrize(
    "caption, taken",
    [
        ("A double decker bus sits near a tree.", {"sits"}),
        ("A man in shorts skateboards down the street.", {"skateboards"}),
        ("A woman with an umbrella hat talks on her cell phone.", {"talks"}),
        ("A few dogs near a tree.", set()),
        ("A couple of dogs near two red cars.", set()),
        ("Dogs and cats sit near the chairs.", set()),
    ],
)
def test_verbs_taken_for_plurals_stay(caption: str, taken: set[str]) -> None:
    """If the parser takes none of them for a noun one day, the test says so by failing."""
    graph = caption_parser("embedded").parse([caption])[0]
    draft = Draft(caption, graph, index(), ImageContext(index(), SwapSettings(), [caption], [graph], None, ()), SwapSettings(),
                  counter_rng(1, "swaps", "0"), lambda reason, detail: None)  # fmt: skip
    plurals = {thing.text: node for node, thing in enumerate(graph.objects) if thing.number == "plural"}
    assert {text.split()[-1] for text, node in plurals.items() if likely_a_verb(draft, node)} == taken
    swap_objects(draft)
    assert all(text in negative.text for negative in draft.negatives for text in taken)


def test_counts_follow_labels() -> None:
    found, _ = make(["Two dogs on a street."], labels={"dog": 3})
    texts = [negative.text for negative in found[0] if negative.kind == "count"]
    assert texts and not any(text.startswith("Three") for text in texts)
    many, _ = make(["A boy with a dog"], labels={"dog": 1, "boy": 1})
    assert any("Two boys" in negative.text for negative in many[0])


def test_denied_things_are_left_alone() -> None:
    found, _ = make(["A man on a street without a dog."])
    assert not [negative for negative in found[0] if negative.edits[-1][0] > len("A man on a street") and negative.kind == "object"]
    assert not [negative for negative in found[0] if negative.kind == "negation"]


@pytest.mark.parametrize(
    "caption", ["A dog and a cat are not in the room", "A ball is absent from the table", "The cats are nowhere to be seen on the street"]
)
def test_what_is_said_not_to_be_there_is_left_alone(caption: str) -> None:
    assert make([caption])[0] == [[]]


def test_adjectives_are_exchanged_only_where_one_of_them_becomes_false() -> None:
    def exchanged(caption: str) -> set[str]:
        return {one.text for one in make([caption], chosen=SwapSettings(kinds=("order",)))[0][0] if one.level == "word"}

    assert exchanged("A brown seat near a green apple") == {"A green seat near a brown apple"}
    assert not exchanged("A small dog near a large cat")  # a matter of degree
    assert not exchanged("A black man near a red umbrella")  # skin


@pytest.mark.parametrize(
    "caption",
    [
        "The TV has a dog on it.",
        "1. Dogs sit on a red box.",
        "1) Dogs sit on a red box.",
        "“A dog sits on a box.”",
        "A man. Dogs sit on a red box.",
        "A Man in a Red Hat Rides a Horse on the Beach",
    ],
)
def test_letters_are_as_large_as_those_they_replace(caption: str) -> None:
    found = [negative.text for negative in make([caption])[0][0]]
    assert found and not any(re.search(r"(?:^|[.)] |“)[a-z]", text) for text in found)
    assert all(is_title(text) == is_title(caption) for text in found)
    assert {word for text in found for word in re.findall(r"[A-Z]{2,}", text)} <= {"TV"}


def test_what_goes_without_saying_is_never_put_in() -> None:
    """Nobody says that two men wear trousers: "two men wearing ties" must not become that, nor, as a true denial, its opposite."""
    own = index()
    usable = {name for position, name in enumerate(own.names) if own.usable[position]}
    assert {"shirt", "striped shirt", "bench"} <= set(own.names) and "bench" in usable and not usable & {"shirt", "striped shirt"}


def test_racquet_is_one_racquet() -> None:
    """Taggers, which know it from the plural, call it one; its swaps lacked the article."""
    graph = caption_parser("embedded").parse(["A woman holding tennis racquet on a court."])[0]
    assert {thing.number for thing in graph.objects} == {"singular"}
    sheep = caption_parser("embedded").parse(["Several sheep on a hill."])[0]
    assert sheep.objects[0].number == "plural"


def test_capitals_articles_and_number() -> None:
    found, _ = make(["DOGS ON A STREET", "An elephant in a field"])
    assert all(negative.text.isupper() for negative in found[0])
    for negative in found[1]:
        assert not negative.text.startswith("An d") and not negative.text.startswith("A e")


def test_contrasts() -> None:
    assert "blue" in contrasting_attributes("red") and "crimson" not in contrasting_attributes("red")
    assert "large" in contrasting_attributes("small") and "tiny" not in contrasting_attributes("small")
    assert "pink" not in contrasting_attributes("red") and contrasting_attributes("beautiful") == ()
    assert alike("tan", "black") and alike("silver", "white") and not alike("blue", "red") and not alike("gray", "old")
    assert exclusive_verbs("stand", "lie") and not exclusive_verbs("sit", "sit") and not exclusive_verbs("ride", "hold")
    assert exclusive_for("noun.person", "sit", "stand") and not exclusive_for("noun.animal", "sit", "stand")
    assert incompatible("man", "skateboarder") and incompatible("man", "person") and not incompatible("man", "woman")


def test_the_list_of_reasons_only_grows() -> None:
    swaps = {
        Reason.SYNONYM,
        Reason.HYPERNYM,
        Reason.HYPONYM,
        Reason.IN_SIBLING,
        Reason.IN_LABELS,
        Reason.LIKELY_TRUE,
        Reason.AMBIGUOUS,
    }
    assert {reason.outcome for reason in swaps} == {Outcome.DROPPED} and REASONS.index(Reason.EMPTY) == 0 and len(REASONS) < 128
