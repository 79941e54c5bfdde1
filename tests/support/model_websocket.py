"""A fake WebSocket for the client, with the model of the service behind it."""

import asyncio
from collections.abc import Iterable

from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from tests.support.model_service import ModelService, ModelSession
from transport.errors import ConnectionClosed


class ModelWebSocket:
    """One connection to the model, which a test can cut."""

    def __init__(self, service: ModelService) -> None:
        self.received: list[ClientMessage] = []
        self.closed: tuple[int, str] | None = None
        self.aborted = False
        self.silent = False
        self.stuck: asyncio.Event | None = None
        self._service = service
        self._session: ModelSession | None = None
        self._arrived: asyncio.Queue[bytes | ConnectionClosed | None] = asyncio.Queue()

    async def receive(self) -> bytes | None:
        item = await self._arrived.get()
        if isinstance(item, ConnectionClosed):
            raise item
        return item

    async def send(self, frames: Iterable[bytes]) -> None:
        if self.stuck is not None:
            await self.stuck.wait()
        if self.aborted:
            return
        for data in frames:
            message = ClientMessage.FromString(data)
            self.received.append(message)
            if self.silent:
                continue
            if message.HasField("hello") and message.hello.token != self._service.token:
                self.cut(4501)
            elif self._session is None:
                self._session, said = self._service.greet(message)
                self.say(*said)
            else:
                self.say(*self._session.receive(message))
        self.work()

    def work(self) -> None:
        """Let every request send all answers that it can."""
        session = self._session
        if session is None or self.silent:
            return
        going = True
        while going:
            going = False
            for request_id in list(session.running):
                said = session.work(request_id)
                if said is not None:
                    going = True
                    self.say(said)

    def say(self, *messages: ServerMessage) -> None:
        for message in messages:
            self._arrived.put_nowait(message.SerializeToString())

    def ping(self) -> None:
        """Deliver a WebSocket ping to the client."""
        self._arrived.put_nowait(None)

    def cut(self, code: int = 1006) -> None:
        self._session = None
        self._arrived.put_nowait(ConnectionClosed(code))

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)
        self.cut(code)

    def abort(self) -> None:
        self.aborted = True
        if self.stuck is not None:
            self.stuck.set()
        self.cut()


class ModelDialer:
    """Connects to the model; with `refuses` or `hangs`, it does not."""

    def __init__(self, service: ModelService | None = None) -> None:
        self.service = service or ModelService()
        self.websockets: list[ModelWebSocket] = []
        self.urls: list[str] = []
        self.refuses = False
        self.hangs = False
        self.closed = False

    @property
    def last(self) -> ModelWebSocket:
        return self.websockets[-1]

    async def dial(self, url: str) -> ModelWebSocket:
        self.urls.append(url)
        if self.refuses:
            raise ConnectionClosed(1006, "refused")
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        self.websockets.append(ModelWebSocket(self.service))
        return self.last

    async def close(self) -> None:
        self.closed = True
