import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from tests.support.peers.socket_server import listen
from transport.server.site import Site, policy


def built(folder: Path) -> Path:
    """Build a small page and return its folder."""
    files = {
        "index.html": b"<!doctype html>chat",
        "board.html": b"<!doctype html>board",
        "abc/start.py": b"print()",
        "abc/code.zip": b"PK",
        "abc/polyscript/index.js": b"run()",
        "abc/python.wasm": b"\0asm",
    }
    for name, content in files.items():
        path = folder / f"{name}.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content))
    return folder


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    site = Site.at(built(tmp_path))
    assert site is not None
    app = web.Application()
    for path in site.files:
        app.router.add_get(path, site.serve)
    runner, port = await listen(app)
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


def test_a_folder_without_a_page_is_no_site(tmp_path: Path) -> None:
    assert Site.at(tmp_path) is None
    assert Site.at(tmp_path / "missing") is None


def test_only_what_was_built_is_served(tmp_path: Path) -> None:
    folder = built(tmp_path)
    (folder / "secret.txt").write_text("no")
    site = Site.at(folder)
    assert site is not None
    assert sorted(site.files) == [
        "/",
        "/board",
        "/page/abc/code.zip",
        "/page/abc/polyscript/index.js",
        "/page/abc/python.wasm",
        "/page/abc/start.py",
    ]
    assert "/board" in site.files
    assert "/page/../secret.txt" not in site.files


async def test_pages_are_never_kept_and_have_the_policy(url: str) -> None:
    async with ClientSession() as http:
        for path, content in (("/", "chat"), ("/board", "board")):
            async with http.get(url + path) as response:
                assert response.status == 200
                assert await response.text() == f"<!doctype html>{content}"
                assert response.headers["Cache-Control"] == "no-store"
                assert response.headers["Content-Type"] == "text/html; charset=utf-8"
                host = url.removeprefix("http://")
                assert response.headers["Content-Security-Policy"] == policy(host)


async def test_files_are_kept_for_good_and_are_what_they_say(url: str) -> None:
    kinds = {
        "/page/abc/polyscript/index.js": "text/javascript; charset=utf-8",
        "/page/abc/python.wasm": "application/wasm",
        "/page/abc/code.zip": "application/zip",
    }
    async with ClientSession() as http:
        for path, kind in kinds.items():
            async with http.get(url + path) as response:
                assert response.headers["Content-Type"] == kind
                assert response.headers["Content-Encoding"] == "gzip"
                assert response.headers["Cache-Control"].endswith("immutable")
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_a_client_without_compression_gets_the_content_itself(url: str) -> None:
    async with ClientSession(headers={"Accept-Encoding": "identity"}) as http:
        for path, content in (("/", b"<!doctype html>chat"), ("/page/abc/code.zip", b"PK")):
            async with http.get(url + path) as response:
                assert "Content-Encoding" not in response.headers
                assert await response.read() == content


async def test_anything_else_is_not_found(url: str) -> None:
    async with ClientSession() as http:
        for path in ("/page/", "/page/abc/", "/page/abc/none.js", "/page/abc/code.zip.gz"):
            async with http.get(url + path) as response:
                assert response.status == 404


def test_the_policy_allows_python_and_this_service_alone() -> None:
    rules = dict(rule.split(" ", 1) for rule in policy("127.0.0.1:80").split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert rules["style-src"] == "'self'"
    assert rules["connect-src"] == "'self' ws://127.0.0.1:80 wss://127.0.0.1:80"
    assert rules["frame-ancestors"] == "'none'"
    assert rules["require-trusted-types-for"] == "'script'"
    assert rules["trusted-types"] == "'none'"
    assert not any("unsafe-inline" in rule or "'unsafe-eval'" in rule for rule in rules.values())
