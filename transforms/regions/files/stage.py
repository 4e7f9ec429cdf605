"""The stage that imports `regions` from existing files: each task looks up its own images, so no features are shuffled."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from schemas.errors import is_of_machine
from schemas.files import local_path
from schemas.regions import Regions
from schemas.rejects import Reason
from schemas.tables import BATCH_ROWS
from transforms.core.params import Params
from transforms.core.stage import Input, Stage
from transforms.core.task import Task
from transforms.ingest.limits import Limits
from transforms.ingest.sources.listing import expand, list_folder, listing_stamp
from transforms.ingest.sources.opening import read_whole
from transforms.regions.columns import named_schema, regions_batch
from transforms.regions.files.base import (
    MAX_BOXES,
    MAX_BYTES,
    Bounds,
    Dtype,
    RegionFileError,
    RegionStore,
    check_template,
    count_of,
    key_of,
    to_regions,
)
from transforms.regions.files.layouts import MOST_FIELDS, PARSERS
from transforms.regions.files.lmdb_pages import data_file
from transforms.regions.files.tsv import TsvStore
from transforms.regions.files.uniter import LmdbStore, NpzStore

Format = Literal["bottom_up", "vinvl", "oscar", "lxmert", "unimo", "uniter_npz", "uniter_lmdb"]
_TRIED = 1000  # entries examined to determine the widths


class RegionFileSettings(Params):
    """The files with the regions, and each image's key in them.

    Raises pydantic.ValidationError, naming the key and what is allowed, on an unknown key or a value out of range.
    """

    format: Format = Field(
        description="bottom_up, vinvl, oscar, lxmert, unimo: TSV files; uniter_npz: a folder; uniter_lmdb: a local folder"
    )
    files: tuple[str, ...] = Field(min_length=1, description="the TSV files (or globs), or the folder")
    key: str = Field(
        default="{key}", description="pattern of an image's key in the files: {key}, {name}, {stem}, {number:012d} and literal text"
    )
    class_names: str | None = Field(
        default=None, description="text file with a class name per line, without the background (Visual Genome's objects_vocab.txt)"
    )
    attribute_names: str | None = Field(default=None, description="likewise of the attributes (attributes_vocab.txt)")
    threshold: float | None = Field(
        default=None, ge=0, le=1, description="keep regions with a confidence above this (if the files have one); null keeps all"
    )
    min_regions: int = Field(default=10, ge=0, description="keep at least this many of the most confident regions, whatever the threshold")
    max_regions: int = Field(default=100, ge=1, description="maximum number of regions per image, if there is a threshold")

    dtype: Dtype | None = Field(
        default=None, description="type of TSV files' features and probabilities: float16, float32 or float64; null: the boxes' type"
    )
    max_entry_bytes: int = Field(default=MAX_BYTES, ge=1, description="maximum size of an image's entry in bytes, packed and unpacked")
    max_boxes: int = Field(default=MAX_BOXES, ge=1, description="maximum number of regions in an entry")

    @property
    def bounds(self) -> Bounds:
        """The limits of an entry."""
        return Bounds(self.max_entry_bytes, self.max_boxes, self.dtype)

    @field_validator("key")
    @classmethod
    def _known(cls, value: str) -> str:
        return check_template(value)


def stamp_of_files(settings: RegionFileSettings) -> list[list[str]]:
    """Name and stamp (ETag, or size and time) of every file. Raises SourceError if one is missing."""
    if settings.format in PARSERS:
        return [[found.url, found.stamp] for found in expand(list(settings.files))]
    if len(settings.files) != 1:
        raise ValueError(f"{settings.format} takes one folder, not {len(settings.files)}")
    folder = settings.files[0]
    if settings.format == "uniter_npz":
        return [[folder, listing_stamp(list_folder(folder))]]
    return [[found.url, found.stamp] for found in expand(str(data_file(local_path(folder))))]


@lru_cache(maxsize=4)
def _opened(settings: RegionFileSettings, _: str) -> RegionStore:
    if settings.format in PARSERS:
        urls = [found.url for found in expand(list(settings.files))]
        return TsvStore(urls, PARSERS[settings.format], settings.bounds, MOST_FIELDS.get(settings.format))
    return (NpzStore if settings.format == "uniter_npz" else LmdbStore)(settings.files[0], settings.bounds)


def open_store(settings: RegionFileSettings) -> RegionStore:
    """The files, opened (TSV: indexed) once per process, and again if they change.

    Raises ValueError if a package is missing or an LMDB is damaged, SourceError if a file or folder is missing or unreadable.
    """
    return _opened(settings, json.dumps(stamp_of_files(settings)))


def widths(settings: RegionFileSettings) -> tuple[int, int]:
    """The widths of features and soft labels (1: the files have none), from the first valid entry with regions.

    Raises ValueError if there is none, with the problem of the first invalid entry.
    """
    store = open_store(settings)
    names = ", ".join(settings.files)
    fault, empty = "", False
    for key in islice(store.keys(), _TRIED):
        try:
            entry = store.get(key)
            if entry is None:
                continue
            if count_of(entry):
                return entry.features.shape[1], entry.soft_labels.shape[1] if entry.soft_labels is not None else 1
            empty = True
        except RegionFileError as error:
            fault = fault or error.detail
    if fault:
        raise ValueError(f"no entry of {names} can be read as {settings.format}: {fault}")
    if empty:
        raise ValueError(f"no entry of {names} has regions, so the width of the features is unknown")
    raise ValueError(
        f"{names} contains no entries: no line starts with a key and a tab"
        if settings.format in PARSERS
        else f"{names} contains no entries"
    )


def names_of(settings: RegionFileSettings) -> tuple[list[str] | None, list[str] | None]:
    """The names of the classes, background first, and of the attributes, from their files; None: not given.

    Raises ValueError if a file contains an empty line or is not UTF-8, or if the soft labels have another number of columns than there are
    classes; SourceError if it cannot be read.
    """
    classes, attributes = (None if path is None else _lines(path) for path in (settings.class_names, settings.attribute_names))
    columns = widths(settings)[1]
    if classes is not None and columns not in (1, len(classes) + 1):
        raise ValueError(
            f"{settings.class_names} names {len(classes)} classes, but soft labels of {', '.join(settings.files)} have {columns} columns: "
            "it must have one line per class, without the background"
        )
    return None if classes is None else ["background", *classes], attributes


def _lines(path: str) -> list[str]:
    try:
        text = read_whole(path, Limits()).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8: it must be a text file with one name per line") from None
    lines = [line.strip() for line in text.rstrip().split("\n")]
    if "" in lines:
        raise ValueError(f"line {lines.index('') + 1} of {path} is empty: it must have one name per line")
    return lines


class ImportRegions(Stage[RegionFileSettings]):
    """Writes `regions` for the `images` of the augmented stage, from files. Rows in are images: each is written or rejected.

    Fields that a format lacks (confidence, soft labels, class or attributes) are null in the table. Raises as `open_store` and
    `widths` do, before any work.
    """

    name = "regions"
    main_table = "regions"
    rows_by = ("image_id",)

    def __post_init__(self) -> None:
        self.stamp, self.widths, self.names  # noqa: B018 - raise

    @cached_property
    def stamp(self) -> str:
        """The files' stamp when the stage was created; pickled with it."""
        return json.dumps(stamp_of_files(self.params))

    @cached_property
    def widths(self) -> tuple[int, int]:
        """Widths of the features and of the soft labels; pickled with the stage."""
        return widths(self.params)

    @cached_property
    def names(self) -> tuple[list[str] | None, list[str] | None]:
        """Names of the classes and of the attributes; pickled with the stage."""
        return names_of(self.params)

    @property
    def reads(self) -> Sequence[Input]:
        """The images of the same partition."""
        return (Input(self.augments, "images", columns=("image_id", "width", "height")),)

    @property
    def writes(self) -> Mapping[str, pa.Schema]:
        """`regions` with the files' widths, and the names."""
        return {"regions": named_schema(*self.widths, *self.names)}

    @property
    def settings(self) -> Mapping[str, Any]:
        """All settings, and the files' stamps: other files give other regions."""
        found = {name: value for name, value in super().settings.items() if name not in ("class_names", "attribute_names")}
        named = {"names": self.names} if any(self.names) else {}
        return {**found, **named, "stamp": self.stamp, "widths": list(self.widths)}

    def process(self, task: Task, payload: Any) -> None:
        """Makes one partition, a record batch of regions at a time."""
        store = open_store(self.params)
        schema = self.writes["regions"]
        rows = BATCH_ROWS["regions"]
        with task.open(self.augments, "images") as images:
            for table in images.batches():
                for start in range(0, table.num_rows, rows):
                    part = table.slice(start, rows).select(["image_id", "width", "height"]).to_pylist()
                    task.counts.rows_in += len(part)
                    found = [(row["image_id"], regions) for row in part if (regions := self._one(task, store, row)) is not None]
                    if found:
                        task.write("regions", regions_batch(schema, [name for name, _ in found], [regions for _, regions in found]))

    def _one(self, task: Task, store: RegionStore, row: dict[str, Any]) -> Regions | None:
        image_id = row["image_id"]
        try:
            key = key_of(image_id, self.params.key)
            entry = store.get(key)
            if entry is None:
                damage = f"; it may be lost in {store.damage}" if store.damage else ""
                raise RegionFileError(Reason.REGIONS_MISSING, f"the files have no entry {key!r}{damage}")
            width, height = row["width"] or entry.width, row["height"] or entry.height
            if width is None or height is None:
                raise RegionFileError(Reason.BAD_ROW, f"the size of the image is in neither the corpus nor the entry {key!r}")
            return self._kept(self._named(to_regions(entry, width, height, *self.widths)))
        except RegionFileError as error:
            task.rejects.add(image_id, error.reason, error.detail)
        except Exception as error:  # whatever else an entry raises
            if is_of_machine(error):
                raise
            task.rejects.add(image_id, Reason.BAD_ROW, f"{type(error).__name__}: {error}")
        return None

    def _named(self, regions: Regions) -> Regions:
        """The regions. Raises RegionFileError if a class or an attribute is beyond the names."""
        held = zip(("class", "attribute"), (regions.classes, regions.attributes), self.names, strict=True)
        for what, numbers, names in held:
            if names is not None and numbers is not None and len(numbers) and numbers.max() >= len(names):
                raise RegionFileError(Reason.BAD_ROW, f"{what} {numbers.max()} has no name: {len(names)} names are given, from number 0 on")
        return regions

    def _kept(self, regions: Regions) -> Regions:
        """The regions kept by UNITER's rule, if a threshold is set and they have a confidence."""
        if self.params.threshold is None or regions.confidence is None:
            return regions
        confident = int((regions.confidence > self.params.threshold).sum())
        count = min(self.params.max_regions, max(self.params.min_regions, confident))
        order = np.argsort(-regions.confidence, kind="stable")[:count]
        rows: dict[str, Any] = {name: values[order] for name, values in vars(regions).items() if isinstance(values, np.ndarray)}
        return replace(regions, **rows)


class ImportImageRegions(ImportRegions):
    """`ImportRegions` for the images of the stage `images`, the collections without captions."""

    name = "image_regions"
    augments = "images"
