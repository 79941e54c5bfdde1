"""What the tests of machine, session and requests share: a message, an encoding to read back."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Self

from actors import (
    ActorRef,
    ActorSystem,
    Failure,
    Handler,
    Lifecycle,
    MailboxFull,
    Notice,
    NotRunning,
    Registry,
    Reply,
    StreamActor,
    Yielded,
)
from actors.protocol.block import frames
from actors.protocol.effects import Limit
from actors.protocol.encoding import Said
from actors.protocol.frames import Completed, Frame, GoingAway, Grant, Pong, Request
from actors.protocol.limits import SessionLimits
from actors.protocol.memory import Budget
from actors.requests.pull import AT_ONCE
from actors.runtime.eager import EAGER
from actors.sessions.messages import (
    Attach,
    Attached,
    Detach,
    Drain,
    FailAll,
    OnRequestEnd,
    Received,
    SessionEnvironment,
    SessionEvent,
    SessionMessage,
)
from actors.sessions.session_supervisor import FindSession, Opened, OpenSession, Sessions
from actors.testing import settle
from tests.support.bound import BOUND

PULLS_BEFORE_A_CANCEL: Final = (AT_ONCE + 1) * (EAGER + (BOUND == 1))
"""How often a stream is pulled at most before a cancel that was sent right behind its request: in
one turn where tasks begin at once, in one more where the cancel has to wait for room."""


@dataclass(frozen=True)
class Text:
    """A message of the tests: request, answer, and what the client sends meanwhile."""

    text: str = ""

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        return self.text.encode()

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's name
        return len(self.SerializeToString())


@dataclass(frozen=True)
class Ask(Text):
    """Another type of request."""


@dataclass(frozen=True)
class Unspeakable(Text):
    """A message that the encoding does not know."""


@dataclass(frozen=True)
class Sent:
    """A frame as the client reads it."""

    request_id: int
    sequence: int
    end: bool
    said: str


def said_as_text(said: Said) -> str:
    match said:
        case Failure():
            retry = " retryable" if said.retryable else ""
            return f"!{said.code.value}{retry}"
        case Notice(message, discard):
            return f"({message} {discard})"
        case Completed():
            return "completed"
        case Pong(nonce):
            nonce.to_bytes(8, "big")  # as in protobuf's: 64 bits, or an error
            return f"pong {nonce:d}"
        case GoingAway(reason, reconnect_after_ms):
            return f"going away {reason} {reconnect_after_ms}"
        case Grant(limit):
            return f"grant {limit:d}"
        case Unspeakable():
            raise TypeError("no such arm")
        case _:
            return said.SerializeToString().decode()


def encode(request_id: int, sequence: int, end: bool, said: Said) -> bytes:
    return json.dumps([request_id, sequence, end, said_as_text(said)]).encode()


def decode(frame: bytes) -> Sent:
    return Sent(*json.loads(frame))


class NoLog:
    """Takes lines and remembers what they were bound to."""

    def __init__(self, **fields: object) -> None:
        self.fields = fields

    def bind(self, **fields: object) -> Self:
        return type(self)(**{**self.fields, **fields})

    def debug(self, event: str, **fields: object) -> None: ...
    def info(self, event: str, **fields: object) -> None: ...
    def warning(self, event: str, **fields: object) -> None: ...
    def error(self, event: str, **fields: object) -> None: ...


@dataclass
class FakeConnection:
    """A socket that takes everything at once, unless it is told to be slow."""

    wakes: int = 0
    closed: tuple[int, str] | None = None

    def wake(self) -> None:
        self.wakes += 1

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


@dataclass
class Books:
    """Counts what becomes of sessions."""

    session_events: list[str] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)

    def record(self, event: SessionEvent) -> None:
        self.session_events.append(event.value)

    def limited(self, limit: Limit) -> None:
        self.limits.append(limit)


@dataclass
class Client:
    """A client of one session, on a fake connection."""

    opened: Opened
    acknowledges: bool = False
    initial_credit: int = 0
    connection: FakeConnection = field(default_factory=FakeConnection)
    received: list[Sent] = field(default_factory=list)
    last_id: int = 0
    _sending: list["asyncio.Task[None]"] = field(default_factory=list)
    attached: Attached | None = None

    @property
    def ref(self) -> ActorRef[SessionMessage]:
        return self.opened.ref

    async def attach(self, last_sequence: int | None = None) -> bool:
        """Come over a new connection; False if the session has ended for it."""
        connection = FakeConnection()

        def make(reply: Reply[Attached | None]) -> Attach:
            return Attach(connection, last_sequence, self.initial_credit, self.acknowledges, reply)

        self.attached = await self.ref.ask(make, timeout=1.0)
        if self.attached is not None:
            self.connection = connection
        return self.attached is not None

    @property
    def last_sequence(self) -> int:
        """Of what was received."""
        return max((frame.sequence for frame in self.received), default=0)

    def send(self, frame: Frame, size: int = 10) -> None:
        self._put(Received(self.connection, frame, size))

    def _put(self, message: SessionMessage) -> None:
        """As a connection does: what finds no room waits for it, in order."""
        try:
            if not self._sending:
                self.ref.tell(message)
                return
        except MailboxFull:
            pass
        self._sending.append(asyncio.create_task(self._put_later(message)))

    async def _put_later(self, message: SessionMessage) -> None:
        with contextlib.suppress(NotRunning):
            await self.ref.send(message)
        del self._sending[0]

    def request(self, payload: Text | None, timeout_ms: int = 0) -> int:
        """Open a request; its id."""
        self.last_id += 1
        self.send(Request(self.last_id, timeout_ms, payload))
        return self.last_id

    def take(self, at_most: int) -> list[bytes]:
        """What the connection is to send."""
        return [] if self.attached is None else list(frames(self.attached.outbox.take(at_most)))

    async def read(self, at_most: int = 1 << 20) -> list[Sent]:
        """What came since the last time, once the session has nothing more to do."""
        news: list[Sent] = []
        await settle()
        while taken := self.take(at_most):
            news += map(decode, taken)
            await settle()
        self.received += news
        return news

    async def said(self, request_id: int) -> list[str]:
        """All that was ever said to this request."""
        await self.read()
        return [frame.said for frame in self.received if frame.request_id == request_id]

    def drain(self, reason: str = "", after_ms: int = 0) -> "asyncio.Task[None]":
        def make(reply: Reply[None]) -> Drain:
            return Drain(reason, after_ms, reply)

        return asyncio.create_task(self.ref.ask(make, timeout=1000.0))

    async def fail_all(self, failure: Failure) -> None:
        def make(reply: Reply[None]) -> FailAll:
            return FailAll(failure, reply)

        await self.ref.ask(make, timeout=1.0)

    def detach(self, code: int = 1000, *, by_service: bool = False) -> None:
        """The connection ends with this close code."""
        self._put(Detach(self.connection, code, by_service))

    def check(self) -> None:
        """Sequence without a gap, exactly one end for each id, nothing after it."""
        answers = [frame for frame in self.received if frame.request_id]
        assert [frame.sequence for frame in answers] == [*range(1, len(answers) + 1)]
        assert all(frame.sequence == 0 for frame in self.received if not frame.request_id)
        ended: set[int] = set()
        for frame in answers:
            assert frame.request_id not in ended, frame
            if frame.end:
                ended.add(frame.request_id)
        assert ended == set(range(1, self.last_id + 1))


class Service:
    """A supervisor of sessions, and what they share."""

    def __init__(
        self,
        system: ActorSystem,
        limits: SessionLimits | None = None,
        at_most: int = 10_000,
        on_request_end: OnRequestEnd | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.registry = Registry()
        self.books = Books()
        self.environment = SessionEnvironment(
            self.registry,
            limits or SessionLimits(),
            encode,
            NoLog(),
            self.books,
            on_request_end,
            budget=budget,
        )
        self._names = (f"s{number}" for number in count(1))
        self._secrets = (number.to_bytes(8, "big") * 4 for number in count(1))
        self._system = system
        self.sessions = system.spawn(
            lambda: Sessions(
                self.environment, lambda: next(self._names), lambda: next(self._secrets), at_most
            ),
            name="sessions",
            lifecycle=Lifecycle(),
        )

    async def open(self, initial_credit: int = 0, *, acknowledges: bool = False) -> Client:
        opened = await self.sessions.ask(OpenSession, timeout=1.0)
        assert opened is not None
        client = Client(opened, acknowledges, initial_credit)
        assert await client.attach()
        return client

    async def find(self, resume_token: bytes) -> Opened | None:
        def make(reply: Reply[Opened | None]) -> FindSession:
            return FindSession(resume_token, reply)

        return await self.sessions.ask(make, timeout=1.0)


async def client_of(
    service: Service, handler: "type[Handler[Text]]", initial_credit: int = 0
) -> Client:
    """A client whose requests of type Text go to `handler`."""
    service.registry.register(Text, handler)
    return await service.open(initial_credit)


class Counting(StreamActor[Text, Text]):
    """Streams numbers for ever, and counts how often it is pulled and how often it was closed."""

    pulls = 0
    closed = 0

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        try:
            for number in count(1):
                type(self).pulls += 1
                yield Text(str(number))
        finally:
            type(self).closed += 1
