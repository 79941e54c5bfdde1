"""Requests in a test, without a service: a real session, real credit, no bytes and no socket.

    async def test_greets(actor_system: ActorSystem) -> None:
        async with serving(actor_system, register) as calls:
            greeting = await calls.call(GreetRequest(name="Ada"), Greeting)
            assert greeting.text == "Hello, Ada!"

What an extension registers runs as it does in the service: its long-lived actors are started, its
interceptors are round its handlers, an answer is pulled when the test takes it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, Generic, Self, TypeVar, cast

from actors.errors import MailboxFull, NotRunning
from actors.protocol.effects import Limit
from actors.protocol.encoding import Said
from actors.protocol.failure import Failure
from actors.protocol.frames import (
    Cancel,
    Completed,
    Credit,
    Grant,
    Inform,
    Input,
    Message,
    Notice,
    Request,
)
from actors.protocol.limits import SessionLimits
from actors.requests.background import Extensions
from actors.requests.registry import Registry
from actors.runtime.ask import Reply
from actors.runtime.ref import ActorRef
from actors.runtime.system import ActorSystem
from actors.sessions.messages import (
    Attach,
    Attached,
    Outbox,
    Received,
    SessionEnvironment,
    SessionEvent,
    SessionMessage,
)
from actors.sessions.session_supervisor import RESUME_TOKEN_BYTES, OpenSession, Sessions

Rep = TypeVar("Rep", bound=Message)

UNLIMITED: Final = SessionLimits(messages_per_second=1e9, message_burst=1_000_000_000)
"""What a test asks is refused by nothing but what the extension declares."""


class Spoken(bytes):
    """A frame as the session's machine keeps it, with what it says beside the bytes."""

    request_id: int
    end: bool
    said: Said


def _encode(request_id: int, _sequence: int, end: bool, said: Said) -> bytes:
    to_bytes = getattr(said, "SerializeToString", None)
    # Never empty, as no frame is: a session wakes its connection when there are bytes.
    spoken = Spoken((b"" if to_bytes is None else to_bytes()) or b"-")
    spoken.request_id, spoken.end, spoken.said = request_id, end, said
    return spoken


class LogLines:
    """A log that keeps its lines: the event, and its fields."""

    def __init__(
        self, lines: list[tuple[str, dict[str, object]]] | None = None, **fields: object
    ) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = [] if lines is None else lines
        self._fields = fields

    def bind(self, **fields: object) -> Self:
        """A log whose lines carry these fields too, and go to the same list."""
        return type(self)(self.lines, **{**self._fields, **fields})

    def debug(self, event: str, **fields: object) -> None:
        """Keep a line."""
        self.lines.append((event, {**self._fields, **fields}))

    def info(self, event: str, **fields: object) -> None:
        """Keep a line."""
        self.debug(event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        """Keep a line."""
        self.debug(event, **fields)

    def error(self, event: str, **fields: object) -> None:
        """Keep a line."""
        self.debug(event, **fields)


class _Unwatched:
    """Nobody counts what becomes of the session."""

    def record(self, event: SessionEvent) -> None: ...
    def limited(self, limit: Limit) -> None: ...


class Answers(Generic[Rep]):
    """One request of a test: its answers, pulled one at a time, and what more it is sent."""

    def __init__(self, calls: "Calls", request_id: int, replies: tuple[type[Rep], ...]) -> None:
        self.request_id: int = request_id
        self.notices: list[str] = []
        """What the handler said to the person, so far."""
        self.granted: int | None = None
        """How many inputs the service has said that it takes; None: it has not said."""
        self._calls = calls
        self._replies = replies
        self._arrived: deque[Spoken] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._taken = 0
        self._inputs = 0
        self._over = False

    def put(self, spoken: Spoken) -> None:
        """Take what the session says to this request."""
        if isinstance(spoken.said, Notice):
            self.notices.append(spoken.said.message)
            self._take_one()
        elif isinstance(spoken.said, Grant):
            self.granted = spoken.said.limit
        else:
            self._arrived.append(spoken)
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def _take_one(self) -> None:
        self._taken += 1
        self._calls.send(Credit(self.request_id, self._taken + 1))

    def __aiter__(self) -> AsyncIterator[Rep]:
        return self

    async def __anext__(self) -> Rep:
        """The next answer. Raises the Failure that the request ends with."""
        if self._over:
            raise StopAsyncIteration
        while not self._arrived:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        spoken = self._arrived.popleft()
        self._over = spoken.end
        if isinstance(spoken.said, Failure):
            raise spoken.said
        if isinstance(spoken.said, Completed):
            raise StopAsyncIteration
        if not spoken.end:
            self._take_one()
        if not isinstance(spoken.said, self._replies):
            raise AssertionError(f"the answer is a {type(spoken.said).__name__}: {spoken.said}")
        return spoken.said

    def send(self, message: Message, *, last: bool = False) -> None:
        """Send one more message to a duplex request; `last`: nothing follows."""
        self._inputs += 1
        self._calls.send(Inform(self.request_id, Input(self._inputs, message, last)))

    def finish(self) -> None:
        """Say to a duplex request that nothing follows."""
        self._inputs += 1
        self._calls.send(Inform(self.request_id, Input(self._inputs, None, last=True)))

    def tell(self, message: Message) -> None:
        """Send what `context.received` waits for, such as the answer to an ask."""
        self._calls.send(Inform(self.request_id, message))

    def cancel(self) -> None:
        """End the request; its Failure with CANCELLED still comes."""
        self._calls.send(Cancel(self.request_id))


class Calls:
    """One client's session in a test."""

    def __init__(
        self, session: ActorRef[SessionMessage], registry: Registry, log: LogLines
    ) -> None:
        self.registry: Registry = registry
        self.log: LogLines = log
        self._session = session
        self._outbox: Outbox | None = None
        self._requests: dict[int, Answers[Message]] = {}
        self._last_id = 0
        self._due = False
        self._unsent: deque[Received] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def call(self, request: Message, reply: type[Rep], *, timeout_ms: int = 0) -> Rep:
        """Ask, and return the one answer. Raises Failure.

        Raises AssertionError for more than one answer, none, or one of another type.
        """
        answers = [answer async for answer in self.stream(request, reply, timeout_ms=timeout_ms)]
        if len(answers) != 1:
            raise AssertionError(f"{len(answers)} answers, where there should be one: {answers}")
        return answers[0]

    def stream(self, request: Message, *replies: type[Rep], timeout_ms: int = 0) -> Answers[Rep]:
        """Open a request; its answers, each of one of the types `replies`, as they are taken."""
        self._last_id += 1
        answers = Answers(self, self._last_id, replies)
        self._requests[self._last_id] = cast("Answers[Message]", answers)
        self.send(Request(self._last_id, timeout_ms, request))
        return answers

    def send(self, frame: Request | Inform | Cancel | Credit) -> None:
        """Hand the session a frame, as a connection would: one without room waits, in order."""
        received = Received(self, frame, 0)
        if self._sending is None:
            try:
                self._session.tell(received)
                return
            except MailboxFull:
                self._sending = asyncio.get_running_loop().create_task(self._send_unsent())
        self._unsent.append(received)

    async def _send_unsent(self) -> None:
        with suppress(NotRunning):  # the session has ended, and what is left is for nobody
            while self._unsent:
                await self._session.send(self._unsent.popleft())
        self._sending = None

    async def attach(self) -> None:
        """Carry the session."""

        def make(reply: Reply[Attached | None]) -> Attach:
            return Attach(self, None, 1, acknowledges=False, reply=reply)

        attached = await self._session.ask(make, timeout=5.0)
        assert attached is not None
        self._outbox = attached.outbox
        self.wake()

    def wake(self) -> None:
        """The session has something to send."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def close(self, code: int, reason: str) -> None:
        """The session ends the connection, which no test of a handler brings about."""
        raise AssertionError(f"the session closed the connection: {code} {reason}")

    def _deliver(self) -> None:
        self._due = False
        for frame in () if self._outbox is None else self._outbox.take(1 << 30):
            spoken = cast(Spoken, frame)
            answers = self._requests.get(spoken.request_id)
            if answers is not None:
                answers.put(spoken)


@asynccontextmanager
async def serving(
    system: ActorSystem, *registers: Callable[[Registry], None]
) -> AsyncIterator[Calls]:
    """What these functions register, running in `system`, and a session to call it by."""
    registry, log = Registry(), LogLines()
    for register in registers:
        register(registry)
    registry.check()
    extensions = await system.start(
        lambda: Extensions(registry.background_actors), name="extensions"
    )
    environment = SessionEnvironment(registry, UNLIMITED, _encode, log, _Unwatched())
    sessions = await system.start(
        lambda: Sessions(environment, lambda: "test", lambda: bytes(RESUME_TOKEN_BYTES), 1),
        name="sessions",
    )
    opened = await sessions.ask(OpenSession, timeout=5.0)
    assert opened is not None
    calls = Calls(opened.ref, registry, log)
    await calls.attach()
    try:
        yield calls
    finally:
        sessions.stop()
        await sessions.join()
        extensions.stop()
        await extensions.join()
