"""The datasheet of a dataset card, in Markdown, from the manifests of a corpus. Nothing from data is markup, no path is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.card_header import CardTable
from pipelines.card_settings import CardSettings
from pipelines.figures import flat, shown
from pipelines.privacy import Scrubber, scrubber_of
from schemas.corpus import Corpus, Index
from schemas.corpus_hash import is_layout
from schemas.manifest import StageManifest
from schemas.tables import SCHEMAS
from schemas.text import quoted

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~$^:@-])")
_INGEST = {"pairs": "image-text pairs", "images": "images without captions", "texts": "texts without images"}


def plain_text(value: object, limit: int = 500) -> str:
    """`value` as Markdown that shows it literally, on one line."""
    escaped = quoted(value, limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", escaped)


def datasheet(corpus: Corpus, index: Index, tables: Sequence[CardTable], stated: CardSettings, troubles: Sequence[str]) -> str:
    """The block of the card that follows from the corpus; ends in a line break."""
    manifests = [manifest for entry in index.stages if (manifest := corpus.manifest(entry.stage))]
    scrub = scrubber_of([corpus], manifests)
    sections = {
        "Tables": _tables(tables),
        "Sources": _sources(manifests, stated),
        "Filters": _filters(manifests),
        "Engines and settings": _engines(manifests, scrub),
        "Measured quality": _quality(manifests, scrub),
        "Known limits": _limits(index, manifests, troubles, scrub),
        "Redistribution": _redistribution(tables, stated),
    }
    title = plain_text(stated.title) if stated.title else "An augmented image-text corpus"
    parts = [f"# {title}\n", "Built by `cmcl`; this block is rewritten by `cmcl card`. Text outside of it is kept.\n"]
    return "\n".join([*parts, *("\n".join([f"## {name}", "", *lines, ""]) for name, lines in sections.items())])


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _tables(tables: Sequence[CardTable]) -> Iterator[str]:
    if not tables:
        yield "No table is finished yet."
        return
    yield "Open a table with `datasets.load_dataset(FOLDER, TABLE)`; each has the one split `train`. It cannot open tables without rows."
    yield ""
    yield from (_row("table", "rows", "bytes", "written by"), "|---|---:|---:|---|")
    for table in tables:
        yield _row(f"`{table.name}`", f"{table.rows:,}", f"{table.size:,}", ", ".join(f"`{stage}`" for stage in table.stages))


def _sources(manifests: Sequence[StageManifest], stated: CardSettings) -> Iterator[str]:
    for manifest in manifests:
        for name, held in sorted(_mapping(manifest.ingredients.get("sources")).items()):
            kind = _mapping(_mapping(held).get("settings")).get("format")
            if manifest.stage in _INGEST and name and kind:
                said = stated.sources.get(name)
                yield (
                    f"- {plain_text(name)} ({_INGEST[manifest.stage]}, read as {plain_text(kind)}): "
                    f"{plain_text(said, 4000) if said else 'the configuration does not say where it comes from'}"
                )
    for what, values in (("Licence", stated.license), ("Language", stated.language)):
        yield f"- {what}: {', '.join(map(plain_text, values)) if values else 'the configuration does not say'}."


def _filters(manifests: Sequence[StageManifest]) -> Iterator[str]:
    yield "Rows in = rows out + rejected + excluded + merged. Dropped rows are candidates that a guard refused."
    yield ""
    yield from (_row("stage", "rows in", "rejected", "excluded", "merged", "dropped", "reasons"), "|---|---:|---:|---:|---:|---:|---|")
    for manifest in manifests:
        counts = manifest.counts
        numbers = (f"{number:,}" for number in (counts.rows_in, counts.rejected, counts.excluded, counts.merged, counts.dropped))
        reasons = ", ".join(f"{plain_text(reason)} {count:,}" for reason, count in sorted(counts.reasons.items()))
        yield _row(f"`{manifest.stage}`", *numbers, reasons)


def _engines(manifests: Sequence[StageManifest], scrub: Scrubber) -> Iterator[str]:
    yield "The fingerprint of a stage covers its settings, its engines and models, its code's revision, and what it reads."
    yield ""
    for manifest in manifests:
        yield f"- `{manifest.stage}`, fingerprint `{plain_text(manifest.fingerprint)}`, seed {manifest.seed}"
        for key, value in sorted(flat(manifest.ingredients.get("settings"))):
            yield f"  - {plain_text(key)}: {plain_text(str(scrub.value(value)))}"
    versions = sorted({(name, version) for manifest in manifests for name, version in manifest.versions.items()})
    yield ""
    yield f"Versions: {', '.join(plain_text(f'{name} {version}') for name, version in versions)}."


def _quality(manifests: Sequence[StageManifest], scrub: Scrubber) -> Iterator[str]:
    yield "As measured while the corpus was built; `cmcl status CONFIG` prints these numbers."
    yield ""
    for manifest in manifests:
        numbers = [*manifest.counts.numbers.items(), *flat({key: held for key, held in manifest.extra.items() if key != "exclusions"})]
        for key, value in sorted(numbers, key=lambda item: item[0]):
            yield f"- `{manifest.stage}` {plain_text(key)}: {plain_text(shown(value, scrub))}"
    yield ""
    yield "To check files, references and counts: `cmcl verify CORPUS`. To compare with another corpus: `cmcl diff A B`."


def _limits(index: Index, manifests: Sequence[StageManifest], troubles: Sequence[str], scrub: Scrubber) -> Iterator[str]:
    written = {table for entry in index.stages for table in entry.tables}
    if "rewrites" in written:
        yield "- Rewritten captions are generated. A negative may be true of its image after all, and a positive may be unfaithful."
    pairs = next((manifest for manifest in manifests if manifest.stage == "pairs"), None)
    if pairs and _mapping(pairs.ingredients.get("settings")).get("pixels") is False:
        yield "- Built from captions alone: images were not opened."
    if pairs and not pairs.counts.rows_out.get("pairs"):
        yield "- There are no pairs."
    yield "- Captions and texts are those of their sources, with their biases and errors; nothing was reviewed by hand."
    for text in troubles:
        yield f"- Missing: {plain_text(scrub(text))}."


def _redistribution(tables: Sequence[CardTable], stated: CardSettings) -> Iterator[str]:
    for text in stated.restricted:
        yield f"- {plain_text(text, 4000)}"
    if not stated.restricted:
        yield "- The configuration does not say what must not be redistributed; the licences of the sources apply."
    if any(table.name == "images" for table in tables):
        yield "- Images are not part of the corpus: `images` and `examples` hold their locations, as seen from where it was built."
    columns = sorted(
        f"`{table.name}.{field.name}`"
        for table in tables
        if table.name in SCHEMAS
        for field in SCHEMAS[table.name]
        if is_layout(field) and field.name in ("uri", "detail")
    )
    if columns:
        yield f"- May contain paths of the machine on which it was built: {', '.join(columns)}."


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
