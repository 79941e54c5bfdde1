"""Texts are encoded as the messages that they stand for."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors import Registry, Texts
from actors.protocol.encoding import Encoded
from callboard.v1.chat_pb2 import ChatToken, ReasoningToken
from tests.unit.transport.wire.test_answers import REQUEST_ID, STARTS, cut
from transport.wire.codec import Wire
from transport.wire.texts import LENGTHS, TextEncoder

KIND = st.sampled_from([ChatToken, ReasoningToken])
TEXTS = st.lists(st.text(max_size=300), max_size=8)


@pytest.fixture(scope="module")
def wire() -> Wire:
    return Wire(Registry())


def expected(
    wire: Wire, request_id: int, sequence: int, kind: type[ChatToken], texts: list[str]
) -> list[bytes]:
    return [
        wire.encode(request_id, sequence + place, False, kind(text=text))
        for place, text in enumerate(texts)
    ]


@given(REQUEST_ID, STARTS, st.lists(st.tuples(KIND, TEXTS), max_size=4))
@example(1, 1, [(ChatToken, ["", "é", "a\0", "😀"])])
def test_texts_are_encoded_as_messages(
    wire: Wire, request_id: int, sequence: int, parts: list[tuple[type[ChatToken], list[str]]]
) -> None:
    encoder = wire.answers(request_id)
    for kind, texts in parts:
        answers = iter(Texts[ChatToken](kind, texts))
        made: list[bytes] = []
        while True:
            encoded = Encoded()
            over = encoder.encode_all(sequence + len(made), answers, encoded, 100, 1 << 30)
            made += cut(encoded)
            if over:
                break
        assert made == expected(wire, request_id, sequence, kind, texts)
        sequence += len(texts)


@given(TEXTS, st.integers(1, 10), st.integers(1, 900))
def test_texts_stop_at_the_same_bounds_as_messages(
    wire: Wire, texts: list[str], at_most: int, size: int
) -> None:
    as_texts, as_messages = Encoded(), Encoded()
    wire.answers(1).encode_all(120, iter(Texts(ChatToken, texts)), as_texts, at_most, size)
    messages = iter([ChatToken(text=text) for text in texts])
    wire.answers(1).encode_all(120, messages, as_messages, at_most, size)
    # Texts stop where the sequence number becomes longer, too.
    count = len(as_texts.lengths)
    assert cut(as_texts) == cut(as_messages)[:count]
    assert count == min(len(as_messages.lengths), 8)


def test_what_was_not_encoded_is_left(wire: Wire) -> None:
    answers = iter(Texts(ChatToken, ["a", "b", "c"]))
    assert not wire.answers(1).encode_all(1, answers, Encoded(), 2, 1 << 30)
    assert [token.text for token in answers] == ["c"]
    assert wire.answers(1).encode_all(3, answers, Encoded(), 2, 1 << 30)


def test_frames_are_cut_at_the_first_one_that_is_too_long(wire: Wire) -> None:
    texts = ["a", "b", "c" * 100, "d"]
    encoded = Encoded()
    wire.answers(1).encode_all(1, iter(Texts(ChatToken, texts)), encoded, 9, 1 << 30)
    assert encoded.cut_at(90) == len(wire.encode(1, 3, False, ChatToken(text=texts[2])))
    assert cut(encoded) == expected(wire, 1, 1, ChatToken, texts[:2])


def test_more_lengths_than_are_remembered(wire: Wire) -> None:
    texts = ["a" * (number % (LENGTHS + 100)) for number in range(3 * LENGTHS)]
    encoder = TextEncoder(ChatToken, b"", lambda length: b"")
    for first in range(0, len(texts), 50):
        part = iter(Texts(ChatToken, texts[first : first + 50]))
        encoder.encode_all(200 + first, part, Encoded(), 50, 1 << 30)
        assert len(encoder._head) <= LENGTHS + 50
