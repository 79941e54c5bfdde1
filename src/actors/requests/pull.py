"""Pull a stream: advance it only while there is room, and send its answers as they come."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, cast

from actors.protocol.frames import (
    COMPLETED,
    Burst,
    Closes,
    Last,
    Message,
    Opens,
    PushSource,
    Relay,
    Shared,
    message_of,
)
from actors.requests.interceptors import Call, Ending

if TYPE_CHECKING:
    from actors.requests.request import Exchange

Rep = TypeVar("Rep", bound=Message)

Yielded: TypeAlias = (
    Rep | Shared[Rep] | Burst[Rep | Shared[Rep]] | Relay[Rep] | Opens[Rep] | Closes[Rep] | Last[Rep]
)

_DIRECTIONS: Final = frozenset({Last, Opens, Closes, Relay})

AT_ONCE: Final = 512
"""Answers that a stream may send without waiting before others run: well under 1 ms of work."""

IN_BATCH: Final = 1024
"""Answers of a Burst that are sent before others run; one costs a small part of another answer."""


class Pull:
    """Passes one stream to its exchange. call: told of each answer before it is sent."""

    def __init__(self, exchange: "Exchange", call: Call[Message] | None) -> None:
        self._exchange = exchange
        self._call = call
        self._answer: Callable[[Message], bool] = self._first if call is None else self._tell
        self._left = AT_ONCE
        self._ours: BaseException | None = None

    async def run(self, stream: AsyncIterator[Yielded[Rep]]) -> Ending:
        """Advance the stream while there is room, send what it yields, and return its end."""
        exchange, source = self._exchange, aiter(stream)
        try:
            if not exchange.has_room():
                await exchange.room()
            while True:
                item = await self._pass_on(source, _DIRECTIONS)
                if item is None:
                    return COMPLETED
                if isinstance(item, Last):
                    return cast("Message", item.answer)
                if isinstance(item, Relay):
                    item.stopped_by = None
                    try:
                        item.stopped_by = await self._relay(item)
                    except BaseException as error:
                        if error is self._ours:
                            raise
                        source = _raise_in(stream, error)
                else:
                    await self._send(cast("Opens[Rep] | Closes[Rep]", item))
                self._left -= 1
                if not self._left:
                    await self._pause()
        finally:
            # These break reference cycles.
            self._answer, exchange.ends_if_stalled = exchange.answer, None
            self._ours = None
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    async def _pass_on(
        self, source: AsyncIterator[Yielded[Rep]], until: Collection[type]
    ) -> Yielded[Rep] | None:
        """Send what `source` yields up to an item whose type is in `until`, and return that item.

        Returns None when the source has ended. An error that is not raised by the source itself is
        recorded in `_ours`.
        """
        exchange, answer, left = self._exchange, self._answer, self._left
        plain: type | None = None
        try:
            async for item in source:
                try:
                    if type(item) is plain:  # almost always
                        if not answer(item):  # type: ignore[arg-type]  # a plain answer, no direction
                            await exchange.room()
                    elif type(item) in until:
                        return item
                    elif isinstance(item, Burst):
                        await self._send_all(iter(item.answers))
                    else:
                        if not self._answer(item):  # type: ignore[arg-type]  # a plain answer too
                            await exchange.room()
                        plain, answer = type(item), self._answer
                    left -= 1
                    if not left:
                        left = AT_ONCE
                        await self._pause()
                except BaseException as error:
                    self._ours = error
                    raise
        finally:
            self._left = left
        return None

    async def _relay(self, relay: Relay[Rep]) -> Rep | None:
        """Send what a relay's source yields; return the answer that stops it, or None at its end.

        As in `_pass_on`, an error of our own is recorded in `_ours`.
        """
        if not isinstance(relay.source, PushSource):
            return cast("Rep | None", await self._pass_on(relay.source, relay.until))
        take: Callable[[Message], bool] = self._take_first if self._call is None else self._tell
        while True:
            try:
                item = await relay.source.push(take, relay.until)
            except StopAsyncIteration:
                return None
            try:
                if isinstance(item, Burst):
                    await self._send_all(iter(item.answers))
                elif item is not None:
                    return item
                elif not self._exchange.has_room():
                    await self._exchange.room()
            except BaseException as error:
                self._ours = error
                raise
            if self._call is None:
                take = self._exchange.answers()

    def _take_first(self, answer: Message) -> bool:
        """Send an answer, and have the next ones sent with a faster function."""
        self._exchange.answer(answer)
        return False

    async def _pause(self) -> None:
        """Let other tasks run."""
        self._left = AT_ONCE
        await asyncio.sleep(0)

    async def _send(self, item: Opens[Rep] | Closes[Rep]) -> None:
        exchange = self._exchange
        if isinstance(item, Opens):
            room = self._answer(item.answer)
            exchange.add_closing(item.key, item.closing)
        else:
            is_open = exchange.take_closing(item.key)
            room = self._answer(item.answer) if is_open else exchange.has_room()
        if not room:
            await exchange.room()

    async def _send_all(self, answers: Iterator[Message]) -> None:
        exchange, call = self._exchange, self._call
        pulled = answers if call is None else _tell_each(answers, call)
        while not exchange.answer_all(pulled, IN_BATCH):
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
        self._call.answered(message_of(answer))
        return self._exchange.answer(answer)


def _tell_each(answers: Iterator[Message], call: Call[Message]) -> Iterator[Message]:
    """Yield each answer of a batch, after the interceptors have been told of it."""
    for answer in answers:
        call.answered(message_of(answer))
        yield answer


async def _raise_in(
    stream: AsyncIterator[Yielded[Rep]], raised: BaseException
) -> AsyncIterator[Yielded[Rep]]:
    """Raise `raised` at the stream's current `yield`, and yield the rest of the stream."""
    if not isinstance(stream, AsyncGenerator):
        raise raised
    try:
        item = await stream.athrow(raised)
    except StopAsyncIteration:
        return
    finally:
        del raised  # breaks the reference cycle with the traceback
    yield item
    async for item in stream:
        yield item
