"""Converts a service's messages to plain values, tolerating values that are out of range."""

from collections.abc import Iterator
from math import isfinite

from google.protobuf.json_format import Error, MessageToDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import DoubleValue

NO_TIME = "?"
"""Printed in place of an invalid time."""


def time_of(timestamp: Timestamp, form: str) -> str:
    """Return a time (UTC) formatted as in `strftime`, or NO_TIME if it is out of range."""
    try:
        return timestamp.ToDatetime().strftime(form)
    except (ValueError, OverflowError):
        return NO_TIME


def as_dict(message: Message) -> dict[str, object]:
    """Return a message as a dict with the contract's field names.

    Times that JSON cannot express are cleared; numbers that it cannot express become their names
    (NaN, Infinity), as ProtoJSON has them for fields of type double.
    """
    try:
        return MessageToDict(message, preserving_proto_field_name=True)
    except (Error, ValueError, OverflowError):
        cleaned = type(message)()
        cleaned.CopyFrom(message)
        for part in list(_parts(cleaned)):
            if isinstance(part, Timestamp) and time_of(part, "%Y") == NO_TIME:
                part.Clear()
            elif isinstance(part, Value) and not isfinite(part.number_value):
                part.string_value = str(MessageToDict(DoubleValue(value=part.number_value)))
        return MessageToDict(cleaned, preserving_proto_field_name=True)


def _parts(message: Message) -> Iterator[Message]:
    """Yield a message and every message in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            inner = value.values()
        else:
            inner = value if field.is_repeated else [value]
        for item in inner:
            if isinstance(item, Message):
                yield from _parts(item)
