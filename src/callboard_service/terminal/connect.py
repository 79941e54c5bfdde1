"""Connects to a running service, found by its runtime file or by a given URL."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Final, Self, TypeVar

from callboard_service import __version__
from callboard_service.terminal.errors import NoService
from callboard_service.terminal.refusals import HOW_TO_START, describe, waiting
from transport import client as transport_client
from transport.client import Client, Finder
from transport.client.calls import ClientSettings
from transport.client.websocket import Dialer
from transport.errors import ConnectionClosed, NotRunning

T = TypeVar("T")

PATIENCE: Final = 15.0
"""Seconds during which the client tries to restore a lost connection."""

BUSY_WAIT: Final = 5.0
"""Seconds that a command waits for a service that is full or shutting down."""

NOTICE_AFTER: Final = 0.5
"""Seconds after which a person is told that the command waits for a connection."""

SETTINGS: Final = ClientSettings(
    name="callboard chat",
    version=__version__,
    give_up=PATIENCE,
    busy_wait=BUSY_WAIT,
    features=("follow",),
)

PATIENT: Final = replace(SETTINGS, busy_wait=inf)
"""For interactive use: waits for a busy service until the person ends it."""


@dataclass(frozen=True, slots=True)
class Way:
    """How to find a service, and the remedy to suggest if it refuses the token."""

    find: Finder
    remedy: str


def by_runtime_file(folder: Path) -> Way:
    """Return the way to the service that was started last, looked up at each attempt."""
    return Way(transport_client.by_runtime_file(folder), HOW_TO_START)


def by_url(url: str, token: str) -> Way:
    """Return the way to the service at this URL."""
    remedy = "CALLBOARD_TOKEN must contain the token of that service"
    return Way(transport_client.by_url(url, token), remedy)


class Link:
    """Provides a connected client, replacing one that has given up. An async context manager.

    dialer: connects by another way than a WebSocket. tell: called with a line for a person if a
    connection takes more than `notice_after` seconds because the service is busy.
    """

    def __init__(
        self,
        way: Way,
        settings: ClientSettings = SETTINGS,
        dialer: Dialer | None = None,
        *,
        tell: Callable[[str], None] | None = None,
        notice_after: float = NOTICE_AFTER,
    ) -> None:
        self._way = way
        self._settings = settings
        self._dialer = dialer
        self._tell = tell
        self._notice_after = notice_after
        self._stack = AsyncExitStack()
        self._client: Client | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def open(self) -> Client:
        """Return a connected client; a new one if the last has given up. Raises NoService."""
        if self._client is not None and not self._client.over:
            try:
                await self._wait(self._client, self._client.ready())
            except (ConnectionClosed, NotRunning):
                await self._stack.aclose()
            else:
                return self._client
        client = Client(self._way.find, self._settings, dialer=self._dialer)
        try:
            self._client = await self._wait(client, self._stack.enter_async_context(client))
        except NotRunning:
            raise NoService(f"no service is running: {HOW_TO_START}") from None
        except ConnectionClosed as closed:
            raise NoService(describe(client.url, closed, self._way.remedy)) from closed
        return self._client

    async def _wait(self, client: Client, connecting: Coroutine[None, None, T]) -> T:
        """Wait for a connection; call `tell` once if the service is busy and it takes long."""
        task = asyncio.ensure_future(connecting)
        told = self._tell is None
        try:
            while not (await asyncio.wait({task}, timeout=None if told else self._notice_after))[0]:
                closed = client.protocol.closed
                if self._tell is not None and closed.busy:
                    self._tell(waiting(client.url, closed))
                    told = True
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return task.result()
