import re
import shutil

import pytest

from pipelines.cli import main
from pipelines.diff import diff
from schemas.corpus import open_corpus
from tests.forge import forge_manifest, forge_table
from tests.pipelines.report.help import CAPTIONS, Page, small

pytest.importorskip("altair")
pytest.importorskip("vl_convert")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diff")
    hostile = ("</style><script>alert(1)</script>", "A \u202ecat & \u2028 <b>dog</b>.")
    return small(folder / "a"), small(folder / "b", (*CAPTIONS[1:], *hostile), partitions=3)


def parsed(path):
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def test_the_page_has_the_counts_of_the_comparison(corpora, tmp_path, capsys):
    a, b = corpora
    path = tmp_path / "d.html"
    assert main(["diff", a.url, b.url, "--html", str(path)]) == 1
    assert "different" in capsys.readouterr().out  # the terminal's text is printed all the same
    page = parsed(path)
    for stage in diff(open_corpus(a.url), open_corpus(b.url)).stages:
        for what in ("added", "removed", "changed"):
            assert page.counts[f"{stage.stage} {what}"] == sum(getattr(table, what) for table in stage.tables)
    assert page.counts["pairs added"] == 6 and "Different." in page.text


def test_the_first_table_says_which_settings_differ_and_leads_to_what_differs(corpora, tmp_path):
    a, b = (open_corpus(str(shutil.copytree(corpora[0].url, tmp_path / name)))[0] for name in "ab")
    for corpus, settings in ((a, {"k": 10, "margin": 0.1}), (b, {"k": 1200, "margin": 0.1})):
        forge_manifest(corpus, "tfidf", lambda manifest, settings=settings: manifest.ingredients.update(settings=settings))
    forge_table(b, "tfidf", "rewrites", 0, lambda rows: rows.slice(0, 0))
    main(["diff", a.url, b.url, "--html", str(tmp_path / "d.html")])
    page = parsed(tmp_path / "d.html")
    assert page.links == ["#main", "#stage-tfidf"] and "k: 10 → 1,200" in page.text
    assert not any(sign in page.text for sign in ("{'", "None"))


def test_rows_are_text_and_paths_are_left_out(corpora, tmp_path):
    path = tmp_path / "d.html"
    main(["diff", *(corpus.url for corpus in corpora), "--html", str(path)])
    text = path.read_text(encoding="utf-8")
    assert "script" not in parsed(path).tags and "&lt;script&gt;" in text
    assert "\u202e" not in text and str(tmp_path.parent) not in text and "photos of mine" not in text
    assert parsed(path).links == [link for link in parsed(path).links if link.startswith("#")]
    assert re.search("style-src 'sha256-[A-Za-z0-9+/]{43}=';", text) and "default-src 'none'" in text


def test_equal_corpora(corpora, tmp_path):
    path = tmp_path / "d.html"
    assert main(["diff", corpora[0].url, corpora[0].url, "--html", str(path)]) == 0
    assert "Equal: both corpora have the same content." in parsed(path).text
    before = path.read_bytes()
    assert main(["diff", corpora[0].url, corpora[0].url, "--html", str(path)]) == 0 and path.read_bytes() == before


def test_another_file_is_not_overwritten(corpora, tmp_path, capsys):
    path = tmp_path / "mine.html"
    path.write_text("mine")
    (tmp_path / "link.html").symlink_to(path)
    for name in ("mine.html", "link.html"):
        assert main(["diff", corpora[0].url, corpora[1].url, "--html", str(tmp_path / name)]) == 2
        assert "was not written by `cmcl diff`" in capsys.readouterr().err
    assert path.read_text() == "mine"
