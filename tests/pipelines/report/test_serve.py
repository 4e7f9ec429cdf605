import http.client
import os
import socket
import threading

import pytest

from pipelines.cli import main
from pipelines.report.serve import file_below, server_for


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder with two files, one beside it and a link to that, and the port on which it is served."""
    folder = tmp_path_factory.mktemp("serve") / "r"
    (folder / "data").mkdir(parents=True)
    (folder / "index.html").write_text("<p>page")
    (folder / "data" / "meta.js").write_text("cmcl.put()")
    (folder / ".made-by-cmcl").write_text("cmcl report\n")
    (folder / "notes.txt").write_text("not of a report")
    (folder.parent / "secret.html").write_text("secret")
    (folder.parent / "r-other").mkdir()
    (folder.parent / "r-other" / "x.html").write_text("secret")
    os.symlink(folder.parent / "secret.html", folder / "link.html")
    os.symlink(folder.parent, folder / "out")
    server = server_for(str(folder))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield folder, server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def answer(port, method, target, host="127.0.0.1"):
    """Status, body and headers; the target is sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", host)
    connection.endheaders()
    got = connection.getresponse()
    body = got.read()
    connection.close()
    return got.status, body, dict(got.getheaders())


def test_pages_are_served(served):
    _, port = served
    status, body, headers = answer(port, "GET", "/")
    assert (status, body, headers["Content-Type"]) == (200, b"<p>page", "text/html; charset=utf-8")
    assert answer(port, "GET", "/index.html?x=1#y")[1] == b"<p>page"
    status, body, headers = answer(port, "HEAD", "/data/meta.js")
    assert (status, body, headers["Content-Length"], headers["X-Content-Type-Options"]) == (200, b"", "10", "nosniff")
    assert "Server" not in headers or headers["Server"].strip() == "cmcl"


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.html",
        "/data/../../secret.html",
        "/%2e%2e/secret.html",
        "/%2e%2e%2fsecret.html",
        "/..%2fsecret.html",
        "/data/..%5c..%5csecret.html",
        "/..\\secret.html",
        "/%252e%252e/secret.html",
        "/%c0%ae%c0%ae/secret.html",
        "/../r-other/x.html",
        "//secret.html",
        "/link.html",
        "/out/secret.html",
        "/out/r/index.html",
        "/index.html%00.js",
        "/.made-by-cmcl",
        "/notes.txt",
        "/data",
        "/data/",
        "/%ff",
        "/absent.html",
        "http://other/%2e%2e/secret.html",
        "/index.html/",
    ],
)
def test_nothing_else_is(served, target):
    status, body, _ = answer(served[1], "GET", target)
    assert status == 404 and body == b""


def test_absolute_paths_are_not_read(served):
    folder, port = served
    for target in (str(folder.parent / "secret.html"), f"/{folder.parent}/secret.html", f"file://{folder.parent}/secret.html"):
        assert answer(port, "GET", target)[0] == 404
    assert file_below(str(folder), "index.html") is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", "get"])
def test_other_methods_are_refused(served, method):
    folder, port = served
    assert answer(port, method, "/index.html")[0] in (400, 501)
    assert (folder / "index.html").read_text() == "<p>page"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_foreign_name_that_points_here_is_refused(served, host):
    assert answer(served[1], "GET", "/index.html", host)[0] == 421


def test_garbage_ends_the_connection_and_not_the_server(served):
    for data in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"G" * 70_000):
        with socket.create_connection(("127.0.0.1", served[1]), timeout=10) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            assert b"200" not in connection.recv(100)
    assert answer(served[1], "GET", "/")[0] == 200


def test_only_this_machine_is_served(served):
    assert server_for(str(served[0])).server_address[0] == "127.0.0.1"


def test_a_port_in_use_is_an_error(served, tmp_path, capsys):
    from tests.pipelines.report.help import small

    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    corpus = small(tmp_path)
    assert main(["report", corpus.url, "--out", str(tmp_path / "r"), "--serve", "--port", str(served[1])]) == 1
    assert "cannot listen on 127.0.0.1" in capsys.readouterr().err
