"""Caption parsers: turn captions into spaCy documents or scene graphs.

`embedded`            this package's model (`docs/model_cards/parser.md`) and rules
`spacy:NAME_OR_PATH`  any spaCy pipeline with tags, lemmas and ClearNLP-style dependencies, this package's rules
`hf:OWNER/NAME[@REVISION]`  the same, a model of the Hugging Face hub that `cmcl fetch` has fetched
`sng:NAME_OR_PATH`    the same pipelines (also "embedded"), the rules of sng-parser 0.1.0
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import spacy
from spacy.language import Language
from spacy.tokens import Doc

from schemas.manifest import fingerprint
from transforms.engines.models import FORM, PREFIX, fetched
from transforms.engines.registry import EngineError, folder_digest, loaded_once, require
from transforms.scene_graph import extract as rules
from transforms.scene_graph.nodes import Graph

EMBEDDED = Path(__file__).parent / "embedded"
BATCH = 256  # captions per batch of the network
_LABELS = frozenset({"dobj", "pobj", "prep", "nsubj"})
_COMMAND = "pip install SceneGraphParser==0.1.0"


class ParserError(EngineError):
    """An unavailable parser: the text says what is missing and which command provides it."""


class CaptionParser(Protocol):
    """The protocol of caption parsers."""

    @property
    def fingerprint(self) -> str:
        """A hash of the model and the rules: equal hashes give equal graphs."""

    def documents(self, captions: Sequence[str]) -> Iterable[Doc]:
        """One spaCy document per caption, in order."""

    def parse(self, captions: Sequence[str]) -> list[Graph]:
        """One scene graph per caption, in order; empty captions give empty graphs."""


def _model_path(name: str) -> str:
    return str(EMBEDDED) if name == "embedded" else name


def _local(spec: str) -> str:
    """A specification without a repository: that of the fetched model's folder in its place. Raises ParserError if it is absent."""
    return f"spacy:{fetched(spec.removeprefix(PREFIX), ParserError)}" if spec.startswith(PREFIX) else spec


def load_pipeline(name: str) -> Language:
    """Loads the spaCy pipeline from a package name, a folder, or "embedded".

    Raises ParserError if it is missing (with the command that provides it) or its labels are not ClearNLP's.
    """
    path = _model_path(name)
    try:
        nlp = spacy.load(path, exclude=["ner", "senter"])
    except OSError as error:
        if name == "embedded":
            raise ParserError(
                f"the embedded parser is missing ({EMBEDDED}): reinstall the package, or create it with "
                "`python -m transforms.engines.training.parser.make`"
            ) from error
        raise ParserError(
            f"spaCy pipeline {name!r} not found: name a folder, run `python -m spacy download {name}`, or use the parser `embedded`"
        ) from error
    except Exception as error:  # the files are read by many libraries, each with its own exceptions
        text = " ".join(str(error).split())[:300]
        raise ParserError(
            f"the spaCy pipeline {path!r} is damaged or has another version: {type(error).__name__}: {text}; install or create it again"
        ) from error
    if "parser" not in nlp.pipe_names:
        raise ParserError(f"the spaCy pipeline {name!r} has no dependency parser, only {nlp.pipe_names}")
    missing = _LABELS - set(nlp.get_pipe("parser").labels)
    if missing:
        raise ParserError(
            f"the spaCy pipeline {name!r} has no labels {sorted(missing)}: it must be trained with ClearNLP-style "
            "labels, like en_core_web_sm; Universal Dependencies are not supported"
        )
    return nlp


class SpacyParser:
    """spaCy's trees, this package's rules. The only state is the loaded pipeline."""

    rules = "cmcl"
    revision = 3  # of the rules; increase it when they give different graphs

    def __init__(self, name: str):
        self.name = name
        self.nlp = load_pipeline(name)

    @property
    def fingerprint(self) -> str:
        """A hash of the pipeline's weights and settings, spaCy's version and the rules' revision."""
        return _fingerprint(self.rules, self.name)

    def documents(self, captions: Sequence[str]) -> Iterator[Doc]:
        """One document per caption, parsed in batches."""
        return self.nlp.pipe(captions, batch_size=BATCH)

    def parse(self, captions: Sequence[str]) -> list[Graph]:
        """One graph per caption."""
        extract = rules.extract
        return [extract(doc) for doc in self.documents(captions)]


class SngParser(SpacyParser):
    """spaCy's trees, the rules of sng-parser as published; relations and attributes get the spans of their words.

    Raises ParserError if SceneGraphParser is not installed.
    """

    rules = "sng-0.1.0"

    def __init__(self, name: str):
        require("sng_parser", f"the parser sng:{name}", _COMMAND, ParserError)
        super().__init__(name)
        import sng_parser
        import sng_parser.backends  # fills the registry

        published = sng_parser.Parser._backend_registry["spacy"]
        self._published = published.__new__(published)  # its constructor would load the model again
        self._published.nlp = lambda doc: doc

    @property
    def fingerprint(self) -> str:
        """A hash of the pipeline and of the versions of spaCy and sng-parser."""
        return _fingerprint(self.rules, self.name)

    def published(self, caption: str) -> dict[str, Any]:
        """sng-parser's own output for one sentence, parsed by itself."""
        return dict(self._published.parse(self.nlp(caption)))

    def parse(self, captions: Sequence[str]) -> list[Graph]:
        """One graph per caption."""
        from transforms.scene_graph.sng import to_graph

        return [to_graph(doc, self._published.parse(doc)) for doc in self.documents(captions)]


def _fingerprint(engine: str, name: str) -> str:
    own = SpacyParser.revision if engine == SpacyParser.rules else version("SceneGraphParser")
    return fingerprint([engine, own, spacy.__version__, model_digest(name)])


def spec_fingerprint(spec: str) -> str:
    """The fingerprint of a spec's parser, without loading it. Raises ParserError as `check_spec` does."""
    check_spec(spec)
    engine, _, name = _local(spec).partition(":")
    return _fingerprint(SngParser.rules if engine == "sng" else SpacyParser.rules, name or spec)


@cache
def model_digest(name: str) -> str:
    """A hash of every file of a pipeline's folder."""
    path = Path(_model_path(name))
    if not path.is_dir():
        module: Any = importlib.import_module(name)
        path = Path(module.__file__).parent
    files = (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return folder_digest(path, [str(file.relative_to(path)) for file in files])


@loaded_once
def caption_parser(spec: str) -> SpacyParser:
    """The parser of a spec, loaded once per process.

    Raises ParserError if the spec is invalid, or a model or package is missing.
    """
    engine, _, name = _local(spec).partition(":")
    if spec == "embedded":
        return SpacyParser("embedded")
    if engine == "spacy" and name:
        return SpacyParser(name)
    if engine == "sng" and name:
        return SngParser(name)
    raise ParserError(f"parser {spec!r} is not one of: embedded, spacy:NAME_OR_PATH, sng:NAME_OR_PATH, {FORM}")


def check_spec(spec: str) -> None:
    """Raises ParserError if `spec` is invalid or its parser unavailable, without loading it."""
    spec = _local(spec)
    engine, _, name = spec.partition(":")
    if spec != "embedded" and (engine not in ("spacy", "sng") or not name):
        raise ParserError(f"parser {spec!r} is not one of: embedded, spacy:NAME_OR_PATH, sng:NAME_OR_PATH, {FORM}")
    if engine == "sng":
        require("sng_parser", f"the parser {spec}", _COMMAND, ParserError)
    path = _model_path(name or spec)
    installed = path.isidentifier() and importlib.util.find_spec(path) is not None
    if not installed and not (Path(path) / "meta.json").exists():
        raise ParserError(
            f"parser {spec!r}: spaCy pipeline {path!r} not found; name a folder, run "
            f"`python -m spacy download {path}`, or use the parser `embedded`"
        )
