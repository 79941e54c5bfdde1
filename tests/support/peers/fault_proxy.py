"""A proxy that injects faults on demand, like toxiproxy, in the event loop of a test.

Each connection has its toxics: latency, bandwidth, slicing, and at most one fault, which happens
after a number of bytes in one direction. A fault is a cut (both sides see an orderly end), a reset
(both get a RST), a half-close (the receiver of that direction sees the end, the other direction
goes on) or a black hole (nothing passes in either direction, and no side is told).
"""

import asyncio
import contextlib
import re
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Self

RESET = struct.pack("ii", 1, 0)
"""The value of SO_LINGER that turns a close into a reset."""


class Kind(Enum):
    """The kinds of faults."""

    CUT = "cut"
    RESET = "reset"
    HALF_CLOSE = "half-close"
    BLACK_HOLE = "black hole"


class Direction(Enum):
    """The direction of bytes: up to the server, or down from it."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that happens when `after` bytes have passed in this direction."""

    kind: Kind
    direction: Direction
    after: int


@dataclass(frozen=True, slots=True)
class Toxics:
    """What is done to a connection.

    latency: seconds per chunk. bandwidth: bytes per second. slice: the largest chunk in bytes.
    """

    latency: float = 0.0
    bandwidth: float | None = None
    slice: int | None = None
    fault: Fault | None = None


CLEAN = Toxics()


class FaultProxy:
    """Listens on a free port; an async context manager.

    plan: returns the toxics of each connection. `faults` counts the faults that happened.
    as_host: for HTTP only, replaces the Host header, for servers that accept only their own name.
    """

    def __init__(
        self,
        host: str,
        port: int,
        plan: Callable[[], Toxics] = lambda: CLEAN,
        *,
        as_host: str | None = None,
    ) -> None:
        self._as_host = as_host
        self.plan = plan
        self.faults: Counter[Kind] = Counter()
        self.connections = 0
        self.refuses = False
        self.port = 0
        self.target = (host, port)
        self._links: set[_Link] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.refuses = True
        self.cut()
        for link in list(self._links):
            await link.over.wait()

    def cut(self) -> None:
        """Reset every connection now; this does not count as a fault."""
        for link in list(self._links):
            link.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.transport.abort()
            return
        self.connections += 1
        toxics = self.plan()
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        if self._as_host is not None:
            try:
                far_writer.write(_renamed(await reader.readuntil(b"\r\n\r\n"), self._as_host))
            except asyncio.IncompleteReadError:
                writer.transport.abort()
                far_writer.transport.abort()
                return
        link = _Link(toxics, writer, far_writer, self.faults)
        self._links.add(link)
        try:
            await link.carry(reader, far_reader)
        finally:
            self._links.discard(link)


def _renamed(head: bytes, host: str) -> bytes:
    """Replace the Host in an HTTP head."""
    return re.sub(rb"(?i)\r\nhost:[^\r]*", b"\r\nHost: " + host.encode(), head, count=1)


@dataclass(eq=False)
class _Link:
    """One connection, in both directions."""

    toxics: Toxics
    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    faults: Counter[Kind]
    over: asyncio.Event = field(default_factory=asyncio.Event)
    swallows: bool = False

    async def carry(self, reader: asyncio.StreamReader, far_reader: asyncio.StreamReader) -> None:
        pumps = [
            asyncio.ensure_future(self._pump(Direction.UP, reader, self.far)),
            asyncio.ensure_future(self._pump(Direction.DOWN, far_reader, self.near)),
        ]
        try:
            await asyncio.gather(*pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            self.near.close()
            self.far.close()
            self.over.set()

    async def _pump(
        self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        fault = self.toxics.fault
        if fault is not None and fault.direction is not direction:
            fault = None
        left = fault.after if fault is not None else 0
        shut = False
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if shut or self.swallows:
                    continue
                passing = data if fault is None else data[:left]
                await self._write(writer, passing)
                left -= len(passing)
                if fault is not None and left == 0:
                    shut = True
                    self._happen(fault.kind, writer)
            if not shut and not self.swallows:
                writer.write_eof()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        toxics = self.toxics
        size = toxics.slice or len(data) or 1
        for start in range(0, len(data), size):
            if toxics.latency:
                await asyncio.sleep(toxics.latency)
            writer.write(data[start : start + size])
            await writer.drain()
            if toxics.bandwidth is not None:
                await asyncio.sleep(size / toxics.bandwidth)

    def _happen(self, kind: Kind, writer: asyncio.StreamWriter) -> None:
        self.faults[kind] += 1
        match kind:
            case Kind.CUT:
                self.near.close()
                self.far.close()
            case Kind.RESET:
                self.reset()
            case Kind.HALF_CLOSE:
                writer.write_eof()
            case Kind.BLACK_HOLE:
                self.swallows = True

    def reset(self) -> None:
        """Reset the connections to both sides."""
        for writer in (self.near, self.far):
            raw = writer.get_extra_info("socket")
            if raw is not None:
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
