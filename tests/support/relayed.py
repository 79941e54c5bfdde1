"""Replies of a model server, whose bytes a test feeds to the HTTP client without a socket."""

import asyncio
import json

import pytest
from aiohttp.client_proto import ResponseHandler

from callboard.v1.chat_pb2 import CreateSessionRequest, SendMessageRequest
from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from callboard_service.backends import tapped
from tests.support.fed import Fed
from tests.support.openai.scripted_server import Exchange


def _piece(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _chunk(delta: dict[str, str], reason: str | None = None) -> bytes:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"


TOKEN = _piece(_chunk({"content": " word"}))
"""The bytes of one token, as a server sends them."""

END = _piece(_chunk({}, "stop") + b"data: [DONE]\n\n") + b"0\r\n\r\n"


async def beginning(exchange: Exchange) -> None:
    """A script that begins a reply; the test feeds the rest of it."""
    await exchange.begin()
    await exchange.delta(role="assistant", content="")
    await exchange.delta(content=" word")
    await exchange.gone.wait()


def _read(handler: ResponseHandler, data: bytes) -> None:
    """Give data to whatever protocol the connection has, as its transport does."""
    assert handler.transport is not None
    protocol = handler.transport.get_protocol()
    assert isinstance(protocol, asyncio.Protocol)
    protocol.data_received(data)


class Relayed:
    """Begins replies over real HTTP, and then feeds their bytes to the connections' protocols."""

    def __init__(self, fed: Fed, monkeypatch: pytest.MonkeyPatch) -> None:
        self._fed = fed
        self._made: list[ResponseHandler] = []
        made, connected = self._made, ResponseHandler.connection_made

        def connection_made(handler: ResponseHandler, transport: asyncio.BaseTransport) -> None:
            made.append(handler)
            connected(handler, transport)

        monkeypatch.setattr(ResponseHandler, "connection_made", connection_made)

    async def begin(self, replies: int) -> None:
        """Begin replies, each in a conversation of its own, and wait for their first tokens."""
        self._made.clear()
        for number in range(1, replies + 1):
            self._fed.feed(
                ClientMessage(request_id=self._fed.next_id(), create_session=CreateSessionRequest())
            )
            (made,) = await self._fed.finish()
            request = SendMessageRequest(session_id=made.session_info.id, text="hello")
            self._fed.feed(ClientMessage(request_id=self._fed.next_id(), send_message=request))
            await self._passed_on(number)
        assert len(self._made) == replies

    async def _passed_on(self, replies: int) -> None:
        """Wait until so many replies are read, and the last one's first token has come."""
        while True:
            await asyncio.sleep(0.001)
            if len(tapped._TAPS) == replies and self._fed.answers():
                return

    async def pass_on(self, data: bytes = TOKEN) -> None:
        """Feed this to each reply, as if it had been read from its socket; then one turn."""
        for handler in self._made:
            _read(handler, data)
        await asyncio.sleep(0)

    async def end(self) -> list[ServerMessage]:
        """End all replies, and return the answers that came with it."""
        for handler in self._made:
            _read(handler, END)
        return await self._fed.finish(len(self._made))
