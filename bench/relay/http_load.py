"""The client of a proxy with the model server's own interface: HTTP and server-sent events."""

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import Final, cast
from urllib.parse import urlsplit

from bench.process import TOKEN
from bench.relay.load import Clocks, measured
from bench.relay.sample import Sample
from bench.relay.workloads import Workload
from bench.servers.model_server import WRAP
from bench.websocket import Lost

_CONTENT: Final = re.compile(rb'"content": ?"( \d{7})"')
_END: Final = b"0\r\n\r\n"


class Exchange(asyncio.Protocol):
    """A connection for one reply after another. Its tokens are added to a Replies."""

    def __init__(self, replies: "Replies") -> None:
        self._replies = replies
        self._transport: asyncio.Transport | None = None
        self._asked = 0.0
        self._waits = False
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes) -> None:
        """Send a request."""
        assert self._transport is not None
        self._asked, self._waits = time.monotonic(), True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Count the tokens."""
        now = time.monotonic()
        data = self._tail + data
        stop = data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
        found = _CONTENT.findall(data, 0, stop)
        if found and self._waits:
            self._waits = False
            self._replies.first.append(now - self._asked)
        self._replies.took(found, now)
        self._tail = data[stop:]
        if self._tail.endswith(_END):
            self._tail = b""
            self._replies.end(self)
        elif self._tail.startswith(b"HTTP/1.1 ") and self._tail[9:12] != b"200":
            self._replies.fail(Lost(data[:300].decode(errors="replace")))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail if a reply was expected; the server may close an idle connection."""
        if self in self._replies.idle:
            self._replies.idle.remove(self)
        else:
            self._replies.fail(Lost(f"connection lost: {exc}"))

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


class Replies:
    """All replies of a workload. paced: their tokens have clocks."""

    def __init__(self, paced: bool) -> None:
        self.tokens = 0
        self.first: list[float] = []
        self.latencies: list[int] = []
        self.idle: list[Exchange] = []
        self._paced = paced
        self._ended = 0
        self._awaited = 0
        self._waiter: asyncio.Future[None] | None = None

    def took(self, texts: list[bytes], now: float) -> None:
        """Count tokens that came at this time of the monotonic clock."""
        self.tokens += len(texts)
        if self._paced:
            at = int(now * 1e6) % WRAP
            self.latencies += [(at - int(text)) % WRAP for text in texts]

    def end(self, exchange: Exchange) -> None:
        """Count a reply, and keep its connection for another."""
        self._ended += 1
        self.idle.append(exchange)
        if self._waiter is not None and self._ended >= self._awaited and not self._waiter.done():
            self._waiter.set_result(None)

    def fail(self, error: Lost) -> None:
        """Raise this in whoever waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    async def until_ended(self, replies: int) -> None:
        """Wait until this many replies have ended. Raises Lost."""
        self._awaited = replies
        if self._ended < replies:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


async def relay(workload: Workload, url: str, clocks: Clocks) -> Sample:
    """Run a workload; each reply has a connection, which others use after it."""
    where = urlsplit(url)
    assert where.hostname is not None
    assert where.port is not None
    replies, opening = Replies(workload.pause > 0), set[asyncio.Task[None]]()
    request = _request(workload.text, where.netloc)
    address = where.hostname, where.port

    def ask(number: int) -> None:
        if replies.idle:
            replies.idle.pop().ask(request)
            return
        task = asyncio.create_task(_open(lambda: Exchange(replies), address, request))
        opening.add(task)
        task.add_done_callback(opening.discard)

    sample = await measured(workload, clocks, ask, replies.until_ended)
    sample.tokens, sample.first, sample.latencies = (
        replies.tokens, replies.first, replies.latencies,
    )  # fmt: skip
    for exchange in replies.idle:
        exchange.close()
    return sample


async def _open(make: Callable[[], Exchange], address: tuple[str, int], request: bytes) -> None:
    _, exchange = await asyncio.get_running_loop().create_connection(make, *address)
    exchange.ask(request)


def _request(text: str, host: str) -> bytes:
    message = {"role": "user", "content": text}
    body = json.dumps({"model": "m", "stream": True, "messages": [message]}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n"
        f"Authorization: Bearer sk-{TOKEN}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
