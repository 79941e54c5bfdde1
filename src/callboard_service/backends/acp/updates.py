"""What an agent reports of one turn by `session/update`, as the contract's events. No I/O."""

from collections.abc import Callable, Collection
from typing import Final

from callboard.v1.chat_pb2 import (
    ChatNotice,
    ChatToken,
    PlanEntry,
    PlanEvent,
    ReasoningToken,
    UsageEvent,
)
from callboard_service.backends.acp.calls import Calls
from callboard_service.backends.acp.known import Quirk
from callboard_service.backends.acp.outputs import text_of_block
from callboard_service.backends.acp.repeats import Repeats
from callboard_service.backends.base import ReplyEvent
from callboard_service.backends.bounds import MAX_REPLY_BYTES, too_long
from callboard_service.backends.fields import (
    Table,
    amount,
    number,
    raw_text,
    table,
    tables,
    text,
)
from callboard_service.backends.foreign import Joined
from callboard_service.backends.redaction import readable

MAX_PLAN: Final = 64 * 1024
"""Characters of a plan; each step counts 64 more."""

AGAIN: Final = "The agent begins this text again."
DOUBLED: Final = "The agent may have begun its answer again, so a part of it may be here twice."
COMPACTING: Final = "The agent shortens what it remembers of the conversation."

_STEPS: Final = {
    "pending": PlanEntry.STATUS_PENDING,
    "in_progress": PlanEntry.STATUS_IN_PROGRESS,
    "completed": PlanEntry.STATUS_COMPLETED,
}


class Updates:
    """The updates of one turn, from its prompt to the answer to it. printed: see `Turn`."""

    def __init__(
        self,
        quirks: Collection[Quirk] = (),
        printed: Callable[[str], str] = lambda terminal_id: "",
    ) -> None:
        self.calls = Calls(printed)
        self.usage: Table = {}
        """The newest count of tokens that came with a piece of the text."""
        self._quirks = quirks
        self._text = Joined()
        self._thought = Joined()
        self._message_id = ""
        self._repeats = Repeats()
        self._here = 0
        """Tokens of text since the last tool call; they are what a retry repeats."""

    @property
    def empty(self) -> bool:
        """Whether the turn has come to nothing so far: no text, thought or tool call."""
        return not (self._text.bytes or self._thought.bytes or self.calls)

    def take(self, update: Table) -> list[ReplyEvent]:
        """Return the events of one update. Raises Failure for a turn that is too long.

        Kinds that say nothing of the turn, and unknown ones, have none; so have the user's own
        messages, which some agents repeat.
        """
        match text(update, "sessionUpdate"):
            case "agent_message_chunk":
                return self._message(update)
            case "agent_thought_chunk":
                return self._think(update)
            case "tool_call":
                return self._call(update, begins=True)
            case "tool_call_update":
                return self._call(update, begins=False)
            case "plan":
                return [plan_of(update)]
            case "usage_update":
                return [usage_of(update)]
            case "notice":
                return notices_of(update)
            case "compaction_update" if text(update, "status") == "in_progress":
                return [ChatNotice(message=COMPACTING)]
            case _:
                return []

    def retrying(self) -> list[ReplyEvent]:
        """Return the notice that what was said since the last tool call comes again."""
        if not self._here:
            return []
        void, self._here, self._repeats = self._here, 0, Repeats()
        return [ChatNotice(message=AGAIN, discard_tokens=void)]

    def end(self, *, failed: bool) -> list[ReplyEvent]:
        """Return what is left when the prompt is answered: halves of text, and open calls."""
        events: list[ReplyEvent] = []
        if half := self._thought.end():
            events.append(ReasoningToken(text=half))
        if half := self._text.end():
            events.append(ChatToken(text=half))
        return [*events, *self.calls.close(failed=failed)]

    def _message(self, update: Table) -> list[ReplyEvent]:
        message_id = text(update, "messageId")
        events: list[ReplyEvent] = []
        restarts = Quirk.NEW_ID_RESTARTS in self._quirks
        if restarts and self._message_id not in ("", message_id):
            events += self.retrying()
        self._message_id = message_id
        self.usage = table(table(update, "_meta"), "usage") or self.usage
        if said := self._text.add(_raw(update)):
            _check(self._text, "reply")
            self._here += 1
            events.append(ChatToken(text=said))
            if self._repeats.begins_again(said):
                events.append(ChatNotice(message=DOUBLED))
        return events

    def _think(self, update: Table) -> list[ReplyEvent]:
        said = self._thought.add(_raw(update))
        _check(self._thought, "reasoning")
        return [ReasoningToken(text=said)] if said else []

    def _call(self, update: Table, *, begins: bool) -> list[ReplyEvent]:
        self._here, self._message_id, self._repeats = 0, "", Repeats()
        return [*self.calls.upsert(update, begins=begins)]


def plan_of(update: Table) -> PlanEvent:
    """Return the agent's plan; what is too long is left out."""
    plan, left = PlanEvent(), MAX_PLAN
    for step in tables(update, "entries"):
        content = text(step, "content")
        left -= len(content) + 64
        if left < 0:
            break
        status = _STEPS.get(text(step, "status"), PlanEntry.STATUS_UNSPECIFIED)
        plan.entries.add(text=content, status=status)
    return plan


def usage_of(update: Table) -> UsageEvent:
    """Return what a `usage_update` says of the conversation."""
    cost = table(update, "cost")
    spent = amount(cost, "amount")
    return UsageEvent(
        context_used=number(update, "used"),
        context_size=number(update, "size"),
        cost=spent,
        currency=text(cost, "currency")[:8] if spent else "",
    )


def notices_of(update: Table) -> list[ReplyEvent]:
    """Return the event of a `notice`; none if it says nothing."""
    parts = (readable(text(update, key), "") for key in ("title", "description"))
    said = ": ".join(filter(None, parts))
    return [ChatNotice(message=said)] if said else []


def _raw(update: Table) -> str:
    """Return the text of a chunk, which may be cut within a surrogate pair."""
    block = table(update, "content")
    return raw_text(block, "text") if text(block, "type") == "text" else text_of_block(block)


def _check(joined: Joined, what: str) -> None:
    if joined.bytes > MAX_REPLY_BYTES:
        raise too_long(what)
