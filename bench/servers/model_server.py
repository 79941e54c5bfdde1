"""A scripted model server: chat completions as server-sent events, paced or at full speed.

The last message of a request says what is sent: `t400-ms20-b1` is 400 tokens, one every 20 ms, one
in each write. A pause of 0 sends as fast as the client reads. Each token is a space and seven
digits. In a paced reply the digits are the time at which the token was written, in microseconds
modulo WRAP; the client on the same machine compares them with its clock.
"""

import asyncio
import json
import re
import time
from functools import cache
from typing import Final, cast

from bench.servers.process import run, serve

WRAP: Final = 10_000_000
"""Microseconds after which the clock in a token starts again."""

SCRIPT: Final = re.compile(r"t(\d+)-ms(\d+)-b(\d+)")
_LENGTH: Final = re.compile(rb"(?i)content-length: *(\d+)")
_MODELS: Final = b'{"object":"list","data":[{"id":"m","object":"model"}]}'
_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def _piece(data: bytes) -> bytes:
    """Return a chunk of HTTP's chunked encoding."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**chunk, "choices": [choice]}).encode() + b"\n\n"


_FIRST: Final = _piece(_event({"role": "assistant", "content": ""}))
_TOKEN: Final = _piece(_event({"content": " 0000000"}))
_BEFORE, _, _AFTER = _TOKEN.partition(b"0000000")
_LAST: Final = _piece(_event({}, "stop") + b"data: [DONE]\n\n") + b"0\r\n\r\n"


@cache
def _numbered(count: int) -> bytes:
    """Return different tokens: litellm takes a hundred equal ones for a model that is stuck."""
    return b"".join(_BEFORE + b"%07d" % number + _AFTER for number in range(count))


class Exchange(asyncio.Protocol):
    """One connection; its requests are answered one after another."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._writable = asyncio.Event()
        self._writable.set()
        self._reply: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the reply."""
        if self._reply is not None:
            self._reply.cancel()

    def pause_writing(self) -> None:
        """Wait until the client has read more."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Continue."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Answer a request once it is complete."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        announced = _LENGTH.search(head)
        length = int(announced[1]) if announced else 0
        if len(body) < length:
            return
        self._received = body[length:]
        assert self._transport is not None
        if b"/models" in head.partition(b"\r\n")[0]:
            kind = b"Content-Type: application/json\r\nContent-Length: %d" % len(_MODELS)
            self._transport.write(b"HTTP/1.1 200 OK\r\n" + kind + b"\r\n\r\n" + _MODELS)
            return
        content = json.loads(body[:length])["messages"][-1]["content"]
        text = content if isinstance(content, str) else content[0]["text"]
        script = SCRIPT.search(text)
        assert script is not None, text
        tokens, pause, together = map(int, script.groups())
        self._reply = asyncio.create_task(self._answer(tokens, pause / 1000, together))

    async def _answer(self, tokens: int, pause: float, together: int) -> None:
        """Send a reply. pause: seconds between writes. together: tokens in each write."""
        transport = self._transport
        assert transport is not None
        transport.write(_HEAD + _FIRST)
        loop = asyncio.get_running_loop()
        at = loop.time()
        for sent in range(0, tokens, together):
            count = min(together, tokens - sent)
            if pause:
                now = time.monotonic_ns() // 1000 % WRAP
                transport.write((_BEFORE + b"%07d" % now + _AFTER) * count)
                at += pause
                await asyncio.sleep(max(0.0, at - loop.time()))
            else:
                transport.write(_numbered(count))
                await self._writable.wait()
                await asyncio.sleep(0)
        transport.write(_LAST)


async def main() -> None:
    """Listen on a free port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Exchange, "127.0.0.1", 0, backlog=4096)
    await serve(server.sockets[0].getsockname()[1], "http")


if __name__ == "__main__":
    run(main())
