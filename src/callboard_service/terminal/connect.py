"""The way to a running service: found by its runtime file, or by a URL that was given."""

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
from transport.client.socket import Dialer
from transport.errors import ConnectionClosed, NotRunning

T = TypeVar("T")

PATIENCE: Final = 15.0
"""Seconds for which a connection that was lost is tried again."""

BUSY_WAIT: Final = 5.0
"""Seconds for which a command waits for a service that takes nobody in now."""

NOTICE_AFTER: Final = 0.5
"""Seconds after which a person is told that a connection is waited for."""

SETTINGS: Final = ClientSettings(
    name="callboard chat", version=__version__, give_up=PATIENCE, busy_wait=BUSY_WAIT
)

PATIENT: Final = replace(SETTINGS, busy_wait=inf)
"""For somebody who watches, and ends it when it takes too long."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where to look for a service, and what to do if it does not let one in."""

    find: Finder
    remedy: str


def by_runtime_file(folder: Path) -> Way:
    """Look each time for the service that was started last."""
    return Way(transport_client.by_runtime_file(folder), HOW_TO_START)


def by_url(url: str, token: str) -> Way:
    """This one, wherever it is."""
    remedy = "CALLBOARD_TOKEN must hold that service's own"
    return Way(transport_client.by_url(url, token), remedy)


class Link:
    """The way to a client that is not over. Use it as an asynchronous context manager.

    dialer: another way to connect than a WebSocket. tell: called with a line for a person while a
    service that takes nobody in now is tried again.
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
        """The client, connected; another one if the last has given up. Raises NoService."""
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
        """Wait for a connection; tell once if that takes long since the service is busy."""
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
