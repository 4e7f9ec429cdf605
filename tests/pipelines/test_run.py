import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipelines.build import stages_of
from pipelines.plan import plan
from pipelines.run import plan_of, run
from pipelines.verify import verify
from schemas.corpus import Corpus, open_corpus
from schemas.errors import ConfigError, CorpusError, RejectLimitError
from tests.pipelines.conftest import hash_of, make_config, settings

REPOSITORY = Path(__file__).parents[2]


def ran(report):
    """Number of executed tasks by stage, for stages that executed any."""
    return {manifest.stage: manifest.ran for manifest in report.ran if manifest.ran}


@pytest.fixture(scope="module")
def first(scene_files, tmp_path_factory):
    """A finished corpus, made with the default settings, and the report of its run."""
    place = tmp_path_factory.mktemp("first") / "c"
    return place, run(make_config(scene_files, place))


@pytest.fixture
def finished(first, scene_files, tmp_path):
    """The configuration of a copy of it, `tmp_path / "c"`."""
    shutil.copytree(first[0], tmp_path / "c")
    return make_config(scene_files, tmp_path / "c")


def test_a_whole_run_and_its_counts(first):
    place, report = first
    assert [manifest.stage for manifest in report.ran] == [
        "pairs",
        "images",
        "texts",
        "tfidf_counts",
        "tfidf_vocabulary",
        "tfidf_vectors",
        "tfidf",
        "examples",
    ]
    counts = {manifest.stage: manifest.counts for manifest in report.ran}
    assert counts["pairs"].rows_in == 200 and counts["pairs"].rows_out["images"] == 40
    assert counts["images"].rows_in == counts["images"].rows_out["images"] == 20
    assert counts["examples"].rows_out == {"examples": counts["pairs"].rows_out["pairs"]}
    tables = {
        "pairs": "pairs",
        "images": "images",
        "texts": "texts",
        "tfidf_counts": "tfidf_counts",
        "tfidf_vectors": "tfidf_vectors",
        "examples": "examples",
    }
    for stage, table in tables.items():
        one = counts[stage]
        assert one.rows_in == one.rows_out[table] + one.rejected + one.excluded + one.merged > 0
    assert verify(*open_corpus(str(place))) == []


def test_a_second_run_does_nothing_and_quickly(scene_files, tmp_path):
    config = make_config(scene_files, tmp_path / "c")
    run(config)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "c").rglob("*") if path.is_file() and path.name != ".lock"}
    report = run(config)
    assert report.ran == [] and len(report.skipped) == 8 and report.wall_s < 3
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "c").rglob("*") if path.is_file() and path.name != ".lock"} == before


def test_a_second_run_does_not_import_beam(finished, scene_files, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings(scene_files, tmp_path / "c")))
    code = (
        "import sys; from pipelines.cli import main; status = main(['run', sys.argv[1]]); "
        "print('beam' if 'apache_beam' in sys.modules else 'no beam'); sys.exit(status)"
    )
    out = subprocess.run([sys.executable, "-c", code, str(config)], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert "nothing to do" in out and "no beam" in out


def test_a_run_without_models_imports_no_library_of_models(scene_files, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings(scene_files, tmp_path / "c")))
    code = (
        "import sys; from pipelines.cli import main; assert main(['run', sys.argv[1], '--quiet']) == 0; "
        "print('imported:', *sorted({'spacy', 'torch', 'ctranslate2', 'faiss', 'transformers'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code, str(config)], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "imported:"


def test_changing_k_reruns_the_search_and_what_follows(finished, scene_files, tmp_path):
    changed = make_config(scene_files, tmp_path / "c", tfidf={"k": 5})
    states = {state.stage.name: state for state in plan_of(changed)[1]}
    assert {name for name, state in states.items() if state.must_run} == {"tfidf", "examples"}
    assert states["tfidf"].why == ["settings.k: 10 -> 5"] and states["examples"].why == ["reads tfidf, which changed"]
    assert ran(run(changed)) == {"tfidf": 4, "examples": 4}
    fresh = make_config(scene_files, tmp_path / "fresh", tfidf={"k": 5})
    run(fresh)
    assert hash_of(tmp_path / "c") == hash_of(tmp_path / "fresh")


def test_settings_that_only_limit_memory_rerun_nothing(finished, scene_files, tmp_path):
    assert run(make_config(scene_files, tmp_path / "c", tfidf={"k": 10, "block_rows": 100})).ran == []


@pytest.mark.parametrize(
    "changes", [{"partitions": 1}, {"partitions": 16}, {"tfidf": {"k": 10, "block_rows": 16}}, {"compression": "zstd"}]
)
def test_the_same_corpus_for_any_partitions(first, scene_files, tmp_path, changes):
    run(make_config(scene_files, tmp_path / "other", **changes))
    assert hash_of(tmp_path / "other") == hash_of(first[0])


def test_the_seed_and_the_settings_show_in_the_hash(first, scene_files, tmp_path):
    run(make_config(scene_files, tmp_path / "other", tfidf={"k": 9}))
    assert hash_of(tmp_path / "other") != hash_of(first[0])


def test_new_rows_touch_their_partitions_alone(inputs, tmp_path):
    config = make_config(inputs, tmp_path / "c", tfidf=None)
    run(config)
    path = inputs / "scenes/captions-00000.json"
    content = json.loads(path.read_text())
    image = content["images"][0]
    content["annotations"].append({"id": 10**9, "image_id": image["id"], "caption": "A caption that was not there before."})
    path.write_text(json.dumps(content))
    assert ran(run(config)) == {"pairs": 1, "examples": 1}


def test_a_rewritten_input_with_the_same_content_reruns_no_task(inputs, tmp_path):
    config = make_config(inputs, tmp_path / "c")
    run(config)
    path = inputs / "scenes/captions-00000.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    assert ran(run(config)) == {}
    assert [state.state for state in plan_of(config)[1]] == ["current"] * 8


def test_a_missing_or_cut_file_reruns_its_partition(finished, tmp_path):
    before = hash_of(tmp_path / "c")
    (tmp_path / "c/tfidf/rewrites-00002-of-00004.arrow").unlink()
    with open(tmp_path / "c/pairs/pairs-00001-of-00004.arrow", "ab") as file:
        file.truncate(100)
    states = {state.stage.name: state.why for state in plan_of(finished)[1]}
    assert states["tfidf"] == [
        "1 files are missing or have the wrong size, first rewrites-00002-of-00004.arrow",
        "reads pairs, which is stale",
        "reads tfidf_vectors, which is stale",
        "reads tfidf_vocabulary, which is stale",
    ]
    assert ran(run(finished)) == {"pairs": 1, "tfidf": 1}
    assert hash_of(tmp_path / "c") == before


def test_rows_over_the_limit_fail_the_run_after_their_report(inputs, tmp_path):
    for path in sorted((inputs / "scenes/images").rglob("*.jpg"))[:6]:
        path.write_bytes(path.read_bytes()[:200])
    config = make_config(inputs, tmp_path / "c")
    with pytest.raises(RejectLimitError, match=r"stage pairs: 30 of 200 rows were rejected \(15.0%\)"):
        run(config)
    corpus, _ = open_corpus(str(tmp_path / "c"))
    assert corpus.manifest("pairs").counts.reasons == {"image_broken": 30}
    assert corpus.manifest("tfidf") is None
    assert plan_of(config)[1][0].state == "failed"
    tolerant = make_config(inputs, tmp_path / "c", max_rejected=0.2)
    report = run(tolerant)
    counts = {manifest.stage: manifest.counts for manifest in report.ran}
    assert counts["pairs"].rows_out == {"images": 34, "pairs": 200 - 30 - counts["pairs"].merged}


def test_an_index_that_is_lost_or_outdated_is_written_again(finished, tmp_path):
    index = tmp_path / "c/corpus.json"
    whole = index.read_bytes()
    for damaged in (None, b"", b"[]", b'"x"', b'{"format": 1}'):
        index.unlink() if damaged is None else index.write_bytes(damaged)
        with pytest.raises(CorpusError, match="corpus.json|earlier release"):
            open_corpus(str(tmp_path / "c"))
        assert run(finished).ran == [] and index.read_bytes() == whole


def test_a_stage_taken_out_of_the_configuration_leaves_the_hash(finished, scene_files, tmp_path):
    report = run(make_config(scene_files, tmp_path / "c", texts=[]))
    assert report.leftover == ["texts"]
    run(make_config(scene_files, tmp_path / "fresh", texts=[]))
    assert hash_of(tmp_path / "c") == hash_of(tmp_path / "fresh")


@pytest.mark.parametrize("content", [b'"ab"', b"[]", b"{}", b"\xff", b'{"files": 3}'])
def test_a_damaged_manifest_or_record_is_made_again(finished, tmp_path, content):
    (tmp_path / "c/tfidf/manifest.json").write_bytes(content)
    (tmp_path / "c/tfidf/task-00001.json").write_bytes(content)
    assert ran(run(finished)) == {"tfidf": 1}


def test_a_file_in_the_place_of_a_stage_is_named(scene_files, tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c/pairs").write_text("in the way")
    done = cmcl_config(settings(scene_files, tmp_path / "c"), ["run"])
    assert done.returncode == 1 and str(tmp_path / "c/pairs") in done.stderr and "Traceback" not in done.stderr


def test_a_corpus_in_memory_takes_one_worker(scene_files):
    with pytest.raises(ConfigError, match="exists in one process only"):
        run(make_config(scene_files, "memory://x", workers=2))


def test_two_runs_on_one_corpus_exclude_each_other(scene_files, tmp_path):
    from pipelines.lock import corpus_lock

    with corpus_lock(str(tmp_path / "c")), pytest.raises(CorpusError, match=f"process {os.getpid()}"):
        run(make_config(scene_files, tmp_path / "c"))


def test_an_unwritable_location_is_named(scene_files):
    done = cmcl_config(settings(scene_files, Path("/proc/nowhere")), ["run"])
    assert done.returncode == 1 and "/proc/nowhere" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_installed_command_runs_from_any_folder_with_workers(first, scene_files, tmp_path):
    place = tmp_path / "installed"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(place), str(REPOSITORY)],
        check=True,
    )
    folder = tmp_path / "decoys"
    (folder / "schemas").mkdir(parents=True)
    (folder / "pipelines").mkdir()
    for name in ("random.py", "schemas/__init__.py", "pipelines/__init__.py"):
        (folder / name).write_text("raise RuntimeError('imported from the folder that the user is in')")
    (folder / "job.yaml").write_text(yaml.safe_dump(settings(scene_files, tmp_path / "c")))
    subprocess.run(
        [str(place / "bin/cmcl"), "run", "job.yaml", "--workers", "2", "--quiet"],
        cwd=folder,
        check=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(place), "PYTHONSAFEPATH": "1"},
    )
    assert hash_of(tmp_path / "c") == hash_of(first[0])


def test_every_stage_comes_after_what_it_reads(scene_files, tmp_path):
    seen = set()
    for stage in stages_of(make_config(scene_files, tmp_path / "c", tfidf={"k": 10, "bound": 100})):
        assert {source.stage for source in stage.inputs} <= seen
        seen.add(stage.name)


def test_a_plan_of_nothing_is_all_missing(scene_files, tmp_path):
    config = make_config(scene_files, tmp_path / "c")
    states = plan(Corpus(config.corpus, 4), stages_of(config), 0)
    assert {state.state for state in states} == {"missing"}


def cmcl(arguments, **options):
    return subprocess.run([sys.executable, "-m", "pipelines.cli", *arguments], cwd=REPOSITORY, capture_output=True, text=True, **options)


def cmcl_config(values, arguments):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.yaml")
        path.write_text(yaml.safe_dump(values))
        return cmcl([*arguments, str(path)])


@pytest.fixture(scope="session")
def many_captions(tmp_path_factory):
    """Captions of 700 scenes, without pixels: enough work to kill the run in the middle."""
    from pipelines.scenes import make_scenes

    folder = tmp_path_factory.mktemp("many")
    make_scenes(folder, 700, 5, pixels=False)
    return folder


def many_config(folder, corpus, workers):
    path = corpus.with_suffix(".yaml")
    path.write_text(
        yaml.safe_dump(
            {
                "corpus": str(corpus),
                "partitions": 16,
                "pixels": False,
                "workers": workers,
                "pairs": [{"format": "coco", "name": "scenes", "captions": str(folder / "captions-*.json")}],
                "tfidf": {"k": 50},
            }
        )
    )
    return path


@pytest.fixture(scope="module")
def uninterrupted(many_captions, tmp_path_factory) -> str:
    """The hash of the corpus of one run."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    cmcl(["run", str(many_config(many_captions, folder / "whole", 1))], check=True)
    return hash_of(folder / "whole")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_leaves_nothing_half_written(many_captions, uninterrupted, tmp_path, workers):
    path = many_config(many_captions, tmp_path / "c", workers)
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "run", str(path)], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(lambda: (tmp_path / "c/tfidf").is_dir() and any((tmp_path / "c/tfidf").iterdir()), process)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: the driver and its workers
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and "interrupted" in errors and "Traceback" not in errors
    assert not [found for found in (tmp_path / "c").rglob(".tmp-*")]
    assert not (tmp_path / "c/examples/manifest.json").exists()
    cmcl(["run", str(path)], check=True)
    assert hash_of(tmp_path / "c") == uninterrupted


def wait_for(condition, process, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended before it could be interrupted"
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_five_random_moments_and_resumed(many_captions, tmp_path):
    import random

    whole = many_config(many_captions, tmp_path / "whole", 2)
    start = time.monotonic()
    cmcl(["run", str(whole)], check=True)
    full = time.monotonic() - start
    path = many_config(many_captions, tmp_path / "c", 2)
    moments = random.Random(11)
    killed = 0
    while killed < 5:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "run", str(path)], cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(timeout=moments.uniform(0.1, 0.8) * full)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        else:  # the run had already finished: start again, so that there are five kills
            assert process.returncode == 0
            shutil.rmtree(tmp_path / "c")
    cmcl(["run", str(path)], check=True)
    assert hash_of(tmp_path / "c") == hash_of(tmp_path / "whole")
    assert verify(*open_corpus(str(tmp_path / "c"))) == []
    assert not list((tmp_path / "c").rglob(".tmp-*"))
