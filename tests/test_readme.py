"""The README agrees with the code."""

import re
from pathlib import Path

import pytest
import yaml

from pipelines.config import parse_config
from pipelines.readme import CONFIGURATION, filled, pages, settings_table, tables_of
from pipelines.stages import STAGES
from schemas.tables import SCHEMAS
from transforms.tfidf.settings import TfidfSettings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def rows():
    """The cells of the rows of all tables, without backquotes around the first."""
    for line in README.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            yield re.findall(r"`([^`]+)`", cells[0]), cells[1]


def test_the_tables_of_settings_are_those_of_the_code():
    """`python -m pipelines.readme` fills them in."""
    for page in pages(ROOT):
        text = page.read_text(encoding="utf-8")
        assert text == filled(text), page


def test_every_setting_has_a_table():
    told = [key for page in pages(ROOT) for key in tables_of(page.read_text(encoding="utf-8"))]
    assert sorted(told) == sorted({*told, CONFIGURATION, *(entry.key for entry in STAGES if entry.settings)})


def test_a_table_says_name_default_and_meaning():
    table = settings_table("tfidf").splitlines()
    assert table[2] == "| `k` | 100 | maximum number of negatives per caption |"
    assert "| `bound` | none | maximum number of candidates that a single word contributes; null: all, for exact search |" in table
    assert "| `ngrams` | [1, 1] | minimum and maximum number of words in a term |" in table
    assert len(table) == 2 + len(TfidfSettings.model_fields)
    whole = settings_table(CONFIGURATION)
    assert "| `corpus` |  | " in whole and "`min_words` 1" in whole and "| `swaps` |" not in whole
    with pytest.raises(KeyError, match="nothing"):
        settings_table("nothing")
    assert tables_of("```\n<!-- settings: x -->\n<!-- end of settings -->\n```\n") == []  # an example
    page = "a\n<!-- settings: tfidf -->\nold\n<!-- end of settings -->\nb\n"
    assert filled(page) == filled(filled(page)) and "old" not in filled(page) and filled(page).endswith("-->\nb\n")


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
