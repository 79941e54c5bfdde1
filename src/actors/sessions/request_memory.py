"""What a request holds of its session's memory: its own bytes, input, room for a large answer."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from typing import TYPE_CHECKING, Final

from actors.protocol.answer_stream import AnswerStream
from actors.protocol.effects import HOLDS_TOO_MUCH
from actors.protocol.failure import Code, Failure
from actors.protocol.frames import Completed, Input, Message, Sealed
from actors.protocol.memory import STEP

if TYPE_CHECKING:
    from actors.requests.duplex import Inputs
    from actors.sessions.session import SessionActor

SMALL: Final = 4096
"""Bytes of a message that a request may have waiting whatever is free."""

NO_INPUTS: Final = Failure(Code.INVALID_ARGUMENT, "this request takes no inputs")


class RequestMemory:
    """The part of a request that is counted in its session's account.

    held: bytes that the session counts for it while it is in flight. What finds no room is
    refused with RESOURCE_EXHAUSTED, retryable.
    """

    __slots__ = (
        "_awaits", "_has_one", "_making", "_session", "held", "in_flight", "inputs", "request_id",
        "stream",
    )  # fmt: skip

    _session: "SessionActor"
    _making: asyncio.Semaphore | None
    _awaits: bool
    _has_one: bool
    held: int
    in_flight: bool
    inputs: "Inputs | None"
    request_id: int
    stream: AnswerStream
    """Its answers; NO_STREAM until it has entered."""

    # -- from the client ---------------------------------------------------------------------

    def deliver(self, payload: Message | Sealed | Input, about: str | None = None) -> None:
        """Take what the client sends to this request; it ends the request if there is no room."""
        if isinstance(payload, Input):
            failure = NO_INPUTS if self.inputs is None else self.inputs.put(payload)
            if failure is not None:
                self.abort(failure)
        elif about is not None and not self._is_due(about):
            pass  # nothing waits for it
        elif isinstance(payload, Sealed) and not (
            self._hold(payload.size) or self._hold_one(payload.size)
        ):
            self.abort(HOLDS_TOO_MUCH)
        else:
            self.receive_sealed(payload)

    def _is_due(self, about: str) -> bool:
        return self._awaits or self.stream.has_closing(about)

    def open(self, sealed: Sealed) -> Message:
        """Return a message that the handler takes now. Raises Failure, INVALID_ARGUMENT."""
        self._free(sealed)
        return sealed.open()

    @asynccontextmanager
    async def awaiting(self) -> AsyncIterator[None]:
        """Let in, meanwhile, what settles nothing that is open: the handler waits for a message."""
        self._awaits = True
        try:
            yield
        finally:
            self._awaits = False

    def _hold(self, size: int) -> bool:
        if not self.in_flight or not self._session.machine.hold(size):
            return False
        self.held += size
        return True

    def _hold_one(self, size: int) -> bool:
        """Count a small message, one at a time, however little memory is free.

        It may be the answer that a reply waits for: to refuse it would free nothing.
        """
        if size > SMALL or self._has_one or not self.in_flight:
            return False
        self._has_one = True
        self.held += size
        self._session.machine.account.input_bytes += size
        return True

    def _free(self, sealed: Sealed) -> None:
        if self.in_flight:
            self._has_one = False
            self.held -= sealed.size
            self._session.machine.release(sealed.size)

    def let_go(self) -> None:
        """Give everything back: the request is no longer in flight.

        A handler that ignored its cancellation may still run. It holds nothing from now on.
        """
        self.in_flight = False
        held, self.held = self.held, 0
        account = self._session.machine.account
        account.input_bytes -= held
        if held >= STEP:
            self._session.machine.output.count_bytes()
        if self._making is not None:
            self._making.release()
            self._making = None

    # -- large answers -----------------------------------------------------------------------

    async def reserve(self, size: int, at_least: int | None = None) -> int:
        """Wait until the session has room for an answer of so many bytes, and reserve it.

        Few requests of a session have such a reservation at once, first come, first served. It ends
        with the request. Returns `size`, or `at_least` where there is room for no more. Raises
        Failure where the session holds too much.
        """
        self.enter()
        if self._making is None:
            making = self._session.making
            await making.acquire()
            if self.in_flight:
                self._making = making
            else:  # the request has ended meanwhile, and `room` says so
                making.release()
        await self.room()
        if self._hold(size):
            return size
        if at_least is None or not self._hold(at_least):
            raise copy(HOLDS_TOO_MUCH)  # one for all would keep the frames of each
        return at_least

    def _is_crowded(self, answer: Message | Failure | Completed) -> bool:
        """Return whether an end is so large that it has to wait for room."""
        machine = self._session.machine
        output = machine.output
        return output.waiting_bytes >= output.room_bytes and machine.crowded(answer)

    async def _have_room_for(
        self, answer: Message | Failure | Completed
    ) -> Message | Failure | Completed:
        """Wait until there is room for an end; return it, or what takes its place."""
        assert not isinstance(answer, (Failure, Completed)), "they are never so large"
        self.enter()
        if not self._hold(answer.ByteSize()):
            return HOLDS_TOO_MUCH
        self.stream.lift_limit()
        await self.room()
        return answer

    # -- the rest of the request -------------------------------------------------------------

    @abstractmethod
    def enter(self) -> None:
        """Be in flight."""

    @abstractmethod
    def receive_sealed(self, payload: Message | Sealed) -> None:
        """Hand on what the client sent."""

    @abstractmethod
    def abort(self, failure: Failure) -> None:
        """End the request."""

    @abstractmethod
    async def room(self) -> None:
        """Wait until one more answer may be sent."""
