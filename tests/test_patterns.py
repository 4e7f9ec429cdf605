"""No regular expression of the project takes more than linear time on hostile text."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.patterns import why_not_linear

ROOT = Path(__file__).parents[1]
ROOMS = ("schemas", "transforms", "pipelines", "model")
ANYWHERE = {"search", "findall", "finditer", "sub", "subn", "split"}
CALLS = ANYWHERE | {"compile", "match", "fullmatch"}

# Modules with patterns that are only known when they run, or that never meet text from data.
NOT_ON_DATA = {
    "pipelines/job_servers/service.py": "the pattern is an argument: a line that a job server prints",
    "pipelines/location.py": "globs of the configuration, applied to names of files",
    "pipelines/readme.py": "this project's own documentation",
    "model/pretrained.py": "names of the tensors in a checkpoint, after a prefix from a closed list",
}

BUILT = {"transforms/ingest/clean.py": "_long_mark_runs"}  # by this function

SLOW = [
    r"(a+)+b", r"(a|a)*b", r"(a|aa)+$", r"(a*)*b", r"(x?y?)*z", r"(.*)(.*)x", r"\d+\d+x", r"\s+$", r"[\s.!?]*$", r"a.*b", r" +(?=x)", r"a(?=\w+)",
    r"\w+s['’]s\b", r"\b[\w.-]+@[\w-]+\.\w", r"</?[a-z][^>]*>", r"(?i)[a-z]+é", r"\n\s*\n", r"(.+?)(, .+|-by)", r"(?:[a-z]+ ?)+\.", rb"\s*\{.*\}",
    r"(?<=x)\s*y|[^a]*a", r"^(?:[ab]|b[^c])*c", r"(?s)(?<!b)a.*?b", r"[ \t]+\n",
]  # fmt: skip
FAST = [
    r"\w+", r"[a-z]+(?:'[a-z]+)*", r"^a.*$", r"(?m)^\d+$", r"(?<![^\W_])[^\W_]*n't", r"\.jpe?g$", r"\Aa[ \t]*b", r"\n(?:[^\S\n]*\n)+",
    r"\w[.-]*@[\w-]+\.\w", r"/(\d+)_[0-9a-f]+", r"(?:^|/)(\d{12})(?:\.[A-Za-z]+)?$", r"(?<!\w)\w+s['’]s\b", rb"[!-~]+(?: [!-~]+)*", r"(a|b)*",
]  # fmt: skip


@pytest.mark.parametrize("pattern", SLOW)
def test_slow_patterns_are_recognised(pattern: str | bytes) -> None:
    assert why_not_linear(pattern)


@pytest.mark.parametrize("pattern", FAST)
def test_fast_patterns_are_proved(pattern: str | bytes) -> None:
    assert why_not_linear(pattern) == ""


def test_matches_that_start_at_a_known_position_are_not_searched_for() -> None:
    assert why_not_linear(r"\s+x") and not why_not_linear(r"\s+x", 0, searched=False)


@cache
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))}


@cache
def methods() -> dict[str, set[str]]:
    """The methods called on each name, anywhere: `_WORDS.findall`."""
    found: dict[str, set[str]] = {}
    for tree in trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                found.setdefault(node.value.id, set()).add(node.attr)
    return found


def calls(tree: ast.Module) -> Iterator[tuple[ast.Call, str, str]]:
    """The calls of `re`, with the function and the name that a compiled pattern is assigned to ("" if none)."""
    names = {
        id(node.value): target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "re":
                yield node, node.func.attr, names.get(id(node), "")


def arguments(node: ast.Call, function: str, names: dict[str, Any]) -> tuple[Any, int]:
    """The pattern and flags of a call. Raises NameError if they are not constants."""
    flags = [*node.args[1:2], *(keyword.value for keyword in node.keywords)] if function == "compile" else []
    values = [eval(compile(ast.Expression(one), "", "eval"), names) for one in (node.args[0], *flags)]  # noqa: S307 - its own source
    return values[0], sum(values[1:])


def compiled(value: Any) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, tuple | list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from compiled(item)


def findings(path: Path) -> Iterator[str]:
    found = [*calls(trees()[path])]
    if not found:
        return
    where = path.relative_to(ROOT)
    module = importlib.import_module(".".join(where.with_suffix("").parts))
    groups = {name: [*compiled(value)] for name, value in vars(module).items() if not isinstance(value, re.Pattern)}
    for node, function, name in found:
        try:
            pattern, flags = arguments(node, function, vars(module))
        except NameError:
            if not any(groups.values()) and str(where) not in BUILT:
                yield f"{where}:{node.lineno}: the pattern is not a constant"
            continue
        searched = function in ANYWHERE or function == "compile" and (not name or bool(methods().get(name, ANYWHERE) & ANYWHERE))
        if why := why_not_linear(pattern, flags, searched):
            yield f"{where}:{node.lineno}: {pattern!r}: {why}"
    if str(where) in BUILT:
        groups["built"] = [getattr(module, BUILT[str(where)])()]
    for name, patterns in groups.items():  # compiled in comprehensions and functions
        for one in patterns:
            if why := why_not_linear(one.pattern, one.flags):
                yield f"{where}: {name}: {one.pattern!r}: {why}"


@pytest.mark.parametrize("room", ROOMS)
def test_every_pattern_takes_linear_time(room: str) -> None:
    paths = [path for path in trees() if path.is_relative_to(ROOT / room) and str(path.relative_to(ROOT)) not in NOT_ON_DATA]
    assert [line for path in paths for line in findings(path)] == []
