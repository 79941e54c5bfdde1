"""Decodes requests in `call` without protobuf's envelope, comparing what similar calls share.

    request_id │ tag, length, type's URL, tag, length │ payload
               │ ──── the same for a type and size ── │

If a call has the form that every encoder writes, the part in the middle is remembered under the
number of bytes after the id. A call with the same middle part needs only its payload decoded: a
third of what protobuf takes for envelope, Any and payload. Anything that is not byte for byte of
this form (another order of fields, a timeout, another arm) is left to protobuf.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtobufMessage

from actors.protocol.frames import Frame, Request

SHAPES: Final = 256
"""The number of forms to remember; a service has few types and sizes of calls."""

Decode: TypeAlias = Callable[[bytes], Frame]
Parse: TypeAlias = Callable[[bytes], ProtobufMessage]


class CallDecoder:
    """The fast path for requests in `call`.

    by_url: the known request types. otherwise: decodes everything else.
    """

    def __init__(self, by_url: Mapping[bytes, type[ProtobufMessage]], otherwise: Decode) -> None:
        self._by_url = by_url
        self._otherwise = otherwise
        self._shapes: dict[int, tuple[bytes, int, Parse]] = {}

    def decode(self, data: bytes) -> Frame:
        """Return the frame in these bytes. Never raises."""
        try:
            if data[0] != 0x08:
                return self._otherwise(data)
            request_id, at = data[1], 2
            if request_id > 127:
                second = data[2]
                if second < 128:
                    request_id, at = request_id & 127 | second << 7, 3
                else:
                    request_id, at = _varint(data, 1)
            known = self._shapes.get(len(data) - at)
            if known is not None:
                shape, length, parse = known
                if data.startswith(shape, at):
                    return Request(request_id, 0, parse(data[at + length :]))
            parse_other, begin = self._learn(data, at)
            return Request(request_id, 0, parse_other(data[begin:]))
        except (IndexError, DecodeError):
            return self._otherwise(data)

    def _learn(self, data: bytes, at: int) -> tuple[Parse, int]:
        """Return the parser for the payload of the call after the id, and where the payload begins.

        Raises IndexError if this is not such a call.
        """
        begin = at
        if data[at] != 0xA2 or data[at + 1] != 0x06:
            raise IndexError
        length, at = _varint(data, at + 2)
        if at + length != len(data) or data[at] != 0x0A:
            raise IndexError
        end = at + 2 + data[at + 1]
        message = self._by_url.get(data[at + 2 : end])
        if message is None or data[end] != 0x12:
            raise IndexError
        length, at = _varint(data, end + 1)
        if at + length != len(data):
            raise IndexError
        if len(self._shapes) == SHAPES:
            self._shapes.clear()
        shape = data[begin:at]
        self._shapes[len(data) - begin] = shape, len(shape), message.FromString
        return message.FromString, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the varint at `at`, of one to three bytes, and its end; otherwise raise IndexError."""
    first = data[at]
    if first < 128:
        return first, at + 1
    second = data[at + 1]
    if second < 128:
        return first & 127 | second << 7, at + 2
    third = data[at + 2]
    if third > 127:
        raise IndexError
    return first & 127 | (second & 127) << 7 | third << 14, at + 3
