"""Protobuf's variable-length integers (encoding guide, "Base 128 Varints")."""

from typing import Final

_SMALL: Final = tuple(
    bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7)) for n in range(16384)
)


def varint(number: int) -> bytes:
    """The encoding of an unsigned integer."""
    if number < 16384:
        return _SMALL[number]
    if number < 2097152:
        return bytes((number & 127 | 128, number >> 7 & 127 | 128, number >> 14))
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
