"""Protobuf's variable-length integers (encoding guide, "Base 128 Varints")."""

from typing import Final

_ONE_BYTE: Final = tuple(bytes((n,)) for n in range(128))


def varint(number: int) -> bytes:
    """The encoding of an unsigned integer."""
    if number < 128:
        return _ONE_BYTE[number]
    if number < 16384:
        return bytes((number & 127 | 128, number >> 7))
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
