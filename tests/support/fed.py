"""A connection of a running service, to which a test feeds messages without a socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from websockets.asyncio.client import connect

from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from callboard.v1.session_pb2 import Hello
from callboard_service.service import Service
from tests.support.written import Written
from transport.server.connection import ServerConnection

TOKEN = "t" * 32


class Fed:
    """The connection; `transport` keeps what is written to it."""

    def __init__(self, channel: ServerConnection) -> None:
        self.transport = Written()
        channel._transport = self.transport
        self._channel = channel
        self._last = 0

    def feed(self, *messages: ClientMessage) -> None:
        """Feed these messages to the connection."""
        data = [message.SerializeToString() for message in messages]
        for one in data:
            self._channel.take(one)

    def calls(self, count: int, payload: Message) -> list[ClientMessage]:
        packed = AnyMessage()
        packed.Pack(payload)
        first, self._last = self._last + 1, self._last + count
        return [
            ClientMessage(request_id=request_id, call=packed)
            for request_id in range(first, self._last + 1)
        ]

    def next_id(self) -> int:
        self._last += 1
        return self._last

    def answers(self) -> list[ServerMessage]:
        """Return the answers that were written since the last call."""
        read: list[ServerMessage] = []
        data, at = b"".join(self.transport.written), 0
        while at < len(data):
            length, begin = data[at + 1], at + 2
            if length > 125:
                length, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            at = begin + length
            read.append(ServerMessage.FromString(data[begin:at]))
        self.transport.written.clear()
        return read

    async def finish(self, ends: int = 1) -> list[ServerMessage]:
        """Wait until this many requests have ended, and return all answers until then."""
        read: list[ServerMessage] = []
        while ends > 0:
            await asyncio.sleep(0)
            came = self.answers()
            ends -= sum(answer.end for answer in came)
            read += came
        return read


@asynccontextmanager
async def connected(service: Service) -> AsyncIterator[Fed]:
    """Start a service whose token is TOKEN, connect to it, and stop it at the end."""
    ready = await service.start()
    try:
        async with connect(ready.url, proxy=None, compression=None) as socket:
            hello = Hello(token=TOKEN, protocol_version=1, acknowledges=True)
            await socket.send(ClientMessage(hello=hello).SerializeToString())
            await socket.recv()
            assert service._server is not None
            (channel,) = service._server._connections
            real = channel._transport
            try:
                yield Fed(channel)
            finally:
                channel._transport = real
    finally:
        await service.stop()
