"""Converts a service's messages to plain values, tolerating values that are out of range."""

from collections.abc import Iterator

from google.protobuf.json_format import Error, MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

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

    Times that JSON cannot express are cleared.
    """
    try:
        return MessageToDict(message, preserving_proto_field_name=True)
    except (Error, ValueError, OverflowError):
        cleaned = type(message)()
        cleaned.CopyFrom(message)
        for timestamp in list(_timestamps(cleaned)):
            if time_of(timestamp, "%Y") == NO_TIME:
                timestamp.Clear()
        return MessageToDict(cleaned, preserving_proto_field_name=True)


def _timestamps(message: Message) -> Iterator[Timestamp]:
    """Yield every time in a message."""
    if isinstance(message, Timestamp):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            inner = value.values()
        else:
            inner = value if field.is_repeated else [value]
        for item in inner:
            if isinstance(item, Message):
                yield from _timestamps(item)
