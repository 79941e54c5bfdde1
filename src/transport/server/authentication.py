"""Finds a client's token in a first message or a header, and compares it.

`transport.server.server` refuses a connection whose token is wrong (4501).

The contract's strings must be UTF-8, and protobuf decodes no message with one that is not. A token
that is not UTF-8 is a wrong token like any other and must be reported the same way, so the token is
read without decoding the message.
"""

import hmac
from typing import Final

from aiohttp import web
from google.protobuf.descriptor import Descriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from callboard.v1.envelope_pb2 import ClientMessage
from callboard.v1.session_pb2 import Hello

MAX_BYTES: Final = 64 * 1024
"""The largest first message: nothing large is parsed before the token has been shown."""

_LENGTH_DELIMITED: Final = 2


def _number(message: Descriptor, field: str) -> int:
    number: int = message.fields_by_name[field].number
    return number


_HELLO: Final = _number(ClientMessage.DESCRIPTOR, "hello")
_TOKEN: Final = _number(Hello.DESCRIPTOR, "token")


def shown_token(data: bytes) -> bytes | None:
    """Return the token in these bytes, empty if the Hello has none; None if this is no Hello."""
    if len(data) > MAX_BYTES:
        return None
    try:
        hello = _last(data, _HELLO)
        return None if hello is None else _last(hello, _TOKEN) or b""
    except DecodeError:
        return None


def _last(data: bytes, number: int) -> bytes | None:
    """Return the bytes of the last field with this number, which is the one that counts."""
    found: bytes | None = None
    fields = UnknownFieldSet(Empty.FromString(data))
    for index in range(len(fields)):
        field = fields[index]
        if field.field_number == number and field.wire_type == _LENGTH_DELIMITED:
            found = field.data
    return found


def is_right(shown: bytes, token: bytes) -> bool:
    """Return whether a token is the service's. Takes the same time wherever the two differ."""
    return hmac.compare_digest(shown, token)


def has_token(request: web.Request, token: bytes) -> bool:
    """Return whether the request carries the token as a bearer token."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    shown = given.strip().encode(errors="replace")
    return scheme.lower() == "bearer" and is_right(shown, token)
