"""The page on training agrees with the code."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from model.ablate import AblationSettings, runs_of
from model.config import TrainSettings
from model.objectives import OBJECTIVES
from model.tasks import TASKS
from model.tasks.base import Task
from model.trials import READERS
from pipelines.config import load_config

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "training.md").read_text(encoding="utf-8")


def test_its_configurations_are_valid() -> None:
    first, second = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.S))
    settings = TrainSettings.model_validate(first)
    assert settings.objectives.cmcl and settings.data.mix == {"pairs": 5, "images": 1, "texts": 1}
    ablation = AblationSettings.model_validate(second)
    assert len(runs_of(ablation)) == 10


def test_it_tells_of_every_objective_with_its_settings_and_of_every_public_set() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    for name, kind in OBJECTIVES.items():
        row = next(row for row in rows if f"`{name}`" in row.split("|")[1])
        assert all(f"`{key}`" in row for key in kind.settings_type.model_fields if key != "weight"), name
    assert all(f"`{name}`" in PAGE for name in READERS)


def test_the_page_on_tasks_has_all_of_them_and_a_valid_configuration() -> None:
    page = (DOCS / "tasks.md").read_text(encoding="utf-8")
    settings = TrainSettings.model_validate(yaml.safe_load(re.findall(r"```yaml\n(.*?)```", page, re.S)[0]))
    assert settings.task == "sst2"
    assert {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")} == {"task", *TASKS}


def test_the_configurations_of_tasks_are_valid() -> None:
    paths = {path.stem: path for path in (DOCS.parent / "examples" / "tasks").glob("*.yaml")}
    assert load_config(str(paths.pop("vcr_corpus"))).pairs
    settings = {name: TrainSettings.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))) for name, path in paths.items()}
    stage = settings.pop("vcr_pretrain")
    assert stage.task == "pretrain" and stage.mixing == "one" and settings["vcr"].start == stage.output
    assert {name: own.task for name, own in settings.items()} == {name: name for name, kind in TASKS.items() if issubclass(kind, Task)}
