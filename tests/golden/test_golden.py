"""The same corpus on every machine: its hashes are in `hashes.json`, which `python -m tests.golden.make` writes."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import transforms  # noqa: F401 - restricts the engines' instructions, which they read when they are imported

pytest.importorskip("ctranslate2")
pytest.importorskip("torchvision")
pytest.importorskip("sentence_transformers")

from tests.golden.make import HASHES, made, versions
from transforms.core.instructions import SWITCHES

GOLDEN = json.loads(HASHES.read_text(encoding="utf-8"))
if platform.machine() not in ("x86_64", "AMD64"):
    pytest.skip("the golden hashes are those of x86-64", allow_module_level=True)

# As a machine with more instructions, an image made for it, or a user might have set them: all are overruled.
OTHERS = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX", "ATEN_CPU_CAPABILITY": "avx512", "MKL_CBWR": "AVX512", "CT2_USE_MKL": "1",
          "CT2_FORCE_CPU_ISA": "AVX512", "OPENBLAS_CORETYPE": "SkylakeX", "FAISS_OPT_LEVEL": "AVX512"}  # fmt: skip


def same_versions() -> None:
    told = {name: (own, now) for (name, own), now in zip(GOLDEN["versions"].items(), versions().values(), strict=True) if own != now}
    if told:
        pytest.skip(f"the golden corpus was made with other versions (golden, here): {told}")


def apart(found: dict[str, str]) -> list[str]:
    """Tables whose hashes are not the golden ones."""
    return [table for table in GOLDEN["hashes"].keys() | found.keys() if GOLDEN["hashes"].get(table) != found.get(table)]


def test_the_corpus_is_the_golden_one(tmp_path):
    same_versions()
    assert apart(made(tmp_path)) == []


@pytest.mark.slow
@pytest.mark.parametrize(("partitions", "workers", "set_to"), [(16, 2, {}), (3, 1, OTHERS)])
def test_it_hangs_on_no_number_of_workers_or_partitions_and_no_cpu(tmp_path, partitions, workers, set_to):
    same_versions()
    assert not set_to or set_to.keys() == SWITCHES.keys()
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "tests.golden.make", str(tmp_path / "made"), f"partitions={partitions}", f"workers={workers}"],
        env={**os.environ, **set_to, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=1800,
        cwd=root,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert apart(json.loads(done.stdout.strip().splitlines()[-1])) == []
