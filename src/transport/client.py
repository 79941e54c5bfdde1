"""A client of the service, for programs: typed requests in, answers out as they come."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self

from aiohttp import ClientError, ClientSession, ClientSSLError, ClientWebSocketResponse, WSMsgType
from google.protobuf.message import DecodeError, Message

from callboard.v1 import chat_pb2, session_pb2
from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from transport.address import dial
from transport.codes import CloseCode
from transport.errors import ConnectionClosed

_HANDSHAKE: Final = 10.0
_ARMS: Final = {
    field.message_type.full_name: field.name
    for field in ClientMessage.DESCRIPTOR.oneofs_by_name["payload"].fields
    if field.message_type is not None
}


class Answers:
    """The answers to one request, in order; the last one has `end`."""

    def __init__(self, client: "Client", request_id: int) -> None:
        self.request_id = request_id
        self._client = client
        self._arrived: asyncio.Queue[ServerMessage | None] = asyncio.Queue()
        self._over = False

    def __aiter__(self) -> AsyncIterator[ServerMessage]:
        return self

    async def __anext__(self) -> ServerMessage:
        if self._over:
            raise StopAsyncIteration
        message = await self._arrived.get()
        if message is None:
            self._over = True
            raise self._client.closed
        self._over = message.end
        return message

    def put(self, message: ServerMessage | None) -> None:
        """Take what the connection brings; None: it has ended."""
        self._arrived.put_nowait(message)

    async def answer(self, ask_id: str, answers: list[str], message: str = "") -> None:
        """Answer an AskEvent of this request; no answers: declined."""
        await self._client.send(
            chat_pb2.AnswerRequest(ask_id=ask_id, answers=answers, message=message), self.request_id
        )

    async def cancel(self) -> None:
        """End the request; its last answer, with the code CANCELLED, still comes."""
        if not self._over:
            await self._client.send(chat_pb2.CancelRequest(), self.request_id)


class Client:
    """One connection. Use it as an asynchronous context manager."""

    def __init__(self, url: str, token: str, *, name: str = "callboard", version: str = "") -> None:
        self.welcome = session_pb2.Welcome()
        self.closed = ConnectionClosed(1006)
        self._url = url
        self._hello = session_pb2.Hello(
            token=token, protocol_version=1, client_name=name, client_version=version
        )
        self._http: ClientSession | None = None
        self._socket: ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self._pending: dict[int, Answers] = {}
        self._last_id = 0

    async def __aenter__(self) -> Self:
        """Connect and shake hands. Raises ConnectionClosed, also when nothing listens."""
        connector, url = dial(self._url)
        self._http = ClientSession(connector=connector)
        try:
            async with asyncio.timeout(_HANDSHAKE):
                self._socket = await self._http.ws_connect(url, compress=0, max_msg_size=0)
                await self.send(self._hello, 0)
                self.welcome = (await self._receive(self._socket)).welcome
        except ClientSSLError as error:
            await self._http.close()
            raise ConnectionClosed(CloseCode.TLS_FAILED, str(error)) from error
        except (ClientError, OSError, TimeoutError) as error:
            await self._http.close()
            raise ConnectionClosed(1006, str(error)) from error
        except BaseException:
            await self._http.close()
            raise
        self._reader = asyncio.create_task(self._read(self._socket))
        return self

    @property
    def lost(self) -> bool:
        """The connection has ended; `closed` says how."""
        return self._reader is not None and self._reader.done()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close with 1000: the session ends, and what it has in flight is cancelled."""
        try:
            if self._socket is not None:
                await self._socket.close()
            if self._reader is not None:
                await self._reader
        finally:
            if self._http is not None:
                await self._http.close()

    async def send(self, message: Message, request_id: int, timeout_ms: int = 0) -> None:
        """Send one ClientMessage; what has no arm of its own goes in `call`."""
        envelope = ClientMessage(request_id=request_id, timeout_ms=timeout_ms)
        arm = _ARMS.get(message.DESCRIPTOR.full_name)
        if arm is None:
            envelope.call.Pack(message)
        else:
            getattr(envelope, arm).CopyFrom(message)
            getattr(envelope, arm).SetInParent()
        if self._socket is None:
            raise self.closed
        try:
            await self._socket.send_bytes(envelope.SerializeToString())
        except ConnectionError as error:
            raise self.closed from error

    async def request(self, message: Message, *, timeout_ms: int = 0) -> Answers:
        """Open a request; its answers come as they are made. Raises ConnectionClosed."""
        if self.lost:
            raise self.closed
        self._last_id += 1
        answers = Answers(self, self._last_id)
        self._pending[answers.request_id] = answers
        await self.send(message, answers.request_id, timeout_ms)
        return answers

    async def call(self, message: Message, *, timeout_ms: int = 0) -> ServerMessage:
        """Open a request and return its last answer, which may be an error."""
        *_, last = [answer async for answer in await self.request(message, timeout_ms=timeout_ms)]
        return last

    async def _read(self, socket: ClientWebSocketResponse) -> None:
        try:
            while True:
                message = await self._receive(socket)
                answers = self._pending.get(message.request_id)
                if answers is not None:
                    if message.end:
                        del self._pending[message.request_id]
                    answers.put(message)
        except ConnectionClosed as closed:
            self.closed = closed
            for answers in self._pending.values():
                answers.put(None)
            self._pending.clear()

    async def _receive(self, socket: ClientWebSocketResponse) -> ServerMessage:
        frame = await socket.receive()
        if frame.type is not WSMsgType.BINARY:
            reason = frame.extra if isinstance(frame.extra, str) else ""
            raise ConnectionClosed(socket.close_code or 1006, reason)
        try:
            return ServerMessage.FromString(frame.data)
        except DecodeError as error:
            raise ConnectionClosed(1007, "not a ServerMessage") from error
