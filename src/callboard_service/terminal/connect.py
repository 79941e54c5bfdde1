"""The way to a running service: found by its runtime file, or by a URL that was given."""

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from callboard_service import __version__
from callboard_service.terminal.errors import NoService
from transport import discovery
from transport.client import Client
from transport.codes import CloseCode
from transport.errors import ConnectionClosed, NotRunning

PAUSES: Final = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each attempt to get a lost connection back."""

HOW_TO_START: Final = "`callboard serve` starts one (`make serve` in a checkout)"

_COMES_BACK: Final = frozenset({1001, 1006, 1012, *range(4000, 4500), int(CloseCode.BAD_TOKEN)})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service is, and what lets one in."""

    url: str
    token: str = field(repr=False)
    started_at: float
    remedy: str
    """What to do if it does not let one in."""


def by_runtime_file(folder: Path) -> Callable[[], Endpoint]:
    """Look each time for the service that was started last."""

    def find() -> Endpoint:
        try:
            record = discovery.find(folder)
        except NotRunning:
            raise NoService(f"no service is running: {HOW_TO_START}") from None
        return Endpoint(record.url, record.token, record.started_at, HOW_TO_START)

    return find


def by_url(url: str, token: str) -> Callable[[], Endpoint]:
    """This one, wherever it is."""
    endpoint = Endpoint(url, token, 0.0, "CALLBOARD_TOKEN must hold that service's own")
    return lambda: endpoint


class Link:
    """The connection to the service. Use it as an asynchronous context manager, then `open`."""

    def __init__(self, find: Callable[[], Endpoint]) -> None:
        self._find = find
        self._stack = AsyncExitStack()
        self._client: Client | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def lost(self) -> bool:
        """There was a connection, and it has ended."""
        return self._client is not None and self._client.lost

    async def open(self) -> Client:
        """The connection; made if there is none, or none any more. Raises NoService.

        A service that does not answer, or not to this token, may just have been started anew:
        then, and only then, the new one is tried.
        """
        if self._client is not None and not self._client.lost:
            return self._client
        await self._stack.aclose()
        endpoint = self._find()
        try:
            return await self._enter(endpoint)
        except ConnectionClosed as closed:
            again = self._find()
            if again == endpoint:
                raise _no_service(endpoint, closed) from closed
        try:
            return await self._enter(again)
        except ConnectionClosed as closed:
            raise _no_service(again, closed) from closed

    async def reopen(self) -> Client:
        """Try for a while. Raises NoService."""
        for pause in PAUSES:
            await asyncio.sleep(pause)
            with contextlib.suppress(NoService):
                return await self.open()
        return await self.open()

    async def _enter(self, endpoint: Endpoint) -> Client:
        client = Client(endpoint.url, endpoint.token, name="callboard chat", version=__version__)
        self._client = await self._stack.enter_async_context(client)
        return client


def _no_service(endpoint: Endpoint, closed: ConnectionClosed) -> NoService:
    if closed.code == CloseCode.BAD_TOKEN:
        return NoService(f"the service at {endpoint.url} refuses the token: {endpoint.remedy}")
    if closed.code == CloseCode.ABNORMAL:
        return NoService(f"no service answers at {endpoint.url}: {HOW_TO_START}")
    return NoService(f"the service at {endpoint.url} takes nobody in: {closed}")


def comes_back(closed: ConnectionClosed) -> bool:
    """The protocol lets a client come back after this end; a wrong token may be an old one."""
    return closed.code in _COMES_BACK
