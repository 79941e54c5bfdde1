"""Several stream answers per turn wait briefly, to be written together."""

from collections.abc import Callable
from functools import partial

import pytest

from actors.protocol.answer_stream import AnswerStream
from actors.protocol.gathering import GATHERED, GATHERED_FOR, SEVERAL, Gathering
from actors.protocol.output import Output
from tests.support.machine_kit import answer_stream, output
from tests.support.session_kit import Text


def never() -> float:
    raise AssertionError


def say(way: AnswerStream, count: int, text: str = "a") -> None:
    for _ in range(count):
        way.answer(Text(text))


def test_while_streams_say_several_answers_a_turn_they_gather_for_a_while() -> None:
    out, now = output(), 5.0
    way = answer_stream(out)
    gathering = Gathering()
    for _ in range(2):  # the second time starts anew, and lasts as long
        for passed, more in ((0.0, True), (GATHERED_FOR / 2, True), (GATHERED_FOR / 2, False)):
            now += passed
            say(way, SEVERAL)
            assert gathering.goes_on(out, partial(float, now)) == more
        assert out.take(10_000)


def test_few_answers_of_a_turn_do_not_wait() -> None:
    out = output()
    way = answer_stream(out)
    gathering = Gathering()
    say(way, SEVERAL - 1)
    assert not gathering.goes_on(out, never)


def test_they_wait_no_longer_when_fewer_follow() -> None:
    out = output()
    way = answer_stream(out)
    gathering = Gathering()
    say(way, SEVERAL)
    assert gathering.goes_on(out, lambda: 0.0)
    say(way, SEVERAL - 1)
    assert not gathering.goes_on(out, never)


def test_what_is_large_does_not_wait() -> None:
    out = output(outbox=4 * GATHERED)
    way = answer_stream(out)
    gathering = Gathering()
    say(way, SEVERAL, "a" * (GATHERED // SEVERAL))
    assert not gathering.goes_on(out, never)


@pytest.mark.parametrize(
    "say_else",
    [
        lambda out, way: out.queue.put(b"the end of another"),
        lambda out, way: out.put_aside(b"a pong"),
        lambda out, way: way.answer_all(iter([Text("a")]), 1),
    ],
    ids=["an end", "a pong", "a burst"],
)
def test_nothing_else_waits_for_more(say_else: Callable[[Output, AnswerStream], None]) -> None:
    out = output()
    way = answer_stream(out)
    gathering = Gathering()
    say(way, SEVERAL)
    say_else(out, way)
    assert not gathering.goes_on(out, never)
    assert out.take(10_000)
    say(way, SEVERAL)
    assert gathering.goes_on(out, lambda: 0.0)


def test_what_is_left_of_a_write_or_is_sent_again_does_not_wait() -> None:
    out = output()
    way = answer_stream(out)
    gathering = Gathering()
    say(way, 2 * SEVERAL)
    assert out.take(1)
    assert not gathering.goes_on(out, never)
    out.resume(0)
    assert not gathering.goes_on(out, never)
