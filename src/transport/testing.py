"""A client for tests of actor types: the real sessions and the real client, without a socket.

    from actors.testing import actor_events, actor_system, manual_clock
    from transport.testing import MemoryService

    async def test_weather(actor_system: ActorSystem) -> None:
        registry = Registry()
        registry.register(WeatherRequest, Weather)
        service = await MemoryService.start(actor_system, registry)
        async with service.client() as client:
            reply = await client.call(WeatherRequest(city="Bern"), WeatherReply)

Requests and answers are encoded and decoded as on the wire; ids, credit, deadlines, limits and
resume are the service's own. `cut` drops the connections. Time is the system's clock: on a manual
clock, a client that was cut reconnects when the test advances the time.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from random import Random
from typing import Final, Never, Self

from actors.errors import MailboxFull, NotRunning
from actors.protocol.block import frames
from actors.protocol.effects import Limit
from actors.protocol.limits import SessionLimits
from actors.requests.background import Extensions
from actors.requests.registry import Registry
from actors.runtime.ref import ActorRef
from actors.runtime.supervision import Down, Exit
from actors.runtime.system import ActorSystem
from actors.sessions.messages import Detach, Outbox, Received, SessionEnvironment, SessionEvent
from actors.sessions.session_supervisor import RESUME_TOKEN_BYTES, Sessions, SessionsMessage
from callboard.v1 import session_pb2
from transport.client import Client, by_url
from transport.client.calls import ClientSettings
from transport.codes import PROTOCOL_VERSION, CloseCode
from transport.errors import ConnectionClosed
from transport.server.connection import WRITE_BUDGET
from transport.server.join_session import Joined, limits_of, open_new, take_up
from transport.wire.codec import Wire
from transport.wire.framing import payload_of

MAX_MESSAGE_BYTES: Final = 1024 * 1024


class _Quiet:
    """A log that discards everything."""

    def bind(self, **_fields: object) -> Self:
        return self

    def debug(self, event: str, **fields: object) -> None: ...
    def info(self, event: str, **fields: object) -> None: ...
    def warning(self, event: str, **fields: object) -> None: ...
    def error(self, event: str, **fields: object) -> None: ...


class _Unwatched:
    """A session watcher that counts nothing."""

    def record(self, event: SessionEvent) -> None: ...
    def limited(self, limit: Limit) -> None: ...


class MemoryService:
    """Sessions over a registry, and clients of them. Call `start`; it ends with its system.

    A registry whose actors wait for threads, such as a store's, needs `stop` before that: a manual
    clock does not wait for threads.
    """

    def __init__(
        self,
        system: ActorSystem,
        extensions: ActorRef[Never],
        sessions: ActorRef[SessionsMessage],
        wire: Wire,
        limits: SessionLimits,
    ) -> None:
        self.limits = limits
        self.wire = wire
        self.sessions = sessions
        self.websockets: set[MemoryWebSocket] = set()
        self._system = system
        self._extensions = extensions

    @classmethod
    async def start(
        cls, system: ActorSystem, registry: Registry, limits: SessionLimits | None = None
    ) -> "MemoryService":
        """Have `system` serve what the registry knows. Raises NotProtobuf."""
        limits = limits or SessionLimits()
        wire = Wire(registry)
        extensions = await system.start(
            lambda: Extensions(registry.background_actors), name="extensions"
        )
        environment = SessionEnvironment(
            registry, limits, wire.encode, _Quiet(), _Unwatched(), encode_stream=wire.answers
        )
        numbers = count(1)

        def make() -> Sessions:
            return Sessions(
                environment,
                lambda: f"session-{next(numbers)}",
                lambda: next(numbers).to_bytes(8) + bytes(RESUME_TOKEN_BYTES - 8),
                1000,
            )

        sessions = await system.start(make, name="sessions")
        return cls(system, extensions, sessions, wire, limits)

    async def stop(self) -> None:
        """End all sessions, then what the registry's extensions run, and wait for both."""
        for ref in (self.sessions, self._extensions):
            ref.stop()
            await ref.join()

    def client(self, settings: ClientSettings | None = None) -> Client:
        """Return a client, to be entered. Each client has its own session."""
        return Client(
            by_url("memory:", "memory"),
            settings,
            clock=self._system.clock,
            random=Random(0).random,
            dialer=_MemoryDialer(self),
        )

    def cut(self) -> None:
        """Drop every connection, as a network does: what was in transit is lost."""
        for websocket in list(self.websockets):
            websocket.abort()

    def welcome(self, joined: Joined) -> bytes:
        """Return the first frame to a client."""
        attached = joined.attached
        return self.wire.welcome(
            session_pb2.Welcome(
                session=attached.session,
                resume_token=joined.resume_token,
                resumed=attached.resumed,
                last_request_id=attached.last_request_id,
                limits=limits_of(self.limits, MAX_MESSAGE_BYTES, 0.0, 0),
                protocol_version=PROTOCOL_VERSION,
                backend="memory",
            )
        )


class _MemoryDialer:
    """Connects to a MemoryService."""

    def __init__(self, service: MemoryService) -> None:
        self._service = service

    async def dial(self, url: str) -> "MemoryWebSocket":
        """Connect, whatever the URL."""
        return MemoryWebSocket(self._service)

    async def close(self) -> None:
        """Do nothing: nothing is held."""


class MemoryWebSocket:
    """The client's end of a connection without a socket."""

    def __init__(self, service: MemoryService) -> None:
        self._service = service
        self._line = _Line()
        self._joined: Joined | None = None
        service.websockets.add(self)

    async def receive(self) -> bytes | None:
        """Return what the session has sent. Raises ConnectionClosed."""
        item = await self._line.arrived.get()
        if isinstance(item, ConnectionClosed):
            raise item
        return item

    async def send(self, frames: Iterable[bytes]) -> None:
        """Hand frames to the session; the first is the Hello."""
        for data in frames:
            if self._line.ended:
                return
            if self._joined is None:
                await self._shake_hands(data)
                continue
            frame = self._service.wire.decode(data)
            with suppress(NotRunning):
                await self._joined.session.send(Received(self._line, frame, len(data)))

    async def _shake_hands(self, data: bytes) -> None:
        hello = self._service.wire.greeting(data)
        assert hello is not None, "a client begins with Hello"
        sessions, line = self._service.sessions, self._line
        joined = await take_up(sessions, hello, line) or await open_new(sessions, hello, line)
        if joined is None:
            line.close(CloseCode.GOING_AWAY, "the system is stopping")
            return
        self._joined = joined
        joined.session.watch(line.session_down)
        line.open(joined.attached.outbox, self._service.welcome(joined))

    async def close(self, code: int, reason: str) -> None:
        """Close the connection; with 1000 the session ends."""
        self._end(code, reason)

    def abort(self) -> None:
        """Drop the connection; the session waits for its client."""
        self._end(CloseCode.ABNORMAL, "")

    def _end(self, code: int, reason: str) -> None:
        self._service.websockets.discard(self)
        by_service = self._line.ended
        self._line.end(code, reason)
        joined, self._joined = self._joined, None
        if joined is not None:
            ended = self._line.closed
            with suppress(NotRunning, MailboxFull):
                joined.session.tell(Detach(self._line, ended.code, by_service))


class _Line:
    """The session's end of a connection (`actors.protocol.connection.Connection`)."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[bytes | ConnectionClosed] = asyncio.Queue()
        self.closed = ConnectionClosed(CloseCode.ABNORMAL)
        self.ended = False
        self._outbox: Outbox | None = None
        self._due = False

    def open(self, outbox: Outbox, welcome: bytes) -> None:
        """Send the welcome and what this outbox has."""
        self._outbox = outbox
        self.arrived.put_nowait(payload_of(welcome))
        self._carry()

    def wake(self) -> None:
        """Send what there is, at the end of this turn of the loop."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._carry)

    def _carry(self) -> None:
        """Send everything: a client's memory is bounded by its credit."""
        self._due = False
        while self._outbox is not None and not self.ended:
            taken = self._outbox.take(WRITE_BUDGET)
            if not taken:
                return
            for frame in frames(taken):
                self.arrived.put_nowait(payload_of(frame))

    def close(self, code: int, reason: str) -> None:
        """End the connection, after sending what there is."""
        self._carry()
        self.end(code, reason)

    def end(self, code: int, reason: str) -> None:
        """Record the end of the connection. Only the first call counts."""
        if not self.ended:
            self.ended = True
            self.closed = ConnectionClosed(code, reason)
            self.arrived.put_nowait(self.closed)

    def session_down(self, down: Down) -> None:
        """End the connection, as its session has ended."""
        crashed = down.exit is Exit.CRASHED
        self.end(CloseCode.SESSION_CRASHED if crashed else CloseCode.GOING_AWAY, "")
