"""Request actors: one for each request, alive until its final answer.

A request actor does its work in `main`; what the client sends under the request's id waits in its
mailbox. Whatever it raises ends only this request: a `Failure` is an answer, anything else a crash.
A handler that never waits ends before it becomes an actor (`actors.sessions.execution`).
"""

import asyncio
import inspect
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar, cast, final

from actors.protocol.effects import EndedBy
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
    """The interface between a request's handler and its session. Only coroutines wait."""

    request_id: int
    deadline: float | None
    said: Message | Failure | Completed | None
    inputs: "Inputs | None"
    ends_if_stalled: Callable[[], bool] | None

    @property
    def interceptors(self) -> Sequence[Interceptor[Message]]:
        """The interceptors of the handler, outermost first."""

    def actor(self, kind: type[Actor[M]], name: str | None) -> ActorRef[M]:
        """Return the ref of a background or a named actor. Raises NotRegistered."""

    @property
    def ended_by(self) -> EndedBy | None:
        """Why the request ended; None while it runs."""

    @property
    def session(self) -> str:
        """The session's name."""

    @property
    def features(self) -> frozenset[str]:
        """The names of features that the session's client understands."""

    @property
    def log(self) -> Log:
        """A log for this request."""

    def notify(self, notice: Notice) -> None:
        """Send a notice as soon as there is room for it."""

    def answer(self, answer: Message) -> bool:
        """Send an answer; return whether there is room for the next."""

    def answers(self) -> Callable[[Message], bool]:
        """Return a faster `answer`, for the answers after the first."""

    def answer_all(self, answers: Iterator[Message], at_most: int) -> bool:
        """Send up to `at_most` answers while there is room; return whether that was all."""

    def add_closing(self, key: str, closing: Message) -> None:
        """Add a pending closing, which is sent before the end at the latest."""

    def take_closing(self, key: str) -> bool:
        """Remove a pending closing; return False if there is none."""

    def end(self, answer: Message | Failure | Completed) -> None:
        """Send the final answer, and end the actor if the request is one."""

    def has_room(self) -> bool:
        """Return whether one more answer may be sent."""

    async def room(self) -> None:
        """Wait until one more answer may be sent."""

    async def finish(self, answer: Message | Failure | Completed) -> None:
        """Wait until there is room for the final answer, and send it."""

    def open(self, sealed: Sealed) -> Message:
        """Decode a message from the client that the handler takes now. Raises Failure."""

    def awaiting(self) -> AbstractAsyncContextManager[None]:
        """Accept any message from the client meanwhile, not only one for an open key."""

    async def reserve(self, size: int, at_least: int | None = None) -> int:
        """Wait until the session has room for an answer, reserve it, and return the bytes."""

    def abort(self, failure: Failure) -> None:
        """End the request with `failure` and stop its actor."""

    def became(self, cell: "Cell[object]") -> None:
        """Note that the request is an actor now, with this cell."""

    @property
    def clock(self) -> "Clock":
        """The system's clock."""

    @property
    def cell(self) -> "Cell[object]":
        """The request's cell; the request becomes an actor if it is not one. Raises NoActor."""


class RequestContext(ActorContext[object]):
    """The context of a handler: its session, its deadline, a log and the client's messages."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:  # the cell is created on first use
        self._exchange = exchange

    @property
    def _cell(self) -> "Cell[object]":  # type: ignore[override]  # made on first use
        return self._exchange.cell

    @property
    def clock(self) -> "Clock":
        """The system's clock."""
        return self._exchange.clock

    @property
    def session(self) -> str:
        """The session's name, for logs. It is not a secret."""
        return self._exchange.session

    @property
    def features(self) -> frozenset[str]:
        """The names of features that the session's client understands, from its newest Hello.

        Empty for a client that names none. It may change while the request runs: whoever resumes
        the session may be another version of the client.
        """
        return self._exchange.features

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
        """The answer or Failure that the request ended with; None while it runs."""
        return self._exchange.said

    @property
    def ended_by(self) -> EndedBy | None:
        """Why the request was ended, for a `finally` or an `except`; None while it runs.

        In a handler that ends by itself it is None to the last: ANSWER follows its end.
        """
        return self._exchange.ended_by

    def actor(self, kind: type[Actor[M]], name: str | None = None) -> ActorRef[M]:
        """Return the ref of an actor registered with `registry.supervise` or `registry.named`.

        kind: its class, which types the ref. name: the key of a named actor; of a background actor,
        its name, needed if there are several of that class. Raises NotRegistered if none is found,
        or several without a name.
        """
        return self._exchange.actor(kind, name)

    def notice(self, message: str, *, discard: int = 0) -> None:
        """Send the user a notice while the reply continues.

        discard: the number of most recent tokens that are void; their content is sent again.
        """
        self._exchange.notify(Notice(message, discard))

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of the system's clock, which a test can advance itself."""
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
        """Wait for the next message of type `kind` that the client sends under the request's id.

        Messages of other types are dropped. Raises Failure with INVALID_ARGUMENT for a message that
        cannot be decoded.
        """
        async with self._exchange.awaiting():
            while True:
                message = await self.next()
                if isinstance(message, Sealed):
                    message = self._exchange.open(message)
                if isinstance(message, kind):
                    return message

    async def reserve(self, size: int, at_least: int | None = None) -> int:
        """Wait until the session has room for an answer of `size` bytes, and reserve it.

        Returns the number of bytes reserved: `size`, or `at_least`, if given, when memory is short.
        A session that holds little always has room for 32 KiB.

        Use this in a handler whose single answer may be large, since an answer made before there is
        room would wait in memory. At most two requests of a session hold reservations at a time, in
        order of arrival; a reservation ends with its request. Await one call before making the
        next. Raises Failure with RESOURCE_EXHAUSTED if the session holds too much.
        """
        return await self._exchange.reserve(size, at_least)

    @property
    def abort(self) -> Callable[[Failure], None]:
        """A function that ends this request with a Failure.

        It may be called at any time, by any code on the event loop. Does nothing once the request
        has ended.
        """
        return self._exchange.abort


class AnyHandler(Actor[object]):
    """Base class of all request actors, with the settings that a subclass may declare."""

    deadline: ClassVar[float | None] = None
    """Seconds that a request may take, unless the client sets a shorter timeout. None: no limit."""
    at_most: ClassVar[int | None] = None
    """How many may run at once in all sessions; further ones end with RESOURCE_EXHAUSTED."""
    restartable: ClassVar[bool] = False
    """Whether it is safe to run again after a crash before the first answer."""
    ends_if_stalled: bool = False
    """End a stream with RESOURCE_EXHAUSTED if its client leaves it without room for too long.

    For a handler that holds a scarce resource meanwhile. The stall timeout is the session's
    `slow_consumer`; it runs only while the client is connected and makes no progress. See also
    `holds_up`.
    """
    beyond_limit: ClassVar[bool] = False
    """Whether its requests are admitted even if the session has as many in flight as it may.

    For what a person must always be able to do, such as to stop a reply. A session has at most 16
    requests beyond its limit. All other limits apply: rates, memory and `at_most`.
    """
    endless: ClassVar[bool] = False
    """Whether its stream follows something for as long as its client likes.

    A drain ends it at once, with UNAVAILABLE and the retry time of GoingAway, instead of waiting
    for it. All endless streams of a session together hold at most a quarter of its resume buffer,
    so that a client that reads them slowly delays only them; they have no room while their client
    is away.
    """
    handle_is_plain: ClassVar[bool] = False
    """Whether `handle` is a plain function; set by the runtime, and true only in a RequestActor."""
    handle_is_coroutine: ClassVar[bool] = False
    """Whether it is a coroutine function in Python, and what `run` runs; likewise."""

    exchange: Exchange
    request: Message

    _call: "Call[Message] | None" = None

    @cached_property
    def context(self) -> RequestContext:  # type: ignore[override]  # an attribute in the base
        """The context of this request, created on first use."""
        return RequestContext(self.exchange)

    def bind(self, cell: "Cell[object]") -> None:
        """Tell the exchange that the request is an actor now. Called by the runtime."""
        self.exchange.became(cell)

    def receive(self, message: object) -> None:
        """Do nothing: `main` takes the client's messages itself while it runs."""

    @final
    async def main(self) -> None:
        """Run the handler inside its interceptors, and send what it ends with.

        Final, because an override that returned without an end would leave the request open.
        """
        ending: Ending | Failure
        try:
            ending = await self.attempt()
        except Failure as failure:
            ending = failure.alone()
        await self.exchange.finish(ending)

    def attempt(self) -> Awaitable[Ending]:
        """Run the handler once inside its interceptors, and return its end."""
        interceptors = self.exchange.interceptors
        if not interceptors:
            return self.run()
        call = self._call = Call(self.request, self.context)
        return run_intercepted(self, call, interceptors)

    @abstractmethod
    def run(self) -> Awaitable[Ending]:
        """Run `handle`, send its answers, and return the end. Each kind overrides this."""

    def holds_up(self) -> bool:
        """Return whether a stalled client holds anything up now.

        With `ends_if_stalled`, this is asked when the stall timeout is over, and again eight times
        per timeout: the stream ends once it returns True. It always does, unless overridden.
        """
        return True

    def pull(self, stream: AsyncIterator[Yielded[Rep]]) -> Awaitable[Ending]:
        """Advance the stream while there is room, send what it yields, and return its end."""
        self.exchange.ends_if_stalled = self.holds_up if self.ends_if_stalled else None
        return Pull(self.exchange, self._call).run(stream)


class Handler(AnyHandler, Generic[Req]):
    """Base class of request actors that take a request of type Req and no further inputs."""


class RequestActor(Handler[Req], Generic[Req, Rep]):
    """Answers one request of type Req with one answer of type Rep."""

    # Declared again, as pyright takes their type here from what is assigned below.
    handle_is_plain: ClassVar[bool]
    handle_is_coroutine: ClassVar[bool]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.handle_is_plain = not inspect.iscoroutinefunction(cls.handle)
        code = getattr(cls.handle, "__code__", None)
        cls.handle_is_coroutine = (
            inspect.iscode(code)
            and bool(code.co_flags & inspect.CO_COROUTINE)
            and cls.run is RequestActor.run
        )

    @abstractmethod
    def handle(self, request: Req) -> Rep | Awaitable[Rep]:
        """Return the answer. Raise Failure to end with an error.

        This may be a coroutine function, or a plain function if there is nothing to wait for, which
        costs less. A plain function cannot be interrupted and is not an actor: its context's actor
        methods (`ref`, `spawn`, `watch`, ...) raise NoActor, and `asyncio.current_task()` is not a
        task of its own.
        """

    def run(self) -> Awaitable[Ending]:
        """Run `handle` and return its answer as the end."""
        answer = self.handle(self.request)  # type: ignore[arg-type]  # of the type it is registered for
        if self.handle_is_plain:
            return settled(answer)
        return answer  # type: ignore[return-value]  # an Awaitable, from a coroutine function


async def settled(answer: Rep | Awaitable[Rep]) -> Rep:
    """Return a plain function's answer, awaiting it if it is awaitable."""
    return await answer if isinstance(answer, Awaitable) else answer


class StreamActor(Handler[Req], Generic[Req, Rep]):
    """Answers one request of type Req with a stream of answers of type Rep."""

    @abstractmethod
    def handle(self, request: Req) -> AsyncIterator[Yielded[Rep]]:
        """Yield the answers, as an async generator. Raise Failure to end with an error.

        The generator is advanced only while there is room, and closed at the end, on a cancel and
        at the deadline.
        """

    def run(self) -> Awaitable[Ending]:
        """Pull `handle`, send what it yields, and return its end."""
        return self.pull(self.handle(cast("Req", self.request)))
