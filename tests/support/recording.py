"""Recorded exchanges of frames between a client and a service, in the contract's first version.

A recording is a text file. `== TITLE` begins an exchange; every other line is one event, and begins
with the number of the connection that it concerns:

    1 opened                 the client opened a WebSocket
    1 → request_id: 1 ...    a frame of the client, in protobuf's text format
    1 ← request_id: 1 ...    a frame of the service
    1 cut                    the client cut the connection off, without a close frame
    1 closed 4501            the service closed the connection with this code
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, Self

from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

ROOT: Final = Path(__file__).parents[2]
FIRST_CONTRACT: Final = ROOT / "proto" / "first-release.binpb"
TOKEN: Final = "token-of-the-recording"
"""The token of the service that is recorded; it is in the recording."""

Kind = Literal["opened", "→", "←", "cut", "closed"]


@cache
def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(FIRST_CONTRACT.read_bytes()).file:
        pool.Add(file)
    return pool


@cache
def first_version(name: str) -> Any:
    """Return the class of a message as the contract's first version defines it."""
    return GetMessageClass(_pool().FindMessageTypeByName(f"callboard.v1.{name}"))


@dataclass(frozen=True)
class Event:
    """One line of a recording: `frame` with the arrows, `code` with `closed`."""

    connection: int
    kind: Kind
    frame: Any = None
    code: int = 0

    def __str__(self) -> str:
        said = f"{self.connection} {self.kind}"
        if self.frame is not None:
            text = text_format.MessageToString(self.frame, as_utf8=True, as_one_line=True)
            return f"{said} {text}"
        return f"{said} {self.code}" if self.code else said

    @classmethod
    def parse(cls, line: str) -> Self:
        """Return the event of a line. Raises ValueError, text_format.ParseError."""
        number, kind, *rest = line.split(" ", 2)
        match kind:
            case "→" | "←":
                message = first_version("ClientMessage" if kind == "→" else "ServerMessage")()
                return cls(int(number), kind, text_format.Parse("".join(rest), message))
            case "opened" | "cut" | "closed":
                return cls(int(number), kind, code=int(rest[0]) if rest else 0)
            case _:
                raise ValueError(f"not an event: {line}")


@dataclass
class Exchange:
    """A titled series of events."""

    title: str
    events: list[Event] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Yield the exchange as it is written."""
        yield f"== {self.title}"
        yield from map(str, self.events)


def written(exchanges: Iterable[Exchange]) -> str:
    """Return the text of a recording."""
    return "\n\n".join("\n".join(exchange.lines()) for exchange in exchanges) + "\n"


def read(text: str) -> list[Exchange]:
    """Return the exchanges of a recording. Raises ValueError if a line is not part of one."""
    exchanges: list[Exchange] = []
    for line in filter(None, text.splitlines()):
        if line.startswith("== "):
            exchanges.append(Exchange(line.removeprefix("== ")))
        elif exchanges:
            exchanges[-1].events.append(Event.parse(line))
        else:
            raise ValueError(f"before the first exchange: {line}")
    return exchanges


class Socket:
    """The client's end of one connection: it sends and receives a frame when it is told to."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open a WebSocket. Raises OSError, websockets' InvalidHandshake."""
        return cls(await connect(url, max_size=None, compression=None, proxy=None))

    async def send(self, frame: Any) -> None:
        """Send a ClientMessage. Raises ConnectionClosed."""
        await self._socket.send(frame.SerializeToString())

    async def receive(self) -> bytes | int:
        """Return the next frame, or the code if the service closes the connection instead."""
        try:
            data = await self._socket.recv()
        except ConnectionClosed as closed:
            return 1006 if closed.rcvd is None else closed.rcvd.code
        assert isinstance(data, bytes), "a text frame"
        return data

    async def cut(self) -> None:
        """End the connection without a close frame."""
        self._socket.transport.abort()
        await self._socket.wait_closed()

    async def close(self) -> None:
        """Leave, if the connection is still open."""
        await self._socket.close()
