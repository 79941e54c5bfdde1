"""The service's one listener: the WebSocket, the page, its health; and how it shuts down."""

import asyncio
import contextlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Final, Protocol

from aiohttp import web

from actors.clock import Clock
from actors.duplex import INPUT_WINDOW
from actors.errors import ActorError
from actors.failure import Code, Failure
from actors.log import Log
from actors.ref import ActorRef
from actors.session import Drain, FailAll, Opened, OpenSession
from callboard.v1 import session_pb2
from transport.access import Access, Refusal
from transport.codes import CloseCode
from transport.connection import CLOSE_TIMEOUT, Channel
from transport.errors import CannotListen
from transport.wire import PROTOCOL_VERSION, Wire

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_OPEN_TIMEOUT: Final = 5.0
_GONE: Final = Failure(Code.UNAVAILABLE, "the service is shutting down", retryable=True)

PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Callboard</title>
<h1>Callboard {version}</h1>
<p>A message router for user interfaces. It answers with the backend <b>{backend}</b>.</p>
<p>A program connects to <code>{url}</code> and speaks binary <code>callboard.v1</code> protobuf
messages. The token for its first message is in the service's runtime file; in a terminal,
<code>callboard chat</code> finds it by itself.</p></html>
"""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the listener is told. Times in seconds, sizes in bytes.

    port 0: one that the system chooses. reconnect_after: what GoingAway advises.
    """

    token: str
    backend: str
    version: str
    host: str = "127.0.0.1"
    port: int = 0
    handshake: float = 10.0
    heartbeat: float = 20.0
    drain: float = 10.0
    reconnect_after: float = 1.0
    max_message_bytes: int = 1024 * 1024
    max_requests_in_flight: int = 256
    max_sessions: int = 1000

    def __repr__(self) -> str:
        return f"<ServerSettings {self.host}:{self.port}>"


class Watcher(Protocol):
    """Who counts connections, and what a scrape of these counts gets."""

    def refused(self, status: int) -> None:
        """A connection was refused before the upgrade."""

    def opened(self) -> None:
        """A connection has a session."""

    def closed(self, code: int) -> None:
        """A connection that was accepted has ended."""

    def expose(self) -> bytes:
        """All counts, in the Prometheus text format."""


class Server:
    """Accepts connections and hands each, once it has shown the token, to a session."""

    def __init__(
        self,
        settings: ServerSettings,
        sessions: ActorRef[OpenSession],
        wire: Wire,
        clock: Clock,
        log: Log,
        watcher: Watcher,
        new_secret: Callable[[], bytes] = lambda: secrets.token_bytes(32),
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._wire = wire
        self._clock = clock
        self._log = log
        self._watcher = watcher
        self._new_secret = new_secret
        self._token = settings.token.encode()
        self._channels: dict[Channel, Opened | None] = {}
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._draining = False
        self._runner: web.AppRunner | None = None
        self._access = Access.at(settings.host, settings.port)
        self.port = settings.port

    @property
    def connections(self) -> int:
        """Sockets that are open now."""
        return len(self._channels)

    @property
    def url(self) -> str:
        """Where the WebSocket is."""
        return f"ws://{self._authority}/ws"

    @property
    def page(self) -> str:
        """Where the page is."""
        return f"http://{self._authority}/"

    @property
    def _authority(self) -> str:
        host = self._settings.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises CannotListen."""
        app = web.Application()
        app.router.add_get("/ws", self._serve_socket)
        app.router.add_get("/", self._serve_page)
        app.router.add_get("/healthz", self._serve_health)
        app.router.add_get("/metrics", self._serve_metrics)
        runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        host, port = self._settings.host, self._settings.port
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            reason = error.strerror or str(error)
            raise CannotListen(f"cannot listen on {host}:{port}: {reason}") from error
        self._runner = runner
        self.port = runner.addresses[0][1]
        self._access = Access.at(host, self.port)

    # -- endpoints ---------------------------------------------------------------------------

    async def _serve_page(self, request: web.Request) -> web.StreamResponse:
        refusal = self._access.check_host(request)
        if refusal is not None:
            return _refuse(refusal)
        text = PAGE.format(
            version=escape(self._settings.version),
            backend=escape(self._settings.backend),
            url=escape(self.url),
        )
        headers = {"Content-Security-Policy": "default-src 'none'", "Cache-Control": "no-store"}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def _serve_health(self, request: web.Request) -> web.StreamResponse:
        refusal = self._access.check_host(request)
        if refusal is not None:
            return _refuse(refusal)
        if self._draining:
            return web.json_response({"status": "draining"}, status=503)
        return web.json_response({"status": "ok"})

    async def _serve_metrics(self, request: web.Request) -> web.StreamResponse:
        refusal = self._access.check(request)
        if refusal is not None:
            return _refuse(refusal)
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        shown = given.strip().encode(errors="replace")
        if scheme.lower() != "bearer" or not hmac.compare_digest(shown, self._token):
            headers = {"WWW-Authenticate": "Bearer"}
            return web.Response(status=401, text="the token is needed\n", headers=headers)
        headers = {"Content-Type": METRICS_TYPE, "Cache-Control": "no-store"}
        return web.Response(body=self._watcher.expose(), headers=headers)

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        refusal = self._access.check(request)
        if refusal is None and len(self._channels) >= self._settings.max_sessions:
            refusal = Refusal(503, "too many connections")
        if refusal is not None:
            self._watcher.refused(refusal.status)
            self._log.warning("refused", status=refusal.status, reason=refusal.reason)
            return _refuse(refusal)
        socket = web.WebSocketResponse(
            compress=False,
            autoping=False,
            timeout=CLOSE_TIMEOUT,
            max_msg_size=self._settings.max_message_bytes + 1,  # aiohttp refuses this size too
            writer_limit=0,
        )
        if not socket.can_prepare(request).ok:
            return _refuse(Refusal(426, "this address is for WebSockets"))
        await socket.prepare(request)
        channel = Channel(socket, request, self._clock, self._settings.heartbeat, self._log)
        self._channels[channel] = None
        self._quiet.clear()
        try:
            await self._carry(channel)
        finally:
            del self._channels[channel]
            self._watcher.closed(channel.close_code)
            if not self._channels:
                self._quiet.set()
        return socket

    # -- a connection ------------------------------------------------------------------------

    async def _carry(self, channel: Channel) -> None:
        try:
            async with asyncio.timeout(self._settings.handshake):
                data = await channel.receive()
        except TimeoutError:
            await channel.refuse(CloseCode.NO_HELLO, "no Hello in time")
            return
        if data is None:
            await channel.refuse(channel.close_code, "")
            return
        hello = self._wire.greeting(data)
        if hello is None:
            await channel.refuse(CloseCode.PROTOCOL_VIOLATION, "the first message must be a Hello")
            return
        if not hmac.compare_digest(hello.token.encode(), self._token):
            self._log.warning("bad token", client=hello.client_name[:64])
            await channel.refuse(CloseCode.BAD_TOKEN, "bad token")
            return
        opened = None if self._draining else await self._open(hello)
        if opened is None:
            await channel.refuse(CloseCode.GOING_AWAY, "the service is shutting down")
            return
        self._channels[channel] = opened
        log = self._log.bind(session=opened.name)
        self._watcher.opened()
        log.info("session opened", client=hello.client_name[:64])
        await channel.serve(self._wire, opened, self._welcome(opened))
        log.info("session closed", code=channel.close_code)

    async def _open(self, hello: session_pb2.Hello) -> Opened | None:
        try:
            return await self._sessions.ask(
                lambda reply: OpenSession(hello.initial_credit, reply), timeout=_OPEN_TIMEOUT
            )
        except ActorError:
            return None

    def _welcome(self, opened: Opened) -> bytes:
        settings = self._settings
        return self._wire.welcome(
            session_pb2.Welcome(
                session=opened.name,
                resume_token=self._new_secret(),
                resumed=False,
                limits=session_pb2.Limits(
                    max_message_bytes=settings.max_message_bytes,
                    max_requests_in_flight=settings.max_requests_in_flight,
                    heartbeat_interval_ms=round(settings.heartbeat * 1000),
                    input_window=INPUT_WINDOW,
                ),
                server_version=settings.version,
                protocol_version=PROTOCOL_VERSION,
                backend=settings.backend,
            )
        )

    # -- the end -----------------------------------------------------------------------------

    async def shutdown(self) -> None:
        """Let running requests end, within the drain time; then close all and listen no more.

        Each request that is still running then ends with UNAVAILABLE, each connection with 4001.
        """
        self._draining = True
        opened = [opened for opened in self._channels.values() if opened is not None]
        await asyncio.gather(*map(self._drain, opened))
        for channel in list(self._channels):
            channel.close(CloseCode.GOING_AWAY, "the service is shutting down")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT + 1.0):
                await self._quiet.wait()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _drain(self, opened: Opened) -> None:
        after_ms = round(self._settings.reconnect_after * 1000)
        with contextlib.suppress(ActorError):
            await opened.ref.ask(
                lambda reply: Drain("the service is shutting down", after_ms, reply),
                timeout=max(self._settings.drain, 0.01),
            )
        with contextlib.suppress(ActorError):
            await opened.ref.ask(lambda reply: FailAll(_GONE, reply), timeout=_OPEN_TIMEOUT)


def _refuse(refusal: Refusal) -> web.Response:
    return web.Response(status=refusal.status, text=f"{refusal.reason}\n")
