"""The gallery in a browser: Debian's chromium, from disk and through the server, without a network."""

from __future__ import annotations

import json
import shutil
import threading
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from pipelines.report.escape import visible
from pipelines.report.serve import server_for
from pipelines.run import run
from pipelines.scenes import make_scenes
from schemas.corpus import open_corpus
from schemas.ids import pair_id
from schemas.tables import IMAGES, PAIRS
from tests.pipelines.conftest import make_config
from tests.pipelines.report.help import REGIONS, report, small
from tests.pipelines.report.test_report import HOSTILE
from tests.written import write_corpus

pytest.importorskip("altair")
pytest.importorskip("vl_convert")
sync_api = pytest.importorskip("playwright.sync_api")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no browser: Debian's package chromium, or Google's, must be on the PATH")
    with sync_api.sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        except sync_api.Error as error:
            pytest.skip(f"{CHROMIUM} does not start: {str(error).splitlines()[0]}")
        yield started
        started.close()


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


@pytest.fixture
def tab(browser):
    """Opens pages in a context of their own; at the end, no page may have complained or asked for anything outside its folder."""
    contexts, faults, asked = [], [], []

    def opened(url, width=1280, theme="light"):
        context = browser.new_context(viewport={"width": width, "height": 1600}, color_scheme=theme, offline=url.startswith("file:"))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("requestfailed", lambda request: faults.append(f"{request.url}: {request.failure}"))
        page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append((url.rpartition("/")[0], request.url)))
        page.goto(url)
        if "gallery" in url:
            page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []
    for folder, url in asked:
        assert unquote(urlsplit(url)._replace(fragment="", query="").geturl()).startswith(unquote(folder) + "/"), url


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
    swaps = [row for row in corpus.open("swaps", "rewrites", 0).read().to_pylist() if row["pair_id"] == index["ids"][0] and row["edits"]]
    puts = {edit["text"] for row in swaps for edit in row["edits"] if edit["text"]}
    inserted = set(page.locator("#pair ins").all_inner_texts())
    assert inserted and inserted <= puts


def test_boxes_lie_where_the_truth_says(scenes, tmp_path, tab):
    """Regions are the ground truth of a scene: each box, where the browser draws it on the photo, matches it within 2 px."""
    source = scenes[0].parent / "scenes"
    truth = json.loads(next(source.glob("truth-*.jsonl")).read_text().splitlines()[0])
    boxes = [list(map(float, one["box"])) for one in truth["objects"]]
    size = {"width": truth["width"], "height": truth["height"]}
    photo = {"image_id": "src/0", "source": "src", "uri": str(source / "images" / truth["file_name"]), **size}
    region = {"image_id": "src/0", **size, "boxes": boxes, "confidence": [0.9] * len(boxes), "features": [[0.0, 1.0]] * len(boxes),
              "soft_labels": None, "class": [1] * len(boxes), "attributes": None}  # fmt: skip
    pair = {"pair_id": pair_id("src/0", "A dog."), "image_id": "src/0", "caption": "A dog.", "source": "src"}
    stages = {"pairs": {"images": (IMAGES, [photo]), "pairs": (PAIRS, [pair])}, "regions": {"regions": (REGIONS, [region])}}
    folder = report(write_corpus(tmp_path / "c", 1, stages), tmp_path / "r").folder
    page = tab(f"{folder.as_uri()}/gallery.html")
    shown(page, pair["pair_id"])
    page.locator(".photo img").evaluate("one => one.decode()")
    page.mouse.move(0, 0)
    assert page.locator(".photo g").count() == len(boxes) > 1
    place = page.locator(".photo").bounding_box()
    scale = place["width"] / size["width"]
    for at, box in enumerate(boxes):
        drawn = page.locator(".photo g").nth(at).locator("rect").last.evaluate(CORNERS)
        corners = [place["x"], place["y"]] * 2 + np.array(box) * scale
        assert drawn == pytest.approx(list(corners), abs=2)


# The corners of a rectangle on the screen, without its outline.
CORNERS = """one => {
  const box = one.getBBox(), place = one.getScreenCTM();
  const [start, end] = [[box.x, box.y], [box.x + box.width, box.y + box.height]].map(([x, y]) => new DOMPoint(x, y).matrixTransform(place));
  return [start.x, start.y, end.x, end.y];
}"""


def test_words_show_their_boxes_and_boxes_their_words(tmp_path, tab):
    corpus = small(tmp_path)
    folder = report(corpus, tmp_path / "r").folder
    index = index_of(folder)
    pair = next(one for one, caption in zip(index["ids"], index["captions"], strict=True) if "black" in caption)
    page = tab(f"{folder.as_uri()}/gallery.html#pair={pair}")
    shown(page, pair)
    assert page.locator(".word").all_inner_texts() == ["dog"]
    page.focus(".word")
    assert page.locator(".photo g.on").count() == 1 and page.locator(".photo g.on").get_attribute("aria-label") == "dog 0.90"
    page.locator(".word").blur()
    assert page.locator(".photo g.on").count() == 0
    page.hover(".word")
    assert page.locator(".photo g.on").count() == 1
    page.mouse.move(0, 0)
    page.focus(".photo g >> nth=0")
    assert page.locator(".word.on").inner_text() == "dog"


def test_hostile_captions_change_nothing_but_text(tmp_path, tab):
    captions = tuple(caption.replace("\0", "\x01") for caption in HOSTILE)
    harmless = tuple(f"caption {at}" for at in range(len(captions)))
    elements = []
    for name, own in (("a", harmless), ("b", captions)):
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


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_fault_of_accessibility_and_no_overflow(scenes, tab, theme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for page, width in (("index", 1280), ("gallery", 1280), ("index", 360), ("gallery", 360)):
        opened = tab(f"{scenes[1].as_uri()}/{page}.html", width, theme)
        if page == "gallery":
            opened.wait_for_selector("html[data-shown]", state="attached")
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        if width == 1280:
            opened.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            found = axe.run(opened, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
            assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")] == []
