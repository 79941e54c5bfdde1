"""Helpers for the tests of machine, session and requests: a message, a readable encoding."""

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

TURNS_BEFORE_A_CANCEL: Final = EAGER + (BOUND == 1)
"""Turns that a stream gets at most before a cancel that is sent right after its request: one if
tasks are eager, and one more if the cancel has to wait for room."""

PULLS_BEFORE_A_CANCEL: Final = (AT_ONCE + 1) * TURNS_BEFORE_A_CANCEL
"""How often a stream is pulled at most in these turns."""


@dataclass(frozen=True)
class Text:
    """A message of the tests: a request, an answer or an input."""

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
            nonce.to_bytes(8, "big")  # more than 64 bits are an error, as in protobuf
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
    """Drops log lines, and remembers the fields it was bound to."""

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
    """A connection that only records wakes and its close."""

    wakes: int = 0
    closed: tuple[int, str] | None = None

    def wake(self) -> None:
        self.wakes += 1

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


@dataclass
class Books:
    """Records session events and limits that were hit."""

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
    features: frozenset[str] = frozenset()

    @property
    def ref(self) -> ActorRef[SessionMessage]:
        return self.opened.ref

    async def attach(self, last_sequence: int | None = None) -> bool:
        """Attach a new connection; return False if the session refuses it."""
        connection = FakeConnection()

        def make(reply: Reply[Attached | None]) -> Attach:
            return Attach(
                connection,
                last_sequence,
                self.initial_credit,
                self.acknowledges,
                reply,
                self.features,
            )

        self.attached = await self.ref.ask(make, timeout=1.0)
        if self.attached is not None:
            self.connection = connection
        return self.attached is not None

    @property
    def last_sequence(self) -> int:
        """The last sequence number received; 0 if there is none."""
        return max((frame.sequence for frame in self.received), default=0)

    def send(self, frame: Frame, size: int = 10) -> None:
        self._put(Received(self.connection, frame, size))

    def _put(self, message: SessionMessage) -> None:
        """Send as a connection does: messages wait in order if the mailbox is full."""
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
        """Open a request and return its id."""
        self.last_id += 1
        self.send(Request(self.last_id, timeout_ms, payload))
        return self.last_id

    def take(self, at_most: int) -> list[bytes]:
        """Take the frames that the connection should send."""
        return [] if self.attached is None else list(frames(self.attached.outbox.take(at_most)))

    async def read(self, at_most: int = 1 << 20) -> list[Sent]:
        """Return the frames since the last read, once the session has nothing more to do."""
        news: list[Sent] = []
        await settle()
        while taken := self.take(at_most):
            news += map(decode, taken)
            await settle()
        self.received += news
        return news

    async def said(self, request_id: int) -> list[str]:
        """Return everything that was sent for this request so far."""
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
        """End the connection with this close code."""
        self._put(Detach(self.connection, code, by_service))

    def check(self) -> None:
        """Check that sequence numbers have no gap, and each id has one end and nothing after it."""
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
    """A supervisor of sessions, and the environment that they share."""

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
        self.system = system
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
    """Register `handler` for requests of type Text and return a client.

    Where tasks do not begin at once, coroutine functions begin in a spare task from the first.
    """
    service.registry.register(Text, handler)
    if not EAGER:
        service.system.spare_tasks.take()
        await settle()
    return await service.open(initial_credit)


class Counting(StreamActor[Text, Text]):
    """Streams numbers forever, and counts how often it is pulled and closed."""

    pulls = 0
    closed = 0

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        try:
            for number in count(1):
                type(self).pulls += 1
                yield Text(str(number))
        finally:
            type(self).closed += 1
