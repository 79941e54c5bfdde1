"""A client's session that survives its connections, written against docs/protocol.md.

Everything that it does and sees goes into a trace.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from callboard.v1.chat_pb2 import CancelRequest
from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from callboard.v1.session_pb2 import Ack, Hello, Ping, Resume, Welcome
from tests.torture.trace import SESSION, Event

SILENCE: Final = 10.0
"""Seconds without a frame after which a connection is considered dead."""

PAUSE: Final = 0.1
"""Seconds before the next attempt to connect."""

PING: Final = 0.1
"""Seconds between two pings."""

ACK_EACH: Final = 200


class Refused(Exception):
    """The service answered Hello with something that is not Welcome."""


class Recorder:
    """Collects events until they are written."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def take(self) -> list[Event]:
        """Return what was collected since the last time."""
        taken, self.events = self.events, []
        return taken


@dataclass
class Open:
    """A request that has not ended."""

    frame: bytes
    what: str
    ended: "asyncio.Future[ServerMessage | None]"
    """The frame with `end`; None: the session was lost."""
    cancelled: bool = False
    recorded: bool = False


async def greet(url: str, hello: Hello, patience: float) -> tuple[ClientConnection, Welcome]:
    """Connect and shake hands. Raises OSError, TimeoutError, WebSocketException or Refused."""
    socket = await connect(
        url, max_size=None, compression=None, proxy=None, ping_interval=None,
        open_timeout=patience, close_timeout=1.0,
    )  # fmt: skip
    try:
        async with asyncio.timeout(patience):
            await socket.send(ClientMessage(hello=hello).SerializeToString())
            data = await socket.recv()
        assert isinstance(data, bytes)
        first = ServerMessage.FromString(data)
        if not first.HasField("welcome"):
            raise Refused(first.WhichOneof("payload"))
    except BaseException:
        socket.transport.abort()
        raise
    return socket, first.welcome


class Session:
    """Keeps one session across connections."""

    def __init__(self, url: str, token: str, record: Recorder) -> None:
        self._url = url
        self._token = token
        self._record = record
        self._number = 1
        self._resume_token = b""
        self._sequence = 0
        self._last_id = 0
        self._open: dict[int, Open] = {}
        self._socket: ClientConnection | None = None
        self._order = asyncio.Lock()

    @property
    def outstanding(self) -> int:
        """Return how many requests have not ended."""
        return len(self._open)

    async def run(self) -> None:
        """Connect, read, and connect again, until cancelled."""
        while True:
            self._record(Event("try", monotonic(), SESSION))
            try:
                socket = await self._connect()
            except (OSError, TimeoutError, WebSocketException, Refused):
                await asyncio.sleep(PAUSE)
                continue
            try:
                await self._read(socket)
            finally:
                self._socket = None
                socket.transport.abort()
            await asyncio.sleep(PAUSE)

    async def _connect(self) -> ClientConnection:
        hello = Hello(token=self._token, protocol_version=1, client_name="good", acknowledges=True)
        if self._resume_token:
            resume = Resume(resume_token=self._resume_token, last_sequence=self._sequence)
            hello.resume.CopyFrom(resume)
        socket, welcome = await greet(self._url, hello, 5.0)
        self._record(Event("answer", monotonic(), SESSION))
        if self._resume_token and not welcome.resumed:
            self._lose("not resumed")
        self._resume_token = welcome.resume_token
        try:
            await self._repeat(socket, welcome.last_request_id)
        except ConnectionClosed:
            socket.transport.abort()
            raise
        return socket

    async def _repeat(self, socket: ClientConnection, received: int) -> None:
        """Send again what did not arrive, and each cancel; then allow new requests."""
        done = 0
        async with self._order:
            while later := [number for number in self._open if number > done]:
                for number in later:
                    done = number
                    request = self._open.get(number)
                    if request is not None and number > received:
                        await self._write(socket, number, request)
                    if request is not None and request.cancelled:
                        await socket.send(_cancel(number))
            self._socket = socket

    def _lose(self, why: str) -> None:
        self._record(Event("lost", monotonic(), session=self._number, detail=why))
        self._number += 1
        self._resume_token, self._sequence, self._last_id = b"", 0, 0
        lost, self._open = self._open, {}
        for request in lost.values():
            request.ended.set_result(None)

    async def _read(self, socket: ClientConnection) -> None:
        pinging = asyncio.create_task(self._ping(socket))
        try:
            while True:
                async with asyncio.timeout(SILENCE):
                    data = await socket.recv()
                assert isinstance(data, bytes)
                self._handle(ServerMessage.FromString(data))
                if self._sequence % ACK_EACH == 0:
                    ack = Ack(sequence=self._sequence)
                    await socket.send(ClientMessage(ack=ack).SerializeToString())
        except TimeoutError:
            self._closed("silent")
        except ConnectionClosed:
            self._closed(str(socket.close_code or 1006))
        finally:
            pinging.cancel()

    def _closed(self, code: str) -> None:
        self._record(Event("closed", monotonic(), session=self._number, detail=code))
        if code == "4004" or "4500" <= code <= "4999":
            self._lose(f"closed with {code}")

    def _handle(self, message: ServerMessage) -> None:
        now = monotonic()
        if message.HasField("going_away"):
            self._record(Event("going", now, session=self._number))
        if not message.request_id:
            self._record(Event("answer", now, SESSION))
            return
        code = ""
        if message.end:
            code = message.error.code if message.HasField("error") else "OK"
        self._record(
            Event(
                "frame", now, session=self._number, request=message.request_id,
                sequence=message.sequence, end=message.end, detail=code,
            )
        )  # fmt: skip
        self._sequence = message.sequence
        if message.end and (request := self._open.pop(message.request_id, None)) is not None:
            request.ended.set_result(message)

    async def _ping(self, socket: ClientConnection) -> None:
        nonce = 0
        with suppress(ConnectionClosed):
            while True:
                nonce += 1
                self._record(Event("try", monotonic(), SESSION))
                await socket.send(ClientMessage(ping=Ping(nonce=nonce)).SerializeToString())
                await asyncio.sleep(PING)

    async def begin(self, what: str, timeout_ms: int, **payload: Any) -> tuple[int, Open]:
        """Open a request, now or once there is a connection; return its id and its state."""
        async with self._order:
            self._last_id += 1
            number = self._last_id
            frame = ClientMessage(request_id=number, timeout_ms=timeout_ms, **payload)
            ended = asyncio.get_running_loop().create_future()
            request = self._open[number] = Open(frame.SerializeToString(), what, ended)
            if self._socket is not None:
                with suppress(ConnectionClosed):
                    await self._write(self._socket, number, request)
        return number, request

    async def _write(self, socket: ClientConnection, number: int, request: Open) -> None:
        if not request.recorded:
            request.recorded = True
            sent = Event(
                "sent", monotonic(), session=self._number, request=number, detail=request.what
            )
            self._record(sent)
        await socket.send(request.frame)

    async def cancel(self, number: int, request: Open) -> None:
        """Cancel a request that has not ended."""
        if request.ended.done():
            return
        request.cancelled = True
        async with self._order:
            if self._socket is not None and self._open.get(number) is request:
                with suppress(ConnectionClosed):
                    await self._socket.send(_cancel(number))


def _cancel(number: int) -> bytes:
    return ClientMessage(request_id=number, cancel=CancelRequest()).SerializeToString()
