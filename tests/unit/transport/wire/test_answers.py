"""The encoder of a stream yields the same frames as encoding each answer by itself."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from actors import Registry, shared
from actors.protocol.encoding import Encoded
from actors.protocol.frames import Completed
from callboard.v1.chat_pb2 import ChatToken, ToolResultEvent
from transport.wire.codec import Wire

STARTS = st.sampled_from([1, 120, 127, 16_380, 16_383, 16_384, 2**28 - 2, 2**63])
TEXT = st.text(max_size=300)
ANSWERS = st.lists(
    st.one_of(
        st.builds(ChatToken, text=TEXT),
        st.builds(ToolResultEvent, output=TEXT, is_error=st.booleans()),
        st.builds(Duration, seconds=st.integers(0, 10**9)),
        st.just(Duration()),
    ),
    max_size=8,
)
REQUEST_ID = st.integers(1, 2**64 - 1)


@pytest.fixture(scope="module")
def wire() -> Wire:
    return Wire(Registry())


def cut(encoded: Encoded) -> list[bytes]:
    """Return the frames of answers that were encoded together."""
    joined, at, made = b"".join(encoded.pieces), 0, []
    for length in encoded.lengths:
        made.append(joined[at : at + length])
        at += length
    assert at == len(joined)
    return made


@given(REQUEST_ID, STARTS, st.lists(st.tuples(ANSWERS, st.booleans()), max_size=4))
def test_shared_answers_are_encoded_as_others(
    wire: Wire, request_id: int, sequence: int, parts: list[tuple[list[Message], bool]]
) -> None:
    answers = [
        shared(answer) if share else answer for several, share in parts for answer in several
    ]
    plain = [answer for several, _ in parts for answer in several]
    expected = [wire.encode(request_id, sequence + n, False, m) for n, m in enumerate(plain)]
    encoded = Encoded()
    assert wire.answers(request_id).encode_all(sequence, iter(answers), encoded, 100, 1 << 30)
    assert cut(encoded) == expected
    encoder = wire.answers(request_id)
    assert [encoder.encode(sequence + n, m) for n, m in enumerate(answers)] == expected


@given(REQUEST_ID, STARTS, ANSWERS)
def test_answers_in_a_row_are_encoded_as_one_by_one(
    wire: Wire, request_id: int, sequence: int, answers: list[Message]
) -> None:
    expected = [
        wire.encode(request_id, sequence + place, False, answer)
        for place, answer in enumerate(answers)
    ]
    encoded = Encoded()
    encoder = wire.answers(request_id)
    assert encoder.encode_all(sequence, iter(answers), encoded, 100, 1 << 30)
    assert cut(encoded) == expected
    encoder = wire.answers(request_id)
    assert [
        encoder.encode(sequence + place, answer) for place, answer in enumerate(answers)
    ] == expected


@given(REQUEST_ID, STARTS, st.lists(st.tuples(st.booleans(), ANSWERS), max_size=4))
def test_single_answers_and_rows_may_alternate(
    wire: Wire, request_id: int, sequence: int, parts: list[tuple[bool, list[Message]]]
) -> None:
    encoder = wire.answers(request_id)
    for together, answers in parts:
        expected = [
            wire.encode(request_id, sequence + place, False, answer)
            for place, answer in enumerate(answers)
        ]
        if together:
            encoded = Encoded()
            encoder.encode_all(sequence, iter(answers), encoded, 100, 1 << 30)
            made = cut(encoded)
        else:
            made = [encoder.encode(sequence + place, one) for place, one in enumerate(answers)]
        assert made == expected
        sequence += len(answers)


def test_more_lengths_than_are_remembered(wire: Wire) -> None:
    answers = [ChatToken(text="a" * (number % 400)) for number in range(900)]
    encoder = wire.answers(1)
    made = [encoder.encode(number, answer) for number, answer in enumerate(answers, start=1)]
    assert made == [
        wire.encode(1, number, False, answer) for number, answer in enumerate(answers, start=1)
    ]


def test_a_row_stops_at_its_bounds_and_takes_no_answer_too_many(wire: Wire) -> None:
    tokens = iter([ChatToken(text=f"{n}") for n in range(10)])
    encoder = wire.answers(1)
    encoded = Encoded()
    assert not encoder.encode_all(1, tokens, encoded, 3, 1 << 30)
    assert len(encoded.lengths) == 3
    encoded = Encoded()
    assert not encoder.encode_all(4, tokens, encoded, 5, 1)
    assert len(encoded.lengths) == 1
    assert next(tokens).text == "4"


def test_an_answer_that_is_no_message_ends_a_row_after_those_before_it(wire: Wire) -> None:
    answers: list[Message] = [ChatToken(text="a"), Completed()]  # type: ignore[list-item]
    encoded, encoder = Encoded(), wire.answers(1)
    with pytest.raises(TypeError, match="Completed"):
        encoder.encode_all(1, iter(answers), encoded, 10, 1 << 30)
    assert len(encoded.lengths) == 1
    with pytest.raises(TypeError, match="Completed"):
        encoder.encode(2, answers[1])
