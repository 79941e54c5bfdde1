"""The token of a client: found in a first message or a header, and compared.

A contract's string must be UTF-8, and protobuf decodes no message in which one is not. A token that
is not UTF-8 is a wrong token like any other, and must be told so on the same path as any other.
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
"""Of a first message: until the token is shown, nothing large is taken apart."""

_LENGTH_DELIMITED: Final = 2


def _number(message: Descriptor, field: str) -> int:
    number: int = message.fields_by_name[field].number
    return number


_HELLO: Final = _number(ClientMessage.DESCRIPTOR, "hello")
_TOKEN: Final = _number(Hello.DESCRIPTOR, "token")


def shown_token(data: bytes) -> bytes | None:
    """The token that these bytes show, empty where a Hello has none; None: this is no Hello."""
    if len(data) > MAX_BYTES:
        return None
    try:
        hello = _last(data, _HELLO)
        return None if hello is None else _last(hello, _TOKEN) or b""
    except DecodeError:
        return None


def _last(data: bytes, number: int) -> bytes | None:
    """The bytes of the last field of this number: the one that counts."""
    found: bytes | None = None
    fields = UnknownFieldSet(Empty.FromString(data))
    for index in range(len(fields)):
        field = fields[index]
        if field.field_number == number and field.wire_type == _LENGTH_DELIMITED:
            found = field.data
    return found


def is_right(shown: bytes, token: bytes) -> bool:
    """Return whether a token is the service's. Takes the same time wherever they differ."""
    return hmac.compare_digest(shown, token)


def has_token(request: web.Request, token: bytes) -> bool:
    """Return whether the request shows the token as a bearer."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    shown = given.strip().encode(errors="replace")
    return scheme.lower() == "bearer" and is_right(shown, token)
