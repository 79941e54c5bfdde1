"""The state of a followed conversation: a snapshot and the events after it, merged. No I/O.

It has the turns that are open and those that have ended since following began; older turns are in
the history (GetHistory).
"""

from dataclasses import dataclass, field
from typing import Final

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatError,
    CommandList,
    ConversationEvent,
    ConversationSnapshot,
    OptionList,
    PlanEvent,
    SessionInfo,
    ToolCallEvent,
    ToolResultEvent,
    TurnInfo,
    TurnState,
    UsageEvent,
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

MAX_ENDED: Final = 64
"""Ended turns that the state keeps; older ones are in the history."""


@dataclass
class ToolCall:
    """A tool call: its latest event, its output so far, and its result once there is one."""

    call: ToolCallEvent
    output: str = ""
    result: ToolResultEvent | None = None


@dataclass
class FollowedTurn:
    """A turn. text: the user's message.

    asks: those that are open. completed, error: how it ended; at most one of them is not None.
    notice: the newest one, empty if there is none.
    """

    info: TurnInfo
    text: str = ""
    tools: dict[str, ToolCall] = field(default_factory=dict)
    asks: dict[str, AskEvent] = field(default_factory=dict)
    closed: dict[str, AskClosed] = field(default_factory=dict)
    plan: PlanEvent | None = None
    notice: str = ""
    completed: ChatCompleted | None = None
    error: ChatError | None = None
    _reply: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)

    @property
    def reply(self) -> str:
        """The text so far, with discards applied."""
        return "".join(self._reply)

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return "".join(self._reasoning)

    def apply(self, event: ConversationEvent) -> None:
        """Apply an event of this turn; other events are ignored."""
        match event.WhichOneof("event"):
            case "token":
                self._reply.append(event.token.text)
            case "reasoning":
                self._reasoning.append(event.reasoning.text)
            case "tool_call" | "tool_progress" | "tool_result":
                self._apply_to_tool(event)
            case "plan":
                self.plan = event.plan
            case "ask":
                self.asks[event.ask.ask_id] = event.ask
            case "ask_closed":
                self.asks.pop(event.ask_closed.ask_id, None)
                self.closed[event.ask_closed.ask_id] = event.ask_closed
            case "notice":
                self.notice = event.notice.message
                if event.notice.HasField("keep_text_bytes"):
                    kept = self.reply.encode()[: event.notice.keep_text_bytes]
                    self._reply = [kept.decode(errors="ignore")]
            case "completed":
                self.completed = event.completed
            case "error":
                self.error = event.error
            case _:
                pass

    def _apply_to_tool(self, event: ConversationEvent) -> None:
        if event.HasField("tool_call"):
            call = event.tool_call
            self.tools.setdefault(call.call_id, ToolCall(call)).call = call
        elif event.HasField("tool_progress"):
            if (tool := self.tools.get(event.tool_progress.call_id)) is not None:
                tool.output += event.tool_progress.output
        elif (tool := self.tools.get(event.tool_result.call_id)) is not None:
            tool.result = event.tool_result
            tool.output = event.tool_result.output

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.info.state in ENDED


class ConversationState:
    """A conversation as its events show it.

    position: up to which the state has everything; 0 before the first snapshot. last_entry: the
    newest history entry of an ended turn when the last snapshot was made. deleted: set once the
    conversation is gone.
    """

    def __init__(self) -> None:
        self.position: int = 0
        self.info: SessionInfo = SessionInfo()
        self.turns: dict[str, FollowedTurn] = {}
        """By id: the open turns in their order, after those that have ended meanwhile."""
        self.last_entry: str = ""
        self.options: OptionList = OptionList()
        self.usage: UsageEvent = UsageEvent()
        self.commands: CommandList = CommandList()
        self._unfinished = False

    @property
    def open_turns(self) -> list[FollowedTurn]:
        """The turns that have not ended, the running one first."""
        return [turn for turn in self.turns.values() if not turn.ended]

    def apply(self, event: ConversationEvent) -> None:
        """Apply one event. Events must come in order; one that was applied before is ignored."""
        kind = event.WhichOneof("event")
        if kind == "snapshot":
            self._begin_again(event.snapshot)
            if not event.snapshot.more:  # a part alone is no state to continue from
                self.position = event.position
        elif event.position > self.position:
            self._apply(event, event.turn_id, kind)
            self.position = event.position

    def _begin_again(self, snapshot: ConversationSnapshot) -> None:
        # Only the first part has the conversation's info. It may come while another snapshot is
        # unfinished: the rest of that one was lost with its session.
        if snapshot.HasField("info") or not self._unfinished:
            # A turn that was open and is not in the snapshot has ended; the history has it.
            self.turns = {}
            self.info.CopyFrom(snapshot.info)
            self.last_entry = snapshot.last_entry
            self.options.CopyFrom(snapshot.options)
            self.usage.CopyFrom(snapshot.usage)
            self.commands.CopyFrom(snapshot.commands)
        self._unfinished = snapshot.more
        for opened in snapshot.turns:
            self._set_info(opened.info)
            for event in opened.events:
                self._apply(event, opened.info.id, event.WhichOneof("event"))

    def _apply(self, event: ConversationEvent, turn_id: str, kind: str | None) -> None:
        match kind:
            case "info":
                self.info.CopyFrom(event.info)
            case "options":
                self.options.CopyFrom(event.options)
            case "commands":
                self.commands.CopyFrom(event.commands)
            case "usage":
                self.usage.CopyFrom(event.usage)
            case "turn":
                self._set_info(event.turn)
            case _:
                if (turn := self.turns.get(turn_id)) is not None:
                    turn.apply(event)

    def _set_info(self, info: TurnInfo) -> None:
        turn = self.turns.get(info.id)
        if turn is None:
            turn = self.turns[info.id] = FollowedTurn(TurnInfo())
        turn.info.CopyFrom(info)
        turn.text = info.text or turn.text
        if turn.ended:
            self._forget_old()
        elif info.place:
            self._sort()

    def _forget_old(self) -> None:
        ended = [name for name, turn in self.turns.items() if turn.ended]
        for name in ended[:-MAX_ENDED]:
            del self.turns[name]

    def _sort(self) -> None:
        """Put the queue in order, behind the turns that have started."""
        ordered = sorted(self.turns.items(), key=lambda item: item[1].info.place)
        self.turns = dict(ordered)
