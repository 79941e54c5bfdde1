"""An echo endpoint on the service's own connection code.

Reading, writing and framing are the service's. Unlike the service, the endpoint accepts text
frames, because Autobahn's cases send them.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Final, cast

from aiohttp import web

from actors import Actor, ActorSystem, Lifecycle, Restart
from actors.protocol.frames import Frame
from actors.sessions.messages import Detach, Outbox, Received, SessionMessage
from transport.server.connection import ConnectionEnvironment, ServerConnection
from transport.server.feed import UnfedWebSocket
from transport.server.listen import Place, listen
from transport.server.outgoing import Outgoing
from transport.wire.framing import FramePolicy, binary_header

if TYPE_CHECKING:
    from transport.wire.codec import Wire

TEMPORARY: Final = Lifecycle(restart=Restart.TEMPORARY)

_MAX_BYTES: Final = 64 * 1024 * 1024


class Text(bytes):
    """A message that came in a text frame and is sent back in one."""


class Nothing(bytes):
    """Stands in for the Welcome; it is not sent."""


def _take_text(text: str) -> bytes:
    return Text(text.encode())


def _frame(message: bytes) -> bytes:
    """Encode a frame as the service does; a text frame differs only in its opcode."""
    frame = binary_header(len(message)) + message
    return b"\x81" + frame[1:] if isinstance(message, Text) else frame


def _frames(messages: Iterable[bytes]) -> bytes:
    return b"".join(_frame(one) for one in messages if not isinstance(one, Nothing))


class Echo(Actor[SessionMessage]):
    """A session that sends back each message."""

    def __init__(self, connection: ServerConnection) -> None:
        self._said: deque[bytes] = deque()
        self._channel = connection

    def receive(self, message: SessionMessage) -> None:
        match message:
            case Received(frame=frame):
                self._said.append(cast("bytes", frame))
                self._channel.wake()
            case Detach():
                self.context.stop()
            case _:
                raise TypeError(message)

    def take(self, at_most: int, now: Callable[[], float] | None = None) -> list[bytes]:
        taken: list[bytes] = []
        while self._said and at_most > 0:
            taken.append(self._said.popleft())
            at_most -= len(taken[-1])
        if self._said:
            self._channel.wake()
        return taken

    @property
    def has_more(self) -> bool:
        return bool(self._said)


class Untouched:
    """Stands in for the wire codec; it returns the data as it came."""

    def decode(self, data: bytes) -> Frame:
        return cast("Frame", data)


@contextlib.asynccontextmanager
async def echo_endpoint() -> AsyncIterator[str]:
    """Run the endpoint and yield its URL."""
    system = ActorSystem(name="echo")
    tasks: set[asyncio.Task[None]] = set()
    policy = FramePolicy(text=_take_text, frames=_frames)
    environment = ConnectionEnvironment(
        system.clock, system.deadlines, Outgoing(), 60.0, 60.0, policy
    )

    async def serve(request: web.Request) -> web.StreamResponse:
        socket = UnfedWebSocket(_MAX_BYTES)
        await socket.prepare(request)
        line = socket.leave(request)
        assert line is not None
        connection = ServerConnection(line, environment)
        echo = Echo(connection)
        ref = await system.start(lambda: echo, lifecycle=TEMPORARY)
        serving = connection.serve(cast("Wire", Untouched()), ref, cast("Outbox", echo), Nothing())
        task = asyncio.create_task(serving)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return socket

    app = web.Application()
    app.router.add_get("/ws", serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    assert runner.server is not None
    listener = await listen(runner.server, Place(), 10.0)
    try:
        yield listener.url
    finally:
        listener.close()
        await runner.cleanup()
        await system.stop()
