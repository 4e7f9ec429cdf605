"""The README says what the code does."""

import re
from pathlib import Path

import yaml

from pipelines.config import Config, parse_config
from schemas.tables import SCHEMAS
from transforms.back_translation.settings import BackTranslationSettings
from transforms.engines.detectors.settings import DetectorSettings
from transforms.swaps.settings import SwapSettings
from transforms.tfidf.settings import TfidfSettings
from transforms.tokens.settings import TokenSettings

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def rows():
    """Cells of the rows of all tables, backquotes taken off the first."""
    for line in README.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            yield re.findall(r"`([^`]+)`", cells[0]), cells[1]


def test_every_setting_is_explained():
    named = {name for names, _ in rows() for name in names}
    assert set(Config.model_fields) <= named
    for settings in (TfidfSettings, SwapSettings, DetectorSettings, BackTranslationSettings, TokenSettings):
        assert set(settings.model_fields) <= named


def test_the_defaults_of_the_search_are_those_of_the_code():
    defaults = TfidfSettings()
    told = {name: value for names, values in rows() for name, value in zip(names, values.split(", "), strict=False)
            if name in TfidfSettings.model_fields and name != "ngrams"}
    for name, value in told.items():
        assert (None if value == "none" else yaml.safe_load(value)) == getattr(defaults, name), name


def test_every_table_is_explained_with_its_columns():
    told = {name: text for names, text in rows() for name in names}
    assert set(SCHEMAS) <= set(told)
    for line in README.splitlines():
        for table in ("images", "pairs", "texts", "rejects", "examples"):
            if line.startswith(f"| `{table}` | a"):
                assert all(column in line for column in SCHEMAS[table].names), table


def test_the_example_configuration_is_valid(tmp_path):
    example = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert example
    config = parse_config(yaml.safe_load(example.group(1)), "/data")
    assert config.pairs[0].captions == "/data/annotations/captions_val2017.json"
