"""A fake service whose replies contain the asks that a test gives it, in a thread of its own."""

import asyncio
import contextlib
import queue
from collections.abc import Iterator
from pathlib import Path

from aiohttp import WSMsgType, web
from google.protobuf.message import Message

from callboard.v1.chat_pb2 import (
    AnswerRequest,
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatToken,
    ConversationEvent,
    ConversationSnapshot,
    SessionInfo,
    ToolCallEvent,
    TurnInfo,
    TurnState,
)
from callboard.v1.envelope_pb2 import ClientMessage
from callboard.v1.session_pb2 import Welcome
from tests.e2e.service_process import environment
from tests.e2e.terminal import Terminal, spawned
from tests.support.model_service import served
from tests.support.peers.background import Background
from tests.support.peers.socket_server import SocketServer


class AskingService(SocketServer):
    """Puts one ask in each reply, and puts the answers that it receives into `answers`."""

    def __init__(self, ask: AskEvent, call: ToolCallEvent | None) -> None:
        self.answers: queue.Queue[AnswerRequest] = queue.Queue()
        self._ask = ask
        self._call = call
        self._sequence = 0
        self._following = 0
        self._position = 1

    async def start(self) -> str:
        self.go = asyncio.Event()
        self.go.set()
        return await super().start()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        self._socket = web.WebSocketResponse()
        await self._socket.prepare(request)
        while (frame := await self._socket.receive()).type is WSMsgType.BINARY:
            await self._take(ClientMessage.FromString(frame.data))
        return self._socket

    async def _take(self, message: ClientMessage) -> None:
        request_id = message.request_id
        match message.WhichOneof("payload"):
            case "hello":
                await self._socket.send_bytes(served(Welcome(backend="asking")).SerializeToString())
            case "create_session":
                await self._say(request_id, SessionInfo(id="one"), end=True)
            case "follow_session":
                self._following = request_id
                snapshot = ConversationSnapshot(info=SessionInfo(id="one"))
                await self._say(request_id, ConversationEvent(position=1, snapshot=snapshot))
            case "send_message":
                info = TurnInfo(id="turn", state=TurnState.TURN_STATE_RUNNING)
                await self._say(request_id, info, end=True)
                await self._happen(turn=info)
                await self._happen(token=ChatToken(text="so\n"))
                await self.go.wait()
                if self._call is not None:
                    await self._happen(tool_call=self._call)
                await self._happen(ask=self._ask)
            case "answer_ask":
                answer = message.answer_ask.answer
                self.answers.put(answer)
                closed = AskClosed(ask_id=self._ask.ask_id, answers=answer.answers)
                await self._say(request_id, closed, end=True)
                await self._happen(ask_closed=closed)
                await self._happen(completed=ChatCompleted())
            case _:
                pass

    async def _happen(self, **event: Message) -> None:
        """Send the follower an event of the turn."""
        self._position += 1
        happened = ConversationEvent(position=self._position, turn_id="turn")
        for arm, value in event.items():
            getattr(happened, arm).CopyFrom(value)
            getattr(happened, arm).SetInParent()
        await self._say(self._following, happened)

    async def _say(self, request_id: int, payload: Message, *, end: bool = False) -> None:
        self._sequence += 1
        message = served(payload, request_id=request_id, sequence=self._sequence, end=end)
        await self._socket.send_bytes(message.SerializeToString())


class Asked:
    """A terminal that shows an ask, and the service that asks."""

    def __init__(self, service: AskingService, terminal: Terminal, background: Background) -> None:
        self.service = service
        self.terminal = terminal
        self._background = background

    @property
    def answer(self) -> list[str]:
        """Wait up to 20 s for the next answer that the service receives, and return it."""
        return list(self.service.answers.get(timeout=20).answers)

    @property
    def unanswered(self) -> bool:
        """True if the service has received no answer that was not read yet."""
        return self.service.answers.empty()

    def hold(self) -> None:
        """Make the service hold back its ask until `let_go`."""
        self._background.run(self._set(False))

    def let_go(self) -> None:
        """Let the service send its ask."""
        self._background.run(self._set(True))

    async def _set(self, go: bool) -> None:
        if go:
            self.service.go.set()
        else:
            self.service.go.clear()


@contextlib.contextmanager
def asking(
    folder: Path, ask: AskEvent, call: ToolCallEvent | None = None, *, rows: int = 24
) -> Iterator[Asked]:
    """Run `callboard chat` on a terminal of 80 columns, against a service that sends this ask."""
    with Background() as background:
        service = AskingService(ask, call)
        url = background.run(service.start())
        settings = {"CALLBOARD_TOKEN": "x" * 43, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
        env = environment(folder, **settings)
        child = spawned("chat", "--url", url, cwd=folder, env=env, size=(rows, 80))
        try:
            yield Asked(service, Terminal(child), background)
        finally:
            child.close(force=True)
            background.run(service.stop())
