"""A request's way out, by itself."""

from collections.abc import Callable
from functools import partial
from itertools import count

import pytest

from actors import Notice
from actors.protocol.answer_stream import NO_STREAM, UNLIMITED, AnswerStream
from actors.protocol.connection import NO_CONNECTION
from actors.protocol.encoding import OneByOne
from actors.protocol.limits import SessionLimits
from actors.protocol.output import GATHERED, GATHERED_FOR, SEVERAL, Output
from tests.support.session_kit import Text, encode


def output(*, outbox: int = 10_000) -> Output:
    made = Output(SessionLimits(outbox_bytes=outbox))
    made.attach(NO_CONNECTION, acknowledges=True)
    return made


def answer_stream(out: Output, limit: int = UNLIMITED) -> AnswerStream:
    return AnswerStream(7, limit, encode, partial(OneByOne, encode), out)


def test_answers_are_in_a_row_until_the_credit_is_used() -> None:
    out = output()
    way = answer_stream(out, limit=2)
    assert [way.answer(Text("a")), way.answer(Text("b"))] == [True, False]
    assert (out.sequence, way.sent, list(out.blocked)) == (2, 2, [7])


@pytest.mark.parametrize("limit", [3, UNLIMITED])
def test_answers_in_fewer_steps_are_the_same(limit: int) -> None:
    out = output()
    way = answer_stream(out, limit=limit)
    assert way.answer(Text("a"))
    answer = way.answers
    assert answer != way.answer
    assert [answer(Text(text)) for text in "bc"] == [True, limit == UNLIMITED]
    assert (out.sequence, list(out.blocked)) == (3, [] if limit == UNLIMITED else [7])
    way.over = True
    out.blocked.clear()
    assert not answer(Text("d"))
    assert (out.sequence, out.blocked) == (3, {})


def test_the_one_that_fills_the_outbox_says_so() -> None:
    out = output(outbox=100)
    way = answer_stream(out)
    said = next(number for number in count(1) if not way.answer(Text("x" * 10)))
    assert said > 1
    assert out.waiting_bytes >= 100
    assert list(out.blocked) == [7]
    out.take(10_000)
    assert way.has_room()
    assert way.answer(Text("y"))


def test_without_a_connection_there_is_room_until_the_buffer_is_full() -> None:
    out = Output(SessionLimits(resume_buffer_messages=3))
    way = answer_stream(out)
    assert [way.answer(Text("a")) for _ in range(3)] == [True, True, False]


def test_one_that_is_over_says_nothing_more() -> None:
    out = output()
    way = answer_stream(out)
    way.over = True
    assert not way.answer(Text("a"))
    assert not way.answer_all(iter([Text("a")]), 10)
    assert (out.sequence, out.blocked) == (0, {})


def test_many_at_once_stop_at_the_credit() -> None:
    out = output()
    way = answer_stream(out, limit=3)
    answers = iter(Text(str(number)) for number in range(5))
    assert not way.answer_all(answers, 10)
    assert (way.sent, out.sequence, next(answers).text) == (3, 3, "3")


def test_the_short_way_is_not_for_the_first_answer() -> None:
    out = output()
    way = answer_stream(out)
    assert way.answers == way.answer
    with pytest.raises(AssertionError):
        way._answer(Text("a"))
    assert out.sequence == 0


# -- when it is worth a wait for more --------------------------------------------------------------


def never() -> float:
    raise AssertionError


def say(way: AnswerStream, count: int, text: str = "a") -> None:
    for _ in range(count):
        way.answer(Text(text))


def test_while_streams_say_several_answers_a_turn_they_gather_for_a_while() -> None:
    out, now = output(), 5.0
    way = answer_stream(out)
    for _ in range(2):  # and as long when it begins anew
        for passed, more in ((0.0, True), (GATHERED_FOR / 2, True), (GATHERED_FOR / 2, False)):
            now += passed
            say(way, SEVERAL)
            assert out.gathers(partial(float, now)) == more
        assert out.take(10_000)


def test_few_answers_of_a_turn_do_not_wait() -> None:
    out = output()
    way = answer_stream(out)
    say(way, SEVERAL - 1)
    assert not out.gathers(never)


def test_they_wait_no_longer_when_fewer_follow() -> None:
    out = output()
    way = answer_stream(out)
    say(way, SEVERAL)
    assert out.gathers(lambda: 0.0)
    say(way, SEVERAL - 1)
    assert not out.gathers(never)


def test_what_is_large_does_not_wait() -> None:
    out = output(outbox=4 * GATHERED)
    way = answer_stream(out)
    say(way, SEVERAL, "a" * (GATHERED // SEVERAL))
    assert not out.gathers(never)


@pytest.mark.parametrize(
    "say_else",
    [
        lambda out, way: out.put(b"the end of another"),
        lambda out, way: out.add_aside(b"a pong"),
        lambda out, way: way.answer_all(iter([Text("a")]), 1),
    ],
    ids=["an end", "a pong", "a burst"],
)
def test_nothing_else_waits_for_more(say_else: Callable[[Output, AnswerStream], None]) -> None:
    out = output()
    way = answer_stream(out)
    say(way, SEVERAL)
    say_else(out, way)
    assert not out.gathers(never)
    assert out.take(10_000)
    say(way, SEVERAL)
    assert out.gathers(lambda: 0.0)


def test_what_is_left_of_a_write_or_is_sent_again_does_not_wait() -> None:
    out = output()
    way = answer_stream(out)
    say(way, 2 * SEVERAL)
    assert out.take(1)
    assert not out.gathers(never)
    out.resume(0)
    assert not out.gathers(never)


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
