"""Request actors: one for each request, alive until its last answer.

A request actor does its work in `main`; what the client sends under the request's id waits in its
mailbox. Whatever it raises costs this request and no other: `Failure` is an answer, anything else
a crash.
"""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, ClassVar, Final, Generic, Protocol, TypeAlias, TypeVar

from actors.actor import Actor, ActorContext
from actors.failure import Failure
from actors.frames import COMPLETED, Burst, Closes, Completed, Last, Message, Notice, Opens
from actors.log import Log

if TYPE_CHECKING:
    from actors.cell import Cell

Req = TypeVar("Req", bound=Message)
Rep = TypeVar("Rep", bound=Message)
P = TypeVar("P")

Yielded: TypeAlias = Rep | Last[Rep] | Opens[Rep] | Closes[Rep] | Burst[Rep]

_DIRECTIONS: Final = frozenset({Last, Opens, Closes, Burst})

AT_ONCE: Final = 512
"""Answers of a stream that does not wait, before others get a turn: well under a millisecond."""


class Exchange(Protocol):
    """A request's way back into its session; every call is at once, but `room`."""

    request_id: int
    deadline: float | None

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

    def answer_all(self, answers: Iterator[Message], at_most: int) -> bool:
        """Send answers while there is room, at most so many; True: that was all."""

    def owe(self, key: str, closing: Message) -> None:
        """Have `closing` sent before the end."""

    def pay(self, key: str) -> bool:
        """Take back what is owed; False if nothing is."""

    def end(self, answer: Message | Failure | Completed) -> None:
        """Send the last one; the actor, if it is one, ends then."""

    def has_room(self) -> bool:
        """One more answer may be sent."""

    async def room(self) -> None:
        """Wait until one more answer may be sent."""

    def abort(self, failure: Failure) -> None:
        """End the request and stop its actor."""

    def became(self, cell: "Cell[object]") -> None:
        """The request is an actor now, with this cell."""

    @property
    def cell(self) -> "Cell[object]":
        """The request as an actor; it becomes one if it was none."""


class RequestContext(ActorContext[object]):
    """What a handler is given: its session's name, its deadline, a log, the client's messages."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:  # the cell comes when it is asked for
        self._exchange = exchange

    @property
    def _cell(self) -> "Cell[object]":  # type: ignore[override]  # no slot of its own
        return self._exchange.cell

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

    def notice(self, message: str, *, discard: int = 0) -> None:
        """Tell the person something while the reply goes on.

        discard: the last so many tokens are void; what they said comes again.
        """
        self._exchange.notify(Notice(message, discard))

    async def received(self, kind: type[P]) -> P:
        """Wait for the next message of this type that the client sends under the request's id."""
        while True:
            message = await self.next()
            if isinstance(message, kind):
                return message

    @property
    def abort(self) -> Callable[[Failure], None]:
        """A function that ends this request with a Failure, from anywhere, at any time.

        Harmless once the request has ended.
        """
        return self._exchange.abort


class Handler(Actor[object], Generic[Req]):
    """Base of the request actors: what a type declares about itself."""

    deadline: ClassVar[float | None] = None
    """Seconds that a request may take; a shorter timeout of the client's wins."""
    at_most: ClassVar[int | None] = None
    """How many may run at once, in all sessions; one more is RESOURCE_EXHAUSTED."""
    restartable: ClassVar[bool] = False
    """Safe to run again: a crash before the first answer is not seen by the client."""

    exchange: Exchange
    request: Message

    context: RequestContext

    def bind(self, cell: "Cell[object]") -> None:
        """Take the context of the request."""
        self.exchange.became(cell)
        self.context = RequestContext(self.exchange)

    def receive(self, message: object) -> None:
        """Nothing: `main` takes the client's messages while it runs."""


class RequestActor(Handler[Req], Generic[Req, Rep]):
    """Answers one request of type Req with one answer of type Rep."""

    @abstractmethod
    async def handle(self, request: Req) -> Rep:
        """The answer. Raise Failure to end with an error."""

    async def main(self) -> None:
        """Run `handle` and send what comes of it."""
        try:
            answer: Rep | Failure = await self.handle(self.request)  # type: ignore[arg-type]  # of the registered type
        except Failure as failure:
            answer = failure
        self.exchange.end(answer)


class StreamActor(Handler[Req], Generic[Req, Rep]):
    """Answers one request of type Req with a stream of answers of type Rep."""

    @abstractmethod
    def handle(self, request: Req) -> AsyncIterator[Yielded[Rep]]:
        """An async generator of answers. Raise Failure to end with an error.

        It is pulled: not advanced without room; closed at the end, on cancel, at the deadline.
        """

    async def main(self) -> None:
        """Pull `handle` and send what it yields."""
        exchange = self.exchange
        stream = self.handle(self.request)  # type: ignore[arg-type]  # of the registered type
        end: Message | Failure | Completed = COMPLETED
        budget = AT_ONCE
        try:
            if not exchange.has_room():
                await exchange.room()
            async for item in stream:
                if type(item) not in _DIRECTIONS:
                    if not exchange.answer(item):  # type: ignore[arg-type]  # no direction
                        await exchange.room()
                elif isinstance(item, Last):
                    end = item.answer
                    break
                elif isinstance(item, Burst):
                    await self._send_all(iter(item.answers))
                elif not self._send(item):
                    await exchange.room()
                if not budget:
                    budget = AT_ONCE
                    await asyncio.sleep(0)
                budget -= 1
        except Failure as failure:
            end = failure
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
        exchange.end(end)

    async def _send_all(self, answers: Iterator[Rep]) -> None:
        exchange = self.exchange
        while not exchange.answer_all(answers, AT_ONCE):
            if exchange.has_room():
                await asyncio.sleep(0)
            else:
                await exchange.room()

    def _send(self, item: Rep | Opens[Rep] | Closes[Rep]) -> bool:
        exchange = self.exchange
        if isinstance(item, Opens):
            room = exchange.answer(item.answer)
            exchange.owe(item.key, item.closing)
            return room
        if isinstance(item, Closes):
            return exchange.answer(item.answer) if exchange.pay(item.key) else exchange.has_room()
        return exchange.answer(item)
