"""Says when the connection is lost while a reply is shown, and when it is there again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Final

from callboard_service.terminal.connect import NOTICE_AFTER
from callboard_service.terminal.refusals import waiting
from callboard_service.terminal.text import one_line
from callboard_service.terminal.view import View
from transport.client import Client

CHECK_EVERY: Final = NOTICE_AFTER / 2
"""Seconds. A connection that is restored sooner than this is not worth a line."""


class Outages:
    """Prints a line when an outage lasts, and one when it is over."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._checks = 0
        self._said = False
        self._silent = False

    async def watch(self, client: Client) -> None:
        """Check the connection until cancelled."""
        self._checks = 0
        while not client.over:
            await client.pause(CHECK_EVERY)
            self.check(client)

    def check(self, client: Client) -> None:
        """Print a line if an outage has lasted for two checks, or is over."""
        self._checks = 0 if client.connected else self._checks + 1
        if self._silent or client.over:
            return
        if client.connected and self._said:
            self._said = False
            self._view.line(f"reconnected, backend {one_line(client.welcome.backend)}")
        elif self._checks >= 2 and not self._said:
            self._said = True
            self._view.line(waiting(client.url, client.protocol.closed))

    @contextlib.contextmanager
    def unsaid(self) -> Iterator[None]:
        """Print nothing within the block, where a prompt is open."""
        self._silent = True
        try:
            yield
        finally:
            self._silent = False

    @contextlib.asynccontextmanager
    async def watched(self, client: Client) -> AsyncIterator[None]:
        """Watch the connection within the block."""
        task = asyncio.create_task(self.watch(client), name="chat outages")
        try:
            yield
        finally:
            task.cancel()
