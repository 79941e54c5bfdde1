"""Protobuf's variable-length integers (encoding guide, "Base 128 Varints")."""

from typing import Final

SMALL: Final = tuple(
    bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7)) for n in range(16384)
)

LOW: Final = 16383
"""The bits of a number that its low part encodes."""

_CONTINUED: Final = tuple(bytes((n & 127 | 128, n >> 7 | 128)) for n in range(16384))


def varint(number: int) -> bytes:
    """The encoding of an unsigned integer."""
    if number < 16384:
        return SMALL[number]
    if number < 268435456:
        return _CONTINUED[number & LOW] + SMALL[number >> 14]
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def split_varint(number: int) -> tuple[tuple[bytes, ...], bytes, int]:
    """For numbers in a row: low parts by `number & LOW`, the high part, up to where both hold.

    All of them have the same length up to there.
    """
    if number < 128:
        return SMALL, b"", 128
    if number < 16384:
        return SMALL, b"", 16384
    return _CONTINUED, varint(number >> 14), ((number >> 14) + 1) << 14
