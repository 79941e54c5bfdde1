"""The answers to one request, as a typed iterator."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar, cast

from google.protobuf.message import DecodeError, Message

from callboard.v1.chat_pb2 import AnswerRequest, ChatCompleted, ChatNotice
from callboard.v1.envelope_pb2 import ServerMessage
from transport.client.calls import ClientCall
from transport.errors import TransportError, UnexpectedAnswer, request_failed

if TYPE_CHECKING:
    from transport.client import Client

R_co = TypeVar("R_co", bound=Message, covariant=True)
S_contra = TypeVar("S_contra", bound=Message, contravariant=True)


class AnswerQueue:
    """Answers to a call that wait for its consumer; bounded by the call's credit."""

    __slots__ = ("_arrived", "_sender", "_waiter")

    def __init__(self) -> None:
        self._arrived: deque[ServerMessage | TransportError] = deque()
        self._sender: asyncio.Future[None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._arrived)

    def put(self, item: ServerMessage | TransportError) -> None:
        """Queue an item and wake the consumer."""
        self._arrived.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def room(self) -> None:
        """Wait until the service takes more inputs, or the call has ended."""
        self._sender = asyncio.get_running_loop().create_future()
        try:
            await self._sender
        finally:
            self._sender = None

    def wake_sender(self) -> None:
        """Wake the sender: the service takes more inputs, or the call has ended."""
        if self._sender is not None and not self._sender.done():
            self._sender.set_result(None)

    async def next(self) -> ServerMessage:
        """Return the oldest item, waiting for one if necessary; raise it if it is an error."""
        while not self._arrived:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        item = self._arrived.popleft()
        if isinstance(item, TransportError):
            raise item
        return item


class Stream(Generic[R_co]):
    """The answers to one request. Iterate it once.

    The iteration ends with the request; an error that ends the request is raised as RequestFailed.
    Leaving the iteration early (break, an exception, a cancelled task) cancels the request. To make
    that happen at once on every Python implementation, use the stream as an asynchronous context
    manager.

    A notice whose type was not asked for is skipped, unless it voids tokens.
    """

    def __init__(
        self, client: "Client", call: ClientCall, inbox: AnswerQueue, kinds: Iterable[type[R_co]]
    ) -> None:
        self._client = client
        self._call = call
        self._inbox = inbox
        self._kinds: dict[str, type[R_co]] = {kind.DESCRIPTOR.full_name: kind for kind in kinds}
        self._over = False

    def __aiter__(self) -> AsyncIterator[R_co]:
        return _Iteration(self)

    async def next(self) -> R_co:
        """Return the next answer; cancelling the waiting task does not cancel the request.

        Raises StopAsyncIteration after the last answer.
        """
        while not self._over:
            try:
                message = await self._inbox.next()
            except TransportError:
                self._over = True
                raise
            self._over = message.end
            self._client.consumed(self._call)
            answer = self._unwrap(message)
            if answer is not None:
                return answer
        raise StopAsyncIteration

    def _unwrap(self, message: ServerMessage) -> R_co | None:
        """Return the answer in this frame, or None if there is none for the consumer."""
        arm = message.WhichOneof("payload")
        if arm is None:
            return None  # from a later version of the contract
        payload: Message = getattr(message, arm)
        name = payload.DESCRIPTOR.full_name
        if arm == "reply":
            name = message.reply.type_url.rpartition("/")[2]
        kind = self._kinds.get(name)
        if kind is not None:
            if arm != "reply":
                return cast("R_co", payload)
            try:
                return kind.FromString(message.reply.value)
            except DecodeError as error:
                raise self._unexpected(payload) from error
        if arm == "error":
            self.close()
            raise request_failed(message.error)
        if isinstance(payload, ChatCompleted) and message.end:
            return None
        if isinstance(payload, ChatNotice) and not payload.discard_tokens:
            return None
        raise self._unexpected(payload)

    def _unexpected(self, payload: Message) -> UnexpectedAnswer:
        self.close()
        return UnexpectedAnswer(payload)

    def answer(self, ask_id: str, answers: Iterable[str], message: str = "") -> None:
        """Answer an AskEvent of this request; no answers: declined. Does nothing after its end.

        Raises RequestFailed if the answer is larger than the service accepts.
        """
        self._client.answer(
            self._call, AnswerRequest(ask_id=ask_id, answers=answers, message=message)
        )

    def cancel(self) -> None:
        """Cancel the request; what still arrives, RequestFailed with CANCELLED, can be read."""
        self._client.cancel(self._call)

    def close(self) -> None:
        """Cancel the request and read no more of it. Does nothing once the request has ended."""
        if not self._over:
            self._over = True
            self._client.abandon(self._call)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def drop(self) -> None:
        """Close soon; for use by finalizers, when nobody reads the stream any more."""
        if not self._over:
            self._over = True
            self._client.forget(self._call)

    def __del__(self) -> None:
        self.drop()


class Duplex(Stream[R_co], Generic[S_contra, R_co]):
    """A stream that also sends inputs while its answers arrive (gRPC's bidirectional stream)."""

    async def send(self, message: S_contra, *, last: bool = False) -> bool:
        """Send an input, once the service takes it; `last`: nothing follows.

        Returns False if the request has ended, and the message is not sent. This waits while the
        handler is behind, so use two tasks for answers and inputs unless the handler answers every
        input. Only one task may send at a time. Raises RequestFailed if the message is larger than
        the service accepts.
        """
        while not self._client.takes_input(self._call):
            await self._inbox.room()
        return self._client.input(self._call, message, last=last)

    def finish(self) -> None:
        """Tell the service that nothing follows. Does nothing once the request has ended."""
        self._client.input(self._call, None, last=True)


class _Iteration(Generic[R_co]):
    """One `async for` over a stream; once it is left, nothing refers to it any more."""

    def __init__(self, stream: Stream[R_co]) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R_co:
        try:
            return await self._stream.next()
        except asyncio.CancelledError:
            self._stream.close()
            raise

    def __del__(self) -> None:
        self._stream.drop()
