"""Request actors: one for each request, alive until its last answer.

A request actor does its work in `main`; what the client sends under the request's id waits in its
mailbox. Whatever it raises costs this request and no other: `Failure` is an answer, anything else
a crash.
"""

import asyncio
import inspect
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from typing import (
    TYPE_CHECKING,
    ClassVar,
    Generic,
    Protocol,
    TypeVar,
    cast,
    final,
)

from actors.protocol.failure import Failure
from actors.protocol.frames import Completed, Message, Notice, Sealed
from actors.requests.interceptors import Call, Ending, Interceptor, run_intercepted
from actors.requests.pull import Pull, Yielded
from actors.runtime.actor import Actor, ActorContext
from actors.runtime.log import Log
from actors.runtime.ref import ActorRef

if TYPE_CHECKING:
    from actors.requests.duplex import Inputs
    from actors.runtime.cell import Cell
    from actors.runtime.clock import Clock

Req = TypeVar("Req", bound=Message)
Rep = TypeVar("Rep", bound=Message)
P = TypeVar("P")
M = TypeVar("M")


class Exchange(Protocol):
    """A request's way back into its session; every call is at once, but `room`."""

    request_id: int
    deadline: float | None
    said: Message | Failure | Completed | None
    inputs: "Inputs | None"
    ends_if_stalled: bool

    @property
    def interceptors(self) -> Sequence[Interceptor[Message]]:
        """What is put round the handler, the first outermost."""

    def actor(self, kind: type[Actor[M]], name: str | None) -> ActorRef[M]:
        """The ref of a long-lived actor."""

    @property
    def session(self) -> str:
        """The session's name."""

    @property
    def log(self) -> Log:
        """A log for this request."""

    def notify(self, notice: Notice) -> None:
        """Send a notice, when there is credit for it."""

    def answer(self, answer: Message) -> bool:
        """Send one; True if there is room for the next."""

    def answers(self) -> Callable[[Message], bool]:
        """What sends each answer after the first: as `answer` does, in fewer steps."""

    def answer_all(self, answers: Iterator[Message], at_most: int) -> bool:
        """Send answers while there is room, at most so many; True: that was all."""

    def add_closing(self, key: str, closing: Message) -> None:
        """Have `closing` sent before the end."""

    def take_closing(self, key: str) -> bool:
        """Take back what is owed; False if nothing is."""

    def end(self, answer: Message | Failure | Completed) -> None:
        """Send the last one; the actor, if it is one, ends then."""

    def has_room(self) -> bool:
        """One more answer may be sent."""

    async def room(self) -> None:
        """Wait until one more answer may be sent."""

    async def finish(self, answer: Message | Failure | Completed) -> None:
        """Send the last one, when there is room for it."""

    def open(self, sealed: Sealed) -> Message:
        """Return a message of the client's that is taken now."""

    def awaiting(self) -> AbstractAsyncContextManager[None]:
        """Let in, meanwhile, any message of the client's."""

    async def reserve(self, size: int, at_least: int | None = None) -> int:
        """Wait until the session has room for an answer, reserve it, and return how much."""

    def abort(self, failure: Failure) -> None:
        """End the request and stop its actor."""

    def became(self, cell: "Cell[object]") -> None:
        """The request is an actor now, with this cell."""

    @property
    def clock(self) -> "Clock":
        """The system's time."""

    @property
    def cell(self) -> "Cell[object]":
        """The request as an actor; it becomes one if it was none. Raises NoActor."""


class RequestContext(ActorContext[object]):
    """What a handler is given: its session's name, its deadline, a log, the client's messages."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:  # the cell comes when it is asked for
        self._exchange = exchange

    @property
    def _cell(self) -> "Cell[object]":  # type: ignore[override]  # a slot in the base; here the cell is made when it is asked for
        return self._exchange.cell

    @property
    def clock(self) -> "Clock":
        """The system's time."""
        return self._exchange.clock

    @property
    def session(self) -> str:
        """The session's name, for logs; no secret."""
        return self._exchange.session

    @property
    def request_id(self) -> int:
        """The id that the client gave the request."""
        return self._exchange.request_id

    @property
    def deadline(self) -> float | None:
        """When the request ends with DEADLINE_EXCEEDED, by `clock.now()`; None: never."""
        return self._exchange.deadline

    @property
    def log(self) -> Log:
        """A log whose lines carry the session and the request."""
        return self._exchange.log

    @property
    def said(self) -> Message | Failure | Completed | None:
        """What the request ended with; None while it goes on."""
        return self._exchange.said

    def actor(self, kind: type[Actor[M]], name: str | None = None) -> ActorRef[M]:
        """The ref of a long-lived actor that `registry.supervise` has the service run.

        kind: its class, which types the ref. name: where there are several of that class. Raises
        NotRegistered.
        """
        return self._exchange.actor(kind, name)

    def notice(self, message: str, *, discard: int = 0) -> None:
        """Tell the person something while the reply goes on.

        discard: the last so many tokens are void; what they said comes again.
        """
        self._exchange.notify(Notice(message, discard))

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds of the system's clock, which a test moves by hand."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not over.done():
                over.set_result(None)

        timer = self.clock.call_later(seconds, wake)
        try:
            await over
        finally:
            timer.cancel()

    async def received(self, kind: type[P]) -> P:
        """Wait for the next message of this type that the client sends under the request's id.

        Raises Failure, INVALID_ARGUMENT, for one that cannot be decoded.
        """
        async with self._exchange.awaiting():
            while True:
                message = await self.next()
                if isinstance(message, Sealed):
                    message = self._exchange.open(message)
                if isinstance(message, kind):
                    return message

    async def reserve(self, size: int, at_least: int | None = None) -> int:
        """Wait until the session has room for an answer of so many bytes, and reserve it.

        Returns the bytes that are reserved: `size`, or, if that is given, `at_least` where memory
        is short. A session that holds little has room for 32 KiB at any time.

        For a handler whose one answer may be large: what it makes before there is room would wait
        in memory. At most two requests of a session have a reservation at once, first come, first
        served; it ends with the request. Await one call before making the next. Raises Failure,
        RESOURCE_EXHAUSTED, where the session holds too much.
        """
        return await self._exchange.reserve(size, at_least)

    @property
    def abort(self) -> Callable[[Failure], None]:
        """A function that ends this request with a Failure, from anywhere, at any time.

        Harmless once the request has ended.
        """
        return self._exchange.abort


class AnyHandler(Actor[object]):
    """Base of the request actors of every kind: what a type declares about itself."""

    deadline: ClassVar[float | None] = None
    """Seconds that a request may take; a shorter timeout of the client's wins."""
    at_most: ClassVar[int | None] = None
    """How many may run at once, in all sessions; one more is RESOURCE_EXHAUSTED."""
    restartable: ClassVar[bool] = False
    """Safe to run again: a crash before the first answer is not seen by the client."""
    ends_if_stalled: bool = False
    """End a stream, with RESOURCE_EXHAUSTED, if its client leaves it without room for too long.

    For a handler that holds something scarce meanwhile. The stall timeout is the session's
    `slow_consumer`; it counts only while the client is connected and makes no progress.
    """
    handle_is_plain: ClassVar[bool] = False
    """`handle` is a plain function, as only that of a RequestActor may be; set by the runtime."""

    exchange: Exchange
    request: Message

    _call: "Call[Message] | None" = None

    @cached_property
    def context(self) -> RequestContext:  # type: ignore[override]  # an attribute there; here made when it is asked for
        """The handler's way to all that is not its request."""
        return RequestContext(self.exchange)

    def bind(self, cell: "Cell[object]") -> None:
        """Take the cell of the request."""
        self.exchange.became(cell)

    def receive(self, message: object) -> None:
        """Nothing: `main` takes the client's messages while it runs."""

    @final
    async def main(self) -> None:
        """Run the handler, inside its interceptors, and send what it ends with.

        Final, so that none returns without an end: a request would wait for it for ever.
        """
        ending: Ending | Failure
        try:
            ending = await self.attempt()
        except Failure as failure:
            ending = failure.alone()
        await self.exchange.finish(ending)

    def attempt(self) -> Awaitable[Ending]:
        """One try at the request: `run`, inside its interceptors."""
        interceptors = self.exchange.interceptors
        if not interceptors:
            return self.run()
        call = self._call = Call(self.request, self.context)
        return run_intercepted(self, call, interceptors)

    @abstractmethod
    def run(self) -> Awaitable[Ending]:
        """Run `handle`, send its answers, and return the last one. Each kind has its own way."""

    def pull(self, stream: AsyncIterator[Yielded[Rep]]) -> Awaitable[Ending]:
        """Advance the stream while there is room, and send what it yields; how it ends."""
        self.exchange.ends_if_stalled = self.ends_if_stalled
        return Pull(self.exchange, self._call).run(stream)


class Handler(AnyHandler, Generic[Req]):
    """Base of the request actors that need their request of type Req and nothing more."""


class RequestActor(Handler[Req], Generic[Req, Rep]):
    """Answers one request of type Req with one answer of type Rep."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.handle_is_plain = not inspect.iscoroutinefunction(cls.handle)

    @abstractmethod
    def handle(self, request: Req) -> Rep | Awaitable[Rep]:
        """The answer. Raise Failure to end with an error.

        A coroutine function, or a plain one where there is nothing to wait for, which costs less.
        A plain one runs to its end whatever happens meanwhile, and is no actor: what its context
        has of one (`ref`, `spawn`, `watch`, ...) raises NoActor, and `asyncio.current_task()` is
        none of its own.
        """

    def run(self) -> Awaitable[Ending]:
        """Run `handle`: its answer is the end."""
        answer = self.handle(self.request)  # type: ignore[arg-type]  # the session asks it nothing else than it is registered for
        if self.handle_is_plain:
            return settled(answer)
        return answer  # type: ignore[return-value]  # an Awaitable, as a coroutine function's is


async def settled(answer: Rep | Awaitable[Rep]) -> Rep:
    """What a plain function's answer comes to: itself, unless it is to be awaited."""
    return await answer if isinstance(answer, Awaitable) else answer


class StreamActor(Handler[Req], Generic[Req, Rep]):
    """Answers one request of type Req with a stream of answers of type Rep."""

    @abstractmethod
    def handle(self, request: Req) -> AsyncIterator[Yielded[Rep]]:
        """An async generator of answers. Raise Failure to end with an error.

        It is pulled: not advanced without room; closed at the end, on cancel, at the deadline.
        """

    def run(self) -> Awaitable[Ending]:
        """Pull `handle` and send what it yields."""
        return self.pull(self.handle(cast(Req, self.request)))
