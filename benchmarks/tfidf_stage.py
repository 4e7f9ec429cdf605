"""All TF-IDF stages, including reading and writing, compared with bare scikit-learn + sparse-dot-topn on the same captions.

    python -m benchmarks.tfidf_stage CAPTIONS.json [--repeats 5] [--partitions 4]

Bare: `TfidfVectorizer` and `sp_matmul_topn(A, A.T, top_n=k)` on captions already in memory, one thread, result discarded. Ours: the
stages tfidf_counts to tfidf through Beam, one worker, from the `pairs` table on disk to `rewrites` and `rejects` on disk, including guards
and manifests. Both use k = 100 and the same max_df. Runs alternate. Beam's fixed start-up time is that of the same pipeline with every task
up to date. Ratios are given for CPU seconds of the process, which are more reliable on a busy machine, and for wall-clock seconds.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sparse_dot_topn import sp_matmul_topn

from pipelines.build import stages_of
from pipelines.config import Config, parse_config
from pipelines.plan import plan
from pipelines.run import run
from pipelines.runners import open_runner
from schemas.corpus import Corpus
from transforms.core.beam import RunContext, RunStage, StageFingerprint
from transforms.tfidf.settings import TfidfSettings

STAGES = ("tfidf_counts", "tfidf_vocabulary", "tfidf_vectors", "tfidf")


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds of `work`."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def bare(texts: list[str], settings: TfidfSettings) -> None:
    """The straightforward solution without this project."""
    matrix = TfidfVectorizer(max_df=settings.max_df).fit_transform(texts)
    sp_matmul_topn(matrix, matrix.T.tocsr(), top_n=settings.k, n_threads=1)


def pipeline(config: Config) -> None:
    """Runs the TF-IDF stages through Beam, whether or not they are up to date."""
    corpus, stages = Corpus(config.corpus, config.partitions), stages_of(config)
    states = plan(corpus, stages, config.seed)
    context = RunContext(
        corpus, config.seed, 1.0, {state.stage.name: StageFingerprint(state.fingerprint, state.ingredients) for state in states}
    )
    with open_runner("local", 1, []) as beam_pipeline:
        done: dict[str, object] = {}
        for stage in stages:
            if stage.name in STAGES:
                after = [done[source] for source in sorted({source.stage for source in stage.inputs}) if source in done]
                done[stage.name] = beam_pipeline | RunStage(context, stage, after)
        beam_pipeline.run().wait_until_finish()


def main() -> None:
    """Runs the comparison and prints the ratio of throughputs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captions", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--partitions", type=int, default=4)
    args = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        config = parse_config(
            {
                "corpus": f"{folder}/corpus",
                "partitions": args.partitions,
                "pixels": False,
                "pairs": [{"format": "coco", "name": "coco", "captions": str(args.captions.absolute())}],
            },
            folder,
        )
        run(config)
        corpus = Corpus(config.corpus, config.partitions)
        texts = [text for p in range(args.partitions) for text in corpus.open("pairs", "pairs", p).read()["caption"].to_pylist()]
        assert config.tfidf is not None
        settings = config.tfidf
        times: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": [], "start-up": []}
        for _ in range(args.repeats):
            times["bare"].append(timed(lambda: bare(texts, settings)))
            for stage in STAGES:
                shutil.rmtree(corpus.folder(stage))
            times["ours"].append(timed(lambda: pipeline(config)))
            times["start-up"].append(timed(lambda: pipeline(config)))
        print(
            f"{len(texts)} captions, k {settings.k}, max_df {settings.max_df}, {args.partitions} partitions, "
            f"medians of {args.repeats} alternating runs"
        )
        middle = {name: [statistics.median(one[unit] for one in runs) for unit in (0, 1)] for name, runs in times.items()}
        for name, (cpu, wall) in middle.items():
            print(f"  {name:<9} {cpu:6.2f} s CPU {wall:6.2f} s wall")
        for unit, name in enumerate(("CPU", "wall")):
            ratio = middle["bare"][unit] / (middle["ours"][unit] - middle["start-up"][unit])
            print(f"ratio of throughputs, ours excluding start-up to bare ({name}): {ratio:.2f}")


if __name__ == "__main__":
    main()
