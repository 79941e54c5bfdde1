"""A fake WebSocket for the client, on which a test decides what the service sends."""

import asyncio
from collections.abc import Callable, Iterable

from google.protobuf.message import Message

from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from callboard.v1.session_pb2 import Limits, Welcome
from tests.support.model_service import served
from transport.errors import ConnectionClosed

Respond = Callable[[ClientMessage], Message | None]
"""Returns the only answer to a request; None: the test sends it later."""


def silence(_message: ClientMessage) -> None:
    """Answer nothing."""


class ScriptedWebSocket:
    """One connection; `sent` has the messages of the client, in order."""

    def __init__(self, respond: Respond, limits: Limits, features: Iterable[str] = ()) -> None:
        self.sent: asyncio.Queue[ClientMessage] = asyncio.Queue()
        self._respond = respond
        self._limits = limits
        self._features = features
        self._sequence = 0
        self._arrived: asyncio.Queue[bytes | ConnectionClosed] = asyncio.Queue()

    async def receive(self) -> bytes | None:
        item = await self._arrived.get()
        if isinstance(item, ConnectionClosed):
            raise item
        return item

    async def send(self, frames: Iterable[bytes]) -> None:
        for data in frames:
            message = ClientMessage.FromString(data)
            self.sent.put_nowait(message)
            if message.HasField("hello"):
                welcome = Welcome(
                    session="scripted",
                    backend="fake",
                    limits=self._limits,
                    features=self._features,
                )
                self._arrived.put_nowait(served(welcome).SerializeToString())
            else:
                answer = self._respond(message)
                if answer is not None:
                    self.say(message.request_id, served(answer, end=True))

    def say(self, request_id: int, message: ServerMessage) -> None:
        """Send an answer to a request, with the next sequence number."""
        self._sequence += 1
        said = ServerMessage(request_id=request_id, sequence=self._sequence)
        said.MergeFrom(message)
        self._arrived.put_nowait(said.SerializeToString())

    def cut(self, code: int = 1006) -> None:
        self._arrived.put_nowait(ConnectionClosed(code))

    async def close(self, code: int, reason: str) -> None:
        self.cut(code)

    def abort(self) -> None:
        self.cut()


class ScriptedDialer:
    """Connects to a scripted WebSocket."""

    def __init__(
        self,
        respond: Respond = silence,
        limits: Limits | None = None,
        features: Iterable[str] = (),
    ) -> None:
        self.last: ScriptedWebSocket
        self._respond = respond
        self._limits = limits or Limits()
        self._features = tuple(features)

    async def dial(self, url: str) -> ScriptedWebSocket:
        self.last = ScriptedWebSocket(self._respond, self._limits, self._features)
        return self.last

    async def close(self) -> None:
        pass
