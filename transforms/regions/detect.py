"""The stages `regions` and `image_regions`: boxes, features and soft labels of each image's objects, from a detector.

Images are processed in windows of rows; within a window, images of the same padded size form batches. So the batches depend only on the
table and the settings, not on timing. Threads decode the next batches while the model runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic import Field

from schemas.regions import Regions
from schemas.rejects import Reason
from schemas.store import TableFile
from transforms.core.params import Params
from transforms.core.stage import Input, Stage
from transforms.core.task import Task
from transforms.engines.detectors.base import Detector, DetectorInfo, OutOfMemory, Prepared
from transforms.engines.detectors.load import describe, detector
from transforms.engines.detectors.settings import DetectorSettings
from transforms.ingest.images.probe import ImageError, ImageLimits, open_image
from transforms.regions.columns import named_schema, regions_batch

_AHEAD = 2  # batches decoded ahead while the model runs
_COLUMNS = ("image_id", "uri", "offset", "length", "width", "height")


class _Row(NamedTuple):
    """One image of the table; `position` is its row in the window."""

    position: int
    image_id: str
    uri: str | None
    offset: int | None
    length: int | None
    width: int
    height: int


class _Batch(NamedTuple):
    """Images of one padded size; `last`: it is the window's last batch."""

    rows: list[_Row]
    last: bool


class RegionParams(Params):
    """Settings of region detection, and which images are accepted."""

    detector: DetectorSettings = Field(default_factory=lambda: DetectorSettings())
    image_limits: ImageLimits = Field(default_factory=ImageLimits)


class DetectRegions(Stage[RegionParams]):
    """Writes `regions` for the `images` of the augmented stage, in their order. Rows in are images: each is written or rejected.

    Raises DetectorError on construction if the detector is unavailable, so the driver fails before any work.
    """

    name = "regions"
    revision = 4
    main_table = "regions"
    rows_by = ("image_id",)
    packages = ("torch", "torchvision", "safetensors", "pillow")
    extra = "regions"

    def __post_init__(self) -> None:
        self.info  # noqa: B018 - raises

    @cached_property
    def info(self) -> DetectorInfo:
        """The detector's description; pickled with the stage."""
        return describe(self.params.detector)

    @property
    def reads(self) -> Sequence[Input]:
        """The images of the same partition."""
        return (Input(self.augments, "images", columns=("image_id", "width", "height", "sha256")),)  # wherever the bytes are

    @property
    def resources(self) -> Mapping[str, str]:
        """A GPU if the settings require one."""
        cuda = self.params.detector.device == "cuda"
        return {"accelerator": "type:nvidia-tesla-t4;count:1;install-nvidia-driver"} if cuda else {}

    @property
    def writes(self) -> Mapping[str, pa.Schema]:
        """`regions` with the widths of the detector's features and soft labels."""
        return {"regions": named_schema(self.info.features, self.info.classes, self.info.names, self.info.attribute_names)}

    @property
    def settings(self) -> Mapping[str, Any]:
        """The detector's fingerprint, and the settings that determine batches and rejects."""
        return {
            "detector": self.info.fingerprint,
            "window": self.params.detector.window,
            "image_limits": self.params.image_limits.model_dump(mode="json"),
        }

    def process(self, task: Task, payload: Any) -> None:
        """Makes one partition. Memory: one window of regions, and three batches of prepared images."""
        model = detector(self.params.detector)
        schema = self.writes["regions"]
        held: dict[int, tuple[str, Regions]] = {}
        with task.open(self.augments, "images") as images, ThreadPoolExecutor(self.params.detector.readers) as pool:
            try:
                for batch, waiting in self._decoded(pool, model, self._batches(task, model, images)):
                    task.check_cancelled()
                    ready = _sound(task, batch, waiting)
                    for (row, _), found in zip(ready, self._detect(task, model, ready), strict=True):
                        if found is not None:
                            held[row.position] = row.image_id, found
                            task.count(f"images_on {model.device_kind}", [row.image_id])
                            if not getattr(model, "alone", True):
                                task.count("images_dependent_on_batch", [row.image_id])
                    if batch.last:
                        _write(task, schema, held)
                        held = {}
            finally:
                pool.shutdown(cancel_futures=True)

    def _batches(self, task: Task, model: Detector, images: TableFile) -> Iterator[_Batch]:
        """All images of a partition, window by window, grouped by padded size; the last batch of each window is marked."""
        size = self.params.detector.window
        for table in images.batches():
            for start in range(0, table.num_rows, size):
                columns = table.slice(start, size).select(_COLUMNS).to_pydict()
                task.counts.rows_in += len(columns["image_id"])
                yield from self._window(task, model, columns)

    def _window(self, task: Task, model: Detector, columns: dict[str, list[Any]]) -> Iterator[_Batch]:
        alike: dict[tuple[int, int], list[_Row]] = {}
        for position, values in enumerate(zip(*(columns[name] for name in _COLUMNS), strict=True)):
            row = _Row(position, *values)
            if row.uri is None or row.width is None:
                task.rejects.add(row.image_id, Reason.IMAGE_MISSING, "the corpus was made without opening images (pixels: false)")
                continue
            try:
                alike.setdefault(model.shape(row.width, row.height), []).append(row)
            except ImageError as error:
                task.rejects.add(row.image_id, error.reason, error.detail)
        cut = [
            rows[start : start + self.params.detector.batch]
            for _, rows in sorted(alike.items())
            for start in range(0, len(rows), self.params.detector.batch)
        ]
        for number, rows in enumerate(cut, start=1):
            yield _Batch(rows, number == len(cut))

    def _decoded(
        self, pool: ThreadPoolExecutor, model: Detector, batches: Iterator[_Batch]
    ) -> Iterator[tuple[_Batch, list[Future[Prepared]]]]:
        """Each batch with the futures of its images, submitted a few batches ahead."""
        ahead: deque[tuple[_Batch, list[Future[Prepared]]]] = deque()
        for batch in batches:
            ahead.append((batch, [pool.submit(self._prepare, model, row) for row in batch.rows]))
            if len(ahead) > _AHEAD:
                yield ahead.popleft()
        while ahead:
            yield ahead.popleft()

    def _prepare(self, model: Detector, row: _Row) -> Prepared:
        assert row.uri is not None
        image = open_image(row.uri, row.offset, row.length, self.params.image_limits)
        if image.size != (row.width, row.height):
            raise ImageError(
                Reason.IMAGE_UNREADABLE,
                f"{row.uri}: {image.width} x {image.height} pixels, but {row.width} x "
                f"{row.height} at ingestion: the file has been replaced",
            )
        return model.prepare(image)

    def _detect(self, task: Task, model: Detector, ready: list[tuple[_Row, Prepared]]) -> list[Regions | None]:
        """The regions of each image; None, and a reject, for one that does not fit into memory by itself."""
        if not ready:
            return []
        try:
            with task.engine():
                return list(model.detect([prepared for _, prepared in ready]))
        except OutOfMemory as error:
            if len(ready) == 1:
                task.rejects.add(ready[0][0].image_id, Reason.ENGINE_FAILED, f"out of memory in a batch of one: {error}")
                return [None]
        task.count("batches_split", [ready[0][0].image_id])
        half = len(ready) // 2
        return [*self._detect(task, model, ready[:half]), *self._detect(task, model, ready[half:])]


class DetectImageRegions(DetectRegions):
    """`DetectRegions` for the images of the stage `images`, the collections without captions."""

    name = "image_regions"
    augments = "images"


def _sound(task: Task, batch: _Batch, waiting: list[Future[Prepared]]) -> list[tuple[_Row, Prepared]]:
    """The images of a batch that could be opened; the others become rejects."""
    ready = []
    for row, future in zip(batch.rows, waiting, strict=True):
        try:
            ready.append((row, future.result()))
        except ImageError as error:
            task.rejects.add(row.image_id, error.reason, error.detail)
    return ready


def _write(task: Task, schema: pa.Schema, held: dict[int, tuple[str, Regions]]) -> None:
    rows = [held[position] for position in sorted(held)]
    if not rows:
        return
    image_ids, found = [image_id for image_id, _ in rows], [regions for _, regions in rows]
    task.write("regions", regions_batch(schema, image_ids, found))
    task.count("regions", image_ids, [len(one.boxes) for one in found])
    task.count("images_without_regions", image_ids, [not len(one.boxes) for one in found])
