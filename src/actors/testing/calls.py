"""Make requests in a test without a service: a real session and credit, no wire format, no socket.

    async def test_greets(actor_system: ActorSystem) -> None:
        async with serving(actor_system, register) as calls:
            greeting = await calls.call(GreetRequest(name="Ada"), Greeting)
            assert greeting.text == "Hello, Ada!"

What an extension registers runs as it does in the service: its background actors are started, its
interceptors run around its handlers, and answers are pulled as the test takes them.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final, Generic, Self, TypeVar, cast

from actors.errors import MailboxFull, NotRunning
from actors.protocol.close_codes import CloseCode
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
    Shared,
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
    Detach,
    Drain,
    Outbox,
    Received,
    SessionEnvironment,
    SessionEvent,
    SessionMessage,
)
from actors.sessions.session_supervisor import RESUME_TOKEN_BYTES, OpenSession, Sessions
from actors.testing.kit import AN_HOUR

Rep = TypeVar("Rep", bound=Message)

UNLIMITED: Final = SessionLimits(messages_per_second=1e9, message_burst=1_000_000_000)
"""Limits that do not restrict the rate of a test's requests; the other limits are the defaults."""


class Spoken(bytes):
    """An encoded frame as the session machine keeps it, which also holds the decoded message."""

    request_id: int
    end: bool
    said: Said


def _encode(request_id: int, _sequence: int, end: bool, said: Said) -> bytes:
    to_bytes = getattr(said, "SerializeToString", None)
    # Never empty, like every real frame: a session wakes its connection when there are bytes.
    spoken = Spoken((b"" if to_bytes is None else to_bytes()) or b"-")
    spoken.request_id, spoken.end = request_id, end
    spoken.said = said.message if isinstance(said, Shared) else said
    return spoken


class LogLines:
    """A log that records its lines: each an event and its fields."""

    def __init__(
        self, lines: list[tuple[str, dict[str, object]]] | None = None, **fields: object
    ) -> None:
        self.lines: list[tuple[str, dict[str, object]]] = [] if lines is None else lines
        self._fields = fields

    def bind(self, **fields: object) -> Self:
        """Return a log whose lines carry these fields too and go to the same list."""
        return type(self)(self.lines, **{**self._fields, **fields})

    def debug(self, event: str, **fields: object) -> None:
        """Record a line."""
        self.lines.append((event, {**self._fields, **fields}))

    def info(self, event: str, **fields: object) -> None:
        """Record a line."""
        self.debug(event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        """Record a line."""
        self.debug(event, **fields)

    def error(self, event: str, **fields: object) -> None:
        """Record a line."""
        self.debug(event, **fields)


class _Unwatched:
    """A watcher that ignores what happens to the session."""

    def record(self, event: SessionEvent) -> None: ...
    def limited(self, limit: Limit) -> None: ...


class Answers(Generic[Rep]):
    """One request of a test: its answers, pulled one at a time, and its further inputs."""

    def __init__(self, calls: "Calls", request_id: int, replies: tuple[type[Rep], ...]) -> None:
        self.request_id: int = request_id
        self.notices: list[str] = []
        """The notices that the handler has sent to the user."""
        self.granted: int | None = None
        """How many inputs the service has granted in all; None until its first grant."""
        self._calls = calls
        self._replies = replies
        self._arrived: deque[Spoken] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._taken = 0
        self._inputs = 0
        self._over = False

    def put(self, spoken: Spoken) -> None:
        """Take a frame that the session sends for this request."""
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
        """Return the next answer.

        Raises the Failure that the request ends with, and AssertionError for an unexpected type.
        """
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
        """Send an input to a duplex request. `last`: no further input follows."""
        self._inputs += 1
        self._calls.send(Inform(self.request_id, Input(self._inputs, message, last)))

    def finish(self) -> None:
        """Tell a duplex request that no further input follows."""
        self._inputs += 1
        self._calls.send(Inform(self.request_id, Input(self._inputs, None, last=True)))

    def tell(self, message: Message) -> None:
        """Send a message for `context.received`, such as the user's answer to an ask."""
        self._calls.send(Inform(self.request_id, message))

    def cancel(self) -> None:
        """Cancel the request; its Failure with CANCELLED still arrives."""
        self._calls.send(Cancel(self.request_id))


class Calls:
    """The session of one client in a test."""

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
        """Make a request and return its only answer. Raises the Failure that it ends with.

        Raises AssertionError if there is not exactly one answer, or it is of another type.
        """
        answers = [answer async for answer in self.stream(request, reply, timeout_ms=timeout_ms)]
        if len(answers) != 1:
            raise AssertionError(f"{len(answers)} answers, where there should be one: {answers}")
        return answers[0]

    def stream(self, request: Message, *replies: type[Rep], timeout_ms: int = 0) -> Answers[Rep]:
        """Open a request; return an iterator of its answers, each of one of the types `replies`."""
        self._last_id += 1
        answers = Answers(self, self._last_id, replies)
        self._requests[self._last_id] = cast("Answers[Message]", answers)
        self.send(Request(self._last_id, timeout_ms, request))
        return answers

    def send(self, frame: Request | Inform | Cancel | Credit) -> None:
        """Send a frame to the session as a connection would: without room it waits, in order."""
        received = Received(self, frame, 0)
        if self._sending is None:
            try:
                self._session.tell(received)
                return
            except MailboxFull:
                self._sending = asyncio.get_running_loop().create_task(self._send_unsent())
        self._unsent.append(received)

    async def _send_unsent(self) -> None:
        with suppress(NotRunning):  # the session has ended, and the rest is dropped
            while self._unsent:
                await self._session.send(self._unsent.popleft())
        self._sending = None

    async def attach(self, features: Iterable[str] = ()) -> None:
        """Attach to the session as its connection, of a client with these features."""
        named = frozenset(features)

        def make(reply: Reply[Attached | None]) -> Attach:
            return Attach(self, None, 1, acknowledges=False, reply=reply, features=named)

        attached = await self._session.ask(make, timeout=5.0)
        assert attached is not None
        self._outbox = attached.outbox
        self.wake()

    async def drain(self, retry_after_ms: int = 1000) -> None:
        """Shut down as a service does: end endless requests, refuse new ones, await the others."""

        def make(reply: Reply[None]) -> Drain:
            return Drain("the service is shutting down", retry_after_ms, reply)

        await self._session.ask(make, timeout=AN_HOUR)

    async def leave(self) -> None:
        """End the session, as a client that closes its connection for good; no answer follows."""
        await self._session.send(Detach(self, CloseCode.NORMAL, by_service=False))
        await self._session.join()

    def wake(self) -> None:
        """Schedule the delivery of what the session has to send."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def close(self, code: int, reason: str) -> None:
        """Raise AssertionError: no test of a handler should make the session do this."""
        raise AssertionError(f"the session closed the connection: {code} {reason}")

    def _deliver(self) -> None:
        self._due = False
        for frame in () if self._outbox is None else self._outbox.take(1 << 30):
            spoken = cast("Spoken", frame)
            answers = self._requests.get(spoken.request_id)
            if answers is not None:
                answers.put(spoken)


@asynccontextmanager
async def serving(
    system: ActorSystem, *registers: Callable[[Registry], None], features: Iterable[str] = ()
) -> AsyncIterator[Calls]:
    """Run what `registers` register in `system`; yield a client session to make requests with.

    features: what the client names in its Hello, for `context.features`.
    """
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
    await calls.attach(features)
    try:
        yield calls
    finally:
        sessions.stop()
        await sessions.join()
        extensions.stop()
        await extensions.join()
