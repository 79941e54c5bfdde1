"""Encodes the answers of one stream; what they share is made once instead of for each answer.

A frame consists of four pieces:

    header, request_id │ sequence, low 14 bits │ rest of the sequence, tag, length │ payload
    ─────── shared by answers of one type and length ───────────────────────────── │

A token costs half as much as a frame that is encoded by itself, and a third in a batch.
"""

from collections.abc import Callable, Iterator
from functools import partial
from operator import attrgetter
from typing import Final, TypeAlias, cast

from google.protobuf.message import Message as ProtobufMessage

from actors.protocol.encoding import Encoded
from actors.protocol.frames import Message, Shared
from actors.protocol.texts import TextIterator
from transport.wire.framing import binary_header
from transport.wire.texts import TextEncoder
from transport.wire.varint import split_varint, varint

REQUEST_ID: Final = b"\x08"
SEQUENCE: Final = b"\x10"

Arm: TypeAlias = tuple[bytes, bytes | None]
"""The tag of a message's arm and, if the arm is `reply`, what precedes the message's bytes."""

_ENCODED: Final = attrgetter("encoded")

LENGTHS: Final = 256
"""The number of payload lengths to remember; tokens have few different lengths."""


def before_payload(arm: Arm, length: int) -> bytes:
    """Return the tag and lengths before a payload of this length, and the type URL in `reply`."""
    tag, packed = arm
    if packed is None:
        return tag + varint(length)
    within = packed + varint(length) if length else packed[:-1]
    return tag + varint(len(within) + length) + within


class AnswerEncoder:
    """A StreamEncoder for the contract's envelope. arm: looks up the arm of a message type."""

    __slots__ = (
        "_after", "_arm", "_base", "_begin", "_high", "_kind", "_low", "_serialize", "_shared",
        "_texts",
    )  # fmt: skip

    def __init__(self, request_id: int, arm: Callable[[type[Message]], Arm]) -> None:
        self._begin = REQUEST_ID + varint(request_id) + SEQUENCE
        self._arm = arm
        self._kind: type[Message] | None = None
        self._serialize: Callable[[Message], bytes] = _unlearned
        self._after: Arm = (b"", None)
        self._shared: dict[int, tuple[bytes, bytes, int]] = {}
        self._low: tuple[bytes, ...] = ()
        self._base, self._high = 0, b""
        self._texts: TextEncoder | None = None

    def encode(self, sequence: int, answer: Message) -> bytes:
        """Return one encoded frame. Raises TypeError for anything that is not a message."""
        if type(answer) is not self._kind:
            self._learn(type(answer))
        try:
            low = self._low[sequence - self._base]
        except IndexError:
            low = self._split(sequence)
        payload = self._serialize(answer)
        try:
            head, after, _ = self._shared[len(payload)]
        except KeyError:
            head, after, _ = self._share(len(low), len(payload))
        return b"".join((head, low, after, payload))

    def encode_all(
        self, sequence: int, answers: Iterator[Message], encoded: Encoded, at_most: int, size: int
    ) -> bool:
        """Encode consecutive answers; see StreamEncoder."""
        if isinstance(answers, TextIterator):
            return self._encode_texts(sequence, answers, encoded, at_most, size)
        shared, kind, serialize = self._shared, self._kind, self._serialize
        lengths = encoded.lengths
        put, note = encoded.pieces.extend, lengths.append
        while True:
            if sequence - self._base >= len(self._low):
                self._split(sequence)
            place, before = sequence - self._base, len(lengths)
            alike = min(at_most, len(self._low) - place)
            # The numbers come first, so that no answer is pulled and lost when they run out.
            for low, answer in zip(self._low[place : place + alike], answers, strict=False):
                if type(answer) is not kind:
                    kind = self._learn(type(answer))
                    serialize = self._serialize
                payload = serialize(answer)
                try:
                    head, after, length = shared[len(payload)]
                except KeyError:
                    head, after, length = self._share(len(low), len(payload))
                put((head, low, after, payload))
                note(length)
                size -= length
                if size <= 0:
                    return False
            if len(lengths) - before < alike:
                return True
            at_most -= alike
            sequence += alike
            if not at_most:
                return False

    def _encode_texts(
        self,
        sequence: int,
        answers: TextIterator[Message],
        encoded: Encoded,
        at_most: int,
        size: int,
    ) -> bool:
        texts = self._texts
        if texts is None or texts.kind is not answers.kind:
            kind = cast("type[Message]", answers.kind)
            before = partial(before_payload, self._arm(kind))
            texts = self._texts = TextEncoder(answers.kind, self._begin, before)
        return texts.encode_all(sequence, answers, encoded, at_most, size)

    def _learn(self, kind: type[Message]) -> type[Message]:
        message = kind.kind if issubclass(kind, Shared) else kind
        if not issubclass(message, ProtobufMessage):
            raise TypeError(f"an answer must be a protobuf message, not {message.__name__}")
        self._after = self._arm(message)
        serialize = _ENCODED if message is not kind else message.SerializeToString
        self._serialize = cast("Callable[[Message], bytes]", serialize)
        self._shared.clear()
        self._kind = kind
        return kind

    def _split(self, sequence: int) -> bytes:
        """Switch to a sequence number with a new high part; return its low part."""
        self._low, self._base, self._high = split_varint(sequence)
        self._shared.clear()
        return self._low[sequence - self._base]

    def _share(self, low: int, length: int) -> tuple[bytes, bytes, int]:
        """Return what goes before and after a low part of `low` bytes, and the frame's length."""
        if len(self._shared) == LENGTHS:
            self._shared.clear()
        after = self._high + before_payload(self._after, length)
        message = len(self._begin) + low + len(after) + length
        head = binary_header(message)
        parts = self._shared[length] = head + self._begin, after, len(head) + message
        return parts


def _unlearned(message: Message) -> bytes:
    raise AssertionError(message)
