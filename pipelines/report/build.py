"""Makes a report: everything is written under a temporary name and then moved, so a folder holds a whole report or none."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from pipelines.privacy import Scrubber, last_name, scrubber_of
from pipelines.report.attention import write_attention
from pipelines.report.charts import check_packages
from pipelines.report.escape import visible, write_file
from pipelines.report.gallery import write_gallery
from pipelines.report.gather import Gathered, Gatherer
from pipelines.report.graph import duration, layout
from pipelines.report.numbers import Numbers
from pipelines.report.overview import charts_of, doubtful, figures, percent, warnings, words
from pipelines.report.reading import Reader, StageView, stage_views
from pipelines.report.reasons import rules
from pipelines.report.sample import Chosen, choose
from pipelines.report.thumbnails import Photo, make_thumbnails, thumbnail_name
from pipelines.report.training import training_charts
from schemas.attention_maps import AttentionSource
from schemas.corpus import Corpus, Index
from schemas.errors import ConfigError
from schemas.manifest import Counts
from schemas.own_folder import MARK, claim_folder
from transforms.ingest.images.probe import ImageLimits

MAKER = "cmcl report"
PAIRS = 30_000  # of a corpus, all that there are up to this many
_MATCHED = 20_000  # matched images that have a thumbnail
_OWN_FILE = re.compile(r"(index|gallery|attention)\.html|report\.(js|css)|data/(meta|index-\d{4}|attention)\.js|"
                       r"data/(\d{3}/piece-\d{6}|attention/\d{4})\.js|(photos|matched)/\d{3}/\d+\.jpg")  # fmt: skip


@dataclass(frozen=True)
class ReportSettings:
    """pairs: shown at most in the gallery. seed: of the sample. photos: whether the report contains photos. run: the folder of a training
    or an ablation, or None. workers: processes that make thumbnails."""

    pairs: int = PAIRS
    seed: int = 0
    photos: bool = True
    run: str | None = None
    workers: int = 1


def write_report(corpus: Corpus, index: Index, out: str, settings: ReportSettings, attention: AttentionSource | None = None) -> list[str]:
    """Writes a report to a folder, replacing the report that is there; returns its warnings.

    attention: a checkpoint, for a page about what it attends to. The same corpus, settings and checkpoint give the same bytes.

    Raises ConfigError when a package is missing, `out` holds other files or `settings.run` is not a training's folder, CorpusError when
    `out` is inside a corpus, OSError when it cannot be written.
    """
    check_packages()
    _check_paths(corpus, out)
    claim_folder(out, MAKER)
    _check_own(out)
    trained = training_charts(settings.run) if settings.run else []
    target = os.path.realpath(out)
    made = tempfile.mkdtemp(prefix=f".tmp-{os.path.basename(target)}-", dir=os.path.dirname(target))
    try:
        said = _write(corpus, index, made, settings, trained, attention)
        shutil.copy(os.path.join(target, MARK), os.path.join(made, MARK))
        _replace(made, target)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return said


def _check_paths(corpus: Corpus, out: str) -> None:
    if "://" in out or "\0" in out:
        raise ConfigError(f"--out {out}: a report is written to a local folder; copy it elsewhere afterwards")
    if os.path.realpath(out) == os.path.dirname(os.path.realpath(out)):
        raise ConfigError(f"--out {out}: name a new or empty folder")


def _check_own(out: str) -> None:
    """Raises ConfigError when the folder of an earlier report contains files that no report has."""
    for folder, _, names in os.walk(out):
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), out)
            if path != MARK and not _OWN_FILE.fullmatch(path.replace(os.sep, "/")):
                raise ConfigError(f"{out} contains a file that is not part of a report ({path}): move it away, or name another folder")


def _replace(made: str, target: str) -> None:
    """Moves a finished report into place. The old one is moved aside first, since a folder cannot replace one that is not empty."""
    os.chmod(made, 0o777 & ~_umask())
    aside = f"{made}-old"
    os.rename(target, aside)
    try:
        os.rename(made, target)
    except OSError:
        os.rename(aside, target)
        raise
    shutil.rmtree(aside)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _write(
    corpus: Corpus, index: Index, folder: str, settings: ReportSettings, trained: list[Any], source: AttentionSource | None
) -> list[str]:
    views = stage_views(corpus, index)
    scrub = scrubber_of([corpus], [view.manifest for view in views if view.manifest])
    reader = Reader(corpus, views)
    chosen = choose(reader, settings.pairs, settings.seed)
    gatherer = Gatherer(reader, chosen, scrub)
    for partition in range(corpus.partitions):
        gatherer.partition(partition)
        gatherer.end_partition()
    found = gatherer.found
    _name_most_used(reader, found.numbers)
    notes, matched = _thumbnails(reader, chosen, found, folder, settings, _limits(views))
    said = warnings(views, found.numbers, list(reader.troubles.values()), scrub)
    about = {"name": visible(last_name(corpus.url) or "corpus"), "sample": _sample(chosen, settings), "photosLeftOut": not settings.photos}
    write_gallery(folder, chosen, found, notes, matched, {**about, "rules": rules(views)})
    looked = write_attention(folder, source, chosen, settings.seed) if source else None
    facts = {**about, "chosen": chosen, "corpus": corpus, "index": index, "warnings": said, "attention": looked}
    facts["doubtful"] = doubtful(found.numbers)
    _pages(folder, views, found.numbers, [*charts_of(views, found.numbers), *trained], facts, scrub)
    return said


def _sample(chosen: Chosen, settings: ReportSettings) -> str:
    """What part of the corpus the gallery shows, in words."""
    if not chosen.sampled:
        return f"all {chosen.total:,} pairs"
    return f"a sample of {len(chosen.ids):,} of {chosen.total:,} pairs (seed {settings.seed}), in which every outcome occurs"


def _limits(views: Sequence[StageView]) -> ImageLimits:
    """The limits that ingestion kept."""
    for view in views:
        held = view.manifest.ingredients.get("settings") if view.name == "pairs" and view.manifest else None
        if isinstance(held, dict) and isinstance(held.get("image_limits"), dict):
            try:
                return ImageLimits.model_validate(held["image_limits"])
            except ValidationError:  # of another release
                break
    return ImageLimits()


def _thumbnails(
    reader: Reader, chosen: Chosen, found: Gathered, folder: str, settings: ReportSettings, limits: ImageLimits
) -> tuple[list[str], list[str]]:
    """Why images, by number, have no thumbnail, or ""; the same for matched images."""
    count = len(chosen.image_ids)
    if not settings.photos:
        return ["photos were left out of this report (--no-images)"] * count, ["left out"] * len(found.matched)
    photos = [_photo(found.photos.get(number), folder, "photos", number) for number in range(count)]
    wanted = dict(list(found.matched.items())[:_MATCHED])
    located: dict[int, dict[str, Any]] = {}
    known = pa.array(list(wanted), pa.string())
    for partition in range(reader.corpus.partitions):
        for batch in reader.batches("images", "images", partition):
            for row in batch.filter(pa.compute.is_in(batch["image_id"], value_set=known)).to_pylist():
                located[wanted[row["image_id"]]] = row
    photos += [_photo(located.get(number), folder, "matched", number) for number in range(len(wanted))]
    notes = make_thumbnails(photos, limits, settings.workers)
    return notes[:count], notes[count:] + ["too many matched images"] * (len(found.matched) - len(wanted))


def _photo(row: dict[str, Any] | None, folder: str, kind: str, number: int) -> Photo:
    uri, offset, length, sha256 = ((row or {}).get(name) for name in ("uri", "offset", "length", "sha256"))
    return Photo(uri, offset, length, sha256, os.path.join(folder, thumbnail_name(kind, number)))


def _name_most_used(reader: Reader, numbers: Numbers) -> None:
    """Looks the most used matches up by their rows."""
    for stage in list(numbers.used):
        wanted = {(partition, row): uses for uses, partition, row in numbers.most_used(stage)}
        names: dict[tuple[int, int], tuple[str, str]] = {}
        for partition in range(reader.corpus.partitions):
            for batch in reader.batches(stage, "matches", partition, ["matched_id", "text", "partition", "row"]):
                if len(names) == len(wanted):
                    break
                keys = zip(batch["partition"].to_pylist(), batch["row"].to_pylist(), strict=True)
                for at, key in enumerate(keys):
                    if key in wanted and key not in names:
                        names[key] = batch["matched_id"][at].as_py(), batch["text"][at].as_py() or ""
        numbers.used_names[stage] = [(*names[key], uses) for key, uses in wanted.items() if key in names]


def _pages(folder: str, views: Sequence[StageView], numbers: Numbers, charts: list[Any], facts: dict[str, Any], scrub: Scrubber) -> None:
    stages = [
        {
            "view": view,
            "counts": view.manifest.counts if view.manifest else Counts(),
            "wall": duration(view.manifest.wall_s) if view.manifest else "",
            "why": [scrub(text) for text in view.why],
            "reasons": sorted(view.manifest.counts.reasons.items(), key=lambda item: (-item[1], item[0])) if view.manifest else [],
            "figures": figures(view, scrub),
            "samples": {reason: held for (stage, reason), held in sorted(numbers.samples.items()) if stage == view.name},
        }
        for view in views
    ]
    pages = environment()
    titles = {"index": "Overview", "gallery": "Gallery", **({"attention": "Attention"} if facts["attention"] else {})}
    held = {**facts, "stages": stages, "graph": layout(views), "charts": charts, "numbers": numbers, "scrub": scrub, "nav": titles.items()}
    for page in titles:
        write_file(folder, f"{page}.html", pages.get_template(f"{page}.html").render(page=page, **held).encode())
    for name in ("report.css", "report.js"):
        write_file(folder, name, resources.files("pipelines.report").joinpath("static", name).read_bytes())


def environment() -> Any:
    """The templates: everything that is not marked as safe is escaped, and what text hides is shown."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(str(resources.files("pipelines.report").joinpath("templates")))),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value,
    )
    made.filters |= {"words": words, "commas": lambda value: f"{value:,}", "cell": _cell}
    made.globals |= {"percent": percent}
    return made


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}" if isinstance(value, float) else visible(value)
