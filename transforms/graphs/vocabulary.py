"""The vocabulary of a corpus: counts of objects, attributes and relations, and of their co-occurrences.

A corpus-wide stage: each partition counts its graphs, Beam sums the counts, one task prunes them and writes the `vocabulary`
table. Each row is a key of up to three words, and a count:

    image         "", "", ""             images
    object        lemma                  mentions
    object_form   lemma, number, form    mentions in this form, lower-cased
    determiner    lemma, class           singular mentions after a/an ("a"), none ("bare") or another determiner ("other")
    attribute     lemma, tag             mentions
    relation      lemma                  mentions, in the direction of the graph
    relation_form lemma, tag, form       mentions in this form (active voice only)
    has           attribute, object      mentions of that object with that attribute
    does          subject, relation      mentions of the relation with this subject
    suffers       relation, object       mentions of the relation with this object
    seen          lemma                  images whose captions name the object
    together      lemma, lemma           images whose captions name both (first < second)
    both_have     attribute, attribute   images where one object has both, in one caption or in several (first < second)
    both_do       relation, relation     images where the same two objects are in both relations (first < second)
    described     object, class          images where two captions give the object attributes of this class (a colour, say)
    disputed      object, class          those of them where one caption's attribute excludes another's

The kinds are stored data: renaming one would invalidate existing tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import VOCABULARY
from transforms.core.stage import Input, SummaryStage
from transforms.core.task import Task
from transforms.graphs.stage import read_graphs
from transforms.scene_graph.nodes import Graph
from transforms.swaps.contrasts import attribute_class, contrasting_attributes
from transforms.swaps.settings import SwapSettings

Key = tuple[str, str, str, str]
_ARTICLES = frozenset({"a", "an"})


def determiner_of(caption: str, phrase_start: int, start: int) -> str:
    """The determiner class of a noun phrase: "a", "bare" (no determiner) or "other"."""
    first = caption[phrase_start:start].split(" ", 1)[0].lower()
    if first in _ARTICLES:
        return "a"
    return "other" if first in _DETERMINERS else "bare"


_DETERMINERS = frozenset({
    "the", "his", "her", "its", "their", "this", "that", "these", "those", "some", "any", "each", "every", "another", "one",
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "several", "many", "both", "all", "no", "few", "my",
    "our", "your",
})  # fmt: skip


def count_graph(caption: str, graph: Graph, counts: Counter[Key]) -> None:
    """Adds one caption's mentions to `counts`."""
    objects = graph.objects
    for thing in objects:
        counts["object", thing.lemma, "", ""] += 1
        counts["object_form", thing.lemma, thing.number, thing.text.lower()] += 1
        if thing.number == "singular":
            counts["determiner", thing.lemma, determiner_of(caption, thing.phrase_start, thing.start), ""] += 1
    for attribute in graph.attributes:
        counts["attribute", attribute.lemma, attribute.tag, ""] += 1
        counts["has", attribute.lemma, objects[attribute.object].lemma, ""] += 1
    for relation in graph.relations:
        counts["relation", relation.lemma, "", ""] += 1
        if relation.voice == "active":
            counts["relation_form", relation.lemma, relation.tag, relation.text.lower()] += 1
        counts["does", objects[relation.subject].lemma, relation.lemma, ""] += 1
        counts["suffers", relation.lemma, objects[relation.object].lemma, ""] += 1


def count_image(graphs: Sequence[Graph], counts: Counter[Key]) -> None:
    """Adds one image's counts, over all of its captions, to `counts`."""
    counts["image", "", "", ""] += 1
    names = sorted({thing.lemma for graph in graphs for thing in graph.objects})
    counts.update(("seen", name, "", "") for name in names)
    counts.update(("together", first, second, "") for first, second in combinations(names, 2))
    properties: dict[str, set[str]] = {}
    described: dict[tuple[str, str], list[set[str]]] = {}
    links: dict[tuple[str, str], set[str]] = {}
    for graph in graphs:
        own: dict[tuple[str, str], set[str]] = {}
        for attribute in graph.attributes:
            name = graph.objects[attribute.object].lemma
            properties.setdefault(name, set()).add(attribute.lemma)
            own.setdefault((name, attribute_class(attribute.lemma)), set()).add(attribute.lemma)
        for key, words in own.items():
            described.setdefault(key, []).append(words)
        for relation in graph.relations:
            ends = graph.objects[relation.subject].lemma, graph.objects[relation.object].lemma
            links.setdefault(ends, set()).add(relation.lemma)
    for kind, sets in (("both_have", properties.values()), ("both_do", links.values())):
        for found in sets:
            counts.update((kind, first, second, "") for first, second in combinations(sorted(found), 2))
    for (name, kind), given in described.items():
        if len(given) > 1:
            counts["described", name, kind, ""] += 1
            counts["disputed", name, kind, ""] += any(_disputed(one, other) for one, other in combinations(given, 2))


def _disputed(given: set[str], others: set[str]) -> bool:
    """Whether one caption's attributes of an object exclude one that only another caption gives it."""
    return any(word not in others and not others.isdisjoint(contrasting_attributes(word)) for word in given)


def images_of(image_ids: Sequence[str], captions: Sequence[str], graphs: Sequence[Graph]) -> Iterator[list[tuple[str, Graph]]]:
    """Captions and graphs grouped by image; an image's rows must be adjacent."""
    rows = zip(image_ids, captions, graphs, strict=True)
    for _, group in groupby(rows, key=lambda row: row[0]):
        yield [(caption, graph) for _, caption, graph in group]


def summarise(image_ids: Sequence[str], captions: Sequence[str], graphs: Sequence[Graph]) -> Counter[Key]:
    """The counts of n captions; an image's captions must be adjacent."""
    counts: Counter[Key] = Counter()
    for group in images_of(image_ids, captions, graphs):
        for caption, graph in group:
            count_graph(caption, graph, counts)
        count_image([graph for _, graph in group], counts)
    return counts


def prune(counts: Mapping[Key, int], min_count: int, max_objects: int) -> dict[Key, int]:
    """The counts to keep: objects, attributes and relations with at least `min_count` mentions (only the `max_objects` most
    frequent objects), their forms and their co-occurrences."""
    ranked = sorted((-count, key[1]) for key, count in counts.items() if key[0] == "object" and count >= min_count)
    objects = {name for _, name in ranked[:max_objects]}
    totals: Counter[str] = Counter()
    for key, count in counts.items():
        if key[0] == "attribute":
            totals[key[1]] += count
    attributes = {name for name, count in totals.items() if count >= min_count}
    relations = {key[1] for key, count in counts.items() if key[0] == "relation" and count >= min_count}
    first = {
        "object": objects,
        "object_form": objects,
        "determiner": objects,
        "attribute": attributes,
        "relation": relations,
        "relation_form": relations,
        "has": attributes,
        "does": objects,
        "suffers": relations,
        "seen": objects,
        "together": objects,
        "both_have": attributes,
        "both_do": relations,
        "described": objects,
        "disputed": objects,
        "image": {""},
    }
    second = {
        "has": objects,
        "does": relations,
        "suffers": objects,
        "together": objects,
        "both_have": attributes,
        "both_do": relations,
    }
    return {key: count for key, count in counts.items() if key[1] in first[key[0]] and (key[0] not in second or key[2] in second[key[0]])}


def vocabulary_table(counts: Mapping[Key, int]) -> pa.Table:
    """The counts as a sorted table (schema VOCABULARY)."""
    rows = sorted(counts.items())
    columns = list(zip(*(key for key, _ in rows), strict=True)) if rows else [(), (), (), ()]
    arrays = [pa.array(column, pa.string()) for column in columns]
    return pa.Table.from_arrays([*arrays, pa.array([count for _, count in rows], pa.int64())], schema=VOCABULARY)


def read_vocabulary(table: pa.Table) -> dict[Key, int]:
    """The counts in a vocabulary table."""
    columns = [table[name].to_pylist() for name in VOCABULARY.names]
    return {(kind, first, second, third): count for kind, first, second, third, count in zip(*columns, strict=True)}


class CountVocabulary(SummaryStage[SwapSettings]):
    """Counts the graphs of the corpus into the `vocabulary` table.

    The memory that the swaps need for it grows with the square of the number of objects.
    """

    name = "vocabulary"
    revision = 2
    depends_on = ("min_count", "max_objects")
    reads = (Input("pairs", "pairs", "corpus"), Input("graphs", "graphs", "corpus"))
    writes = {"vocabulary": VOCABULARY}

    def summarise(self, task: Task) -> Counter[Key]:
        """The counts of one partition."""
        pairs, graphs = task.read("pairs", "pairs"), task.read("graphs", "graphs")
        pairs = aligned(pairs, graphs)
        return summarise(pairs["image_id"].to_pylist(), pairs["caption"].to_pylist(), list(read_graphs(graphs)))

    def combine(self, summaries: Sequence[Counter[Key]]) -> Counter[Key]:
        """Adds the counts to the first summary in place: a copy would duplicate the whole vocabulary for every partition."""
        total = summaries[0]
        for summary in summaries[1:]:
            total.update(summary)
        return total

    def process(self, task: Task, payload: Any) -> None:
        """Prunes the counts and writes the table."""
        kept = prune(payload or {}, self.params.min_count, self.params.max_objects)
        task.write("vocabulary", vocabulary_table(kept))
        task.extra["vocabulary"] = {kind: sum(key[0] == kind for key in kept) for kind in ("object", "relation")}


def aligned(pairs: pa.Table, graphs: pa.Table) -> pa.Table:
    """The pairs that have a graph; pairs and graphs are in the same order."""
    if pairs.num_rows == graphs.num_rows:
        return pairs
    return pairs.filter(pc.is_in(pairs["pair_id"], value_set=graphs["pair_id"].combine_chunks()))
