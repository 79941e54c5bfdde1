"""How a stream is pulled: never without room, and its answers sent as they come."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, cast

from actors.frames import COMPLETED, Burst, Closes, Last, Message, Opens, Relay
from actors.interceptors import Call, Ending

if TYPE_CHECKING:
    from actors.request import Exchange

Rep = TypeVar("Rep", bound=Message)

Yielded: TypeAlias = Rep | Last[Rep] | Opens[Rep] | Closes[Rep] | Burst[Rep] | Relay[Rep]

_DIRECTIONS: Final = frozenset({Last, Opens, Closes, Burst, Relay})

AT_ONCE: Final = 512
"""Answers of a stream that does not wait, before others get a turn: well under a millisecond."""


class Pull:
    """One stream on its way to its exchange. call: who is to see its answers before."""

    def __init__(self, exchange: "Exchange", call: Call[Message] | None) -> None:
        self._exchange = exchange
        self._call = call
        self._answer: Callable[[Message], bool] = self._first if call is None else self._tell
        self._left = AT_ONCE

    async def run(self, stream: AsyncIterator[Yielded[Rep]]) -> Ending:
        """Advance the stream while there is room, and send what it yields; how it ends."""
        exchange = self._exchange
        try:
            if not exchange.has_room():
                await exchange.room()
            items = stream
            while True:
                async for item in items:
                    if type(item) not in _DIRECTIONS:
                        if not self._answer(item):  # type: ignore[arg-type]  # a plain answer, as its type says above
                            await exchange.room()
                    elif isinstance(item, Last):
                        return item.answer
                    elif isinstance(item, Relay):
                        raised = await self._relay(item)
                        if raised is not None:
                            items = _raise_in(stream, raised)
                            break
                    else:
                        await self._send(cast("Opens[Rep] | Closes[Rep] | Burst[Rep]", item))
                    self._left -= 1
                    if not self._left:
                        self._left = AT_ONCE
                        await asyncio.sleep(0)
                else:
                    return COMPLETED
        finally:
            self._answer = self._exchange.answer  # no circle is left for the garbage collector
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    async def _relay(self, relay: Relay[Rep]) -> BaseException | None:
        """Send what another stream yields; what it raises, which is to be raised in the first."""
        exchange, until, left = self._exchange, relay.until, self._left
        ours: BaseException | None = None
        relay.stopped_by = None
        try:
            async for item in relay.source:
                kind = type(item)
                if kind in until:
                    relay.stopped_by = cast("Rep", item)
                    return None
                try:
                    if kind is Burst:
                        await self._send_all(iter(cast("Burst[Rep]", item).answers))
                    elif not self._answer(item):  # type: ignore[arg-type]  # not the Burst, tested above
                        await exchange.room()
                    left -= 1
                    if not left:
                        left = AT_ONCE
                        await asyncio.sleep(0)
                except BaseException as error:
                    ours = error
                    raise
        except BaseException as error:
            if error is ours:
                raise
            return error
        finally:
            self._left = left
        return None

    async def _send(self, item: Opens[Rep] | Closes[Rep] | Burst[Rep]) -> None:
        exchange = self._exchange
        if isinstance(item, Burst):
            await self._send_all(iter(item.answers))
            return
        if isinstance(item, Opens):
            room = self._answer(item.answer)
            exchange.owe(item.key, item.closing)
        else:
            room = self._answer(item.answer) if exchange.pay(item.key) else exchange.has_room()
        if not room:
            await exchange.room()

    async def _send_all(self, answers: Iterator[Rep]) -> None:
        exchange, call = self._exchange, self._call
        pulled: Iterator[Message] = answers
        if call is not None:
            pulled = _tell_each(answers, call)
        while not exchange.answer_all(pulled, AT_ONCE):
            if exchange.has_room():
                await asyncio.sleep(0)
            else:
                await exchange.room()

    def _first(self, answer: Message) -> bool:
        room = self._exchange.answer(answer)
        self._answer = self._exchange.answers()
        return room

    def _tell(self, answer: Message) -> bool:
        assert self._call is not None
        self._call.answered(answer)
        return self._exchange.answer(answer)


def _tell_each(answers: Iterator[Rep], call: Call[Message]) -> Iterator[Rep]:
    """Have the interceptors see each answer of a burst before it is sent."""
    for answer in answers:
        call.answered(answer)
        yield answer


async def _raise_in(
    stream: AsyncIterator[Yielded[Rep]], raised: BaseException
) -> AsyncIterator[Yielded[Rep]]:
    """The rest of the stream, with this raised where it stands at its `yield`."""
    if not isinstance(stream, AsyncGenerator):
        raise raised
    try:
        item = await stream.athrow(raised)
    except StopAsyncIteration:
        return
    yield item
    async for item in stream:
        yield item
