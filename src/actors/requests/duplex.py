"""Duplex requests: the client sends inputs under the request's id while the answers stream.

This is gRPC's bidirectional stream. Inputs are bounded, like answers, by a credit that only grows:
the service grants it as the handler takes inputs, and a client that exceeds it has its request
ended. Inputs are numbered, so that a client can repeat one after it has reconnected.
"""

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, Generic, TypeVar, cast

from actors.protocol.effects import HOLDS_TOO_MUCH
from actors.protocol.failure import Code, Failure
from actors.protocol.frames import Input, Message, Sealed
from actors.requests.interceptors import Ending
from actors.requests.pull import Yielded
from actors.requests.request import AnyHandler

Req = TypeVar("Req", bound=Message)
In = TypeVar("In", bound=Message)
Rep = TypeVar("Rep", bound=Message)

INPUT_WINDOW: Final = 16
"""Inputs that a request holds for its handler: at most 16 MiB, with the largest frames."""


class Inputs:
    """The inputs of one request: checked, in order, and at most one window of them queued.

    grant: called with the new credit whenever half a window has been taken. started: called when
    the handler takes its first input; from then on the request cannot be run again. hold: counts
    the bytes of a sealed input and returns whether there is room. free: called when it is taken.
    """

    __slots__ = (
        "_free", "_grant", "_hold", "_kind", "_last", "_limit", "_queue", "_received",
        "_started", "_taken", "_waiter", "_window", "newest",
    )  # fmt: skip

    def __init__(
        self,
        kind: type[Message],
        grant: Callable[[int], None],
        started: Callable[[], None],
        hold: Callable[[int], bool],
        free: Callable[[Sealed], None],
        window: int = INPUT_WINDOW,
    ) -> None:
        self._kind = kind
        self._grant = grant
        self._started = started
        self._hold = hold
        self._free = free
        self._window = window
        self._limit = window
        self._queue: deque[Message | Sealed] = deque()
        self._received = 0
        self._taken = 0
        self._last = False
        self._waiter: asyncio.Future[None] | None = None
        self.newest: int = 0
        """The highest number that was granted on this connection."""

    def grants(self, number: int) -> bool:
        """Return whether an input is within the credit and new on this connection; note it."""
        if not self.newest < number <= self._limit:
            return False
        self.newest = number
        return True

    def put(self, item: Input) -> Failure | None:
        """Queue an input from the client; return a Failure if it must end the request."""
        if item.number <= self._received:
            return None  # a repetition after a reconnect
        failure = self._refuse(item)
        if failure is not None:
            return failure
        self._received = item.number
        self._last = item.last
        if item.payload is not None:
            self._queue.append(cast("Message | Sealed", item.payload))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return None

    def _refuse(self, item: Input) -> Failure | None:
        payload = item.payload
        if self._last:
            return _bad("an input came after the last one")
        if item.number != self._received + 1:
            return _bad(f"input {item.number} came, but {self._received + 1} was expected")
        if payload is None:
            return None if item.last else _bad("an input that is not the last needs a payload")
        if item.number > self._limit:
            return Failure(Code.RESOURCE_EXHAUSTED, "more inputs than the service has granted")
        if isinstance(payload, Failure):
            return payload
        if not (
            payload.kind is self._kind
            if isinstance(payload, Sealed)
            else isinstance(payload, self._kind)
        ):
            return _bad(f"the inputs of this request must be {self._kind.__name__}")
        if isinstance(payload, Sealed) and not self._hold(payload.size):
            return HOLDS_TOO_MUCH
        return None

    @property
    def begun(self) -> bool:
        """Return whether the handler has taken an input, and so must not be run again."""
        return self._taken > 0

    async def next(self) -> Message | None:
        """Wait for the next input and return it; return None after the last one.

        Raises Failure with INVALID_ARGUMENT for an input that cannot be decoded.
        """
        while not self._queue:
            if self._last:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._taken += 1
        if self._taken == 1:
            self._started()
        payload = self._queue.popleft()
        limit = self._taken + self._window
        if not self._last and limit - self._limit >= (self._window + 1) // 2:
            self._limit = limit
            self._grant(limit)
        if isinstance(payload, Sealed):
            self._free(payload)
            return payload.open()
        return payload


def _bad(message: str) -> Failure:
    return Failure(Code.INVALID_ARGUMENT, message)


class DuplexActor(AnyHandler, Generic[Req, In, Rep]):
    """Answers a request of type Req with a stream of Rep, and takes inputs of type In meanwhile.

    If declared `restartable`, it is run again after a crash, unless it has already sent an answer
    or taken an input.
    """

    @abstractmethod
    def handle(self, request: Req, inputs: AsyncIterator[In]) -> AsyncIterator[Yielded[Rep]]:
        """Yield the answers, as an async generator. Raise Failure to end with an error.

        `inputs` ends after the client's last input. If the handler stops taking inputs, the
        client's credit runs out. The answers are pulled as those of a StreamActor are. Returning
        ends the request, even if the client has more to send.
        """

    async def run(self) -> Ending:
        """Pull `handle`, send what it yields, and return its end."""
        return await self.pull(self.handle(cast("Req", self.request), self._inputs()))

    async def _inputs(self) -> AsyncIterator[In]:
        source = self.exchange.inputs
        assert source is not None, "registered with `register_duplex`, says its type"
        while (item := await source.next()) is not None:
            yield cast("In", item)
