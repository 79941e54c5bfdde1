"""The service's only listener: the WebSocket, the page, health and metrics; and the shutdown."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from actors.errors import ActorError
from actors.protocol.effects import draining
from actors.protocol.frames import GoingAway
from actors.protocol.limits import SessionLimits
from actors.runtime.clock import Clock, Timer
from actors.runtime.deadlines import Deadlines
from actors.runtime.log import Log
from actors.runtime.ref import ActorRef
from actors.sessions.messages import Drain, FailAll, SessionMessage
from actors.sessions.session_supervisor import AllSessions, SessionsMessage
from callboard.v1 import session_pb2
from transport.codes import PROTOCOL_VERSION, CloseCode
from transport.server.access import Access, Refusal
from transport.server.aiohttp_internals import AVAILABLE
from transport.server.authentication import has_token, is_right, shown_token
from transport.server.connection import LAST_CLOSE_TIMEOUT, ConnectionEnvironment, ServerConnection
from transport.server.feed import Kept, UnfedWebSocket
from transport.server.join_session import OPEN_TIMEOUT, Full, Joined, limits_of, open_new, take_up
from transport.server.listen import Listener, Place, listen
from transport.server.lobby import Lobby, requests_at_once
from transport.server.outgoing import Outgoing
from transport.server.plain_http import health, metrics, page, refuse, unauthorized
from transport.server.site import Site
from transport.server.watcher import Watcher
from transport.wire.codec import Wire

BEATS: Final = 64
"""Heartbeats are late by at most 1/BEATS of the interval; all due by then go out together."""

TELL_FIRST: Final = 0.2
TELL_EVERY: Final = 2.0
"""Seconds after which a shutdown first logs what it waits for, and between later reports."""

TOLD: Final = 5
"""The number of sessions that such a report names."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The listener's settings. Times in seconds, sizes in bytes.

    handshake: allowed for the request, for TLS and for Hello, each. reconnect_after: advice in
    GoingAway. max_handshakes: WebSockets without a session; above it, the oldest are cut off
    (`transport.server.lobby`). max_sessions: for how many to reserve open files. max_queued_turns,
    features: told to clients; the extensions that have them enforce them. site: the built page.
    """

    token: str
    backend: str
    version: str
    place: Place = field(default_factory=Place)
    handshake: float = 10.0
    heartbeat: float = 20.0
    drain: float = 10.0
    reconnect_after: float = 1.0
    max_message_bytes: int = 1024 * 1024
    max_handshakes: int = 256
    max_sessions: int = 1000
    max_queued_turns: int = 0
    features: tuple[str, ...] = ()
    site: Site | None = None
    limits: SessionLimits = field(default_factory=SessionLimits)

    def __repr__(self) -> str:
        return f"<ServerSettings {self.place}>"


class Server:
    """Accepts connections, and hands each to a session once it has shown the token."""

    def __init__(
        self,
        settings: ServerSettings,
        sessions: ActorRef[SessionsMessage],
        wire: Wire,
        clock: Clock,
        log: Log,
        watcher: Watcher,
        unavailable: Callable[[], str] = lambda: "",  # the part that is down, or empty
    ) -> None:
        self._unavailable = unavailable
        self._settings, self._clock = settings, clock
        self._sessions, self._wire = sessions, wire
        self._log, self._watcher = log, watcher
        self._token = settings.token.encode()
        self._connections: dict[ServerConnection, asyncio.Task[None] | None] = {}
        # One timer for all: a timer each would cost 450 bytes per connection.
        self._beats = Deadlines(clock, settings.heartbeat / BEATS)
        self._environment = ConnectionEnvironment(
            clock,
            self._beats,
            Outgoing(),
            settings.heartbeat,
            settings.limits.slow_consumer,
            max_message_bytes=settings.max_message_bytes,
        )
        self._lobby = Lobby(settings.max_handshakes, clock, self._crowded)
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._draining = False
        self._runner: web.AppRunner | None = None
        self._listener: Listener | None = None

    @property
    def connections(self) -> int:
        """The number of open sockets."""
        return len(self._connections)

    @property
    def url(self) -> str:
        """The URL of the WebSocket, once the server has started."""
        return self._listening.url

    @property
    def page(self) -> str:
        """The URL of the page, once the server has started; empty on a Unix socket."""
        return self._listening.page

    @property
    def _access(self) -> Access:
        return self._listening.access

    @property
    def _listening(self) -> Listener:
        assert self._listener is not None, "the server has not started"
        return self._listener

    async def start(self) -> None:
        """Start listening. Raises CannotListen."""
        app = web.Application()
        app.router.add_get("/ws", self._serve_socket)
        site = self._settings.site
        for path in ("/",) if site is None else site.files:
            app.router.add_get(path, self._serve_page)
        app.router.add_get("/healthz", self._serve_health)
        app.router.add_get("/metrics", self._serve_metrics)
        runner = web.AppRunner(
            app,
            handle_signals=False,
            access_log=None,
            shutdown_timeout=1.0,
            # Cuts off a peer that has not sent a whole request by then, even amid its headers.
            keepalive_timeout=self._settings.handshake,
            lingering_time=1.0,
        )
        await runner.setup()
        assert runner.server is not None
        try:
            self._listener = await listen(
                self._accepting(runner.server), self._settings.place, self._settings.handshake
            )
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner

    def _accepting(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """Return a factory for a new connection's protocol, which may cut off an old connection."""
        at_most = requests_at_once(self._settings.max_sessions + self._settings.max_handshakes)

        def accept() -> asyncio.Protocol:
            if AVAILABLE:  # otherwise sessions are among them
                waiting = server.connections
                oldest = waiting[0].transport if len(waiting) >= at_most else None
                if oldest is not None:
                    oldest.abort()
            return server()

        return accept

    # -- endpoints ---------------------------------------------------------------------------

    async def _serve_page(self, request: web.Request) -> web.StreamResponse:
        if (refusal := self._access.check_address(request)) is not None:
            return refuse(refusal)
        if self._settings.site is not None:
            return await self._settings.site.serve(request)
        return page(self._settings.version, self._settings.backend, self.url)

    async def _serve_health(self, request: web.Request) -> web.StreamResponse:
        if (refusal := self._access.check_address(request)) is not None:
            return refuse(refusal)
        return health(draining=self._draining, down=self._unavailable())

    async def _serve_metrics(self, request: web.Request) -> web.StreamResponse:
        if (refusal := self._access.check(request)) is not None:
            return refuse(refusal)
        if not has_token(request, self._token):
            return unauthorized()
        return metrics(self._watcher.expose())

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        refusal = self._access.check(request)
        if refusal is not None:
            self._watcher.refused(refusal.status)
            self._log.warning("refused", status=refusal.status, reason=refusal.reason)
            return refuse(refusal)
        socket = UnfedWebSocket(self._settings.max_message_bytes)
        if not socket.can_prepare(request).ok:
            return refuse(Refusal(426, "this address accepts only WebSockets"))
        try:
            await socket.prepare(request)
        except ConnectionError:  # the peer has gone, and reads no answer
            return refuse(Refusal(400, "the connection has ended"))
        line = socket.leave(request)
        connection = ServerConnection(line or Kept(socket, request), self._environment)
        self._connections[connection] = None
        self._quiet.clear()
        self._lobby.enter(connection)
        if line is None:
            await self._carry(connection)
        else:
            self._connections[connection] = asyncio.create_task(self._carry(connection))
        return socket

    # -- a connection ------------------------------------------------------------------------

    async def _carry(self, connection: ServerConnection) -> None:
        try:
            joined = await self._shake_hands(connection)
            if joined is not None:
                await connection.serve(
                    self._wire, joined.session, joined.attached.outbox, self._welcome(joined)
                )
                session, code = joined.attached.session, int(connection.close_code)
                self._log.info("connection closed", session=session, code=code)
        except BaseException as error:
            connection.abort()
            if not isinstance(error, Exception):
                raise
            self._log.error("connection failed", exc_info=error)
        finally:
            self._lobby.leave(connection)
            del self._connections[connection]
            self._watcher.closed(connection.close_code)
            if not self._connections:
                self._quiet.set()

    def _crowded(self) -> None:
        self._log.warning("cut off", reason="too many connections that send no Hello")

    async def _shake_hands(self, connection: ServerConnection) -> Joined | None:
        joined = await self._greet(connection)
        if joined is not None:
            session, resumed = joined.attached.session, joined.attached.resumed
            self._watcher.opened(resumed=resumed)
            self._log.info("session resumed" if resumed else "session opened", session=session)
        return joined

    async def _greet(self, connection: ServerConnection) -> Joined | None:
        try:
            async with asyncio.timeout(self._settings.handshake):
                data = await connection.receive()
        except TimeoutError:
            await connection.refuse(CloseCode.NO_HELLO, "no Hello in time")
            return None
        if data is None:
            await connection.refuse(connection.close_code, "")
            return None
        shown = shown_token(data)
        if shown is not None and not is_right(shown, self._token):
            self._log.warning("bad token")
            await connection.refuse(CloseCode.BAD_TOKEN, "bad token")
            return None
        hello = None if shown is None else self._wire.greeting(data)
        if hello is None:
            reason = "the first message must be a Hello"
            await connection.refuse(CloseCode.PROTOCOL_VIOLATION, reason)
            return None
        self._lobby.leave(connection)
        return await self._join(connection, hello)

    async def _join(self, connection: ServerConnection, hello: session_pb2.Hello) -> Joined | None:
        joined = await take_up(self._sessions, hello, connection)
        try:
            if joined is None and not self._draining:
                joined = await open_new(self._sessions, hello, connection)
        except Full:
            self._log.warning("too many sessions", client=hello.client_name[:64])
            await self._turn_away(connection, "too many sessions")
            return None
        if joined is None:
            await self._turn_away(connection, "the service is shutting down")
        return joined

    async def _turn_away(self, connection: ServerConnection, reason: str) -> None:
        advice = GoingAway(reason, round(self._settings.reconnect_after * 1000))
        last = self._wire.encode(0, 0, False, advice)
        await connection.refuse(CloseCode.GOING_AWAY, reason, last)

    def _welcome(self, joined: Joined) -> bytes:
        settings, attached = self._settings, joined.attached
        most, queued = settings.max_message_bytes, settings.max_queued_turns
        limits = limits_of(settings.limits, most, settings.heartbeat, queued)
        return self._wire.welcome(
            session_pb2.Welcome(
                session=attached.session,
                resume_token=joined.resume_token,
                resumed=attached.resumed,
                last_request_id=attached.last_request_id,
                limits=limits,
                server_version=settings.version,
                protocol_version=PROTOCOL_VERSION,
                backend=settings.backend,
                features=settings.features,
            )
        )

    # -- the end -----------------------------------------------------------------------------

    async def shutdown(self) -> None:
        """Let running requests end within the drain time; then close everything and stop listening.

        Each request that is still running then ends with UNAVAILABLE, each connection with 4001.
        """
        self._draining = True
        with contextlib.suppress(ActorError):
            sessions = await self._sessions.ask(AllSessions, timeout=OPEN_TIMEOUT)
            waiting = {session.path.rpartition("/")[2] for session in sessions}
            with self._telling(waiting):
                await asyncio.gather(*(self._drain(session, waiting) for session in sessions))
        for connection in list(self._connections):
            connection.close(CloseCode.GOING_AWAY, "the service is shutting down")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_CLOSE_TIMEOUT):
                await self._quiet.wait()
        for connection in list(self._connections):
            connection.abort()
        left = [task for task in self._connections.values() if task is not None]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1.0)
        self._beats.close()
        self._lobby.close()
        if self._listener is not None:
            self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()

    @contextlib.contextmanager
    def _telling(self, waiting: set[str]) -> Iterator[None]:
        """Log at intervals which sessions' requests the shutdown waits for."""
        end = self._clock.now() + self._settings.drain
        timer: Timer

        def tell() -> None:
            nonlocal timer
            self._log.info(
                "waiting for requests to end",
                sessions=sorted(waiting)[:TOLD],
                count=len(waiting),
                connections=self.connections,
                seconds=round(end - self._clock.now(), 1),
            )
            timer = self._clock.call_later(TELL_EVERY, tell)

        timer = self._clock.call_later(TELL_FIRST, tell)
        try:
            yield
        finally:
            timer.cancel()

    async def _drain(self, session: ActorRef[SessionMessage], waiting: set[str]) -> None:
        after_ms = round(self._settings.reconnect_after * 1000)
        with contextlib.suppress(ActorError):
            await session.ask(
                lambda reply: Drain("the service is shutting down", after_ms, reply),
                timeout=max(self._settings.drain, 0.01),
            )
        waiting.discard(session.path.rpartition("/")[2])
        with contextlib.suppress(ActorError):
            await session.ask(
                lambda reply: FailAll(draining(after_ms), reply), timeout=OPEN_TIMEOUT
            )
