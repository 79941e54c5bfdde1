"""Converts between history entries and rows of the table `entries`.

`id`, `at` and the values named in COLUMNS have a column each; the rest of an entry is kept in the
column `data`. All of it comes back unchanged, with one exception: a Value inside a tool call's
arguments that has no kind set, which JSON cannot express, comes back as null.
"""

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias, assert_never

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from callboard.v1.chat_pb2 import ChatError, HistoryEntry, ToolCallEvent, ToolResultEvent
from callboard_service.store.transaction import SqlValue

Json: TypeAlias = "dict[str, Json] | list[Json] | str | float | bool | None"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

COLUMNS: Final = (
    "kind",
    "text",
    "call_id",
    "name",
    "arguments",
    "is_error",
    "code",
    "retryable",
    "retry_after_ms",
    "turn",
    "data",
)


def row_of_entry(entry: HistoryEntry, turn_id: str = "") -> tuple[SqlValue, ...]:
    """Return the values of COLUMNS. turn_id: empty: the entry's own.

    Raises ValueError for an entry of no kind.
    """
    rest = HistoryEntry()
    rest.CopyFrom(entry)
    for name in ("id", "at", "turn_id"):
        rest.ClearField(name)
    values = _taken_from(rest)
    values |= {"turn": turn_id or entry.turn_id or None, "data": rest.SerializeToString() or None}
    return tuple(values.get(column) for column in COLUMNS)


def _taken_from(rest: HistoryEntry) -> dict[str, SqlValue]:
    """Return the values of an entry that have columns, and remove them from it."""
    kind = rest.WhichOneof("entry")
    values: dict[str, SqlValue] = {"kind": kind}
    match kind:
        case "user_text" | "assistant_text" | "reasoning_text":
            values["text"] = getattr(rest, kind)
            rest.ClearField(kind)
        case "tool_call":
            call = rest.tool_call
            values |= {"call_id": call.call_id, "name": call.name}
            if call.HasField("arguments"):
                plain = _plain_struct(call.arguments)
                values["arguments"] = json.dumps(plain, ensure_ascii=False)
            _clear(rest, call, "call_id", "name", "arguments")
        case "tool_result":
            result = rest.tool_result
            values |= {"text": result.output, "call_id": result.call_id}
            values["is_error"] = result.is_error
            _clear(rest, result, "output", "call_id", "is_error")
        case "error":
            error = rest.error
            values |= {"text": error.message, "code": error.code, "retryable": error.retryable}
            values["retry_after_ms"] = error.retry_after_ms
            _clear(rest, error, "message", "code", "retryable", "retry_after_ms")
        case "ask" | "ask_closed":
            pass  # kept as they are
        case None:
            raise ValueError("an empty entry cannot be stored")
        case _:
            assert_never(kind)
    return values


def _clear(rest: HistoryEntry, part: Message, *names: str) -> None:
    """Clear these fields of a part of the entry, and the part itself if nothing else is set."""
    for name in names:
        part.ClearField(name)
    if not part.ByteSize():
        rest.ClearField("entry")


def entry_of_row(row: sqlite3.Row) -> HistoryEntry:
    """Return the entry for a row with `id`, `at` and COLUMNS."""
    entry = HistoryEntry() if row["data"] is None else HistoryEntry.FromString(row["data"])
    entry.id, entry.turn_id = str(row["id"]), row["turn"] or ""
    entry.at.CopyFrom(timestamp(row["at"]))
    kind: str = row["kind"]
    match kind:
        case "user_text" | "assistant_text" | "reasoning_text":
            setattr(entry, kind, row["text"])
        case "tool_call":
            call = entry.tool_call
            call.MergeFrom(ToolCallEvent(call_id=row["call_id"], name=row["name"]))
            call.SetInParent()
            if row["arguments"] is not None:
                call.arguments.SetInParent()
                call.arguments.update(json.loads(row["arguments"]))
        case "tool_result":
            result = entry.tool_result
            result.SetInParent()
            result.MergeFrom(
                ToolResultEvent(
                    call_id=row["call_id"], output=row["text"], is_error=bool(row["is_error"])
                )
            )
        case "error":
            entry.error.SetInParent()
            entry.error.MergeFrom(
                ChatError(
                    message=row["text"],
                    code=row["code"],
                    retryable=bool(row["retryable"]),
                    retry_after_ms=row["retry_after_ms"],
                )
            )
        case "ask" | "ask_closed":
            pass  # in `data`
        case _:
            # Only a newer version writes other kinds, and its databases are refused on opening.
            raise AssertionError(f"an entry of the kind {kind!r}")
    return entry


def timestamp(microseconds: int) -> Timestamp:
    """Convert microseconds since 1970. Raises ValueError outside the years 1 to 9999."""
    made = Timestamp()
    made.FromMicroseconds(microseconds)
    return made


def microseconds(moment: datetime) -> int:
    """Convert a time to microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(number: int) -> datetime:
    """Convert microseconds since 1970 to a time in UTC."""
    return _EPOCH + timedelta(microseconds=number)


def _plain_struct(struct: Struct) -> dict[str, Json]:
    # json_format rejects numbers that JSON lacks (NaN, infinities) and loses the sign of -0.0.
    return {name: _plain(value) for name, value in struct.fields.items()}


def _plain(value: Value) -> Json:
    kind = value.WhichOneof("kind")
    match kind:
        case "number_value":
            return value.number_value
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return _plain_struct(value.struct_value)
        case "list_value":
            return [_plain(item) for item in value.list_value.values]
        case "null_value" | None:
            return None
        case _:
            assert_never(kind)
