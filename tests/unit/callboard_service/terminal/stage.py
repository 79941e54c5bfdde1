"""A followed conversation that a test controls: what the service sends, and what is typed."""

import asyncio
import io
from dataclasses import dataclass, field

from google.protobuf.message import Message
from prompt_toolkit.input import PipeInput

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatError,
    ChatToken,
    ConversationEvent,
    ConversationSnapshot,
    OpenTurn,
    SessionInfo,
    TurnInfo,
    TurnState,
)
from callboard.v1.envelope_pb2 import ClientMessage
from callboard_service.terminal.ask_answers import Answered
from callboard_service.terminal.asks import Asker
from callboard_service.terminal.feed import Feed
from callboard_service.terminal.interrupts import Interrupts
from callboard_service.terminal.live import Line, LiveTurns
from callboard_service.terminal.outages import Outages
from callboard_service.terminal.prompts import Prompts
from callboard_service.terminal.view import Screen
from tests.support.model_service import served
from tests.support.scripted_websocket import ScriptedWebSocket
from transport.client import Client

ASK = AskEvent(ask_id="a", title="Well?")
CLOSED = AskClosed(ask_id="a", answers=["yes"])
RUNNING = TurnInfo(id="t", text="go", state=TurnState.TURN_STATE_RUNNING)
QUEUED = TurnInfo(id="q", text="later", state=TurnState.TURN_STATE_QUEUED, place=1)
COMPLETED = ChatCompleted()
CANCELLED = ChatError(code="CANCELLED")

ARMS = {
    field.message_type.full_name: field.name
    for field in ConversationEvent.DESCRIPTOR.fields
    if field.message_type is not None
}


def token(text: str) -> ChatToken:
    """Return a part of a reply."""
    return ChatToken(text=text)


def event(payload: Message, turn_id: str = "t", position: int = 0) -> ConversationEvent:
    """Return an event of a turn."""
    made = ConversationEvent(position=position, turn_id=turn_id)
    arm = ARMS[payload.DESCRIPTOR.full_name]
    getattr(made, arm).CopyFrom(payload)
    getattr(made, arm).SetInParent()
    return made


def snapshot(*events: Message, info: TurnInfo | None = RUNNING) -> ConversationSnapshot:
    """Return a snapshot with one open turn that has these events; none without `info`."""
    made = ConversationSnapshot(info=SessionInfo(id="c"))
    if info is not None:
        inner = [event(payload, "") for payload in events]
        made.turns.append(OpenTurn(info=info, events=inner))
    return made


async def never() -> None:
    """Wait for ever."""
    await asyncio.Event().wait()


async def started() -> None:
    """Let existing tasks run until they wait, and pending signals be handled."""
    await asyncio.to_thread(lambda: None)


@dataclass
class Stage:
    """A conversation that is followed, controlled by a test."""

    websocket: ScriptedWebSocket
    client: Client
    out: io.StringIO
    screen: Screen
    interrupts: Interrupts
    prompts: Prompts
    keyboard: PipeInput
    asked: list[str] = field(default_factory=list)
    position: int = 0

    def turns(self, asker: Asker | None = None, line: Line | None = None) -> LiveTurns:
        """Follow the conversation; asks are put at the prompt."""

        async def ask(ask: AskEvent, feed: Feed) -> Answered | None:
            self.asked.append(ask.ask_id)
            self.screen.ask(ask)
            typed = await self.prompts.answer("?", feed.settled(ask.ask_id))
            return None if typed is None else Answered([typed])

        feed = Feed(self.client, "c")
        outages = Outages(self.screen)
        leave = self.interrupts.leave
        return LiveTurns("c", feed, self.screen, asker or ask, outages, leave, line)

    async def show(self, turns: LiveTurns) -> bool:
        """Show the turns, with Ctrl-C and Ctrl-D as in a chat."""
        watched = self.prompts.keyboard.watched(turns.interrupt, turns.feed.leave, turns.feed.type)
        try:
            with watched, self.interrupts.handled_by(turns.interrupt):
                await turns.joined()
                return await turns.show()
        finally:
            await turns.close()

    def showing(self, asker: Asker | None = None) -> "asyncio.Task[bool]":
        """Show the turns in a task."""
        return asyncio.create_task(self.show(self.turns(asker)))

    def put(self, *payloads: Message | None, turn_id: str = "t") -> None:
        """Send these events as the service; for None, close the connection with 4504."""
        for payload in payloads:
            if payload is None:
                self.websocket.cut(4504)
                continue
            self.position += 1
            if isinstance(payload, ConversationSnapshot):
                happened = ConversationEvent(position=self.position, snapshot=payload)
            else:
                happened = event(payload, turn_id, self.position)
            self.websocket.say(1, served(happened))

    def answer(self, request: ClientMessage, answer: Message) -> None:
        """Answer a request of the client."""
        self.websocket.say(request.request_id, served(answer, end=True))

    async def shown(self, text: str) -> None:
        """Wait until the output ends with this text."""
        while not self.out.getvalue().endswith(text):
            await started()

    async def sent(self, kind: str) -> ClientMessage:
        """Return the client's next message, which must be of this kind."""
        message = await self.websocket.sent.get()
        assert message.WhichOneof("payload") == kind
        return message


async def joined(
    stage: Stage, *events: Message, asker: Asker | None = None
) -> "asyncio.Task[bool]":
    """Show a running turn that has had these events."""
    showing = stage.showing(asker)
    await stage.sent("follow_session")
    stage.put(snapshot(*events))
    return showing
