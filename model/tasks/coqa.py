"""CoQA (Reddy et al. 2019): answering a question of a conversation about a passage. Metric: the official F1, and exact match.

The source is the passage, then the questions and (true) answers so far, oldest first, then the question. Embeddings of roles (passage,
question, answer) and turns (how long ago) are added to those of words.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from model.batch import Stream
from model.heads import Network
from model.objectives.base import ObjectiveSettings
from model.tasks.base import Row
from model.tasks.generation import Generation, GenerationSettings
from model.tasks.published import read_json, text_of

PASSAGE, QUESTION, ANSWER = range(3)
_TURNS = 16  # turns that are told apart


class CoqaSettings(GenerationSettings):
    """CoQA."""

    history: int = Field(2, ge=0, lt=_TURNS, description="earlier questions, with their answers, that the source has")


class Coqa(Generation):
    """`coqa-SPLIT-v1.0.json`. On `dev`, questions have four answers."""

    name: ClassVar[str] = "coqa"
    streams: ClassVar[tuple[Stream, ...]] = ("texts",)
    settings_type: ClassVar[type[ObjectiveSettings]] = CoqaSettings
    files: ClassVar[dict[str, tuple[str, ...]]] = {split: (f"coqa-{split}-v1.0.json",) for split in ("train", "dev")}
    mark: ClassVar[tuple[int, ...]] = (ANSWER, 0)

    def read(self, split: str) -> Iterator[Row | str]:
        """The questions of a split."""
        for talk in read_json(self.urls(split)[0], ["data"])["data"]:
            held = talk if isinstance(talk, dict) else {}
            story, questions, answers = text_of(held, "story"), _turns(held, "questions"), _turns(held, "answers")
            more = held.get("additional_answers")
            others = [_turns(more, key) for key in sorted(more)] if isinstance(more, dict) else []
            given = held.get("questions")
            yield from ["its turn has no number of its own"] * (len(given) - len(questions) if isinstance(given, list) else 0)
            if not questions:
                yield "it has no questions"
            for turn, question in questions.items():
                answer = answers.get(turn)
                if not story or not question or not answer:
                    yield "it lacks story, question or answer"
                    continue
                before = (
                    [one for one in questions if one < turn and one in answers][-self.settings.history :] if self.settings.history else []
                )
                texts, marks = [story], [(PASSAGE, 0)]
                for one in before:
                    texts += [questions[one], answers[one]]
                    marks += [(QUESTION, turn - one), (ANSWER, turn - one)]
                said = tuple(given for own in (answers, *others) if (given := own.get(turn)))
                yield Row(
                    f"{split}:{held.get('id')}:{turn}",
                    (*texts, question),
                    said,
                    marks=(*((r, min(t, _TURNS - 1)) for r, t in marks), (QUESTION, 0)),
                )

    def examples(self, row: Row) -> Iterator[Row]:
        """Trained on is the first answer."""
        yield Row(row.name, row.texts, row.target[:1], marks=row.marks)

    def head(self, network: Network, labels: Sequence[str]) -> nn.Module:
        """Embeddings of roles and turns."""
        return nn.ModuleList([nn.Embedding(3, network.body.width), nn.Embedding(_TURNS, network.body.width)])

    def added(self, network: Network, marks: Tensor | None) -> Tensor | float:
        """The embeddings of role and turn."""
        assert isinstance(network.task, nn.ModuleList) and marks is not None
        roles, turns = network.task
        made: Tensor = roles(marks[..., 0]) + turns(marks[..., 1])
        return made

    def measure(self, found: np.ndarray, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float]:
        """F1 and exact match, averaged over the questions."""
        return {
            name: float(np.mean([against(answer, row.target, score) for answer, row in zip(found.tolist(), rows, strict=True)]))
            for name, score in (("f1", f1), ("exact", exact))
        }


def _turns(held: dict[str, Any], key: str) -> dict[int, str]:
    """Texts by number of turn, ascending."""
    found = held.get(key)
    turns = [one for one in found if isinstance(one, dict) and isinstance(one.get("turn_id"), int)] if isinstance(found, list) else []
    return {one["turn_id"]: text_of(one, "input_text") for one in sorted(turns, key=lambda one: one["turn_id"])}


def normalised(answer: str) -> str:
    """In lower case, without punctuation and articles (the official evaluation's)."""
    bare = "".join(letter for letter in answer.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def exact(answer: str, reference: str) -> float:
    """1 if two answers are the same once normalised."""
    return float(normalised(answer) == normalised(reference))


def f1(answer: str, reference: str) -> float:
    """F1 of the words of two answers; where either has none, whether both have none."""
    ours, theirs = normalised(answer).split(), normalised(reference).split()
    shared = (Counter(ours) & Counter(theirs)).total()
    return 2 * shared / (len(ours) + len(theirs)) if ours and theirs else float(ours == theirs)


def against(answer: str, references: Sequence[str], score: Callable[[str, str], float]) -> float:
    """The best score against the references; of several, the mean over leaving each out, so that people can be judged the same way."""
    if len(references) == 1:
        return score(answer, references[0])
    scores = [score(answer, one) for one in references]
    return sum(max(scores[:left] + scores[left + 1 :]) for left in range(len(scores))) / len(scores)
