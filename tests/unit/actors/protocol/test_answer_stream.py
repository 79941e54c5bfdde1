"""The answer stream of a request, without a session."""

from itertools import count

import pytest

from actors import Notice
from actors.protocol.answer_stream import NO_STREAM, UNLIMITED
from actors.protocol.limits import SessionLimits
from actors.protocol.output import Output
from tests.support.machine_kit import answer_stream, output
from tests.support.session_kit import Text


def test_answers_are_in_a_row_until_the_credit_is_used() -> None:
    out = output()
    way = answer_stream(out, limit=2)
    assert [way.answer(Text("a")), way.answer(Text("b"))] == [True, False]
    assert (out.queue.sequence, way.sent, list(out.flow.blocked)) == (2, 2, [7])


@pytest.mark.parametrize("limit", [3, UNLIMITED])
def test_answers_in_fewer_steps_are_the_same(limit: int) -> None:
    out = output()
    way = answer_stream(out, limit=limit)
    assert way.answer(Text("a"))
    answer = way.answers
    assert answer != way.answer
    assert [answer(Text(text)) for text in "bc"] == [True, limit == UNLIMITED]
    assert (out.queue.sequence, list(out.flow.blocked)) == (3, [] if limit == UNLIMITED else [7])
    way.over = True
    out.flow.blocked.clear()
    assert not answer(Text("d"))
    assert (out.queue.sequence, out.flow.blocked) == (3, {})


def test_the_answer_that_fills_the_outbox_says_so() -> None:
    out = output(outbox=100)
    way = answer_stream(out)
    said = next(number for number in count(1) if not way.answer(Text("x" * 10)))
    assert said > 1
    assert out.queue.size >= 100
    assert list(out.flow.blocked) == [7]
    out.take(10_000)
    assert way.has_room()
    assert way.answer(Text("y"))


def test_without_a_connection_there_is_room_until_the_buffer_is_full() -> None:
    out = Output(SessionLimits(resume_buffer_messages=3))
    way = answer_stream(out)
    assert [way.answer(Text("a")) for _ in range(3)] == [True, True, False]


def test_a_stream_that_is_over_sends_nothing_more() -> None:
    out = output()
    way = answer_stream(out)
    way.over = True
    assert not way.answer(Text("a"))
    assert not way.answer_all(iter([Text("a")]), 10)
    assert (out.queue.sequence, out.flow.blocked) == (0, {})


def test_many_at_once_stop_at_the_credit() -> None:
    out = output()
    way = answer_stream(out, limit=3)
    answers = iter(Text(str(number)) for number in range(5))
    assert not way.answer_all(answers, 10)
    assert (way.sent, out.queue.sequence, next(answers).text) == (3, 3, "3")


def test_the_short_way_is_not_for_the_first_answer() -> None:
    out = output()
    way = answer_stream(out)
    assert way.answers == way.answer
    with pytest.raises(AssertionError):
        way._answer(Text("a"))
    assert out.queue.sequence == 0


def test_no_stream_does_nothing() -> None:
    assert not NO_STREAM.answer(Text("a"))
    assert not NO_STREAM.answers(Text("a"))
    assert not NO_STREAM.answer_all(iter([Text("a")]), 1)
    assert not NO_STREAM.end(Text("a"))
    assert not NO_STREAM.has_room()
    assert not NO_STREAM.block()
    assert not NO_STREAM.take_closing("key")
    NO_STREAM.add_closing("key", Text("a"))
    NO_STREAM.notify(Notice("a"))
    NO_STREAM.grant(1)
    NO_STREAM.lift_limit()
    assert not NO_STREAM.has_closing("key")
    with pytest.raises(AssertionError):
        NO_STREAM._encode_one(1, 1, True, Text("a"))
