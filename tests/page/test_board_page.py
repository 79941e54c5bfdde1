"""The board in Chromium, while actors come and go."""

import asyncio
import contextlib
import re
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.service_process import ServiceProcess
from tests.page.conftest import address
from tests.page.window import Window, window

pytestmark = pytest.mark.timeout(240)

ACTORS = 1_000
"""Requests, each with an actor of its own, that run at once."""

EACH = 200
"""Requests of one session."""


@pytest.fixture
def board(chromium: Browser, service: ServiceProcess) -> Iterator[Window]:
    with window(chromium) as opened:
        yield opened.open(address(service, "board"))


class Crowd:
    """Many requests that run until `leave`, from a thread of its own."""

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service
        self._there = threading.Event()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def come(self) -> None:
        """Send all requests, and wait until they run."""
        self._thread.start()
        assert self._there.wait(60)

    def leave(self) -> None:
        """Cancel all requests, and wait until they have ended."""
        self._leaving.set()
        self._thread.join(60)

    async def _run(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(ACTORS // EACH):
                client = await stack.enter_async_context(self._service.connect())
                for _ in range(EACH):
                    conversation = await client.conversation()
                    await client.say(conversation, "[[delay:3000]][[repeat:1000]]")
            self._there.set()
            await asyncio.to_thread(self._leaving.wait)


def test_the_tree_is_shown_and_one_actor_can_be_looked_at(board: Window) -> None:
    page = board.page
    expect(page.locator(".tree .actor .name").first).to_have_text("callboard")
    expect(page.locator(".plot")).to_have_count(8)
    page.locator(".actor", has_text="sessions").first.click()
    report = page.locator(".report")
    expect(report.locator("h2")).to_have_text("sessions")
    expect(report.locator(".facts")).to_contain_text("Sessions")
    board.axe()
    board.shoot("board")
    report.locator("[aria-label='Close']").click()
    expect(report).to_have_count(0)
    page.click("text=Chat")
    board.ready()
    expect(page.locator("#message")).to_be_visible()


def test_a_thousand_actors_come_and_go(board: Window, service: ServiceProcess) -> None:
    page = board.page
    crowd = Crowd(service)
    crowd.come()
    counted = page.locator(".counts div", has_text="requests in flight").locator("dd")
    expect(counted).to_have_text(re.compile(r"^1,\d\d\d$"))
    expect(page.locator(".tree .group").first).to_be_visible()
    board.axe()
    board.shoot("board-crowd")
    boxes = page.locator(".tree .box").count()
    assert boxes < 400
    page.locator(".actor", has_text="sessions").first.click()
    expect(page.locator(".report .facts")).to_contain_text("now")
    crowd.leave()
    expect(counted).to_have_text(re.compile(r"^\d$"))
    # The actors of idle conversations stay for a minute.
    expect(page.locator(".tree .group")).to_have_count(0, timeout=100_000)
