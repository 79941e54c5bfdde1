"""The wish to stop the turn on the screen."""

import asyncio
from collections.abc import Coroutine
from typing import Final

from callboard_service.terminal.view import Screen

PATIENCE: Final = 2.0
"""Seconds after which a line says that a cancelled reply has not ended yet."""


class Stop:
    """Whether the turn on the screen is to be stopped."""

    def __init__(self, screen: Screen) -> None:
        self.wanted: bool = False
        self._screen = screen
        self._request: asyncio.Task[None] | None = None
        self._impatience: asyncio.TimerHandle | None = None

    def want(self) -> None:
        """Note that the person wants the turn stopped."""
        self.wanted = True
        loop = asyncio.get_running_loop()
        self._impatience = loop.call_later(PATIENCE, self._still_waiting)

    def begin(self, request: Coroutine[None, None, None]) -> None:
        """Send the request to stop it."""
        self._request = asyncio.ensure_future(request)

    def over(self) -> None:
        """Note that the turn has ended."""
        self.wanted = False
        if self._impatience is not None:
            self._impatience.cancel()
        if self._request is not None:
            self._request.cancel()

    def _still_waiting(self) -> None:
        self._screen.line("the reply has not ended yet; press Ctrl-C again to quit")
