"""A fake service that is full when a test says so, in a thread of its own."""

import asyncio
import contextlib
from collections.abc import Iterator

from aiohttp import WSMsgType, web

from callboard.v1.chat_pb2 import SessionList
from callboard.v1.envelope_pb2 import ClientMessage
from callboard.v1.session_pb2 import Welcome
from callboard.v1.system_pb2 import BackendHealth, ServiceStatus
from tests.support.model_service import served
from tests.support.peers.background import Background
from tests.support.peers.socket_server import SocketServer


class BusyService(SocketServer):
    """Answers list and status requests, or HTTP 503 while it is `full`."""

    def __init__(self, background: Background) -> None:
        self.full = False
        self._background = background
        self._sockets: set[web.WebSocketResponse] = set()
        self._refused = asyncio.Event()

    async def start(self) -> str:
        self.url = await super().start()
        return self.url

    def throw_out(self) -> None:
        """Be full from now on, and close all open connections."""
        self.full = True
        self._background.run(self._close_all())

    def wait_until_it_has_refused(self) -> None:
        self._background.run(self._refused.wait())

    async def _close_all(self) -> None:
        for socket in list(self._sockets):
            await socket.close(code=4001)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if self.full:
            self._refused.set()
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._sockets.add(socket)
        sequence = 0
        while (frame := await socket.receive()).type is WSMsgType.BINARY:
            message = ClientMessage.FromString(frame.data)
            if message.HasField("hello"):
                await socket.send_bytes(served(Welcome(backend="busy")).SerializeToString())
                continue
            sequence += 1
            answer = SessionList() if message.HasField("list_sessions") else STATUS
            said = served(answer, request_id=message.request_id, sequence=sequence, end=True)
            await socket.send_bytes(said.SerializeToString())
        self._sockets.discard(socket)
        return socket


STATUS = ServiceStatus(version="busy", backend_health=BackendHealth(ready=True))


@contextlib.contextmanager
def busy_service() -> Iterator[BusyService]:
    with Background() as background:
        service = BusyService(background)
        background.run(service.start())
        try:
            yield service
        finally:
            background.run(service.stop())
