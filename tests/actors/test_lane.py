"""A request's way out, by itself."""

from itertools import count

import pytest

from actors.encoding import OneByOne
from actors.lane import UNLIMITED, Lane
from actors.limits import SessionLimits
from actors.output import Output, nobody
from tests.actors.session_kit import Text, encode


def output(*, outbox: int = 10_000) -> Output:
    made = Output(SessionLimits(outbox_bytes=outbox))
    made.attach(nobody, acknowledges=True)
    return made


def lane(out: Output, blocked: dict[int, None], limit: int = UNLIMITED) -> Lane:
    return Lane(7, limit, OneByOne(encode, 7), out, blocked)


def test_answers_are_in_a_row_until_the_credit_is_used() -> None:
    out, blocked = output(), dict[int, None]()
    way = lane(out, blocked, limit=2)
    assert [way.answer(Text("a")), way.answer(Text("b"))] == [True, False]
    assert (out.sequence, way.sent, list(blocked)) == (2, 2, [7])


def test_the_one_that_fills_the_outbox_says_so() -> None:
    out, blocked = output(outbox=100), dict[int, None]()
    way = lane(out, blocked)
    said = next(number for number in count(1) if not way.answer(Text("x" * 10)))
    assert said > 1
    assert out.waiting_bytes >= 100
    assert list(blocked) == [7]
    out.take(10_000)
    assert way.has_room()
    assert way.answer(Text("y"))


def test_without_a_connection_there_is_room_until_the_buffer_is_full() -> None:
    out = Output(SessionLimits(resume_buffer_messages=3))
    way = lane(out, {})
    assert [way.answer(Text("a")) for _ in range(3)] == [True, True, False]


def test_one_that_is_over_says_nothing_more() -> None:
    out, blocked = output(), dict[int, None]()
    way = lane(out, blocked)
    way.over = True
    assert not way.answer(Text("a"))
    assert not way.answer_all(iter([Text("a")]), 10)
    assert (out.sequence, blocked) == (0, {})


def test_many_at_once_stop_at_the_credit() -> None:
    out = output()
    way = lane(out, {}, limit=3)
    answers = iter(Text(str(number)) for number in range(5))
    assert not way.answer_all(answers, 10)
    assert (way.sent, out.sequence, next(answers).text) == (3, 3, "3")


@pytest.mark.parametrize("at_once", [False, True])
def test_the_one_that_all_share_is_not_for_answers(at_once: bool) -> None:
    out = output()
    shared = Lane(0, UNLIMITED, None, out, {})
    if at_once:
        assert not shared.answer_all(iter([Text("a")]), 10)
    else:
        with pytest.raises(AssertionError):
            shared.answer(Text("a"))
    assert out.sequence == 0
