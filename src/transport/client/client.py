"""`Client`: carries out over a WebSocket what `transport.client.protocol` decides."""

import asyncio
from collections.abc import AsyncIterable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, overload
from uuid import uuid4

from google.protobuf.message import Message

from actors.protocol.failure import Code
from actors.runtime.clock import Clock, LoopClock
from callboard.v1.chat_pb2 import (
    AnswerRequest,
    ChatCompleted,
    SendMessageRequest,
    Uploaded,
    UploadRequest,
)
from callboard.v1.envelope_pb2 import ServerMessage
from callboard.v1.session_pb2 import Welcome
from transport.client.calls import ClientCall, ClientSettings, Endpoint
from transport.client.connection import ClientConnection
from transport.client.following import RETRY_AFTER, TURN_ANSWERS, Following, TurnAnswer
from transport.client.phase import Phase
from transport.client.protocol import ClientProtocol
from transport.client.stream import AnswerQueue, Duplex, Stream
from transport.client.uploading import upload
from transport.client.websocket import Dialer
from transport.errors import RequestFailed, SessionLost, TransportError, UnexpectedAnswer

R = TypeVar("R", bound=Message)
S = TypeVar("S", bound=Message)
R1 = TypeVar("R1", bound=Message)
R2 = TypeVar("R2", bound=Message)
R3 = TypeVar("R3", bound=Message)
R4 = TypeVar("R4", bound=Message)

Finder = Callable[[], Endpoint]
"""Returns where the service is. Raises NotRunning."""


def by_url(url: str, token: str) -> Finder:
    """Return a finder for the service at this URL."""
    endpoint = Endpoint(url, token)
    return lambda: endpoint


def by_runtime_file(folder: Path | None = None) -> Finder:
    """Return a finder for the most recently started of this user's services."""
    from transport import discovery  # a client in a browser has neither files nor processes

    def find() -> Endpoint:
        record = discovery.find(folder or discovery.default_folder())
        return Endpoint(record.url, record.token, record.started_at)

    return find


def _websockets() -> Dialer:
    from transport.client.socket import WebSockets  # a client in a browser has no aiohttp

    return WebSockets()


class Client:
    """One session with the service. Use it as an asynchronous context manager.

    Entering it connects. That raises NotRunning if no runtime file names a service, and
    ConnectionClosed if none answers or admits the client. A connection that is lost later is
    restored silently. Every request raises RequestFailed if it ends with an error, SessionLost (a
    subclass) if the session could not be resumed, and ConnectionClosed once the client has given up
    (`over`).

    clock, random, dialer: for tests, and for other ways to connect. phase_changed: called after
    each change of `phase`.
    """

    def __init__(
        self,
        find: Finder,
        settings: ClientSettings | None = None,
        *,
        clock: Clock | None = None,
        random: Callable[[], float] | None = None,
        dialer: Dialer | None = None,
        phase_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.phase_changed: Callable[[], None] = phase_changed
        self.protocol: ClientProtocol = ClientProtocol(settings or ClientSettings(), random)
        self._find = find
        self._clock = clock
        self._dialer = dialer
        self._inboxes: dict[ClientCall, AnswerQueue] = {}
        self._connection: ClientConnection
        self._loop: asyncio.AbstractEventLoop

    async def __aenter__(self) -> Self:
        """Connect and perform the handshake. Raises NotRunning, ConnectionClosed."""
        self._loop = asyncio.get_running_loop()
        self._connection = ClientConnection(
            self.protocol,
            self._find,
            self._dialer or _websockets(),
            self._clock or LoopClock(),
            self,
        )
        self._running = asyncio.create_task(self._connection.run(), name="callboard client")
        try:
            await self.ready()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close with 1000: the session ends, and its calls in flight are cancelled."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close. May be called twice."""
        self._connection.leave()
        try:
            await self._running
        finally:
            self._running.cancel()

    async def ready(self) -> Welcome:
        """Wait until there is a connection. Raises NotRunning or ConnectionClosed if it fails."""
        while not self.connected:
            if self.over:
                raise self._connection.not_running or self.protocol.closed
            await self._connection.changed()
        return self.welcome

    @property
    def welcome(self) -> Welcome:
        """What the service last reported about itself, the session and its limits."""
        return self.protocol.welcome

    @property
    def url(self) -> str:
        """The URL of the last connection or attempt."""
        return self.protocol.url

    @property
    def phase(self) -> Phase:
        """What the client is doing: looking for the service, connecting, open, ..."""
        return self.protocol.phase

    @property
    def connected(self) -> bool:
        """Return whether requests are sent at once."""
        return self.protocol.phase is Phase.OPEN

    @property
    def over(self) -> bool:
        """Return whether the client has given up or was closed."""
        return self.protocol.phase is Phase.OVER

    # -- requests ----------------------------------------------------------------------------

    async def call(self, request: Message, answer: type[R], *, timeout: float | None = None) -> R:
        """Send a request and return its only answer, which is of type `answer`.

        timeout: seconds after which it ends with DEADLINE_EXCEEDED. Raises RequestFailed
        (UnexpectedAnswer for another type), ConnectionClosed. Cancelling the waiting task cancels
        the request.
        """
        last: R | None = None
        async with self._open(request, (answer,), timeout) as stream:
            async for one in stream:
                last = one
        if last is None:
            raise UnexpectedAnswer(ChatCompleted())
        return last

    @overload
    def stream(
        self, request: Message, first: type[R], /, *, timeout: float | None = None
    ) -> Stream[R]: ...
    @overload
    def stream(
        self,
        request: Message,
        first: type[R1],
        second: type[R2],
        /,
        *,
        timeout: float | None = None,
    ) -> Stream[R1 | R2]: ...
    @overload
    def stream(
        self,
        request: Message,
        first: type[R1],
        second: type[R2],
        third: type[R3],
        /,
        *,
        timeout: float | None = None,
    ) -> Stream[R1 | R2 | R3]: ...
    @overload
    def stream(
        self,
        request: Message,
        first: type[R1],
        second: type[R2],
        third: type[R3],
        fourth: type[R4],
        /,
        *,
        timeout: float | None = None,
    ) -> Stream[R1 | R2 | R3 | R4]: ...
    @overload
    def stream(
        self, request: Message, /, *answers: type[R], timeout: float | None = None
    ) -> Stream[R]: ...
    def stream(
        self, request: Message, /, *answers: type[Message], timeout: float | None = None
    ) -> Stream[Message]:
        """Send a request now and return an iterator of its answers, which are of these types.

        For more than four types, annotate the result (`Stream[A | B | ...]`). timeout: seconds
        after which it ends with DEADLINE_EXCEEDED. Raises RequestFailed if the request is larger
        than the service accepts, and ConnectionClosed if the client is over.
        """
        return self._open(request, answers, timeout)

    def follow(self, conversation_id: str, after: int = 0) -> Following:
        """Follow a conversation: iterate its events, which are merged into `Following.state`.

        after: the position up to which the caller has everything, as in FollowSessionRequest; 0:
        begin with a snapshot.
        """
        return Following(self, conversation_id, after)

    def send(
        self,
        conversation_id: str,
        text: str,
        *,
        message_id: str = "",
        detached: bool = False,
        timeout: float | None = None,
    ) -> Stream[TurnAnswer]:
        """Send a message now and return an iterator of its turn's events and end.

        message_id: unique in the conversation, by default a new one. Sending the same message_id
        again is safe: it starts nothing, and yields the same turn from its beginning. detached: the
        turn goes on if the iteration is left. Raises as `stream` does.
        """
        request = SendMessageRequest(
            session_id=conversation_id,
            text=text,
            message_id=message_id or str(uuid4()),
            detached=detached,
        )
        return self._open(request, TURN_ANSWERS, timeout)

    def duplex(
        self, request: Message, takes: type[S], answer: type[R], *, timeout: float | None = None
    ) -> Duplex[S, R]:
        """Send a request, iterate its answers of type `answer`, and send inputs of type `takes`.

        Otherwise like `stream`.
        """
        call, inbox = self._begin(request, timeout)
        return Duplex[S, R](self, call, inbox, (answer,))

    async def upload(
        self,
        name: str,
        media_type: str,
        data: bytes | AsyncIterable[bytes],
        size: int | None = None,
        *,
        sha256: bytes = b"",
        timeout: float | None = None,
    ) -> Uploaded:
        """Upload the content of an attachment; a message names its `upload_id` within the hour.

        size: exact, in bytes; needed unless `data` is bytes. sha256: checked by the service, unless
        it is empty. Raises as `call` does, and ValueError without a size.
        """
        if size is None:
            if not isinstance(data, bytes):
                raise ValueError("an upload in pieces needs its size")
            size = len(data)
        request = UploadRequest(name=name, media_type=media_type, size=size, sha256=sha256)
        return await upload(self, request, data, timeout)

    def _open(
        self, request: Message, answers: tuple[type[R], ...], timeout: float | None
    ) -> Stream[R]:
        call, inbox = self._begin(request, timeout)
        return Stream(self, call, inbox, answers)

    def _begin(self, request: Message, timeout: float | None) -> tuple[ClientCall, AnswerQueue]:
        call = self.protocol.open(request, timeout, self._connection.now())
        inbox = self._inboxes[call] = AnswerQueue()
        self._connection.flush()
        if timeout is not None and not self.connected:
            self._connection.arm()
        return call, inbox

    async def until_retry(self, failed: RequestFailed) -> None:
        """Wait until a request that outlives sessions may be sent again.

        Raises `failed` unless it was lost with its session, or the service is only unavailable.
        """
        if isinstance(failed, SessionLost):
            return
        if failed.code is not Code.UNAVAILABLE or not failed.retryable:
            raise failed
        await self.pause(max(failed.retry_after, RETRY_AFTER))

    async def pause(self, seconds: float) -> None:
        """Wait for `seconds` of the client's clock."""
        passed = asyncio.Event()
        timer = (self._clock or LoopClock()).call_later(seconds, passed.set)
        try:
            await passed.wait()
        finally:
            timer.cancel()

    # -- called by streams -------------------------------------------------------------------

    def consumed(self, call: ClientCall) -> None:
        """Note that the consumer has taken one answer."""
        self.protocol.consumed(call)
        self._connection.flush()

    def answer(self, call: ClientCall, answer: AnswerRequest) -> None:
        """Answer an ask."""
        self.protocol.answer(call, answer)
        self._connection.flush()

    def takes_input(self, call: ClientCall) -> bool:
        """Return whether the service takes one more input of this call, or the call has ended."""
        return self.protocol.takes_input(call)

    def input(self, call: ClientCall, message: Message | None, *, last: bool) -> bool:
        """Send an input; return False if the call has ended."""
        sent = self.protocol.input(call, message, last=last)
        self._connection.flush()
        return sent

    def room(self, call: ClientCall) -> None:
        """Wake the sender: the service takes more inputs of the call, or the call has ended."""
        inbox = self._inboxes.get(call)
        if inbox is not None:
            inbox.wake_sender()

    def cancel(self, call: ClientCall) -> None:
        """Cancel a call."""
        self._connection.do(self.protocol.cancel(call))

    def abandon(self, call: ClientCall) -> None:
        """Cancel a call whose consumer has gone."""
        self._connection.do(self.protocol.abandon(call))
        self._let_go(call)

    def forget(self, call: ClientCall) -> None:
        """Abandon the call soon: garbage is collected anywhere, and in any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.abandon, call)

    # -- called by the connection ------------------------------------------------------------

    def _let_go(self, call: ClientCall) -> None:
        inbox = self._inboxes.pop(call, None)
        if inbox is not None:
            inbox.wake_sender()

    def deliver(self, call: ClientCall, message: ServerMessage) -> None:
        """Pass an answer to its consumer."""
        inbox = self._inboxes.get(call)
        if inbox is not None:
            inbox.put(message)
            if message.end:
                self._let_go(call)

    def fail(self, call: ClientCall, error: TransportError) -> None:
        """Tell the consumer that no more answers will come."""
        inbox = self._inboxes.get(call)
        self._let_go(call)
        if inbox is not None:
            inbox.put(error)
