"""A service that answers the requests of a chat as a test says, and a person who types."""

import io
from collections.abc import Callable

from google.protobuf.message import Message
from prompt_toolkit.input import PipeInput

from callboard.v1.chat_pb2 import (
    ChatCompleted,
    ChatError,
    Command,
    CommandList,
    ConversationEvent,
    ConversationSnapshot,
    Delivery,
    History,
    HistoryEntry,
    OptionChoice,
    OptionList,
    SessionInfo,
    SessionOption,
    TurnInfo,
    TurnState,
    UploadChunk,
)
from callboard.v1.envelope_pb2 import ClientMessage
from callboard_service.terminal.prompts import Prompts
from tests.support.model_service import served
from tests.support.scripted_websocket import ScriptedDialer
from tests.unit.callboard_service.terminal.stage import event, started

FEATURES = ("follow", "fork", "steer", "options", "commands", "uploads")
RUNNING, QUEUED, CANCELLED = (
    TurnState.TURN_STATE_RUNNING, TurnState.TURN_STATE_QUEUED, TurnState.TURN_STATE_CANCELLED,
)  # fmt: skip


class Service:
    """Answers requests; a message is the next turn, queued while another one runs."""

    def __init__(self, features: tuple[str, ...] = FEATURES) -> None:
        self.dialer = ScriptedDialer(self.respond, features=features)
        self.requests: list[ClientMessage] = []
        self.entries: list[HistoryEntry] = []
        self.refusals: dict[str, str] = {}
        self.info = SessionInfo(id="c", title="A title")
        self.running = ""
        self.queue: list[str] = []
        self._turns = 0
        self._following = 0
        self._position = 0

    def respond(self, message: ClientMessage) -> Message | None:
        arm = message.WhichOneof("payload") or ""
        if arm in ("credit", "ack", "cancel"):
            return None
        self.requests.append(message)
        if arm in self.refusals:
            return ChatError(code=self.refusals[arm], message="no")
        match arm:
            case "create_session" | "update_session":
                return self.info
            case "fork_session":
                return SessionInfo(id="copy", title="A title")
            case "follow_session":
                self._following = message.request_id
                snapshot = ConversationSnapshot(info=self.info)
                self._happened(ConversationEvent(snapshot=snapshot))
                return None
            case "send_message":
                return self._admit(message)
            case "stop_turn":
                self.queue.remove(message.stop_turn.turn_id)
                self.put(TurnInfo(id=message.stop_turn.turn_id, state=CANCELLED))
                return TurnInfo(id=message.stop_turn.turn_id, state=CANCELLED)
            case "update_turn":
                return TurnInfo(id=message.update_turn.turn_id, state=QUEUED, place=1)
            case "get_history":
                return History(entries=self.entries)
            case "get_attachment":
                return UploadChunk(data=b"abc")
            case "list_options" | "set_option":
                return OptionList(options=[self._option(message.set_option.value or "a")])
            case "list_commands":
                return CommandList(commands=[Command(name="compact", description="Shorten it")])
            case _:
                return ChatError(code="UNIMPLEMENTED", message=arm)

    def _option(self, current: str) -> SessionOption:
        choices = [OptionChoice(value=value, name=value.upper()) for value in ("a", "big")]
        category = SessionOption.CATEGORY_MODEL
        return SessionOption(id="model", current=current, choices=choices, category=category)

    def _admit(self, message: ClientMessage) -> Message:
        if message.send_message.delivery == Delivery.DELIVERY_STEER:
            return TurnInfo(id=self.running, state=RUNNING)
        self._turns += 1
        info = TurnInfo(id=f"t{self._turns}", text=message.send_message.text, state=RUNNING)
        if self.running:
            self.queue.append(info.id)
            info.state, info.place = QUEUED, len(self.queue)
        else:
            self.running = info.id
        self.put(info, turn_id=info.id)
        return info

    def put(self, *payloads: Message, turn_id: str = "") -> None:
        """Send events of the running turn, or of another one."""
        for payload in payloads:
            named = payload.id if isinstance(payload, TurnInfo) else self.running
            self._happened(event(payload, turn_id or named))

    def end(self) -> None:
        """End the running turn, and begin the next one."""
        self.put(ChatCompleted())
        self.running = ""
        if self.queue:
            self.running = self.queue.pop(0)
            self.put(TurnInfo(id=self.running, state=RUNNING))

    def _happened(self, happened: ConversationEvent) -> None:
        self._position += 1
        happened.position = self._position
        self.dialer.last.say(self._following, served(happened))

    def said(self, kind: str) -> list[ClientMessage]:
        """Return the requests of this kind so far."""
        return [message for message in self.requests if message.WhichOneof("payload") == kind]


class Talk:
    """A chat that runs, its keyboard and its screen."""

    def __init__(
        self, service: Service, keyboard: PipeInput, prompts: Prompts, out: io.StringIO
    ) -> None:
        self.service = service
        self.keyboard = keyboard
        self._prompts = prompts
        self.out = out
        self._read = 0

    async def type(self, text: str, shown: str | None = None) -> str:
        """Type a line; return what is shown next, up to and including `shown`."""
        self.keyboard.send_text(text + "\r")
        return "" if shown is None else await self.shown(shown)

    async def half(self, text: str) -> None:
        """Type a part of a line, and wait until it is in the line."""
        self.keyboard.send_text(text)
        await until(lambda: self._prompts._messages.default_buffer.text == text)

    async def shown(self, text: str) -> str:
        """Wait until this text is shown; return all that was shown since the last call."""
        await until(lambda: text in self.out.getvalue()[self._read :])
        end = self.out.getvalue().index(text, self._read) + len(text)
        new, self._read = self.out.getvalue()[self._read : end], end
        return new


async def until(holds: Callable[[], bool]) -> None:
    """Let everything run until this holds; the time limit of the test ends it otherwise."""
    while not holds():
        await started()
