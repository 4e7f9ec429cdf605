"""The `cmcl` command."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pipelines import scenes
from pipelines.process_state import log_level, printable_stdout, sigterm_interrupts
from schemas.errors import CmclError, ConfigError, RejectLimitError, text_of
from schemas.text import quoted
from transforms.core.instructions import release

if TYPE_CHECKING:
    from pipelines.config import Config


TRAINER = ("train", "evaluate", "ablate")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status: 0 success, 1 an error or a damaged corpus, 2 wrong usage, 130 interrupted, 141 when
    the reader of its output is gone.

    `diff` returns 0 when the corpora are equal, 1 when they differ, 2 when they could not be compared.
    """
    if arguments is None and sys.getfilesystemencoding() != "utf-8":
        _restart_in_utf8_mode()
    given = list(sys.argv[1:] if arguments is None else arguments)
    given, beam_options = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    args = _parser().parse_args(given)
    args.beam_options = beam_options
    failure = 2 if args.command == "diff" else 1
    if arguments is None and args.command in TRAINER:  # called from Python, it leaves the process's engines alone
        release()
        # OpenMP's threads otherwise spin while they wait, and where other processes need the cores, an update takes ten times as long.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if beam_options and args.command not in ("run", "scenes"):
        print(f"cmcl: error: {args.command} does not take Beam options after --", file=sys.stderr)
        return 2
    try:
        with log_level(logging.ERROR), sigterm_interrupts(), printable_stdout():  # Beam warns about packages that are not used here
            return int(args.main(args) or 0)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains again when it flushes at exit
        return 141
    except CmclError as error:
        print("cmcl: error:", "\n".join(quoted(line, 4000) for line in str(error).split("\n")), file=sys.stderr)
        return failure
    except OSError as error:
        print(f"cmcl: error: {quoted(text_of(error), 4000)}", file=sys.stderr)
        return failure
    except Exception as error:
        if os.environ.get("CMCL_DEBUG"):
            raise
        lines = str(error).strip().splitlines() or [""]
        print(f"cmcl: error: {type(error).__name__}: {quoted(lines[-1], 1000)} (set CMCL_DEBUG=1 for the traceback)", file=sys.stderr)
        return failure
    except KeyboardInterrupt:
        print("cmcl: interrupted; completed tasks are kept; run again to resume", file=sys.stderr)
        return 130


def _restart_in_utf8_mode() -> None:
    """Restarts the command in Python's UTF-8 mode: under the C locale, Python cannot handle non-ASCII file names."""
    os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], {**os.environ, "PYTHONUTF8": "1"})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cmcl", description="Makes augmented image-text corpora for cross-modal contrastive learning (UNIMO)."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="build whatever is missing or stale in a corpus",
        epilog="Options after -- are passed to Beam, e.g. -- --job_endpoint=host:8099.",
    )
    _config_arguments(run)
    run.add_argument(
        "--runner",
        choices=("local", "spark", "flink", "prism", "dataflow"),
        default="local",
        help="Beam runner (default local); a job server is started unless --job_endpoint is given after --",
    )
    run.add_argument("--workers", type=_positive, metavar="N", help="number of worker processes")
    run.add_argument("--quiet", action="store_true", help="no progress bars")
    run.add_argument("--dry-run", action="store_true", help="only print the rows that a run would make, and how long it would take")
    run.set_defaults(main=_run)

    fetch = commands.add_parser("fetch", help="download the models that a configuration names (hf:OWNER/NAME, torchvision:MODEL)")
    _config_arguments(fetch)
    fetch.set_defaults(main=_fetch)

    status = commands.add_parser("status", help="show each stage's state (current, stale, missing or failed) and its row counts")
    _config_arguments(status)
    status.add_argument("--why", action="store_true", help="explain each stage's state, and what a run would do")
    status.set_defaults(main=_status)

    verify = commands.add_parser("verify", help="re-hash every file, check schemas and references, and report every fault")
    verify.add_argument("corpus", metavar="CORPUS", help="a corpus (path or URL), or its configuration file")
    verify.add_argument("--repair", action="store_true", help="discard the records of damaged partitions, so the next run rebuilds them")
    verify.set_defaults(main=_verify)

    show = commands.add_parser("show", help="print one pair and everything derived from it")
    show.add_argument("corpus", metavar="CORPUS", help="a corpus (path or URL), or its configuration file")
    show.add_argument("id", metavar="ID", nargs="?", help="a pair id, an image id, or part of a caption (default: the first pair)")
    show.add_argument("--limit", type=_positive, default=10, metavar="N", help="rewrites to print of each kind (default 10)")
    show.set_defaults(main=_show)

    hashes = commands.add_parser("hash", help="print the corpus hash, which does not depend on where or how the corpus was built")
    hashes.add_argument("corpus", metavar="CORPUS", help="a corpus (path or URL), or its configuration file")
    hashes.set_defaults(main=_hash)

    _add_pages(commands)
    synthetic = commands.add_parser("scenes", help="render synthetic photos with captions and ground truth")
    scenes.add_arguments(synthetic)
    synthetic.set_defaults(main=scenes.main)
    _add_training(commands)
    return parser


def _add_pages(commands: Any) -> None:
    """Adds the commands that describe corpora to people."""
    card = commands.add_parser("card", help="write the dataset card of a corpus, README.md in its folder; your own sections are kept")
    card.add_argument("corpus", metavar="CORPUS", help="its configuration file, whose key `card` is used, or the corpus (path or URL)")
    card.set_defaults(main=_card)

    report = commands.add_parser("report", help="write static pages about a corpus: its stages and charts, and a gallery of its pairs")
    report.add_argument("corpus", metavar="CORPUS", help="a corpus (path or URL), or its configuration file")
    report.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder, or an earlier report, which is replaced")
    report.add_argument("--pairs", type=_positive, metavar="N", help="pairs in the gallery; larger corpora are sampled (default 30000)")
    report.add_argument("--seed", type=int, default=0, help="seed of the sample (default 0)")
    report.add_argument("--no-images", action="store_true", help="leave photos out, e.g. because they may not be passed on")
    report.add_argument("--run", metavar="FOLDER", help="also show the losses of a training, or the results of an ablation")
    report.add_argument("--checkpoint", metavar="CHECKPOINT", help="also show what a checkpoint (or a run's newest) attends to")
    report.add_argument("--serve", action="store_true", help="then serve DIR over HTTP, until interrupted")
    report.add_argument("--host", default="127.0.0.1", help="address to serve on (default 127.0.0.1: this machine only)")
    report.add_argument("--port", type=int, default=0, help="port to serve on (default: any free one)")
    report.set_defaults(main=_report)

    compare = commands.add_parser(
        "diff",
        help="compare two corpora: settings, inputs, versions, rejects, and the rows of every table",
        epilog="Exit status: 0 when they have the same corpus hash, 1 when they differ, 2 on errors.",
    )
    compare.add_argument("a", metavar="A", help="a corpus (path or URL), or its configuration file")
    compare.add_argument("b", metavar="B", help="the corpus to compare it with")
    compare.add_argument("--json", action="store_true", help="print JSON")
    compare.add_argument("--html", metavar="FILE", help="also write a page")
    compare.add_argument(
        "--examples", type=_positive, default=10, metavar="N", help="added, removed and changed rows shown per table (default 10)"
    )
    compare.add_argument("--seed", type=int, default=0, help="seed of the choice of examples (default 0)")
    compare.set_defaults(main=_diff)


def _add_training(commands: Any) -> None:
    """Adds the trainer's commands, which are implemented in `model`."""
    train = commands.add_parser("train", help="train on a corpus that has tokens and regions, or resume (with torchrun: in parallel)")
    _config_arguments(train)
    train.add_argument("--quiet", action="store_true", help="no progress bar")
    train.set_defaults(main=partial(_model, "run_train"))

    evaluate = commands.add_parser("evaluate", help="evaluate a checkpoint: recall and hard negatives, or a downstream task's metrics")
    evaluate.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint, or a run's folder (its newest checkpoint)")
    evaluate.add_argument("corpus", metavar="CORPUS", help="the corpus")
    evaluate.add_argument(
        "--rerank",
        type=_rerank,
        default="32",
        metavar="N",
        help="number of candidates per query that the joint head reranks (default 32; 0: none), or all",
    )
    evaluate.add_argument("--head", choices=("match", "contrast"), help="the joint head to use (default: the one that was trained)")
    evaluate.add_argument("--truth", metavar="FILE", help="JSON file: by pair id, the pair ids of all images that its caption is true of")
    evaluate.add_argument("--no-negatives", action="store_true", help="evaluate retrieval alone, not hard negatives")
    evaluate.add_argument("--hidden", action="store_true", help="also evaluate hard negatives, or the task, with the image hidden")
    evaluate.add_argument(
        "--trials",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="measure a public set (sugarcrepe, aro, winoground, karpathy) alone, with the corpus's images; may be repeated",
    )
    evaluate.add_argument("--folder", metavar="DIR", help="of a downstream task's files (default: where they were in training)")
    evaluate.add_argument("--split", default="test", help="split of Karpathy's set (default test)")
    evaluate.add_argument("--output", metavar="FILE", help="also write the report as JSON")
    evaluate.set_defaults(main=partial(_model, "run_evaluate"))

    convert = commands.add_parser("convert", help="convert published weights, so that training can start from them")
    convert.add_argument("kind", choices=("unimo",), metavar="KIND", help="unimo: a folder of Paddle 1.8 variables, one file each")
    convert.add_argument("source", metavar="SRC", help="the published weights")
    convert.add_argument("output", metavar="OUT", help="the safetensors file to write, for `start`")
    convert.set_defaults(main=partial(_model, "run_convert"))

    ablate = commands.add_parser("ablate", help="train and evaluate several settings and seeds, skipping finished runs")
    _config_arguments(ablate)
    ablate.add_argument("--quiet", action="store_true", help="no progress bars")
    ablate.set_defaults(main=partial(_model, "run_ablate"))


def _model(name: str, args: argparse.Namespace) -> int:
    return int(_of_model(name)(args))


def _of_model(name: str) -> Any:
    """A function of `model.command`. Raises ConfigError, with the install command, if a package is missing."""
    try:
        command = importlib.import_module("model.command")  # imports torch
    except ModuleNotFoundError as error:
        raise ConfigError(f"the trainer requires the package {error.name}: run `pip install 'cmcl[train]'`") from None
    return getattr(command, name)


def _rerank(text: str) -> str:
    if text != "all" and not text.isdigit():
        raise argparse.ArgumentTypeError(f"must be a number or all, not {text}")
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text}")
    return int(text)


def _config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="the YAML configuration file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override a setting, e.g. tfidf.k=50; may be repeated",
    )


def _run(args: argparse.Namespace) -> int:
    from pipelines.config import load_config
    from pipelines.run import RunReport, run
    from pipelines.status import print_report

    config = load_config(args.config, args.overrides)
    if args.dry_run:
        return _dry_run(config, args.workers or config.workers)
    try:
        report = run(config, args.beam_options, args.workers, progress=not args.quiet and sys.stderr.isatty(), runner=args.runner)
    except RejectLimitError as error:
        if isinstance(error.report, RunReport):
            print_report(error.report)
        raise
    print_report(report)
    return 0


def _dry_run(config: Config, workers: int) -> int:
    from pipelines.run import forecast_of
    from pipelines.status import print_forecast

    print_forecast(forecast_of(config)[1], workers)
    return 0


def _fetch(args: argparse.Namespace) -> int:
    from pipelines.config import load_config
    from pipelines.fetch import fetch

    found = fetch(load_config(args.config, args.overrides))
    for model in found:
        print(f"{model.spec}: {model.folder}{'' if model.new else ' (already there)'}; licence: {model.licence}")
    if not found:
        print("the configuration names no models to fetch (hf:OWNER/NAME[@REVISION], torchvision:MODEL[@WEIGHTS])")
    return 0


def _status(args: argparse.Namespace) -> int:
    from pipelines.config import load_config
    from pipelines.run import forecast_of, plan_of
    from pipelines.status import print_status, print_why

    config = load_config(args.config, args.overrides)
    if args.why:
        print_why(*forecast_of(config))
    else:
        print_status(plan_of(config)[1])
    return 0


def _verify(args: argparse.Namespace) -> int:
    from pipelines.run import corpus_of
    from pipelines.verify import forget, verify

    corpus, index = corpus_of(args.corpus)
    findings = verify(corpus, index)
    for finding in findings:
        print(finding.text)
    if findings:
        if args.repair:
            print(f"records of {forget(corpus, findings)} tasks discarded: `cmcl run` rebuilds them")
            if any(finding.foreign for finding in findings):
                print("files that are in no manifest are left alone: move them out of the corpus")
        print(f"{corpus.url}: {len(findings)} faults found", file=sys.stderr)
        return 1
    print(f"{corpus.url}: all files are intact, all schemas match, all references resolve")
    return 0


def _show(args: argparse.Namespace) -> int:
    from pipelines.run import corpus_of
    from pipelines.show import show

    print(show(*corpus_of(args.corpus), args.id, args.limit))
    return 0


def _diff(args: argparse.Namespace) -> int:
    from pipelines.diff import diff
    from pipelines.diff_text import as_json, as_text
    from pipelines.run import corpus_of

    sides = corpus_of(args.a), corpus_of(args.b)
    found = diff(*sides, args.examples, args.seed)
    if args.html:
        from pipelines.privacy import scrubber_of
        from pipelines.report.diff_page import write_diff

        manifests = (corpus.manifest(entry.stage) for corpus, index in sides for entry in index.stages)
        write_diff(found, args.html, scrubber_of([corpus for corpus, _ in sides], filter(None, manifests)))
    print((as_json if args.json else as_text)(found))
    return found.status


def _report(args: argparse.Namespace) -> int:
    from pipelines.report.command import report

    return report(args, lambda checkpoint, corpus: _of_model("attention_source")(checkpoint, corpus))


def _card(args: argparse.Namespace) -> int:
    from pipelines.card import stated_of, write_card
    from pipelines.card_settings import CardSettings
    from pipelines.run import corpus_of

    corpus, index = corpus_of(args.corpus)
    troubles = write_card(corpus, index, stated_of(args.corpus) or CardSettings())
    for text in troubles:
        print(f"cmcl: missing from the card: {quoted(text, 1000)}", file=sys.stderr)
    print(f"{corpus.url}/README.md")
    return 1 if troubles else 0


def _hash(args: argparse.Namespace) -> int:
    from pipelines.run import corpus_of
    from pipelines.verify import corpus_hash

    hashes = corpus_hash(*corpus_of(args.corpus))
    for name, value in hashes.items():
        print(f"{value}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
