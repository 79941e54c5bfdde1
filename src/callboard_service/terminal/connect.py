"""The way to a running service: found by its runtime file, or by a URL that was given."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from callboard_service import __version__
from callboard_service.terminal.errors import NoService
from transport import client as transport_client
from transport.address import SOCKET_PATH
from transport.client import Client, Finder
from transport.client_calls import ClientSettings
from transport.client_socket import NO_WEBSOCKET, Dialer
from transport.codes import CloseCode
from transport.errors import ConnectionClosed, NotRunning

PATIENCE: Final = 15.0
"""Seconds for which a connection that was lost is tried again."""

HOW_TO_START: Final = "`callboard serve` starts one (`make serve` in a checkout)"

SETTINGS: Final = ClientSettings(name="callboard chat", version=__version__, give_up=PATIENCE)


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

    dialer: another carrier than a WebSocket.
    """

    def __init__(
        self, way: Way, settings: ClientSettings = SETTINGS, dialer: Dialer | None = None
    ) -> None:
        self._way = way
        self._settings = settings
        self._dialer = dialer
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
                await self._client.ready()
            except ConnectionClosed:
                await self._stack.aclose()
            else:
                return self._client
        client = Client(self._way.find, self._settings, dialer=self._dialer)
        try:
            self._client = await self._stack.enter_async_context(client)
        except NotRunning:
            raise NoService(f"no service is running: {HOW_TO_START}") from None
        except ConnectionClosed as closed:
            raise self._no_service(client, closed) from closed
        return self._client

    def _no_service(self, client: Client, closed: ConnectionClosed) -> NoService:
        url = client.url
        if closed.code == CloseCode.BAD_TOKEN:
            return NoService(f"the service at {url} refuses the token: {self._way.remedy}")
        if closed.code == CloseCode.TLS_FAILED:
            return NoService(
                f"no TLS with what answers at {url}: it speaks none (then the URL begins with ws:),"
                f" or its certificate is not trusted: {closed.reason}"
            )
        if closed.reason.startswith(NO_WEBSOCKET):
            found = f"what is at {url} {closed.reason}, and is no service's WebSocket"
            return NoService(f"{found}: that has the path {SOCKET_PATH}")
        if closed.code == CloseCode.ABNORMAL:
            return NoService(f"no service answers at {url}: {HOW_TO_START}")
        return NoService(f"the service at {url} takes nobody in: {closed}")
