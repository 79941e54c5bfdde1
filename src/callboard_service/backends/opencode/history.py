"""Convert OpenCode's messages into the contract's history. No I/O.

An entry's id is derived from the part or message that it comes from, so it is the same each time.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from actors import Code, Failure
from callboard.v1.chat_pb2 import ChatError, History, HistoryEntry, SessionInfo
from callboard_service.backends.opencode.failures import STOPPED, failure_of
from callboard_service.backends.opencode.fields import Table, number, table, tables, text
from callboard_service.backends.opencode.tools import call_of, result_of
from callboard_service.pages import PageBudget, encode_position

_LATEST: Final = 253402300799999
"""The last millisecond of the year 9999, the end of the range of timestamps."""

_RESULT: Final = ".result"
_ERROR: Final = ".error"


def session_info(session: Table) -> SessionInfo:
    """Convert a conversation."""
    time = table(session, "time")
    return SessionInfo(
        id=text(session, "id"),
        title=text(session, "title"),
        created_at=_timestamp(number(time, "created")),
        updated_at=_timestamp(number(time, "updated")),
    )


def positions(
    sessions: Sequence[Table], after: tuple[int, str] | None
) -> Iterator[tuple[SessionInfo, str]]:
    """Yield the conversations after a position, newest first, each with its page token."""
    keyed = [(_updated(session), text(session, "id"), session) for session in sessions]
    keyed.sort(key=lambda entry: entry[:2], reverse=True)
    for updated, name, session in keyed:
        if after is None or (updated, name) < after:
            yield session_info(session), encode_position(updated, name)


def _updated(session: Table) -> int:
    return min(max(number(table(session, "time"), "updated"), 0), _LATEST)


class HistoryReader:
    """Collects a page of entries from pages of messages, starting with the newest page.

    size, at_most_bytes: limits for the entries and for their encoded bytes; the page has at least
    one entry. before: only entries before this one; empty: all.
    """

    def __init__(self, size: int, before: str, at_most_bytes: int) -> None:
        self._size = size
        self._before = before
        self._found = not before
        self._budget = PageBudget(at_most_bytes)
        self._entries: deque[HistoryEntry] = deque()
        self.full = False
        """The page is complete, and there is at least one older entry."""

    def take(self, messages: Sequence[Table]) -> None:
        """Add a page of messages, all of which are older than those added before."""
        for message in reversed(messages):
            for entry in reversed(entries_of([message])):
                if self.full:
                    return
                if not self._found:
                    self._found = entry.id == self._before
                elif len(self._entries) == self._size or not self._budget.admits(entry):
                    self.full = True
                else:
                    self._entries.appendleft(entry)

    def history(self) -> History:
        """Return the page. Raises Failure: INVALID_ARGUMENT if there is no entry `before`."""
        if not self._found:
            message = f"there is no entry {self._before[:80]!r}"
            raise Failure(Code.INVALID_ARGUMENT, message)
        return History(entries=self._entries, more=self.full)


def entries_of(messages: Sequence[Table]) -> list[HistoryEntry]:
    """Return the entries of these messages, in order."""
    return [entry for message in messages for entry in _entries(message)]


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
