"""Encodes answers that are nothing but text (`actors.protocol.texts`), many in a few steps.

A frame is like any other of `transport.wire.answers`, and its payload is the text's field:

    header, request_id │ sequence, low 14 bits │ rest of it, tags, lengths │ text
    ─────── shared by texts of one length ──────────────────────────────── │

No step here is taken for each frame in Python. The pieces are joined as strings, in which each
character is one byte, so that ASCII texts are used as they are.
"""

from bisect import bisect_left
from collections.abc import Callable
from functools import cache
from itertools import accumulate, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from actors.protocol.encoding import Encoded
from actors.protocol.frames import Message
from actors.protocol.texts import OfText, TextIterator
from transport.wire.framing import binary_header
from transport.wire.varint import split_varint, varint

if TYPE_CHECKING:
    from google.protobuf.message import Message as ProtobufMessage

BYTES: Final = "latin-1"
"""The encoding in which a character is the byte of its number."""

LENGTHS: Final = 256
"""The number of text lengths to remember."""

Before: TypeAlias = Callable[[int], bytes]
"""Returns what precedes a payload of this length, its length included, in the envelope."""


class TextEncoder:
    """Encodes texts as messages of one type. begin: the first bytes of each envelope."""

    __slots__ = ("_after", "_base", "_before", "_begin", "_head", "_high", "_length", "_low",
                 "_tag", "kind")  # fmt: skip

    def __init__(self, kind: OfText[Message], begin: bytes, before: Before) -> None:
        self.kind: OfText[Message] = kind
        self._begin = begin
        self._before = before
        field = cast("type[ProtobufMessage]", kind).DESCRIPTOR.fields_by_name["text"]
        self._tag = varint(field.number << 3 | 2)
        self._low: tuple[str, ...] = ()
        self._base, self._high = 0, b""
        self._head: dict[int, str] = {}
        self._after: dict[int, str] = {}
        self._length: dict[int, int] = {}

    def encode_all(
        self,
        sequence: int,
        answers: TextIterator[Message],
        encoded: Encoded,
        at_most: int,
        size: int,
    ) -> bool:
        """Encode consecutive answers as one piece; see StreamEncoder."""
        if not 0 <= sequence - self._base < len(self._low):
            self._split(sequence)
        place = sequence - self._base
        low = self._low[place : place + at_most]
        texts = answers.texts[answers.at : answers.at + len(low)]
        if not texts:
            return True
        if not "".join(texts).isascii():
            texts = [text.encode().decode(BYTES) for text in texts]
        sizes = list(map(len, texts))
        if len(self._head) > LENGTHS or not self._head.keys() >= set(sizes):
            self._share(set(sizes))
        # An itemgetter of one key returns no tuple, so there are always two.
        pick = itemgetter(*sizes, sizes[0])
        lengths = pick(self._length)[:-1]
        count = len(sizes)
        if sum(lengths) > size:
            count = bisect_left(list(accumulate(lengths)), size) + 1
        pieces = [""] * (4 * count)
        pieces[0::4] = pick(self._head)[:count]
        pieces[1::4] = low[:count]
        pieces[2::4] = pick(self._after)[:count]
        pieces[3::4] = texts[:count]
        encoded.pieces.append("".join(pieces).encode(BYTES))
        encoded.lengths.extend(lengths[:count])
        answers.at += count
        return answers.at == len(answers.texts)

    def _split(self, sequence: int) -> None:
        """Switch to sequence numbers with another high part."""
        _, self._base, self._high = split_varint(sequence)
        self._low = _low_parts(127 if sequence < 128 else 16383 if sequence < 16384 else 16384)
        self._forget()

    def _forget(self) -> None:
        self._head, self._after, self._length = {}, {}, {}

    def _share(self, sizes: set[int]) -> None:
        """Make what frames with texts of these lengths share."""
        if len(self._head) > LENGTHS:
            self._forget()
        number = len(self._low[-1])
        for size in sizes - self._head.keys():
            field = self._tag + varint(size) if size else b""
            after = self._high + self._before(len(field) + size) + field
            message = len(self._begin) + number + len(after) + size
            head = binary_header(message) + self._begin
            self._head[size] = head.decode(BYTES)
            self._after[size] = after.decode(BYTES)
            self._length[size] = len(head) + number + len(after) + size


@cache
def _low_parts(sequence: int) -> tuple[str, ...]:
    """Return the low parts of `split_varint` as text; called with three numbers only."""
    return tuple(map(str, split_varint(sequence)[0], repeat(BYTES)))
