"""The history of a conversation: its order is that of OpenCode's messages.

Turns of this service are shown as the service has kept them, with their asks and how they ended.
Other messages are converted; an entry's id is then derived from the part or message that it comes
from, so it is the same each time.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from actors import Code, Failure
from callboard.v1.chat_pb2 import (
    ChatError,
    ConversationState,
    History,
    HistoryEntry,
    SessionInfo,
)
from callboard_service.backends.fields import Table, number, table, tables, text
from callboard_service.backends.opencode.failures import STOPPED, failure_of
from callboard_service.backends.opencode.marks import mark_of, parent_of, turn_id_of
from callboard_service.backends.opencode.tools import call_of, result_of
from callboard_service.pages import PageBudget, encode_position

States: TypeAlias = Mapping[str, ConversationState.ValueType]
KeptEntries: TypeAlias = Callable[[str], Awaitable[Sequence[HistoryEntry] | None]]
TurnOf: TypeAlias = Callable[[str], Awaitable[str]]

_LATEST: Final = 253402300799999
"""The last millisecond of the year 9999, the end of the range of timestamps."""

_RESULT: Final = ".result"
_ERROR: Final = ".error"


def session_info(session: Table, states: States) -> SessionInfo:
    """Convert a conversation. states: of the conversations that are not idle."""
    name = text(session, "id")
    time = table(session, "time")
    return SessionInfo(
        id=name,
        state=states.get(name, ConversationState.CONVERSATION_STATE_IDLE),
        title=text(session, "title"),
        created_at=_timestamp(number(time, "created")),
        updated_at=_timestamp(number(time, "updated")),
        parent_id=parent_of(session),
        archived=is_archived(session),
    )


def is_archived(session: Table) -> bool:
    """Return whether a conversation is archived: OpenCode keeps since when; 0: it is not."""
    return number(table(session, "time"), "archived") > 0


def changes_of(title: str | None, archived: bool | None) -> dict[str, object]:
    """Return what to change in a conversation; None: as it is."""
    changes: dict[str, object] = {}
    if title is not None:
        # OpenCode has the model replace a title of this form when it first replies.
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        changes["title"] = title if title.strip() else f"New session - {now}"
    if archived is not None:
        # OpenCode 1.18.33 ignores null.
        since = int(datetime.now(UTC).timestamp() * 1000) if archived else 0
        changes["time"] = {"archived": since}
    return changes


def positions(
    sessions: Sequence[Table], after: tuple[int, str] | None, states: States, *, archived: bool
) -> Iterator[tuple[SessionInfo, str]]:
    """Yield the conversations after a position, newest first, each with its page token.

    archived: also archived ones.
    """
    shown = (session for session in sessions if archived or not is_archived(session))
    keyed = [(_updated(session), text(session, "id"), session) for session in shown]
    keyed.sort(key=lambda entry: entry[:2], reverse=True)
    for updated, name, session in keyed:
        if after is None or (updated, name) < after:
            yield session_info(session, states), encode_position(updated, name)


def _updated(session: Table) -> int:
    return min(max(number(table(session, "time"), "updated"), 0), _LATEST)


class HistoryReader:
    """Collects a page of entries from pages of messages, starting with the newest page.

    size, at_most_bytes: limits for the entries and for their encoded bytes; the page has at least
    one entry. before: only entries before this one; empty: all. kept: returns the entries of a turn
    that this service has kept, which take the place of its messages; None for an unknown turn.
    turn_of: returns the turn of a message whose id does not name it; None: there are no such
    messages.
    """

    def __init__(
        self,
        size: int,
        before: str,
        at_most_bytes: int,
        kept: KeptEntries,
        turn_of: TurnOf | None = None,
    ) -> None:
        self._size = size
        self._before = before
        self._kept = kept
        self._turn_of = turn_of
        self._turns: dict[str, str] = {}
        """For the id of each of the user's messages: its turn; empty: it is none of ours."""
        self._found = not before
        self._at_most_bytes = at_most_bytes
        self._budget = PageBudget(at_most_bytes)
        self._entries: deque[HistoryEntry] = deque()
        self._reply: deque[HistoryEntry] = deque()
        """Entries of a reply whose user's message is yet to come."""
        self._reply_bytes = 0
        self._turn: Sequence[HistoryEntry] | None = None
        """The entries of that message's turn, if a message of the reply has named it."""
        self.full = False
        """The page is complete, and there is at least one older entry."""

    async def take(self, messages: Sequence[Table]) -> None:
        """Add a page of messages, all of which are older than those added before."""
        for message in messages:
            if is_by_user(message):
                self._turns[text(table(message, "info"), "id")] = mark_of(message).turn_id
        for message in reversed(messages):
            if self.full:
                return
            by_user = is_by_user(message)
            if self._turn is None:
                info = table(message, "info")
                turn_id = await self._named_by(text(info, "id" if by_user else "parentID"))
                self._turn = await self._kept(turn_id) if turn_id else None
            if by_user and self._turn is not None and mark_of(message).handed:
                continue  # the turn has it, and its own message comes before
            if by_user:
                said = [*_entries(message), *self._reply] if self._turn is None else self._turn
                self._forget_reply()
                self._turn = None
                self._add(said)
            elif self._turn is None:
                entries = [*_entries(message)]
                self._reply.extendleft(reversed(entries))
                self._reply_bytes += sum(entry.ByteSize() for entry in entries)
                if len(self._reply) > self._size or self._reply_bytes > self._at_most_bytes:
                    self._flush()  # they make a page of their own

    async def _named_by(self, message_id: str) -> str:
        """Return the turn of a user's message; empty if it is none of this service's."""
        if message_id not in self._turns:
            turn_id = turn_id_of(message_id)
            if message_id and not turn_id and self._turn_of is not None:
                turn_id = await self._turn_of(message_id)
            self._turns[message_id] = turn_id
        return self._turns[message_id]

    def history(self) -> History:
        """Return the page. Raises Failure: INVALID_ARGUMENT if there is no entry `before`."""
        self._flush()
        if not self._found:
            message = f"there is no entry {self._before[:80]!r}"
            raise Failure(Code.INVALID_ARGUMENT, message)
        return History(entries=self._entries, more=self.full)

    def _flush(self) -> None:
        self._add(self._reply)
        self._forget_reply()

    def _forget_reply(self) -> None:
        self._reply.clear()
        self._reply_bytes = 0

    def _add(self, entries: Sequence[HistoryEntry]) -> None:
        """Add entries that are older than those added before."""
        for entry in reversed(entries):
            if self.full:
                return
            if not self._found:
                self._found = entry.id == self._before
            elif len(self._entries) == self._size or not self._budget.admits(entry):
                self.full = True
            else:
                self._entries.appendleft(entry)


def entries_of(messages: Sequence[Table]) -> list[HistoryEntry]:
    """Return the entries of these messages, in order."""
    return [entry for message in messages for entry in _entries(message)]


def is_by_user(message: Table) -> bool:
    """Return whether a user has sent the message; OpenCode adds some to replies itself."""
    if text(table(message, "info"), "role") != "user":
        return False
    parts = tables(message, "parts")
    added = [p.get("synthetic") is True or text(p, "type") == "compaction" for p in parts]
    return not added or not all(added)


def _entries(message: Table) -> Iterable[HistoryEntry]:
    info = table(message, "info")
    if info.get("summary") is True:
        return
    at = number(table(info, "time"), "created")
    by_user = text(info, "role") == "user"
    for part in tables(message, "parts"):
        match text(part, "type"):
            case "text":
                yield from _text(part, at, by_user=by_user)
            case "tool":
                yield from _tool(part, at)
            case _:
                pass
    error = table(info, "error")
    if error and text(error, "name") != STOPPED:
        failure = failure_of(error)
        said = ChatError(
            message=failure.message, code=failure.code.value, retryable=failure.retryable
        )
        ended = number(table(info, "time"), "completed") or at
        yield HistoryEntry(id=text(info, "id") + _ERROR, at=_timestamp(ended), error=said)


def _text(part: Table, at: int, *, by_user: bool) -> Iterable[HistoryEntry]:
    said = text(part, "text")
    if not said or part.get("synthetic") is True or part.get("ignored") is True:
        return
    began = _timestamp(number(table(part, "time"), "start") or at)
    if by_user:
        yield HistoryEntry(id=text(part, "id"), at=began, user_text=said)
    else:
        yield HistoryEntry(id=text(part, "id"), at=began, assistant_text=said)


def _tool(part: Table, at: int) -> Iterable[HistoryEntry]:
    name, state = text(part, "id"), table(part, "state")
    status, time = text(state, "status"), table(state, "time")
    if status not in ("running", "completed", "error"):
        return
    began = number(time, "start") or at
    yield HistoryEntry(id=name, at=_timestamp(began), tool_call=call_of(part, text(part, "tool")))
    if status != "running":
        ended = _timestamp(number(time, "end") or began)
        yield HistoryEntry(id=name + _RESULT, at=ended, tool_result=result_of(part))


def _timestamp(milliseconds: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMilliseconds(min(milliseconds, _LATEST))
    return stamp
