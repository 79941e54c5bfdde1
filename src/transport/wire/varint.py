"""Protobuf's variable-length integers (encoding guide, "Base 128 Varints")."""

from typing import Final

SMALL: Final = tuple(
    bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7)) for n in range(16384)
)

_LOW: Final = 16383
"""The bits of a number that its low part encodes."""

_CONTINUED: Final = tuple(bytes((n & 127 | 128, n >> 7 | 128)) for n in range(16384))


def varint(number: int) -> bytes:
    """Return the encoding of an unsigned integer."""
    if number < 16384:
        return SMALL[number]
    if number < 268435456:
        return _CONTINUED[number & _LOW] + SMALL[number >> 14]
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def split_varint(number: int) -> tuple[tuple[bytes, ...], int, bytes]:
    """Return low parts for consecutive numbers, the number of the first one, and their high part.

    All low parts from `number` on have the same length; earlier ones may be shorter.
    """
    if number < 128:
        return SMALL[:128], 0, b""
    if number < 16384:
        return SMALL, 0, b""
    return _CONTINUED, number >> 14 << 14, varint(number >> 14)
