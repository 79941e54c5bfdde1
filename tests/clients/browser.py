"""Headless Chromium, which runs a script in a page and returns its result."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from tests.support.peers.background import Background
from tests.support.peers.socket_server import listen

_PROGRAMS: Final = (
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)

_PATIENCE: Final = 50.0

_PAGE: Final = """<!doctype html><meta charset="utf-8"><title>test</title><script>
const given = %s;
async function script() { %s }
script().then(value => ({value}), error => ({error: String(error)})).then(
  done => fetch("/done", {method: "POST", body: JSON.stringify(done)}));
</script>"""


class Browser:
    """Serves pages on loopback and opens them in Chromium; `origin` is the origin of the pages."""

    def __init__(self, program: str, folder: Path, background: Background) -> None:
        self._program = program
        self._folder = folder
        self._background = background
        self._page = ""
        self._done: asyncio.Future[Any] | None = None

    async def start(self) -> None:
        """Start listening."""
        app = web.Application()
        app.router.add_get("/", self._serve)
        app.router.add_post("/done", self._take)
        self._runner, port = await listen(app)
        self.origin = f"http://127.0.0.1:{port}"

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    def run(self, script: str, **given: object) -> Any:
        """Run the body of an async function in a new page, and return what it returns.

        given: the values that the script finds in its variable `given`.
        """
        self._page = _PAGE % (json.dumps(given), script)
        self._done = self._background.run(_future())
        flags = ["--headless=new", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage"]
        flags += ["--disable-background-networking", "--disable-component-update"]
        flags += [f"--user-data-dir={self._folder}"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            flags += ["--no-sandbox"]  # Chromium refuses to start as root with a sandbox
        process = subprocess.Popen(
            [self._program, *flags, self.origin],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            done = self._background.run(self._wait(self._done))
        finally:
            process.kill()
            process.wait()
        assert "error" not in done, done
        return done["value"]

    async def _wait(self, done: "asyncio.Future[Any]") -> Any:
        return await asyncio.wait_for(done, _PATIENCE)

    async def _serve(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._page, content_type="text/html")

    async def _take(self, request: web.Request) -> web.Response:
        if self._done is not None and not self._done.done():
            self._done.set_result(await request.json())
        return web.Response()


async def _future() -> "asyncio.Future[Any]":
    return asyncio.get_running_loop().create_future()


def need_chromium() -> str:
    """Return the path of Chromium; if there is none, skip the test, or fail it in CI."""
    found = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if found is not None:
        return found
    reason = f"there is no browser: none of {', '.join(_PROGRAMS)}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Yield a browser whose profile, at first empty, is in `folder`."""
    program = need_chromium()
    with Background() as background:
        browser = Browser(program, folder, background)
        background.run(browser.start())
        try:
            yield browser
        finally:
            background.run(browser.stop())
