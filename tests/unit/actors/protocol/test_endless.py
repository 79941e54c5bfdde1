"""The endless streams of a session: a quarter of its replay buffer, and no time at a drain."""

from collections.abc import Callable

import pytest

from actors import EndedBy, Notice
from actors.protocol.block import frames
from actors.protocol.effects import Refused, Stop, Wake
from actors.protocol.frames import Ack, Request
from actors.protocol.limits import SessionLimits
from actors.protocol.machine import SessionMachine
from tests.support import machine_kit
from tests.support.machine_kit import Machine, Start, stream
from tests.support.session_kit import Sent, Text, decode, encode

ALL = 1 << 30
QUARTER = 4
"""Answers, of `machine`."""


def machine(*, acknowledges: bool = True, buffer_bytes: int = ALL, credit: int = 0) -> Machine:
    limits = SessionLimits(
        outbox_bytes=ALL, resume_buffer_messages=4 * QUARTER, resume_buffer_bytes=buffer_bytes
    )
    session: Machine = SessionMachine(limits, encode)
    session.attach(initial_credit=credit, acknowledges=acknowledges)
    return session


def opened(session: Machine, *request_ids: int, endless: bool = True) -> None:
    for request_id in request_ids:
        request = Request(request_id, 0, Text())
        started = machine_kit.receive(session, request, 10, 0.0, endless=endless)
        assert started == [Start(request)]


def fill(session: Machine, request_id: int) -> int:
    """Answer while there is room, as a stream does; return how many answers that were."""
    answers = stream(session, request_id)
    count = 0
    while answers.has_room():
        count += 1
        if not answers.answer(Text("a")):
            break
    answers.block()
    return count


def take(session: Machine) -> list[Sent]:
    return [decode(frame) for frame in frames(session.output.take(ALL))]


def acknowledge(session: Machine, sequence: int) -> list[object]:
    return [*machine_kit.receive(session, Ack(sequence), 10, 0.0)]


def test_endless_streams_together_hold_a_quarter_and_others_go_on() -> None:
    """Two endless streams stop at a quarter of the messages; another one may fill the rest."""
    session = machine()
    opened(session, 1, 2)
    opened(session, 3, endless=False)
    stream(session, 1).answer(Text("a"))
    assert fill(session, 2) == QUARTER - 1
    assert fill(session, 1) == 0
    assert fill(session, 3) == 3 * QUARTER


def test_a_quarter_of_the_bytes_is_a_bound_too() -> None:
    """An endless stream stops once its answers have a quarter of the bytes."""
    size = len(encode(1, 1, False, Text("a")))
    session = machine(buffer_bytes=4 * 2 * size)
    opened(session, 1)
    opened(session, 2, endless=False)
    assert fill(session, 1) == 2
    assert fill(session, 2) == 6


@pytest.mark.parametrize("limit", [1, 3])
def test_a_small_buffer_has_room_for_one(limit: int) -> None:
    """A quarter of less than four messages is one."""
    session: Machine = SessionMachine(SessionLimits(resume_buffer_messages=limit), encode)
    session.attach(initial_credit=0, acknowledges=True)
    opened(session, 1)
    assert fill(session, 1) == 1


@pytest.mark.parametrize("acknowledges", [True, False])
def test_what_the_connection_takes_makes_room_for_endless_streams(*, acknowledges: bool) -> None:
    """A stream that waits is woken once its answers are sent, before they are acknowledged."""
    session = machine(acknowledges=acknowledges)
    opened(session, 1)
    for _ in range(3):
        assert fill(session, 1) == QUARTER
        assert session.unblocked() == []
        assert len(take(session)) == QUARTER
        assert session.unblocked() == [Wake(1)]


@pytest.mark.parametrize("acknowledges", [True, False])
def test_an_endless_stream_has_no_room_while_its_client_is_away(*, acknowledges: bool) -> None:
    """While its client is away it waits and other streams go on; the return wakes it."""
    session = machine(acknowledges=acknowledges)
    opened(session, 1)
    opened(session, 2, endless=False)
    session.detach()
    assert fill(session, 1) == 0
    assert fill(session, 2) == 4 * QUARTER
    assert session.resume(0)
    assert session.attach(initial_credit=0, acknowledges=acknowledges) == []
    take(session)
    effects = acknowledge(session, 4 * QUARTER) if acknowledges else session.unblocked()
    assert effects == [Wake(1), Wake(2)]


def test_a_batch_ends_at_the_quarter() -> None:
    """A batch of an endless stream stops where its answers one by one would."""
    session = machine()
    opened(session, 1)
    answers = iter([Text("a")] * 10)
    assert not stream(session, 1).answer_all(answers, 100)
    assert len(take(session)) == QUARTER
    assert not stream(session, 1).answer_all(answers, 100)
    assert len(take(session)) == QUARTER


def notice(session: Machine) -> None:
    stream(session, 1).notify(Notice("n"))


def closing(session: Machine) -> None:
    stream(session, 2).add_closing("key", Text("closed"))
    stream(session, 2).end(Text("over"))


@pytest.mark.parametrize("say", [notice, closing, lambda session: stream(session, 1).grant(1)])
def test_whatever_an_endless_stream_says_counts(say: Callable[[Machine], None]) -> None:
    """Notices, grants and closings of an endless stream use the quarter up too."""
    session = machine()
    opened(session, 1, 2)
    say(session)
    assert fill(session, 1) == QUARTER - 1


def test_nothing_is_said_after_the_end() -> None:
    """An endless stream that is over has no room, and sends and counts nothing."""
    session = machine()
    opened(session, 1, 2)
    stream(session, 1).end(Text("over"))
    assert not stream(session, 1).answer(Text("late"))
    assert not stream(session, 1).has_room()
    assert fill(session, 2) == QUARTER


def test_credit_bounds_an_endless_stream_as_any_other() -> None:
    """An endless stream whose credit is used up has no room, however much the quarter has."""
    session = machine(credit=2)
    opened(session, 1)
    assert fill(session, 1) == 2


def test_a_drain_ends_endless_requests_and_no_others() -> None:
    """A drain stops each endless request with its own advice, once, and refuses new requests."""
    session = machine()
    opened(session, 1, 3)
    opened(session, 4, endless=False)
    effects = session.drain("update", 700)
    stops = [effect for effect in effects if isinstance(effect, Stop)]
    assert [(stop.request_id, stop.ended_by) for stop in stops] == [
        (1, EndedBy.SERVICE), (3, EndedBy.SERVICE)
    ]  # fmt: skip
    assert {stop.failure.retry_after_ms for stop in stops} == {700}
    assert session.drain("again", 900) == []
    assert session.in_flight == 1
    (refused,) = machine_kit.receive(session, Request(5, 0, Text()), 10, 0.0, endless=True)
    assert isinstance(refused, Refused)
    assert refused.failure.retry_after_ms == 700
    assert [sent.said for sent in take(session)] == [
        "going away update 700", *["!UNAVAILABLE retryable"] * 3
    ]  # fmt: skip


def test_an_empty_batch_takes_no_room() -> None:
    session = machine()
    opened(session, 1)
    assert stream(session, 1).answer_all(iter([]), 100)
    assert fill(session, 1) == QUARTER
