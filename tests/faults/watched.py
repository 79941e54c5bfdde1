"""A client's WebSocket that checks each frame of the service against the contract.

The client would tolerate repeated answers; these checks do not.
"""

import socket
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from transport.client.socket import WebSockets
from transport.client.websocket import ClientWebSocket


@dataclass
class Record:
    """What the sessions of all clients were seen to do."""

    resumes: int = 0
    outstanding: int = 0
    """Resumes with answers outstanding: afterwards, an answer to an earlier request came."""
    welcomes: int = 0
    frames: int = 0
    ends: Counter[tuple[bytes, int]] = field(default_factory=Counter)


class WatchedWebSocket:
    """One connection, whose frames are checked."""

    def __init__(self, inner: ClientWebSocket, record: Record) -> None:
        self._inner = inner
        self._record = record
        self._session = b""
        self._next = 0
        self._hello_next = 1
        self._before = 0

    async def receive(self) -> bytes | None:
        data = await self._inner.receive()
        if data is not None:
            self._check(ServerMessage.FromString(data))
        return data

    def _check(self, message: ServerMessage) -> None:
        record = self._record
        record.frames += 1
        if message.HasField("welcome"):
            assert not self._next, "a second Welcome"
            self._session = message.welcome.resume_token
            self._next = self._hello_next if message.welcome.resumed else 1
            record.welcomes += 1
            if message.welcome.resumed:
                record.resumes += 1
                self._before = message.welcome.last_request_id
            return
        assert self._next, "something came before Welcome"
        if not message.request_id:
            assert not message.sequence
            return
        assert message.sequence == self._next, f"{message.sequence} came, not {self._next}"
        self._next += 1
        if message.request_id <= self._before:
            record.outstanding += 1
            self._before = 0
        key = (self._session, message.request_id)
        assert not record.ends[key], "something came after the end"
        record.ends[key] += message.end

    async def send(self, frames: Iterable[bytes]) -> None:
        frames = list(frames)
        for data in frames:
            message = ClientMessage.FromString(data)
            if message.HasField("hello"):
                self._hello_next = message.hello.resume.last_sequence + 1
        await self._inner.send(frames)

    async def close(self, code: int, reason: str) -> None:
        await self._inner.close(code, reason)

    def abort(self) -> None:
        self._inner.abort()


class Detour(AbstractResolver):
    """Resolves every name to one port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=self._port, family=socket.AF_INET,
                proto=0, flags=socket.AI_NUMERICHOST,
            )
        ]  # fmt: skip

    async def close(self) -> None:
        pass


class WatchedSockets:
    """Dials watched WebSockets through a proxy, with URLs that name the service itself."""

    def __init__(self, record: Record, proxy_port: int) -> None:
        self._inner = WebSockets(lambda: TCPConnector(resolver=Detour(proxy_port)))
        self._record = record

    async def dial(self, url: str) -> WatchedWebSocket:
        return WatchedWebSocket(await self._inner.dial(url), self._record)

    async def close(self) -> None:
        await self._inner.close()
