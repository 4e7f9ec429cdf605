import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.privacy import Scrubber, last_name
from pipelines.report.build import environment
from pipelines.report.escape import as_script, visible
from pipelines.run import run
from pipelines.show import show
from schemas.corpus import open_corpus
from schemas.tables import GRAPHS, IMAGES, REWRITES, column, table_schema
from schemas.tables import PAIRS as PAIRS_SCHEMA
from tests.forge import forge_manifest, forge_table
from tests.pipelines.conftest import make_config
from tests.pipelines.report.help import CAPTIONS, REGIONS, Report, image_row, report, small
from tests.pipelines.report.recount import check_charts, check_counts, check_facets
from tests.written import write_corpus

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

HOSTILE = ("</script><script>alert(1)</script>", '<img src=x onerror="alert(1)">', "javascript:alert(1) &lt;b&gt; &amp;amp;", "NUL \0 and bell \a",
           "right \u202e to left \u2066 isolates", "emoji 👩‍👩‍👧 and \u2028 line \u2029 ends", "{{ 7 * 7 }} {% raw %}", "' \" ` ${x} \\u003c",
           "__proto__ constructor toString", "word " * 10_000, "é́́́ zalgo", "\ufeff\u200b zero width")  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of the stages that load no models, and its report."""
    from pipelines.scenes import make_scenes

    folder = tmp_path_factory.mktemp("report")
    make_scenes(folder / "scenes", 20, 3, texts=50, shard_size=20)
    make_scenes(folder / "photos", 5, 4, captions=False)
    config = make_config(folder, folder / "c", swaps={"per_kind": 2, "min_count": 2})
    run(config)
    return folder / "c", report(folder / "c", folder / "r")


def test_every_count_is_that_of_the_manifests_and_of_a_recount(made):
    url, held = made
    check_counts(url, held)
    check_facets(url, held)
    check_charts(url, held)


def all_rows(corpus, stage, table):
    return [row for part in range(corpus.partitions) for row in corpus.open(stage, table, part).read().to_pylist()]


def test_the_gallery_holds_every_pair_with_all_that_was_derived_from_it(made):
    url, held = made
    corpus, _ = open_corpus(str(url))
    index, pairs = held.data("index-0000.js"), all_rows(corpus, "pairs", "pairs")
    assert index["ids"] == [pair["pair_id"] for pair in pairs] and index["captions"] == [pair["caption"] for pair in pairs]
    rewrites, refused = {}, {}
    for stage in ("tfidf", "swaps"):
        for row in all_rows(corpus, stage, "rewrites"):
            rewrites.setdefault(row["pair_id"], []).append(row["text"])
        for row in all_rows(corpus, stage, "rejects"):
            refused[row["id"], stage, row["reason"]] = refused.get((row["id"], stage, row["reason"]), 0) + 1
    seen = {}
    for start in range(0, len(pairs), 40):
        piece = held.data(f"000/piece-{start // 40:06d}.js")
        for at, pair in enumerate(piece["pairs"], start):
            texts = [index["captions"][row[2]] if row[0] == 0 else row[0] for one in pair["sets"] for row in one["rows"]]
            assert sorted(texts) == sorted(rewrites[index["ids"][at]])
            seen |= {(index["ids"][at], stage, reason): count for stage, reasons in pair["refused"] for reason, count, _ in reasons}
            assert len(pair["graph"]) == 1
    assert seen == refused


def test_the_same_corpus_gives_the_same_bytes_wherever_it_is_written(made, tmp_path):
    url, held = made
    again = report(url, tmp_path / "other", workers=2)
    assert again.files() == held.files()
    assert report(url, tmp_path / "other").files() == held.files()  # replaced


def test_no_path_of_the_machine_reaches_a_page(made, tmp_path):
    url, held = made
    for name, data in held.files().items():
        if not name.endswith(".jpg"):
            assert str(url.parent).encode() not in data and b"/tmp/" not in data and os.path.expanduser("~").encode() + b"/" not in data, (
                name
            )


def test_pages_link_to_files_of_the_folder_alone(made):
    _, held = made
    names = set(held.files())
    for page in ("index.html", "gallery.html"):
        found = held.page(page)
        assert {link.split("#")[0] for link in found.links if not link.startswith("#")} <= names
        assert "default-src 'none'" in (held.folder / page).read_text()


def test_the_overview_leads_to_the_likeliest_wrong_negatives(made, tmp_path):
    link = "gallery.html#score=cosine&sort=down"
    assert link in made[1].page("index.html").links
    assert link not in report(small(tmp_path, tfidf=None), tmp_path / "r").page("index.html").links


def test_hostile_captions_are_text(tmp_path):
    held = report(small(tmp_path, HOSTILE), tmp_path / "r")
    index = held.data("index-0000.js")
    assert sorted(index["captions"]) == sorted(HOSTILE)
    for page in ("index.html", "gallery.html"):
        tags = held.page(page).tags
        assert "img" not in tags and tags.count("script") == (2 if page == "gallery.html" else 0)
    assert not any("\u202e".encode() in data for name, data in held.files().items() if name.endswith(".html"))


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_data_files_hold_no_sign_that_could_end_a_script(text):
    data = as_script("meta", 0, {"text": text}).decode()
    assert not any(sign in data for sign in "<>&\u2028\u2029")
    assert json.loads(data.removeprefix('cmcl.put("meta",0,').removesuffix(");\n")) == {"text": text}
    assert all(ord(sign) >= 32 or sign in "\n\t" for sign in visible(text))


@pytest.mark.parametrize("text", ["<b>\"'&", "\u202eevil", "{{ 1 }}"])
def test_templates_escape(text):
    rendered = environment().from_string('<p title="{{ text }}">{{ text }}</p>').render(text=text)
    assert "<b>" not in rendered and "\u202e" not in rendered


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("no such file: /home/me/x.jpg", "no such file: x.jpg"),
        ("cannot open 's3://key:secret@bucket/a/b.tar?token=/x/y' now", "cannot open 'b.tar' now"),
        ("gs://bucket/photo.jpg", "photo.jpg"),
        ("https://user:pw@host/", "host"),
        ("C:\\Users\\me\\x.jpg", "x.jpg"),
        ("~/data/x.jpg and ./y/z.jpg", "x.jpg and ./y/z.jpg"),
        ("src//abs/path/1.jpg", "src/1.jpg"),
        ("either/or, 3/4, photos/1.jpg", "either/or, 3/4, photos/1.jpg"),
        ("/known place/with spaces/a.jpg is broken", "with spaces/a.jpg is broken"),
        ("file:///etc/passwd", "passwd"),
    ],
)
def test_locations_are_cut_to_their_last_name(text, left):
    assert Scrubber(["/known place/"])(text) == left


def test_names_of_urls_lose_credentials():
    assert last_name("s3://key:secret@bucket") == "bucket" and last_name("/a/b/") == "b" and last_name("corpus") == "corpus"


# Corpora that are not whole


def changed(tmp_path, **changes) -> Report:
    return report(small(tmp_path, **changes), tmp_path / "r")


def test_a_corpus_of_captions_alone(tmp_path):
    held = changed(tmp_path, photo=False, regions=None, image_matches=None)
    piece = held.data("000/piece-000000.js")
    assert all("captions alone" in image["about"][3] for _, image in piece["images"])
    assert not list(held.folder.glob("photos/**/*.jpg"))
    assert ["outcome", "without a photo", 4] in held.data("meta.js")["facets"]


def test_a_corpus_without_pairs(tmp_path):
    corpus = small(tmp_path)
    for stage in ("pairs", "tfidf", "swaps", "back_translation", "graphs", "regions", "image_matches", "text_matches"):
        for part in range(2):
            for table in ("pairs", "images") if stage == "pairs" else (corpus_table(stage),):
                forge_table(corpus, stage, table, part, lambda rows: rows.slice(0, 0))
    held = report(corpus, tmp_path / "r")
    assert "The corpus has no pairs." in held.warnings
    assert held.data("meta.js")["pairs"] == 0 and "all 0 pairs" in held.page("gallery.html").text


def corpus_table(stage):
    return {"graphs": "graphs", "regions": "regions", "image_matches": "matches", "text_matches": "matches"}.get(stage, "rewrites")


def test_a_corpus_without_stages(tmp_path):
    held = report(write_corpus(tmp_path / "c", 2, {}), tmp_path / "r")
    assert "The corpus has no stages." in held.warnings and held.data("meta.js")["pairs"] == 0


def test_a_corpus_of_one_pair(tmp_path):
    held = report(small(tmp_path, CAPTIONS[:1]), tmp_path / "r")
    assert held.data("meta.js")["pairs"] == 1


def test_a_corpus_without_stages_but_pairs(tmp_path):
    none = dict.fromkeys(("images", "regions", "tfidf", "graphs", "swaps", "back_translation", "image_matches", "text_matches"))
    held = changed(tmp_path, **none)
    piece = held.data("000/piece-000000.js")
    assert all(pair["sets"] == pair["graph"] == pair["matches"] == [] for pair in piece["pairs"])


def test_a_missing_manifest_is_named_and_the_rest_is_shown(tmp_path):
    corpus = small(tmp_path)
    os.remove(corpus.manifest_url("swaps"))
    held = report(corpus, tmp_path / "r")
    assert any("swaps is missing" in text and "2 of 2 tasks" in text for text in held.warnings)
    assert "negative: tfidf" in str(held.data("meta.js")["facets"])


def test_a_manifest_that_the_index_does_not_name(tmp_path):
    corpus = small(tmp_path)
    before = Path(corpus.url, "corpus.json").read_bytes()
    forge_manifest(corpus, "swaps", lambda manifest: setattr(manifest, "finished", "2027"))
    Path(corpus.url, "corpus.json").write_bytes(before)
    assert any("not the one that corpus.json names" in text for text in report(corpus, tmp_path / "r").warnings)


def test_a_failed_stage_says_why(tmp_path):
    corpus = small(tmp_path)
    forge_manifest(corpus, "tfidf", lambda manifest: setattr(manifest, "failed", "too much of /home/me/x was rejected"))
    held = report(corpus, tmp_path / "r")
    assert "The stage tfidf is failed: too much of x was rejected." in held.warnings
    assert 'class="node failed"' in (held.folder / "index.html").read_text()


def test_a_stale_stage_says_what_it_was_built_from(tmp_path):
    corpus = small(tmp_path)
    forge_manifest(corpus, "swaps", lambda manifest: manifest.ingredients.update(inputs={"graphs": "another", "pairs": "f"}))
    held = report(corpus, tmp_path / "r")
    assert "The stage swaps is stale: it was built from another version of graphs." in held.warnings


@pytest.mark.parametrize(
    "table", ["pairs/pairs", "pairs/images", "tfidf/rewrites", "graphs/graphs", "regions/regions", "text_matches/matches"]
)
def test_a_damaged_table_is_named_and_the_rest_is_shown(tmp_path, table):
    check_damage(tmp_path, table, "flipped")


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_table_that_is_not_whole_is_named_and_the_rest_is_shown(tmp_path, damage):
    check_damage(tmp_path, "tfidf/rewrites", damage)


def check_damage(tmp_path, table, damage):
    corpus = small(tmp_path, partitions=1)
    stage, name = table.split("/")
    path = Path(corpus.table_url(stage, name, 0))
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-20] if damage == "cut" else data[:200] + bytes([data[200] ^ 1]) + data[201:])
    held = report(corpus, tmp_path / "r")
    assert any(f"the table {name} of the stage {stage} could not be read in full" in text for text in held.warnings)
    assert str(tmp_path) not in str(held.warnings)
    assert held.data("meta.js")["pairs"] == (0 if table == "pairs/pairs" else 4)


def test_a_locked_corpus_is_read(tmp_path):
    from pipelines.lock import corpus_lock

    corpus = small(tmp_path)
    with corpus_lock(corpus.url):
        assert report(corpus, tmp_path / "r").data("meta.js")["pairs"] == 4


@pytest.mark.parametrize("fault", ["gone", "broken", "other", "folder", "bomb"])
def test_a_photo_that_cannot_be_shown_leaves_the_reason(tmp_path, fault):
    corpus = small(tmp_path)
    path = tmp_path / "photos of mine" / "0.png"
    if fault in ("gone", "folder"):
        path.unlink()
    if fault == "folder":
        path.mkdir()
    if fault == "broken":
        path.write_bytes(path.read_bytes()[:60])
    if fault == "bomb":
        from PIL import Image

        Image.new("1", (20_000, 20_000)).save(path)
    if fault == "other":
        forge_table(
            corpus,
            "pairs",
            "images",
            0,
            lambda rows: rows.set_column(7, rows.schema.field(7), pa.array([b"x" * 32] * len(rows), pa.binary(32))),
        )
        forge_table(
            corpus,
            "pairs",
            "images",
            1,
            lambda rows: rows.set_column(7, rows.schema.field(7), pa.array([b"x" * 32] * len(rows), pa.binary(32))),
        )
    held = report(corpus, tmp_path / "r")
    about = {image["about"][0]: image["about"][3] for _, image in held.data("000/piece-000000.js")["images"]}
    said = {
        "gone": "image missing",
        "broken": "image broken",
        "other": "has changed",
        "folder": "image unreadable",
        "bomb": "image too large",
    }
    assert said[fault] in about["src/0"] and str(tmp_path) not in about["src/0"]
    assert fault == "other" or about["src/1"] == ""


def test_photos_can_be_left_out(tmp_path):
    held = report(small(tmp_path), tmp_path / "r", photos=False)
    assert not [name for name in held.files() if name.endswith(".jpg")]
    assert "left out" in held.page("gallery.html").text


def test_file_names_of_photos_are_no_paths_in_the_report(tmp_path):
    row = image_row(tmp_path / "photos", 'it\'s "0"')
    pairs = [{"pair_id": "p", "image_id": "src/../../x'\"<", "caption": "c", "source": "src"}]
    stages = {"pairs": {"images": (IMAGES, [{**row, "image_id": "src/../../x'\"<"}]), "pairs": (PAIRS_SCHEMA, pairs)}}
    none = dict.fromkeys(("images", "regions", "tfidf", "graphs", "swaps", "back_translation", "image_matches", "text_matches"))
    held = changed(tmp_path, **{**none, **stages})
    assert [name for name in held.files() if name.endswith(".jpg")] == ["photos/000/0.jpg"]


def test_columns_and_tables_of_other_releases_are_shown(tmp_path):
    newer = table_schema(
        "rewrites", 3, [*REWRITES, column("fluency", pa.float32(), nullable=True), column("judge", pa.string(), nullable=True)]
    )
    corpus = small(tmp_path)
    row = {"pair_id": all_rows(corpus, "pairs", "pairs")[0]["pair_id"], "text": "x", "polarity": "negative", "level": "word", "kind": "novel",
           "edits": None, "origin": None, "scores": [], "why": "new", "fluency": 0.5, "judge": "/opt/judge"}  # fmt: skip
    told = table_schema("weights", 1, [column("pair_id", pa.string()), column("weight", pa.float32()), column("head", pa.string())])
    weights = [{"pair_id": row["pair_id"], "weight": 0.25, "head": "dog"}]
    shutil.rmtree(corpus.url)
    held = changed(tmp_path, novel={"rewrites": (newer, [row])}, balance={"weights": (told, weights)})
    text = "".join(str(held.data(f"000/{path.name}")) for path in sorted((held.folder / "data/000").iterdir()))
    assert "['fluency', 0.5], ['judge', 'judge']" in text
    assert "['balance', 'weights', [['weight', 0.25], ['head', 'dog']]]" in text
    assert ["fluency", 0.5, 0.5] in held.data("meta.js")["scores"]
    assert "novel: fluency" in held.page("index.html").text


def test_a_graph_or_region_that_is_out_of_range_does_no_harm(tmp_path):
    corpus = small(tmp_path)
    ids = [row["pair_id"] for row in all_rows(corpus, "pairs", "pairs")]
    shutil.rmtree(corpus.url)
    graph = {"pair_id": ids[0], "objects": [], "attributes": [], "relations": [{"subject": 7, "object": -1, "text": "on", "lemma": "on", "start": 90,
             "end": 95, "number": "", "head": "on", "tag": "IN", "voice": "active"}], "counts": []}  # fmt: skip
    regions = {"image_id": "src/0", "width": 64, "height": 48, "boxes": [[float("nan"), -5.0, 1e9, float("inf")]], "confidence": [float("nan")],
               "features": [[0.0, 1.0]], "soft_labels": None, "class": [77], "attributes": None}  # fmt: skip
    held = changed(tmp_path, graphs={"graphs": (GRAPHS, [graph])}, regions={"regions": (REGIONS, [regions])})
    assert held.data("meta.js")["pairs"] == 4


def test_boxes_are_shown_with_their_attributes(tmp_path):
    corpus = small(tmp_path)
    held = report(corpus, tmp_path / "r")
    meta, pieces = held.data("meta.js"), held.data("000/piece-000000.js")
    boxes = next(held["boxes"] for _, image in pieces["images"] for held in image["regions"])
    assert [f"{meta['attributes'][box[6]]} {meta['classes'][box[5]]}" for box in boxes] == ["black dog", "red ball, toy"]
    said = show(*open_corpus(corpus.url), all_rows(corpus, "pairs", "pairs")[0]["pair_id"])
    assert "black dog 0.90" in said and "red ball, toy 0.40" in said
