"""A turn as its events show it: what was written, thought, called and asked, in its order."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    Attachment,
    ChatCompleted,
    ChatError,
    ConversationEvent,
    HistoryEntry,
    PlanEvent,
    SteerEvent,
    ToolCallEvent,
    ToolResultEvent,
    TurnInfo,
    TurnState,
)

ENDED: Final = frozenset(
    {
        TurnState.TURN_STATE_COMPLETED,
        TurnState.TURN_STATE_FAILED,
        TurnState.TURN_STATE_CANCELLED,
        TurnState.TURN_STATE_INTERRUPTED,
    }
)
"""The states of a turn that has ended."""

_STATES: Final = {
    "CANCELLED": TurnState.TURN_STATE_CANCELLED,
    "ABORTED": TurnState.TURN_STATE_INTERRUPTED,
}
"""The states of ended turns, by the code of their error; any other has failed."""


@dataclass(eq=False, slots=True)
class TextPart:
    """A stretch of the reply between two other parts."""

    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text so far."""
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]
        return self.pieces[0] if self.pieces else ""


class ReasoningPart(TextPart):
    """A stretch of the model's reasoning."""


@dataclass(eq=False)
class ToolCall:
    """A tool call: its latest event, its output so far, and its result once there is one."""

    call: ToolCallEvent
    output: str = ""
    result: ToolResultEvent | None = None


@dataclass(eq=False, slots=True)
class AskPart:
    """A question; `closed` is set once it is settled."""

    ask: AskEvent
    closed: AskClosed | None = None


@dataclass(eq=False, slots=True)
class SteeredPart:
    """A message that was handed to the turn while it ran."""

    steered: SteerEvent


Part: TypeAlias = TextPart | ReasoningPart | ToolCall | AskPart | SteeredPart


@dataclass(eq=False)
class FollowedTurn:
    """A turn. text, attachments: the user's message.

    parts: what the reply consists of, in the order in which it came. asks: those that are open.
    completed, error: how it ended; at most one of them is not None. notice: the newest one, empty
    if there is none. changes: counts the events that were applied, for a view that keeps what it
    has drawn. entry: the history entry of the user's message; empty if the turn was followed.
    """

    info: TurnInfo
    text: str = ""
    attachments: tuple[Attachment, ...] = ()
    parts: list[Part] = field(default_factory=list)
    tools: dict[str, ToolCall] = field(default_factory=dict)
    asks: dict[str, AskEvent] = field(default_factory=dict)
    closed: dict[str, AskClosed] = field(default_factory=dict)
    plan: PlanEvent | None = None
    notice: str = ""
    completed: ChatCompleted | None = None
    error: ChatError | None = None
    changes: int = 0
    entry: str = ""

    @property
    def reply(self) -> str:
        """The text so far, with discards applied."""
        return "".join(part.text for part in self.parts if type(part) is TextPart)

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return "".join(part.text for part in self.parts if isinstance(part, ReasoningPart))

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.info.state in ENDED

    def set_info(self, info: TurnInfo) -> None:
        """Replace the turn's state; a change of the state alone keeps the message."""
        self.changes += 1
        self.info.CopyFrom(info)
        self.text = info.text or self.text
        self.attachments = tuple(info.attachments) or self.attachments

    def apply(self, event: ConversationEvent) -> None:
        """Apply an event of this turn; other events are ignored."""
        self.changes += 1
        match event.WhichOneof("event"):
            case "token":
                self.add_text(event.token.text)
            case "reasoning":
                self.add_reasoning(event.reasoning.text)
            case "tool_call":
                self.add_call(event.tool_call)
            case "tool_progress":
                if (tool := self.tools.get(event.tool_progress.call_id)) is not None:
                    tool.output += event.tool_progress.output
            case "tool_result":
                self.add_result(event.tool_result)
            case "ask":
                self.add_ask(event.ask)
            case "ask_closed":
                self.close_ask(event.ask_closed)
            case "steered":
                self.parts.append(SteeredPart(event.steered))
            case kind:
                self._apply_to_whole(event, kind)

    def _apply_to_whole(self, event: ConversationEvent, kind: str | None) -> None:
        match kind:
            case "plan":
                self.plan = event.plan
            case "notice":
                self.notice = event.notice.message
                if event.notice.HasField("keep_text_bytes"):
                    self._keep(event.notice.keep_text_bytes)
            case "completed":
                self.completed = event.completed
            case "error":
                self.error = event.error
            case _:
                pass

    def add_text(self, text: str) -> None:
        """Append to the reply."""
        last = self.parts[-1] if self.parts else None
        if type(last) is TextPart:
            last.pieces.append(text)
        elif text:
            self.parts.append(TextPart([text]))

    def add_reasoning(self, text: str) -> None:
        """Append to the reasoning."""
        last = self.parts[-1] if self.parts else None
        if isinstance(last, ReasoningPart):
            last.pieces.append(text)
        elif text:
            self.parts.append(ReasoningPart([text]))

    def add_call(self, call: ToolCallEvent) -> None:
        """Add a tool call, or replace what is known of it."""
        tool = self.tools.get(call.call_id)
        if tool is None:
            tool = self.tools[call.call_id] = ToolCall(call)
            self.parts.append(tool)
        tool.call = call

    def add_result(self, result: ToolResultEvent) -> None:
        """End a tool call; a result of an unknown call is ignored."""
        if (tool := self.tools.get(result.call_id)) is not None:
            tool.result = result
            tool.output = result.output

    def add_ask(self, ask: AskEvent) -> None:
        """Add an open question."""
        if ask.ask_id not in self.asks and ask.ask_id not in self.closed:
            self.parts.append(AskPart(ask))
        self.asks[ask.ask_id] = ask

    def close_ask(self, closed: AskClosed) -> None:
        """Settle a question."""
        self.asks.pop(closed.ask_id, None)
        self.closed[closed.ask_id] = closed
        for part in self.parts:
            if isinstance(part, AskPart) and part.ask.ask_id == closed.ask_id:
                part.closed = closed

    def _keep(self, most_bytes: int) -> None:
        """Cut the reply back to its first `most_bytes` bytes of UTF-8."""
        left = most_bytes
        for part in list(self.parts):
            if type(part) is not TextPart:
                continue
            encoded = part.text.encode()
            if len(encoded) > left:
                part.pieces = [encoded[:left].decode(errors="ignore")]
                if not part.text:
                    self.parts.remove(part)
            left = max(left - len(encoded), 0)


def turns_of(entries: Iterable[HistoryEntry]) -> list[FollowedTurn]:
    """Return the turns in these entries of a history, oldest first.

    A turn whose beginning is not among the entries is returned without it. The state of a turn
    without an end is unspecified.
    """
    turns: list[FollowedTurn] = []
    for entry in entries:
        kind = entry.WhichOneof("entry")
        last = turns[-1] if turns else None
        begins = kind == "user_text" and (last is None or bool(last.parts) or bool(last.text))
        if last is None or last.info.id != entry.turn_id or (begins and not entry.turn_id):
            last = FollowedTurn(TurnInfo(id=entry.turn_id), entry=entry.id)
            turns.append(last)
        _add_entry(last, entry, kind)
    return turns


def _add_entry(turn: FollowedTurn, entry: HistoryEntry, kind: str | None) -> None:
    turn.changes += 1
    match kind:
        case "user_text":
            turn.text += entry.user_text
            turn.attachments += tuple(entry.attachments)
        case "assistant_text":
            turn.add_text(entry.assistant_text)
        case "reasoning_text":
            turn.add_reasoning(entry.reasoning_text)
        case "tool_call":
            turn.add_call(entry.tool_call)
        case "tool_result":
            turn.add_result(entry.tool_result)
        case "ask":
            turn.add_ask(entry.ask)
        case "ask_closed":
            turn.close_ask(entry.ask_closed)
        case "error":
            turn.error = entry.error
            turn.info.state = _STATES.get(entry.error.code, TurnState.TURN_STATE_FAILED)
        case _:
            pass
    if entry.HasField("completed"):
        turn.completed = entry.completed
        turn.info.state = TurnState.TURN_STATE_COMPLETED
