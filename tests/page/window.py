"""A window on the page in real headless Chromium, which watches that nothing goes wrong in it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect

ROOT: Final = Path(__file__).parents[2]

SCREENSHOTS: Final = ROOT / ".build" / "screenshots"

PATIENCE: Final = 45_000
"""Milliseconds that anything may take on a busy machine."""

Scheme = Literal["light", "dark"]

WIDE: Final = (1280, 800)
NARROW: Final = (390, 760)


class Window:
    """One tab. It collects what went wrong; `check` reports it."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.wrong: list[str] = []
        self.expected: list[str] = []
        """Beginnings of messages that a test provokes."""
        self._own = ""
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("request", self._requested)

    def open(self, url: str) -> "Window":
        """Open the page at this address and wait until it has a connection."""
        parts = urlsplit(url)
        self._own = parts.netloc
        self.page.goto(url)
        self.ready()
        return self

    def allow(self, port: int) -> None:
        """Take requests to this port for the page's own."""
        self._own = f"127.0.0.1:{port}"

    def ready(self) -> None:
        """Wait until the page has a connection."""
        expect(self.page.locator(".connection.open")).to_be_visible()

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"{message.type}: {message.text}")

    def _requested(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("blob", "data") and parts.netloc != self._own:
            self.wrong.append(f"request to elsewhere: {request.url}")

    def check(self) -> None:
        """Fail if the console had an error or something was requested from elsewhere."""
        wrong = [
            text for text in self.wrong if not any(beginning in text for beginning in self.expected)
        ]
        assert not wrong, "\n".join(wrong)

    # -- what a person does ------------------------------------------------------------------

    def write(self, text: str) -> None:
        """Write a message and send it with Enter."""
        self.page.fill("#message", text)
        self.page.press("#message", "Enter")

    def say(self, text: str) -> None:
        """Send a message and wait until its reply has ended."""
        before = self.page.locator(".turn").count()
        self.write(text)
        expect(self.page.locator(".turn")).to_have_count(before + 1)
        self.idle()

    def idle(self) -> None:
        """Wait until no reply runs."""
        expect(self.page.locator("#thread")).to_have_attribute("aria-busy", "false")
        expect(self.page.locator(".progress")).to_have_count(0)

    def begin(self) -> None:
        """Begin a conversation."""
        self.page.click("[aria-label='New conversation']")
        expect(self.page.locator(".hello")).to_be_visible()

    @property
    def last(self) -> Any:
        """The last turn."""
        return self.page.locator(".turn").last

    def thread(self) -> str:
        """Return the text of the whole thread."""
        return self.page.locator("#thread").inner_text()

    def shoot(self, name: str) -> None:
        """Save screenshots: light and dark, wide and narrow."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page = self.page
        schemes: tuple[Scheme, ...] = ("light", "dark")
        for scheme in schemes:
            page.emulate_media(color_scheme=scheme)
            for size, (width, height) in (("wide", WIDE), ("narrow", NARROW)):
                page.set_viewport_size({"width": width, "height": height})
                page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}-{size}.png")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})

    def axe(self) -> None:
        """Check the page with axe-core's rules."""
        source = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
        self.page.evaluate(source.read_text())
        found = self.page.evaluate("axe.run()")
        problems = [
            f"{one['id']} ({one['impact']}): {one['help']}: {node['html'][:200]}"
            for one in found["violations"]
            for node in one["nodes"]
        ]
        assert not problems, "\n".join(problems)


@contextlib.contextmanager
def window(browser: Browser, **options: Any) -> Iterator[Window]:
    """Yield a window of a new profile, and check at the end that nothing went wrong in it."""
    context = browser.new_context(
        viewport={"width": WIDE[0], "height": WIDE[1]}, reduced_motion="reduce", **options
    )
    try:
        made = Window(context)
        yield made
        made.check()
    finally:
        context.close()


def flags() -> list[str]:
    """Return Chromium's flags for tests."""
    given = ["--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    given += ["--disable-background-networking", "--disable-component-update"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        given.append("--no-sandbox")  # Chromium refuses to start as root with a sandbox
    return given
