"""Convert OpenCode's events of one reply into the contract's reply events. No I/O.

Events of other replies may come in between; events may be late, repeated or missing. Missed events
are recovered from a State, which is fetched when an event leaves doubt (`unsure`).
"""

from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Final

from actors import Code, Failure
from callboard.v1.chat_pb2 import AskEvent, ChatCompleted, ChatNotice, PlanEvent
from callboard_service.backends.base import ReplyEvent
from callboard_service.backends.bounds import check_room
from callboard_service.backends.fields import (
    Table,
    name,
    number,
    raw_text,
    table,
    tables,
    text,
)
from callboard_service.backends.foreign import Joined
from callboard_service.backends.opencode.asks import Asks
from callboard_service.backends.opencode.failures import failure_of
from callboard_service.backends.opencode.handed import Handed
from callboard_service.backends.opencode.messages import Baseline, ModelMessages, State
from callboard_service.backends.opencode.tools import ToolCalls, agent_of
from callboard_service.backends.opencode.transcript import AGAIN, Transcript
from callboard_service.backends.opencode.usage import ContextSizes, Usage
from callboard_service.backends.redaction import readable

DELETED: Final = "the conversation was deleted"


class Run:
    """One reply, from the prompt to its end. `end` is set when it is over, and stays set.

    children: the agents of earlier replies. handed: the messages that are handed to the reply.
    cost: of the conversation before the reply.
    """

    def __init__(
        self,
        conversation_id: str,
        before: Baseline,
        children: Iterable[str] = (),
        context_sizes: ContextSizes = MappingProxyType({}),
        handed: Handed | None = None,
        cost: float = 0.0,
    ) -> None:
        self.end: ChatCompleted | Failure | None = None
        self.unsure = False
        self.asks = Asks()
        self._conversation_id = conversation_id
        self._before = before
        self._user = ""
        self._began = 0
        self._handed = handed or Handed()
        self._messages = ModelMessages()
        self._steps: set[str] = set()
        self._transcript = Transcript()
        self._tools = ToolCalls()
        self._usage = Usage(context_sizes, cost)
        self._error: Failure | None = None
        self._halves: dict[str, Joined] = {}
        self.hint: Failure | None = None
        """An error that may be about this reply; raised if the reply never ends."""
        self._attempt: tuple[int, int] | None = None
        self._children = set(children)
        self._agents: set[str] = set()
        self.missed = False
        """Events of the agents of this reply may have been missed."""

    @property
    def agents(self) -> Sequence[str]:
        """The conversations of the agents that the reply has started."""
        return sorted(self._agents)

    @property
    def begun(self) -> bool:
        """Whether the server has accepted the prompt."""
        return bool(self._user)

    @property
    def underway(self) -> bool:
        """Whether the model has been seen at work."""
        return bool(self._messages)

    def lose(self) -> None:
        """Note that events may have been missed since the last one."""
        self._transcript.lose()
        self.unsure = self.missed = True

    # -- from the stream ---------------------------------------------------------------------

    def feed(self, event: Table) -> list[ReplyEvent]:
        """Return the reply events for an event of the form `{type, properties}`."""
        if self.end is not None:
            return []
        kind, data = text(event, "type"), table(event, "properties")
        if text(data, "sessionID") != self._conversation_id:
            if kind == "session.error" and not text(data, "sessionID"):
                self.hint = failure_of(table(data, "error"))  # it names no conversation
            return self._of_child(kind, data)
        match kind:
            case "message.updated":
                return self._message(table(data, "info"))
            case "message.part.updated":
                return self._part(table(data, "part"))
            case "message.part.delta":
                return self._delta(data)
            case "session.status":
                return self._status(table(data, "status"))
            case "session.idle":
                self._idle()
                return []
            case "session.error":
                self._fail(failure_of(table(data, "error")))
                return []
            case "session.updated":
                return [*self._usage.report(table(data, "info"))] if self.underway else []
            case "session.deleted":
                self.end = Failure(Code.CANCELLED, DELETED)
                return []
            case _:
                return self._ask(kind, data)

    def _fail(self, failure: Failure) -> None:
        if not self.begun:
            self.hint = failure
        elif self._error is None:
            self._error = failure

    def _of_child(self, kind: str, data: Table) -> list[ReplyEvent]:
        """Handle an event of an agent that the reply started; it has its own conversation.

        Its tool calls and its asks are the reply's; its texts are in the result of its call.
        """
        child = name(data, "sessionID")
        if kind == "session.created":
            self._adopt(child)
        elif child in self._children:
            if kind == "message.part.updated":
                return self._of_agent(table(data, "part")) if self.begun else []
            return self._ask(kind, data)
        return []

    def _adopt(self, child: str) -> None:
        if child not in self._children:
            check_room(self._children, "agents")
            self._children.add(child)

    def _of_agent(self, part: Table) -> list[ReplyEvent]:
        """Return the events of an agent's tool call; its plan is not the reply's."""
        if text(part, "type") != "tool":
            return []
        return [event for event in self._tool(part) if not isinstance(event, PlanEvent)]

    def _tool(self, part: Table) -> list[ReplyEvent]:
        if child := agent_of(part):
            self._adopt(child)
            self._agents.add(child)
        return [*self._tools.snapshot(part)]

    def _ask(self, kind: str, data: Table) -> list[ReplyEvent]:
        match kind:
            case "permission.asked" if self.begun:
                return self._opened(self.asks.permission(data), data)
            case "question.asked" if self.begun:
                return self._opened(self.asks.question(data), data)
            case "permission.replied" | "question.replied" | "question.rejected":
                return [*self.asks.replied(data)]
            case _:
                return []

    def _opened(self, asks: Sequence[AskEvent], data: Table) -> list[ReplyEvent]:
        """Return the events of asks with the id that their call has in this reply."""
        tool = table(data, "tool")
        message_id, call_id = name(tool, "messageID"), name(tool, "callID")
        for ask in asks:
            ask.call_id = self._tools.call_id(message_id, call_id) if call_id else ""
        return [*asks]

    def _message(self, info: Table, *, is_new: bool = False) -> list[ReplyEvent]:
        message_id, role = name(info, "id"), text(info, "role")
        if not message_id or (not is_new and self._before.knows(info)):
            return []
        if role == "user" and not self._user:
            self._user, self._began = message_id, number(table(info, "time"), "created")
            self._handed.begin(info)
        if role != "assistant":
            return []
        # After missed events, the model's message may be the only sign of an accepted prompt.
        parent = name(info, "parentID")
        self._user = self._user or parent or message_id
        self._handed.begin({})
        if self._messages.note(message_id, info):
            self._error = None  # the reply goes on after the earlier error
        self._usage.note(info)
        if self._error is None and info.get("error") is not None:
            self._error = failure_of(table(info, "error"))
        events: list[ReplyEvent] = [*self._handed.used_by(parent)]
        if "completed" in table(info, "time"):
            events += self._usage.report({})
        return events

    def _delta(self, data: Table) -> list[ReplyEvent]:
        message_id, part_id = text(data, "messageID"), name(data, "partID")
        if text(data, "field") != "text" or not part_id or not self._messages.shows(message_id):
            return []
        if part_id not in self._halves:
            check_room(self._halves, "parts")
            self._halves[part_id] = Joined()
        piece = self._halves[part_id].add(raw_text(data, "delta"))
        return [*self._transcript.delta(message_id, part_id, piece)]

    def _part(self, part: Table) -> list[ReplyEvent]:
        message_id, part_id = text(part, "messageID"), name(part, "id")
        if not part_id or not self._messages.shows(message_id):
            return []
        match kind := text(part, "type"):
            case "text" | "reasoning":
                whole = _final(part)
                said = self._transcript.snapshot(message_id, part_id, kind, whole, live=True)
                return [*said]
            case "tool":
                return self._tool(part)
            case "step-start" if part_id not in self._steps:
                self._step(part_id)
                return [*self._transcript.give_up(message_id, message=AGAIN)]
            case _:
                return []

    def _step(self, part_id: str) -> None:
        if part_id not in self._steps:
            check_room(self._steps, "steps")
            self._steps.add(part_id)

    def _status(self, status: Table) -> list[ReplyEvent]:
        match text(status, "type"):
            case "retry" if self.begun:
                attempt = (number(status, "attempt"), number(status, "next"))
                if attempt == self._attempt:
                    return []
                self._attempt = attempt
                reason = readable(text(status, "message"), "it failed")
                message = f"The model's server: {reason}. Attempt {attempt[0] + 1} follows."
                void = self._transcript.give_up(None, message=message)
                return [*void] if void else [ChatNotice(message=message)]
            case "idle":
                self._idle()
                return []
            case _:
                return []

    def _idle(self) -> None:
        """Finish the reply if it is complete; the server may report idle late, and twice."""
        if not self.begun:
            return
        if self._error is not None or (
            self._messages.completed and not self._transcript.incomplete and not self.asks.waiting
        ):
            self._finish()
        else:
            self.unsure = True

    def _finish(self) -> None:
        self.unsure = False
        self.end = self._error or self._messages.end()

    # -- from what the server keeps ----------------------------------------------------------

    def is_overtaken(self, state: State) -> bool:
        """Return whether the prompt is not the newest message, and no model has started on it.

        OpenCode 1.18.33 lists messages by time. If older ones are dated ahead of its clock, it
        takes the last of these as the answer and stops.
        """
        newest = text(table(state.messages[-1], "info"), "id") if state.messages else ""
        asked = newest in ("", self._user) or newest in self._handed
        return self.begun and not self.underway and not asked

    def resync(self, state: State) -> list[ReplyEvent]:
        """Return the missed events. `unsure` stays set if nothing runs and nothing has ended."""
        if self.end is not None:
            return []
        events: list[ReplyEvent] = []
        for message in self._before.after(state.messages):
            info = table(message, "info")
            events += self._message(info, is_new=True)
            if self._messages.shows(text(info, "id")):
                events += self._parts(tables(message, "parts"))
        for message in state.of_agents:
            for part in tables(message, "parts"):
                events += self._of_agent(part) if self._is_ours(part) else []
        self.missed = False
        busy = text(state.status, "type") in ("busy", "retry")
        if busy:
            events += self._status(state.status)
        events += self._asked(state, open_too=busy)
        # The server goes idle before the last message is marked as complete.
        self.unsure = not busy
        if not busy and (self._messages.completed or self._error is not None):
            self._finish()
        return events

    def _is_ours(self, part: Table) -> bool:
        """Return whether an agent's call is of this reply; earlier replies may have used it too."""
        return number(table(table(part, "state"), "time"), "start") >= self._began

    def _parts(self, parts: Sequence[Table]) -> list[ReplyEvent]:
        events: list[ReplyEvent] = []
        earlier: set[str] = set()
        for part in parts:
            message_id, part_id = text(part, "messageID"), name(part, "id")
            kind = text(part, "type")
            if kind in ("text", "reasoning"):
                whole = _final(part)
                said = self._transcript.snapshot(message_id, part_id, kind, whole, live=False)
                events += said
                earlier.add(part_id)
            elif kind == "tool":
                events += self._tool(part)
            elif kind == "step-start":
                self._step(part_id)
                events += self._transcript.give_up_before(earlier)
        return events

    def _asked(self, state: State, *, open_too: bool) -> list[ReplyEvent]:
        """Open asks that were missed and close those that were settled.

        Without `open_too`, open none and close all: the server keeps the requests of a stopped
        reply for ever.
        """
        events: list[ReplyEvent] = []
        asked = {True: state.permissions, False: state.questions}
        for permission, requests in asked.items():
            for request in requests if open_too else ():
                owner, tool = text(request, "sessionID"), table(request, "tool")
                ours = owner == self._conversation_id and text(tool, "messageID") in self._messages
                if ours or owner in self._children:
                    ask = self.asks.permission if permission else self.asks.question
                    events += self._opened(ask(request), request)
        names = {name(request, "id") for requests in asked.values() for request in requests}
        return [*events, *self.asks.only(names if open_too else set())]


def _final(part: Table) -> str | None:
    """Return the whole text of a part that has ended, otherwise None."""
    return text(part, "text") if number(table(part, "time"), "end") else None
