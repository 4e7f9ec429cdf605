"""A browser for the tests of pages: Debian's chromium, without a network."""

from __future__ import annotations

import shutil
from urllib.parse import unquote, urlsplit

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no browser: Debian's package chromium, or Google's, must be on the PATH")
    with sync_api.sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        except sync_api.Error as error:
            pytest.skip(f"{CHROMIUM} does not start: {str(error).splitlines()[0]}")
        yield started
        started.close()


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
        if "gallery" in url or "attention" in url:
            page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []
    for folder, url in asked:
        assert unquote(urlsplit(url)._replace(fragment="", query="").geturl()).startswith(unquote(folder) + "/"), url
