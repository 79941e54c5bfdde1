"""What OpenCode keeps of a conversation, as the contract tells it. No I/O.

An entry's id is the id of the part that it comes from, so it is the same each time.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from callboard.v1.chat_pb2 import ChatError, HistoryEntry, SessionInfo
from callboard_service.backends.opencode.failures import STOPPED, failure_of
from callboard_service.backends.opencode.fields import Table, number, table, tables, text
from callboard_service.backends.opencode.tools import call_of, result_of

_RESULT: Final = ".result"
_ERROR: Final = ".error"


def session_info(session: Table) -> SessionInfo:
    """A conversation."""
    time = table(session, "time")
    return SessionInfo(
        id=text(session, "id"),
        title=text(session, "title"),
        created_at=_timestamp(number(time, "created")),
        updated_at=_timestamp(number(time, "updated")),
    )


def entries_of(messages: Sequence[Table]) -> list[HistoryEntry]:
    """The entries of these messages, in their order."""
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
    stamp.FromMilliseconds(min(milliseconds, 253402300799999))
    return stamp
