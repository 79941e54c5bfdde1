"""A model server that does what a test says, byte by byte, including misbehavior."""

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Script: TypeAlias = Callable[["Exchange"], Awaitable[None]]

REASONS = {200: "OK", 302: "Found", 404: "Not Found"}


@dataclass
class Exchange:
    """One request, and the means to respond to it."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    sent: int = 0

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        self.sent += len(data)
        await self.writer.drain()

    async def head(self, status: int = 200, **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'No')}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def answer(
        self, status: int, body: Any, kind: str = "application/json", **headers: str
    ) -> None:
        """Send a whole response; a body other than bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.head(status, Content_Type=kind, Content_Length=str(len(data)), **headers)
        await self.send(data)

    async def begin(self) -> None:
        """Send the head of a stream, which is chunked, so that it can be cut."""
        await self.head(Content_Type="text/event-stream", Transfer_Encoding="chunked")

    async def raw(self, data: bytes) -> None:
        """Send bytes of the stream."""
        await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def chunk(self, **fields: Any) -> None:
        await self.raw(f"data: {json.dumps(fields)}\n\n".encode())

    async def delta(self, reason: str | None = None, **delta: Any) -> None:
        await self.chunk(choices=[{"index": 0, "delta": delta, "finish_reason": reason}])

    async def finish(self, reason: str = "stop", usage: tuple[int, int] | None = None) -> None:
        await self.delta(reason)
        if usage is not None:
            counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
            await self.chunk(choices=[], usage=counts)
        await self.raw(b"data: [DONE]\n\n")
        await self.send(b"0\r\n\r\n")

    def cut(self) -> None:
        """Reset the connection."""
        self.writer.transport.abort()


def saying(*words: str, reason: str = "stop", usage: tuple[int, int] | None = (7, 3)) -> Script:
    """Make a script that streams these words."""

    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.delta(role="assistant", content="")
        for word in words:
            await exchange.delta(content=word)
        await exchange.finish(reason, usage)

    return script


def refusing(status: int, body: Any = b"", kind: str = "application/json", **head: str) -> Script:
    """Make a script that responds with a status."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(status, body, kind, **head)

    return script


async def never(exchange: Exchange) -> None:
    """A script that sends nothing until the client leaves."""
    await exchange.gone.wait()


class ScriptedServer:
    """Listens on a port of its own; each chat completion plays the next of `scripts`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.models: Script = refusing(200, {"data": [{"id": "small"}, {"id": "large"}]})
        self.root = "/v1"
        self.scripts: list[Script] = []
        self.chats: list[Exchange] = []
        self.listed = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def settled(self) -> None:
        """Wait until every script has ended."""
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def will(self, *scripts: Script) -> None:
        """Set the scripts of the next chat completions, and forget earlier exchanges."""
        self.scripts = list(scripts)
        self.chats.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            exchange = await _read(reader, writer)
            watch = asyncio.create_task(_watch(reader, exchange))
            try:
                await self._play(exchange)
                # A client that reads slowly gets all that was written.
                writer.close()
                await writer.wait_closed()
            finally:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            # CPython 3.11 cannot abort a transport that has closed after a flush.
            with contextlib.suppress(AttributeError):
                writer.transport.abort()

    async def _play(self, exchange: Exchange) -> None:
        path = exchange.path.partition("?")[0]
        if (exchange.method, path) == ("GET", f"{self.root}/models"):
            self.listed += 1
            await self.models(exchange)
        elif (exchange.method, path) == ("POST", f"{self.root}/chat/completions"):
            self.chats.append(exchange)
            await self.scripts.pop(0)(exchange)
        else:
            await exchange.answer(404, b"404 page not found", "text/plain")


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    headers = {name.lower(): value for name, value in headers.items()}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Exchange(method, path, headers, json.loads(body) if body else None, writer)


async def _watch(reader: asyncio.StreamReader, exchange: Exchange) -> None:
    """Set `gone` when the client has closed the connection."""
    with contextlib.suppress(OSError):
        await reader.read()
    exchange.gone.set()


def make_socket(port: int) -> socket.socket:
    """Make a socket with a small send buffer, so that a script waits for its client to read."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made


@contextlib.asynccontextmanager
async def scripted(
    tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[ScriptedServer]:
    """Run a server; scripts that still wait at the end are cancelled."""

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(server.serve(reader, writer))
        server.tasks.add(task)
        task.add_done_callback(server.tasks.discard)

    listening = make_socket(port)
    listener = await asyncio.start_server(accept, sock=listening, ssl=tls)
    server = ScriptedServer(listening.getsockname()[1])
    try:
        yield server
    finally:
        listener.close()
        for task in server.tasks:
            task.cancel()
        await server.settled()
