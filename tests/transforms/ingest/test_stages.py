"""Ingestion end to end: sources in, tables and rejects out, every row accounted for."""

import io
import json
import random
import tarfile
from collections import Counter

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from PIL import Image

from schemas.corpus import Corpus
from schemas.corpus_hash import hash_table
from schemas.ids import image_id, pair_id, partition_of, placements
from transforms.core.beam import RunContext, StageFingerprint
from transforms.ingest.beam import RunIngest
from transforms.ingest.clean import CleanRules
from transforms.ingest.exclusions import ExclusionRules
from transforms.ingest.images.probe import ImageLimits
from transforms.ingest.sources.coco import CocoSource
from transforms.ingest.sources.delimited import DelimitedSource
from transforms.ingest.sources.folder import FolderSource
from transforms.ingest.sources.texts import JsonLinesSource, TextSource
from transforms.ingest.sources.webdataset import WebDatasetSource
from transforms.ingest.stages import IngestImages, IngestPairs, IngestTexts, PairParams, TextParams


def ingest(stage, place, partitions=3):
    corpus = Corpus(str(place), partitions)
    context = RunContext(corpus, 0, 1.0, {stage.name: StageFingerprint("f", {})})
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        pipeline | RunIngest(context, stage)
    return corpus


def rows(corpus, stage, table):
    return pa.concat_tables([corpus.open(stage, table, p).read() for p in range(corpus.partitions)]).to_pylist()


def reasons(corpus, stage):
    return Counter(row["reason"] for row in rows(corpus, stage, "rejects"))


def balanced(corpus, stage, table):
    counts = corpus.manifest(stage).counts
    return counts.rows_in == counts.rows_out[table] + counts.rejected + counts.excluded + counts.merged


def photo(path, colour="red", size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def csv(tmp_path):
    """Captions and photos with most kinds of faults."""
    for name, colour in (("a.jpg", "red"), ("b.jpg", "blue"), ("copy of a.jpg", "red"), ("tests.jpg", "green")):
        photo(tmp_path / "photos" / name, colour)
    whole = (tmp_path / "photos/b.jpg").read_bytes()
    (tmp_path / "photos/broken.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "photos/zero.jpg").write_bytes(b"")
    photo(tmp_path / "photos/huge.png", size=(400, 300))
    lines = [
        b"image,caption",
        b"a.jpg,A red square.",
        b"a.jpg,A red square.",
        b"a.jpg,A  red\tsquare. ",
        b"a.jpg,Something red.",
        b"b.jpg,A blue square.",
        b"copy of a.jpg,A red square.",
        b"tests.jpg,Left out on purpose.",
        b"broken.jpg,Half a photo.",
        b"broken.jpg,Still half a photo.",
        b"zero.jpg,No photo at all.",
        b"huge.png,Too large.",
        b"nowhere.jpg,No such photo.",
        b"a.jpg,",
        b"a.jpg,   ",
        b"a.jpg,caf\xff",
        b"a.jpg," + b"word " * 10_000,
        b"b.jpg,caf\xc3\xa9",
        b"b.jpg,cafe\xcc\x81",
    ]
    (tmp_path / "captions.csv").write_bytes(b"\n".join(lines) + b"\n")
    return tmp_path


def pairs_stage(csv, **changes):
    source = DelimitedSource(format="csv", name="my", captions=str(csv / "captions.csv"), images=str(csv / "photos"))
    return IngestPairs(
        PairParams(
            **{
                "collections": (source,),
                "image_limits": ImageLimits(max_pixels=50_000),
                "exclude": ExclusionRules(ids=["tests.jpg"]),
                **changes,
            }
        )
    )


def test_every_row_is_accounted_for(csv):
    corpus = ingest(pairs_stage(csv), csv / "c")
    found = {(row["image_id"], row["caption"]) for row in rows(corpus, "pairs", "pairs")}
    assert found == {
        ("my/a.jpg", "A red square."),
        ("my/a.jpg", "Something red."),
        ("my/b.jpg", "A blue square."),
        ("my/b.jpg", "café"),
        ("my/copy of a.jpg", "A red square."),
    }
    assert reasons(corpus, "pairs") == {
        "image_broken": 2,
        "image_empty": 1,
        "image_too_large": 1,
        "image_missing": 1,
        "empty": 2,
        "bad_encoding": 1,
        "too_long": 1,
        "excluded": 1,
    }
    counts = corpus.manifest("pairs").counts
    assert (counts.rows_in, counts.rows_out, counts.rejected, counts.excluded, counts.merged) == (18, {"images": 3, "pairs": 5}, 9, 1, 3)
    assert balanced(corpus, "pairs", "pairs")


def test_images_keep_their_location_and_their_bytes_are_hashed(csv):
    corpus = ingest(pairs_stage(csv), csv / "c")
    images = {row["image_id"]: row for row in rows(corpus, "pairs", "images")}
    assert images["my/a.jpg"]["sha256"] == images["my/copy of a.jpg"]["sha256"] != images["my/b.jpg"]["sha256"]
    assert (images["my/a.jpg"]["width"], images["my/a.jpg"]["height"], images["my/a.jpg"]["offset"]) == (40, 30, None)
    assert images["my/a.jpg"]["uri"] == str(csv / "photos/a.jpg")


def test_a_run_on_captions_alone_opens_no_image(csv):
    source = DelimitedSource(format="csv", name="my", captions=str(csv / "captions.csv"))
    corpus = ingest(pairs_stage(csv, pixels=False, collections=(source,)), csv / "c")
    assert {row["sha256"] for row in rows(corpus, "pairs", "images")} == {None}
    assert not {reason for reason in reasons(corpus, "pairs") if reason.startswith("image")}
    assert balanced(corpus, "pairs", "pairs")


def test_rejects_say_where(csv):
    details = {row["reason"]: row["detail"] for row in rows(ingest(pairs_stage(csv), csv / "c"), "pairs", "rejects")}
    assert "captions.csv" in details["bad_encoding"] and "\\xff" in details["bad_encoding"]
    assert "10000 words" in details["too_long"].replace(",", "") or "bytes" in details["too_long"]
    assert "broken.jpg" in details["image_broken"]


def test_order_of_rows_files_and_partitions_leaves_no_trace(csv):
    one = ingest(pairs_stage(csv), csv / "one", partitions=4)
    lines = (csv / "captions.csv").read_bytes().splitlines()
    shuffled = lines[1:]
    random.Random(5).shuffle(shuffled)
    (csv / "captions.csv").unlink()
    for number, part in enumerate((shuffled[:6], shuffled[6:])):
        (csv / f"part{number}.csv").write_bytes(b"\n".join([lines[0], *part]) + b"\n")
    source = DelimitedSource(format="csv", name="my", captions=[str(csv / "part1.csv"), str(csv / "part0.csv")], images=str(csv / "photos"))
    other = ingest(pairs_stage(csv, collections=(source,)), csv / "other", partitions=1)
    for table in ("images", "pairs"):
        assert hash_table(one, "pairs", table) == hash_table(other, "pairs", table)
    assert reasons(one, "pairs") == reasons(other, "pairs")


def test_rows_are_in_the_partitions_of_their_ids(csv):
    corpus = ingest(pairs_stage(csv), csv / "c", partitions=7)
    for partition in range(7):
        pairs = corpus.open("pairs", "pairs", partition).read().to_pylist()
        ids = [row["image_id"] for row in pairs]
        assert set(partition_of(placements(ids), 7).tolist()) <= {partition}
        keys = [(place, row["image_id"], row["pair_id"]) for place, row in zip(placements(ids).tolist(), pairs, strict=True)]
        assert keys == sorted(keys)
        assert all(row["pair_id"] == pair_id(row["image_id"], row["caption"]) for row in pairs)


def test_one_id_for_two_images_is_refused(tmp_path):
    """Two shards of tar files that use the same key for different images."""
    for number, colour in enumerate(("red", "blue")):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            data = io.BytesIO()
            Image.new("RGB", (20, 20), colour).save(data, "PNG")
            for name, content in (("0001.png", data.getvalue()), ("0001.txt", f"A {colour} square.".encode())):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    source = WebDatasetSource(format="webdataset", name="w", shards=str(tmp_path / "*.tar"))
    corpus = ingest(IngestPairs(PairParams(collections=(source,))), tmp_path / "c")
    assert [row["caption"] for row in rows(corpus, "pairs", "pairs")] == ["A red square."]
    assert reasons(corpus, "pairs") == {"duplicate_id": 1} and balanced(corpus, "pairs", "pairs")


def test_urls_on_an_exclusion_list(tmp_path):
    content = {
        "images": [
            {"id": 1, "file_name": "1.jpg", "flickr_url": "http://farm7.staticflickr.com/6116/6255196340_da26cf2c9e_z.jpg"},
            {"id": 2, "file_name": "2.jpg", "coco_url": "http://x.org/2.jpg"},
            {"id": 3, "file_name": "3.jpg"},
        ],
        "annotations": [{"id": n, "image_id": n, "caption": f"Image {n}."} for n in (1, 2, 3)],
    }
    (tmp_path / "captions.json").write_text(json.dumps(content))
    (tmp_path / "flickr30k.txt").write_text("6255196340.jpg\n")
    (tmp_path / "urls.txt").write_text("https://x.org/2.jpg\n")
    source = CocoSource(format="coco", name="coco", captions=str(tmp_path / "captions.json"))
    lists = ExclusionRules(files=[str(tmp_path / "urls.txt")], flickr_files=[str(tmp_path / "flickr30k.txt")])
    stage = IngestPairs(PairParams(collections=(source,), pixels=False, exclude=lists))
    corpus = ingest(stage, tmp_path / "c")
    assert [row["image_id"] for row in rows(corpus, "pairs", "pairs")] == ["coco/3"]
    counts = corpus.manifest("pairs").counts
    assert (counts.excluded, counts.rejected, counts.reasons) == (2, 0, {"excluded": 2})
    before = stage.settings["exclude"]
    (tmp_path / "urls.txt").write_text("https://x.org/3.jpg\n")
    assert stage.settings["exclude"] != before  # lists are fingerprinted by content


def test_images_without_captions(csv):
    source = FolderSource(format="folder", name="only", images=str(csv / "photos"))
    corpus = ingest(IngestImages(PairParams(collections=(source,))), csv / "c")
    assert {row["image_id"] for row in rows(corpus, "images", "images")} == {
        image_id("only", name) for name in ("a.jpg", "b.jpg", "copy of a.jpg", "tests.jpg", "huge.png")
    }
    assert reasons(corpus, "images") == {"image_broken": 1, "image_empty": 1} and balanced(corpus, "images", "images")


def test_uncaptioned_images_are_kept_as_images_and_rejected_as_pairs(csv):
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "caption": "A red square."}],
    }
    (csv / "captions.json").write_text(json.dumps(content))
    source = CocoSource(format="coco", name="coco", captions=str(csv / "captions.json"), images=str(csv / "photos"), keep_uncaptioned=True)
    corpus = ingest(IngestPairs(PairParams(collections=(source,))), csv / "c")
    assert reasons(corpus, "pairs") == {"caption_missing": 1} and balanced(corpus, "pairs", "pairs")
    corpus = ingest(IngestImages(PairParams(collections=(source,))), csv / "c")
    assert len(rows(corpus, "images", "images")) == 2 and not reasons(corpus, "images")
    assert "under `pairs` they are rejected" in CocoSource.model_fields["keep_uncaptioned"].description


def test_texts_are_split_cleaned_and_merged(tmp_path):
    (tmp_path / "a.txt").write_bytes("It was late. The cat — a grey one — slept!\n\nIt was late. Who knew?\n".encode())
    (tmp_path / "b.txt").write_bytes(b"Caf\xff is no text.\n\nIt was late.\n\n" + b"word " * 400 + b".\n")
    source = TextSource(format="text", name="t", files=str(tmp_path / "*.txt"))
    corpus = ingest(IngestTexts(TextParams(collections=(source,), sentences=CleanRules(min_words=2))), tmp_path / "c")
    assert sorted(row["text"] for row in rows(corpus, "texts", "texts")) == ["It was late.", "The cat — a grey one — slept!", "Who knew?"]
    assert reasons(corpus, "texts") == {"bad_encoding": 1, "too_long": 1}
    assert corpus.manifest("texts").counts.merged == 2 and balanced(corpus, "texts", "texts")


def test_documents_are_split_into_paragraphs_before_cleaning(tmp_path):
    book = "\n\n".join(f"Chapter {n}\r\n \t\r\nIn chapter {n} a dog\nruns. " + "It barks. " * 20 for n in range(1000))
    bodies = ["A Heading\n\nA dog runs.", book, "Good one.\n\n" + "x" * 100_001 + "\n\n\u200b\n\nGood two.", "\u200b"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": body}) + "\n" for body in bodies) + '{"text": 5}\n')
    source = JsonLinesSource(format="jsonl", name="t", files=str(tmp_path / "a.jsonl"))
    corpus = ingest(IngestTexts(TextParams(collections=(source,))), tmp_path / "c")
    found = {row["text"] for row in rows(corpus, "texts", "texts")}
    assert found == {
        "A Heading",
        "A dog runs.",
        "Good one.",
        "Good two.",
        "It barks.",
        *(text for n in range(1000) for text in (f"Chapter {n}", f"In chapter {n} a dog runs.")),
    }
    assert reasons(corpus, "texts") == {"too_long": 1, "empty": 2, "bad_row": 1}
    assert any(row["detail"].startswith(f"{tmp_path}/a.jsonl:3, paragraph 2: ") for row in rows(corpus, "texts", "rejects"))
    assert corpus.manifest("texts").counts.rows_in == 2 + 22 * 1000 + 2 + 4 and balanced(corpus, "texts", "texts")


def test_entities_stay_in_texts_where_the_rules_say_so(tmp_path):
    (tmp_path / "a.txt").write_text("Fish &amp; chips.\n")
    source = TextSource(format="text", name="t", files=str(tmp_path / "a.txt"))
    corpus = ingest(IngestTexts(TextParams(collections=(source,), sentences=CleanRules(entities=False))), tmp_path / "c")
    assert [row["text"] for row in rows(corpus, "texts", "texts")] == ["Fish &amp; chips."]


def test_complete_real_collections(shared_data, tmp_path):
    """The real collections: every row is accounted for."""
    coco = CocoSource(
        format="coco",
        name="coco",
        captions=str(shared_data / "coco_val2017/captions_val2017.json"),
        images=str(shared_data / "coco_val2017/images"),
        missing_images="exclude",
    )
    flickr = DelimitedSource(
        format="csv", name="flickr8k", captions=str(shared_data / "flickr8k/captions.csv"), images=str(shared_data / "flickr8k/images")
    )
    corpus = ingest(IngestPairs(PairParams(collections=(coco, flickr))), tmp_path / "c", partitions=8)
    counts = corpus.manifest("pairs").counts
    assert counts.rows_in == 25_014 + 2_950 and counts.rejected == 0
    assert counts.rows_out["images"] == 251 + 590
    assert counts.reasons == {"image_not_held": 25_014 + 2_950 - counts.rows_out["pairs"] - counts.merged}
    assert balanced(corpus, "pairs", "pairs")
    photos = FolderSource(format="folder", name="only", images=str(shared_data / "image_only/images"))
    only = ingest(IngestImages(PairParams(collections=(photos,))), tmp_path / "c", partitions=8)
    assert only.manifest("images").counts.rows_out == {"images": 160}
