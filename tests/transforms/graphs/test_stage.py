"""Scene graphs: cases that sng-parser misses, spans, and the Arrow form."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.vocab import Vocab

from schemas.tables import GRAPHS
from transforms.engines.parsers.load import caption_parser
from transforms.graphs.stage import graph_batch, read_graphs
from transforms.scene_graph.extract import extract
from transforms.scene_graph.nodes import Graph
from transforms.scenes.language import captions
from transforms.scenes.layout import sample_scene


def graph(lines: str) -> Graph:
    """The graph of a dependency tree given as lines "word tag head dep [lemma]", heads numbered from 1."""
    rows = [line.split() for line in lines.strip().splitlines()]
    doc = Doc(
        Vocab(),
        words=[row[0] for row in rows],
        tags=[row[1] for row in rows],
        deps=[row[3] for row in rows],
        heads=[int(row[2]) - 1 if int(row[2]) else at for at, row in enumerate(rows)],
        lemmas=[row[4] if len(row) > 4 else row[0].lower() for row in rows],
    )
    found = extract(doc)
    check_spans(doc.text, found)
    return found


def check_spans(caption: str, found: Graph) -> None:
    """Asserts that every node's span covers its words, and that it refers to an existing object."""
    for node in (*found.objects, *found.attributes, *found.relations, *found.counts):
        assert 0 <= node.start < node.end <= len(caption)
        assert caption[node.start : node.end] == node.text
        assert node.lemma
    for thing in found.objects:
        assert thing.phrase_start <= thing.start and thing.end <= thing.phrase_end <= len(caption)
        assert thing.number in ("singular", "plural") and thing.head
    for attribute in found.attributes:
        assert 0 <= attribute.object < len(found.objects)
    for relation in found.relations:
        assert 0 <= relation.subject < len(found.objects) and 0 <= relation.object < len(found.objects)
        assert relation.subject != relation.object and relation.head
    for count in found.counts:
        assert 0 <= count.object < len(found.objects) and count.value >= 0


def test_a_preposition_before_its_adjective_does_not_form_a_phrase_with_it() -> None:
    found = graph("""
On IN 6 prep
a DT 3 det
beach NN 1 pobj
girls NNS 5 nsubj
are VBP 0 ROOT be
next JJ 5 acomp
to IN 6 prep
a DT 9 det
ball NN 7 pobj
""")
    assert found.triples() == {("girls", "next to", "ball")}


def test_a_phrasal_preposition_after_a_copula() -> None:
    found = graph("""
The DT 2 det
dog NN 3 nsubj
is VBZ 0 ROOT be
in IN 3 prep
front NN 4 pobj
of IN 5 prep
a DT 8 det
house NN 6 pobj""")
    assert found.triples() == {("dog", "in front of", "house")}
    assert [thing.lemma for thing in found.objects] == ["dog", "house"]
    assert found.relations[0].text == "in front of"


def test_predicate_adjectives_and_intransitive_verbs() -> None:
    found = graph("""
The DT 2 det
car NN 3 nsubj
is VBZ 0 ROOT be
red JJ 3 acomp
and CC 4 cc
white JJ 4 conj""")
    assert found.pairs() == {("car", "red"), ("car", "white")}
    found = graph("""
A DT 2 det
dog NN 0 ROOT
sleeping VBG 2 acl sleep""")
    assert found.pairs() == {("dog", "sleeping")} and not found.relations


def test_counts_measures_and_determiners() -> None:
    found = graph("""
A DT 2 det
group NN 0 ROOT
of IN 2 prep
two CD 5 nummod
dogs NNS 3 pobj dog""")
    assert [(thing.text, thing.count, thing.number) for thing in found.objects] == [("dogs", 2, "plural")]
    assert [(count.text, count.value) for count in found.counts] == [("two", 2)]
    assert found.pairs() == {("dog", "2"), ("dog", "group of")}
    several = graph("""
several JJ 2 amod
cats NNS 0 ROOT cat""")
    assert several.counts[0].value == 0 and not several.attributes


def test_pronouns_are_resolved_or_left_out() -> None:
    found = graph("""
A DT 2 det
cart NN 0 ROOT
with IN 2 prep
luggage NN 3 pobj
on IN 4 prep
it PRP 5 pobj""")
    assert found.triples() == {("cart", "with", "luggage"), ("luggage", "on", "cart")}
    alone = graph("""
it PRP 2 nsubj
runs VBZ 0 ROOT run""")
    assert not alone.objects


def test_passives_possession_and_places() -> None:
    found = graph("""
a DT 2 det
ball NN 0 ROOT
kicked VBN 2 acl kick
by IN 3 agent
a DT 6 det
boy NN 4 pobj""")
    assert found.triples() == {("boy", "kick", "ball")} and found.relations[0].voice == "inverse"
    found = graph("""
man NN 3 poss
's POS 1 case
hat NN 0 ROOT
on IN 3 prep
the DT 6 det
side NN 4 pobj
of IN 6 prep
a DT 9 det
road NN 7 pobj""")
    assert found.triples() == {("man", "have", "hat"), ("hat", "on side of", "road")}
    assert found.relations[1].text == "on the side of"


def test_conjuncts_share_and_compounds_stay_whole() -> None:
    found = graph("""
trees NNS 0 ROOT tree
and CC 1 cc
bushes NNS 1 conj bush
near IN 1 prep
a DT 7 det
fire NN 7 compound
hydrant NN 4 pobj""")
    assert {thing.lemma for thing in found.objects} == {"tree", "bush", "fire hydrant"}
    assert found.objects[2].head == "hydrant"
    metal = graph("""
a DT 3 det
metal NN 3 compound
fence NN 0 ROOT""")
    assert metal.pairs() == {("fence", "metal")} and metal.objects[0].text == "fence"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_spans_cover_their_words_on_scenes(index: int) -> None:
    texts = [caption.text for caption in captions(sample_scene(7, index), 7)]
    for text, found in zip(texts, caption_parser("embedded").parse(texts), strict=True):
        check_spans(text, found)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80))
def test_spans_cover_their_words_on_any_text(text: str) -> None:
    check_spans(text, caption_parser("embedded").parse([text])[0])


def test_spans_cover_their_words_on_photo_captions(shared_data: Path) -> None:
    path = shared_data / "coco_val2017" / "captions_val2017.json"
    if not path.exists():
        pytest.skip(f"{path} not found")
    texts = [note["caption"] for note in json.loads(path.read_text())["annotations"][:1500]]
    empty = 0
    for text, found in zip(texts, caption_parser("embedded").parse(texts), strict=True):
        check_spans(text, found)
        empty += not found.objects
    assert empty < 0.01 * len(texts)


def test_graphs_round_trip_through_arrow() -> None:
    texts = [caption.text for caption in captions(sample_scene(7, 3), 7)] + [""]
    graphs = caption_parser("embedded").parse(texts)
    batch = graph_batch(pa.array([str(at) for at in range(len(texts))]), graphs)
    assert batch.schema.equals(GRAPHS)
    batch.validate(full=True)
    assert list(read_graphs(batch)) == graphs
    assert list(read_graphs(batch.slice(1, 3))) == graphs[1:4]
    assert list(read_graphs(graph_batch(pa.array([], pa.string()), []))) == []
    with pytest.raises(ValueError, match="graphs for"):
        graph_batch(pa.array(["one"]), [])
