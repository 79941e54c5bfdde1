"""`Client`: what `transport.client.protocol` decides, carried out over a WebSocket."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, overload

from google.protobuf.message import Message

from actors.runtime.clock import Clock, LoopClock
from callboard.v1.chat_pb2 import AnswerRequest, ChatCompleted
from callboard.v1.envelope_pb2 import ServerMessage
from callboard.v1.session_pb2 import Welcome
from transport import discovery
from transport.client.calls import ClientCall, ClientSettings, Endpoint
from transport.client.connection import ClientConnection
from transport.client.phase import Phase
from transport.client.protocol import ClientProtocol
from transport.client.socket import Dialer, WebSockets
from transport.client.stream import AnswerQueue, Duplex, Stream
from transport.errors import TransportError, UnexpectedAnswer

R = TypeVar("R", bound=Message)
S = TypeVar("S", bound=Message)
R1 = TypeVar("R1", bound=Message)
R2 = TypeVar("R2", bound=Message)
R3 = TypeVar("R3", bound=Message)
R4 = TypeVar("R4", bound=Message)

Finder = Callable[[], Endpoint]
"""Looks where the service is. Raises NotRunning."""


def by_url(url: str, token: str) -> Finder:
    """This service, wherever it is."""
    endpoint = Endpoint(url, token)
    return lambda: endpoint


def by_runtime_file(folder: Path | None = None) -> Finder:
    """Look each time for the service of this user that was started last."""

    def find() -> Endpoint:
        record = discovery.find(folder or discovery.default_folder())
        return Endpoint(record.url, record.token, record.started_at)

    return find


class Client:
    """One session with the service. Use it as an asynchronous context manager.

    Entering connects: it raises NotRunning where no runtime file names a service, ConnectionClosed
    where none answers or lets one in. A connection that is lost later is made again in silence.
    Every request raises RequestFailed if it ends with an error, SessionLost (one of them) if the
    session could not be taken up, and ConnectionClosed once the client has given up (`over`).

    clock, random, dialer: for tests, and for other ways to connect.
    """

    def __init__(
        self,
        find: Finder,
        settings: ClientSettings | None = None,
        *,
        clock: Clock | None = None,
        random: Callable[[], float] | None = None,
        dialer: Dialer | None = None,
    ) -> None:
        self.protocol: ClientProtocol = ClientProtocol(settings or ClientSettings(), random)
        self._find = find
        self._clock = clock
        self._dialer = dialer
        self._inboxes: dict[ClientCall, AnswerQueue] = {}
        self._connection: ClientConnection
        self._loop: asyncio.AbstractEventLoop

    async def __aenter__(self) -> Self:
        """Connect and shake hands. Raises NotRunning, ConnectionClosed."""
        self._loop = asyncio.get_running_loop()
        self._connection = ClientConnection(
            self.protocol,
            self._find,
            self._dialer or WebSockets(),
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
        """Close with 1000: the session ends, and what it has in flight is cancelled."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close; harmless twice."""
        self._connection.leave()
        try:
            await self._running
        finally:
            self._running.cancel()

    async def ready(self) -> Welcome:
        """Wait until there is a connection. Raises NotRunning, ConnectionClosed if none will be."""
        while not self.connected:
            if self.over:
                raise self._connection.not_running or self.protocol.closed
            await self._connection.changed()
        return self.welcome

    @property
    def welcome(self) -> Welcome:
        """What the service said last about itself, the session and its limits."""
        return self.protocol.welcome

    @property
    def url(self) -> str:
        """Where it connected last, or tried to."""
        return self.protocol.url

    @property
    def connected(self) -> bool:
        """Requests go out at once."""
        return self.protocol.phase is Phase.OPEN

    @property
    def over(self) -> bool:
        """The client has given up, or was closed."""
        return self.protocol.phase is Phase.OVER

    # -- requests ----------------------------------------------------------------------------

    async def call(self, request: Message, answer: type[R], *, timeout: float | None = None) -> R:
        """Ask, and return the one answer, which is of this type. Seconds of `timeout`: any.

        Raises RequestFailed (UnexpectedAnswer for another type), ConnectionClosed. Cancelling the
        task that waits cancels the request.
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
        """Ask, and iterate the answers, which are of these types; the request goes out now.

        More than four types: say where the result goes what they are (`Stream[A | B | ...]`).
        timeout: seconds after which it ends with DEADLINE_EXCEEDED. Raises RequestFailed if the
        request is larger than the service takes, ConnectionClosed if the client is over.
        """
        return self._open(request, answers, timeout)

    def duplex(
        self, request: Message, takes: type[S], answer: type[R], *, timeout: float | None = None
    ) -> Duplex[S, R]:
        """Ask, iterate the answers of type `answer`, and send messages of type `takes` meanwhile.

        As `stream` in everything else.
        """
        call, inbox = self._begin(request, timeout)
        return Duplex[S, R](self, call, inbox, (answer,))

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

    # -- what a stream says ------------------------------------------------------------------

    def consumed(self, call: ClientCall) -> None:
        """The consumer has taken one answer."""
        self.protocol.consumed(call)
        self._connection.flush()

    def answer(self, call: ClientCall, answer: AnswerRequest) -> None:
        """Answer an ask."""
        self.protocol.answer(call, answer)
        self._connection.flush()

    def takes_input(self, call: ClientCall) -> bool:
        """The service takes one more input of this call, or the call has ended."""
        return self.protocol.takes_input(call)

    def input(self, call: ClientCall, message: Message | None, *, last: bool) -> bool:
        """Send an input; False: the call has ended."""
        sent = self.protocol.input(call, message, last=last)
        self._connection.flush()
        return sent

    def room(self, call: ClientCall) -> None:
        """The service takes more inputs of the call."""
        inbox = self._inboxes.get(call)
        if inbox is not None:
            inbox.wake_sender()

    def cancel(self, call: ClientCall) -> None:
        """End a call."""
        self._connection.do(self.protocol.cancel(call))

    def abandon(self, call: ClientCall) -> None:
        """End a call whose consumer has gone."""
        self._connection.do(self.protocol.abandon(call))
        self._let_go(call)

    def forget(self, call: ClientCall) -> None:
        """As `abandon`, but soon: garbage is collected anywhere, and in any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.abandon, call)

    # -- what the connection says ------------------------------------------------------------

    def _let_go(self, call: ClientCall) -> None:
        inbox = self._inboxes.pop(call, None)
        if inbox is not None:
            inbox.wake_sender()

    def deliver(self, call: ClientCall, message: ServerMessage) -> None:
        """Hand an answer to its consumer."""
        inbox = self._inboxes.get(call)
        if inbox is not None:
            inbox.put(message)
            if message.end:
                self._let_go(call)

    def fail(self, call: ClientCall, error: TransportError) -> None:
        """Tell the consumer that no more answers come."""
        inbox = self._inboxes.get(call)
        self._let_go(call)
        if inbox is not None:
            inbox.put(error)
