"""Converts between history entries and rows of the table `entries`.

Of an entry, `id`, `at` and the values named in COLUMNS are stored; any other field (`turn_id`,
`completed`, attachments, a tool call's title) is dropped. Stored texts and numbers come back
unchanged, with one exception: a Value inside a tool call's arguments that has no kind set, which
JSON cannot express, comes back as null.
"""

import json
import sqlite3
from typing import Final, TypeAlias, assert_never

from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from callboard.v1.chat_pb2 import ChatError, HistoryEntry, ToolCallEvent, ToolResultEvent
from callboard_service.store.transaction import SqlValue

Json: TypeAlias = "dict[str, Json] | list[Json] | str | float | bool | None"

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
)


def row_of_entry(entry: HistoryEntry) -> tuple[SqlValue, ...]:
    """Return the values of COLUMNS.

    Raises ValueError for an empty entry, and for reasoning, asks and closed asks, which are not
    stored yet.
    """
    kind = entry.WhichOneof("entry")
    match kind:
        case "user_text":
            return _row(kind, text=entry.user_text)
        case "assistant_text":
            return _row(kind, text=entry.assistant_text)
        case "tool_call":
            call = entry.tool_call
            arguments = None
            if call.HasField("arguments"):
                arguments = json.dumps(_plain_struct(call.arguments), ensure_ascii=False)
            return _row(kind, call_id=call.call_id, name=call.name, arguments=arguments)
        case "tool_result":
            result = entry.tool_result
            return _row(kind, text=result.output, call_id=result.call_id, is_error=result.is_error)
        case "error":
            error = entry.error
            return _row(
                kind,
                text=error.message,
                code=error.code,
                retryable=error.retryable,
                retry_after_ms=error.retry_after_ms,
            )
        case None:
            raise ValueError("an entry that says nothing cannot be kept")
        case "reasoning_text" | "ask" | "ask_closed":
            raise ValueError(f"entries of the kind {kind} are not kept yet")
        case _:
            assert_never(kind)


def entry_of_row(row: sqlite3.Row) -> HistoryEntry:
    """Return the entry for a row with `id`, `at` and COLUMNS."""
    entry = HistoryEntry(id=str(row["id"]), at=timestamp(row["at"]))
    kind: str = row["kind"]
    match kind:
        case "user_text":
            entry.user_text = row["text"]
        case "assistant_text":
            entry.assistant_text = row["text"]
        case "tool_call":
            call = ToolCallEvent(call_id=row["call_id"], name=row["name"])
            if row["arguments"] is not None:
                call.arguments.SetInParent()
                call.arguments.update(json.loads(row["arguments"]))
            entry.tool_call.CopyFrom(call)
        case "tool_result":
            entry.tool_result.CopyFrom(
                ToolResultEvent(
                    call_id=row["call_id"], output=row["text"], is_error=bool(row["is_error"])
                )
            )
        case "error":
            entry.error.CopyFrom(
                ChatError(
                    message=row["text"],
                    code=row["code"],
                    retryable=bool(row["retryable"]),
                    retry_after_ms=row["retry_after_ms"],
                )
            )
        case _:
            # Only a newer version writes other kinds, and its databases are refused on opening.
            raise AssertionError(f"an entry of the kind {kind!r}")
    return entry


def timestamp(microseconds: int) -> Timestamp:
    """Convert microseconds since 1970. Raises ValueError outside the years 1 to 9999."""
    made = Timestamp()
    made.FromMicroseconds(microseconds)
    return made


def _row(kind: str, **values: SqlValue) -> tuple[SqlValue, ...]:
    return (kind, *(values.get(column) for column in COLUMNS[1:]))


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
