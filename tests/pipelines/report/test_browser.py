"""The gallery in a browser: Debian's chromium, from disk and through the server, without a network."""

from __future__ import annotations

import io
import itertools
import json
import threading

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.diff import diff
from pipelines.privacy import Scrubber
from pipelines.report.diff_page import write_diff
from pipelines.report.escape import visible
from pipelines.report.serve import server_for
from pipelines.run import run
from pipelines.scenes import make_scenes
from schemas.corpus import open_corpus
from schemas.ids import pair_id
from schemas.tables import IMAGES, PAIRS
from tests.pipelines.conftest import make_config
from tests.pipelines.report.help import REGIONS, report, small
from tests.pipelines.report.test_attention import looked
from tests.pipelines.report.test_report import HOSTILE
from tests.written import write_corpus

pytest.importorskip("altair")
pytest.importorskip("vl_convert")
pytest.importorskip("playwright")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Scenes whose regions are their ground truth: the corpus, its report, and the truth by image id."""
    folder = tmp_path_factory.mktemp("browser")
    make_scenes(folder / "scenes", 20, 3, texts=20, shard_size=20)
    make_scenes(folder / "photos", 4, 4, captions=False)
    run(make_config(folder, folder / "c", swaps={"per_kind": 8, "min_count": 1}, partitions=1))
    return folder / "c", report(folder / "c", folder / "r").folder


@pytest.fixture(params=["disk", "server"])
def address(request, scenes):
    """The URL of a report's folder."""
    if request.param == "disk":
        yield scenes[1].as_uri()
        return
    server = server_for(str(scenes[1]))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def shown(page, pair):
    page.wait_for_selector(f'html[data-shown="{pair}"]', state="attached")


def index_of(folder):
    text = (folder / "data/index-0000.js").read_text(encoding="utf-8")
    return json.loads(text.partition(",0,")[2].rpartition(");")[0])


def test_filters_search_links_and_keys(address, scenes, tab):
    index = index_of(scenes[1])
    page = tab(f"{address}/gallery.html")
    shown(page, index["ids"][0])
    assert page.inner_text("#status") == f"{len(index['ids'])} pairs"
    word = max({word for caption in index["captions"] for word in caption.lower().split()}, key=len)
    page.fill("#search", word)
    wanted = [at for at, caption in enumerate(index["captions"]) if word in caption.lower()]
    assert page.inner_text("#status") == f"{len(wanted)} of {len(index['ids'])} pairs"
    assert page.locator("#list a").count() == min(30, len(wanted))
    page.wait_for_url(lambda url: "q=" in url)
    page.click("#clear")
    page.wait_for_url(lambda url: "q=" not in url)
    corpus, _ = open_corpus(str(scenes[0]))
    rewrites = corpus.open("swaps", "rewrites", 0).read().to_pylist()
    kinds = {row["pair_id"] for row in rewrites if row["kind"] == "count"}
    page.select_option("#f-kind", "negative: count")
    assert page.inner_text("#status").startswith(f"{len(kinds)} of ")
    found = page.evaluate("[...document.querySelectorAll('#list a')].map(link => new URLSearchParams(link.hash.slice(1)).get('pair'))")
    assert set(found) <= kinds and len(found) == min(30, len(kinds))
    highest = {}
    for row in rewrites:
        for score in row["scores"]:
            if score["name"] == "hardness":
                highest[row["pair_id"]] = max(highest.get(row["pair_id"], -np.inf), round(score["value"], 4))
    page.select_option("#f-kind", "")
    page.select_option("#score", "hardness")
    least = float(np.median(list(highest.values())))
    page.fill("#from", str(least))
    page.select_option("#sort", "down")
    assert page.inner_text("#status").startswith(f"{sum(value >= least for value in highest.values())} of ")
    order = page.evaluate("[...document.querySelectorAll('#list a')].map(link => new URLSearchParams(link.hash.slice(1)).get('pair'))")
    assert [highest[one] for one in order] == sorted((highest[one] for one in order), reverse=True)
    page.wait_for_url(lambda url: "sort=down" in url)
    page.click("#list a >> nth=1")
    shown(page, order[1])
    again = tab(page.url)  # a link names the pair and the filters
    shown(again, order[1])
    assert again.inner_text("#status") == page.inner_text("#status") and float(again.input_value("#from")) == least
    page.keyboard.press("j")
    shown(page, order[2])
    page.keyboard.press("k")
    page.keyboard.press("k")
    shown(page, order[0])
    assert page.is_disabled("#previous") and page.inner_text("#position").startswith("1 of ")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.press("j")
    assert page.input_value("#search") == "j"
    unknown = tab(f"{address}/gallery.html#pair=%3Cb%3Enone")
    assert "No pair in this report has the id <b>none" in unknown.inner_text("#pair")
    assert page.inner_text("#command").startswith("cmcl show c ")


def test_rest_of_a_kind_on_demand_and_edits_are_marked(address, scenes, tab):
    index = index_of(scenes[1])
    page = tab(f"{address}/gallery.html#pair={index['ids'][0]}")
    shown(page, index["ids"][0])
    corpus, _ = open_corpus(str(scenes[0]))
    rows = [row for row in corpus.open("tfidf", "rewrites", 0).read().to_pylist() if row["pair_id"] == index["ids"][0]]
    part = page.locator("h4", has_text="tfidf, sentence level").locator("xpath=following-sibling::ul[1]/li")
    assert part.count() == 5 < len(rows)
    page.locator("h4", has_text="tfidf, sentence level").locator("xpath=following-sibling::button[1]").click()
    assert part.count() == len(rows)
    assert page.locator("#pair .with img").count() == len(rows)  # the neighbours' photos
    swaps = [row for row in corpus.open("swaps", "rewrites", 0).read().to_pylist() if any(edit["text"] for edit in row["edits"] or ())]
    swapped = swaps[0]["pair_id"]
    puts = {edit["text"] for row in swaps if row["pair_id"] == swapped for edit in row["edits"] if edit["text"]}
    page = tab(f"{address}/gallery.html#pair={swapped}")
    shown(page, swapped)
    inserted = set(page.locator("#pair ins").all_inner_texts())
    assert inserted and inserted <= puts


def of_scenes(folder, rows):
    """A report of pairs whose regions are given: (name, photo, width, height, boxes) each."""
    images, regions, pairs = [], [], []
    for name, photo, width, height, boxes in rows:
        size = {"width": width, "height": height}
        images.append({"image_id": f"src/{name}", "source": "src", "uri": str(photo), **size})
        regions.append({"image_id": f"src/{name}", **size, "boxes": boxes, "confidence": [0.9] * len(boxes), "features": [[0.0, 1.0]] * len(boxes),
                        "soft_labels": None, "class": [1] * len(boxes), "attributes": None})  # fmt: skip
        pairs.append({"pair_id": pair_id(f"src/{name}", "A dog."), "image_id": f"src/{name}", "caption": "A dog.", "source": "src"})
    stages = {"pairs": {"images": (IMAGES, images), "pairs": (PAIRS, pairs)}, "regions": {"regions": (REGIONS, regions)}}
    return report(write_corpus(folder / "c", 1, stages), folder / "r").folder


def extent(pixels, colour):
    """x and y of the first and after the last pixel of nearly one colour."""
    rows, columns = np.nonzero(np.abs(pixels.astype(int) - colour).max(-1) < 40)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) if len(rows) else np.zeros(4)


def photographed(page):
    """A screenshot of the photo, uint8 [height, width, 3]."""
    held = page.locator(".photo").screenshot()
    return np.asarray(Image.open(io.BytesIO(held)).convert("RGB"))


# Leaves one box visible, its outline a thin line of a colour that nothing else has.
ONE_BOX = """at => document.querySelectorAll('.photo g').forEach((group, number) => {
  group.style.display = number === at ? '' : 'none';
  for (const one of group.children) one.style.display = one === group.querySelectorAll('rect')[1] ? '' : 'none';
  group.querySelectorAll('rect')[1].style.cssText = 'stroke: #ff00ff; stroke-width: 1px; shape-rendering: crispEdges';
})"""


def test_boxes_lie_where_the_truth_says(scenes, tmp_path, tab):
    """Screenshots of scenes whose regions are their truth: each box as the browser draws it, within 2 px; and, on a picture of plain
    rectangles, the box and what it is the box of."""
    source = scenes[0].parent / "scenes"
    truths = [json.loads(line) for line in next(source.glob("truth-*.jsonl")).read_text().splitlines()[:2]]
    rows = [(f"{at}", source / "images" / truth["file_name"], truth["width"], truth["height"], [list(map(float, one["box"])) for one in truth["objects"]])
            for at, truth in enumerate(truths)]  # fmt: skip
    drawn = Image.new("RGB", (640, 400), "white")
    boxes, colours = [[30.0, 40.0, 200.0, 130.0], [410.0, 210.0, 630.0, 390.0]], [(0, 0, 255), (255, 0, 0)]
    for box, colour in zip(boxes, colours, strict=True):
        ImageDraw.Draw(drawn).rectangle([*box[:2], box[2] - 1, box[3] - 1], fill=colour)
    drawn.save(tmp_path / "drawn.png")
    folder = of_scenes(tmp_path, [*rows, ("drawn", tmp_path / "drawn.png", 640, 400, boxes)])
    for width, (name, _, wide, _, true) in itertools.product((1280, 360), [*rows, ("drawn", None, 640, 400, boxes)]):
        page = tab(f"{folder.as_uri()}/gallery.html#pair={pair_id(f'src/{name}', 'A dog.')}", width)
        shown(page, pair_id(f"src/{name}", "A dog."))
        page.locator(".photo img").evaluate("one => one.decode()")
        scale = page.locator(".photo").bounding_box()["width"] / wide
        if name == "drawn":
            page.evaluate("document.querySelector('.photo svg').style.display = 'none'")
            plain = photographed(page)
            page.evaluate("document.querySelector('.photo svg').style.display = ''")
            for box, colour in zip(boxes, colours, strict=True):
                assert extent(plain, colour) == pytest.approx(np.array(box) * scale, abs=2)
        assert page.locator(".photo g").count() == len(true) > 1
        for at, box in enumerate(true):
            page.evaluate(ONE_BOX, at)
            assert extent(photographed(page), (255, 0, 255)) == pytest.approx(np.array(box) * scale, abs=2), (name, at)


def test_words_show_their_boxes_and_boxes_their_words(tmp_path, tab):
    corpus = small(tmp_path)
    folder = report(corpus, tmp_path / "r").folder
    index = index_of(folder)
    pair = next(one for one, caption in zip(index["ids"], index["captions"], strict=True) if "black" in caption)
    page = tab(f"{folder.as_uri()}/gallery.html#pair={pair}")
    shown(page, pair)
    assert page.locator(".word").all_inner_texts() == ["dog"]
    page.focus(".word")
    assert page.locator(".photo g.on").count() == 1 and page.locator(".photo g.on").get_attribute("aria-label") == "black dog 0.90"
    page.locator(".word").blur()
    assert page.locator(".photo g.on").count() == 0
    page.hover(".word")
    assert page.locator(".photo g.on").count() == 1
    page.mouse.move(0, 0)
    page.focus(".photo g >> nth=0")
    assert page.locator(".word.on").inner_text() == "dog"


def test_hostile_captions_change_nothing_but_text(tmp_path, tab):
    harmless = tuple(f"caption {at}" for at in range(len(HOSTILE)))
    elements = []
    for name, own in (("a", harmless), ("b", HOSTILE)):
        folder = report(small(tmp_path / name, own), tmp_path / f"r{name}").folder
        page = tab(f"{folder.as_uri()}/gallery.html")
        index = index_of(folder)
        seen = set()
        for pair, caption in zip(index["ids"], index["captions"], strict=True):
            page.evaluate("hash => { location.hash = hash }", f"pair={pair}")
            shown(page, pair)
            if len(caption) >= 900:
                assert "Show all 10,000 words" in page.inner_text("#pair .caption") and len(page.inner_text("#pair .caption")) < 1000
                page.click("#pair .caption button")
            assert page.locator("#pair .caption").evaluate("one => one.textContent") == visible(caption)
            seen |= set(page.evaluate("[...document.querySelectorAll('*')].map(one => one.tagName)"))
        elements.append(seen)
        assert page.locator("script").count() == 4
    assert elements[0] == elements[1]


def test_attention_follows_words_heads_links_and_keys(tmp_path, tab):
    folder = looked(tmp_path).folder
    page = tab(f"{folder.as_uri()}/attention.html")
    pairs = json.loads((folder / "data/attention.js").read_text().partition(",0,")[2].rpartition(");")[0])["pairs"]
    shown(page, pairs[0][0])
    assert page.locator("#tokens button").all_inner_texts() == ["a", "black", "dog", "runs", "."]
    assert page.locator("#tokens [aria-pressed=true]").inner_text() == "black"
    page.click("#heads button >> nth=3")  # the reversed block
    assert page.input_value("#head") == "1.4"
    page.focus("#tokens button >> nth=2")
    assert "“dog”: 100.0 % of its attention goes to regions, 0.0 % to words, 0.0 %" in page.inner_text("#shares")
    assert page.locator("#drawn td").all_inner_texts() == ["0.2500"] * 4 and page.locator(".heat text").count() == 3
    page.select_option("#head", "1.1")
    assert "0.0 % to words, 100.0 % to [IMG], [CLS] and [SEP]." in page.inner_text("#shares")
    page.click("#tokens button >> nth=3")
    page.wait_for_url(lambda url: "head=1.1" in url and "word=3" in url)
    again = tab(page.url)
    shown(again, pairs[0][0])
    assert again.locator("#tokens [aria-pressed=true]").inner_text() == "runs" and again.input_value("#head") == "1.1"
    page.locator("#tokens button >> nth=3").blur()
    page.keyboard.press("j")
    shown(page, pairs[1][0])
    page.keyboard.press("k")
    shown(page, pairs[0][0])
    assert page.is_disabled("#previous") and page.get_attribute("#to-pair", "href").endswith(f"pair={pairs[0][0]}")
    ink = page.locator("#heads canvas >> nth=0").evaluate(
        "one => Array.from(one.getContext('2d').getImageData(0, 1, one.width, 1).data).filter((_, at) => at % 4 === 3)"
    )
    assert [at for at, one in enumerate(ink) if one] == [0, 5, 11]  # a vertical head: the special tokens alone
    assert "No map was made of the pair <b>x" in tab(f"{folder.as_uri()}/attention.html#pair=%3Cb%3Ex").inner_text("#unknown")


@pytest.fixture(scope="module")
def pages(scenes, tmp_path_factory):
    """One page of each sort."""
    folder = tmp_path_factory.mktemp("pages")
    with_attention = looked(folder / "a").folder
    write_diff(diff(open_corpus(str(scenes[0])), open_corpus(small(folder / "b").url)), str(folder / "diff.html"), Scrubber())
    return [scenes[1] / "index.html", scenes[1] / "gallery.html", with_attention / "attention.html", folder / "diff.html"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_fault_of_accessibility_and_no_overflow(pages, tab, theme):
    """By axe-core; a theme changes colours alone, so only their rule is asked about the dark one."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    options = {"resultTypes": ["violations"], "preload": False, **({"runOnly": ["color-contrast"]} if theme == "dark" else {})}
    for path in pages:
        page = tab(path.as_uri(), 1280, theme)
        if path.stem in ("gallery", "attention"):
            page.wait_for_selector("html[data-shown]", state="attached")
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        found = axe.run(page, options=options).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")] == [], path.stem
        for width in (1280, 360) if theme == "light" else ():
            page.set_viewport_size({"width": width, "height": 1600})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path.stem
