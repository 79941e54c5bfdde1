"""Places are shared fairly when sessions want more than there are."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import Failure
from callboard_service.backends import fair
from callboard_service.backends.fair import FairPlaces, Ticket


def order(places: FairPlaces, holder: Ticket, waiting: list[Ticket]) -> Iterator[str]:
    """Leave one place after another; yield the sessions in the order in which they are served."""
    while waiting:
        holder.leave()
        (holder,) = [ticket for ticket in waiting if ticket.holds]
        waiting.remove(holder)
        yield holder.session


def test_sessions_are_served_in_turn_however_many_each_has_waiting() -> None:
    places = FairPlaces(1, max_waiting=100)
    first = places.enter("a")
    waiting = [places.enter("a") for _ in range(70)] + [places.enter(name) for name in "bcb"]
    assert [*order(places, first, waiting)][:6] == ["b", "c", "a", "b", "a", "a"]


def test_a_place_goes_to_the_session_that_holds_the_fewest() -> None:
    places = FairPlaces(3, max_waiting=9)
    held = [places.enter("a") for _ in range(3)]
    more, other = places.enter("a"), places.enter("b")
    held[0].leave()
    assert (more.holds, other.holds) == (False, True)


def test_with_spare_places_the_next_session_gets_one_at_once() -> None:
    places = FairPlaces(256, max_waiting=256, spare=2)
    for number in range(1, 12):
        greedy = [places.enter(f"s{number}") for _ in range(256)]
        assert greedy[0].holds
    assert places.enter("hi").holds


def test_one_session_alone_gets_all_places_unless_some_are_to_be_spared() -> None:
    for spare, most in ((0, 256), (1, 128), (2, 86)):
        places = FairPlaces(256, max_waiting=384, spare=spare)
        tickets = [places.enter("a") for _ in range(384)]
        assert sum(ticket.holds for ticket in tickets) == most


def test_too_many_that_wait_are_refused_and_may_try_again() -> None:
    places = FairPlaces(1, max_waiting=2)
    tickets = [places.enter("a") for _ in range(3)]
    with pytest.raises(Failure, match="RESOURCE_EXHAUSTED") as refused:
        places.enter("a")
    assert refused.value.retryable
    assert not places.enter("b").holds
    tickets[1].leave()
    places.enter("a")


def test_a_place_left_twice_is_given_once() -> None:
    places = FairPlaces(1, max_waiting=9)
    first, *waiting = [places.enter("a") for _ in range(3)]
    first.leave()
    first.leave()
    assert [ticket.holds for ticket in waiting] == [True, False]


def test_more_places_are_given_at_once_and_fewer_as_they_are_left() -> None:
    places = FairPlaces(1, max_waiting=9)
    tickets = [places.enter("a") for _ in range(4)]
    places.resize(3)
    assert [ticket.holds for ticket in tickets] == [True, True, True, False]
    places.resize(1)
    tickets[0].leave()
    tickets[1].leave()
    assert not tickets[3].holds
    tickets[2].leave()
    assert tickets[3].holds


async def test_a_longer_wait_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair, "UNSAID", 0.0)
    places = FairPlaces(1, max_waiting=9)
    first, second = places.enter("a"), places.enter("b")
    turn = second.turn()
    assert "is waiting for its turn" in (await anext(turn)).message
    going_on = asyncio.ensure_future(anext(turn, None))
    first.leave()
    assert await going_on is None
    assert second.holds


async def test_a_wait_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair, "UNSAID", 0.0)
    monkeypatch.setattr(fair, "MAX_WAIT", 0.0)
    places = FairPlaces(1, max_waiting=9)
    _, second = places.enter("a"), places.enter("b")
    with pytest.raises(Failure, match="RESOURCE_EXHAUSTED") as refused:
        _ = [notice async for notice in second.turn()]
    assert refused.value.retryable


async def test_a_wait_that_is_cancelled_takes_no_place() -> None:
    places = FairPlaces(1, max_waiting=9)
    first, second, third = (places.enter(name) for name in "abc")
    waiting = asyncio.ensure_future(second.wait(60))
    await asyncio.sleep(0)
    # The place is given in the same turn of the event loop in which the wait is cancelled.
    first.leave()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    second.leave()
    assert third.holds
    third.leave()
    assert places.free == 1


STEPS = st.lists(
    st.tuples(st.just("enter"), st.sampled_from("abcd"))
    | st.tuples(st.just("leave"), st.integers(0, 30))
    | st.tuples(st.just("resize"), st.integers(1, 6)),
    max_size=60,
)


@given(STEPS, st.integers(1, 6), st.integers(0, 3))
def test_no_order_of_events_breaks_the_rules(
    steps: list[tuple[str, str | int]], size: int, spare: int
) -> None:
    places = FairPlaces(size, max_waiting=3, spare=spare)
    tickets: list[Ticket] = []
    overbooked = 0
    for step, what in steps:
        if step == "enter":
            waiting = [t for t in tickets if t.session == what and not t.holds]
            try:
                tickets.append(places.enter(str(what)))
                assert len(waiting) < 3
            except Failure:
                assert len(waiting) == 3
        elif step == "leave" and tickets:
            tickets.pop(int(what) % len(tickets)).leave()
        elif step == "resize":
            size = int(what)
            places.resize(size)
            overbooked = max(0, sum(t.holds for t in tickets) - size)
        held = [t.session for t in tickets if t.holds]
        overbooked = min(overbooked, max(0, len(held) - size))
        assert len(held) <= size + overbooked
        assert places.free == size - len(held)
        for name in "abcd":
            mine = [t.holds for t in tickets if t.session == name]
            assert mine == sorted(mine, reverse=True), "within a session the first is served first"
            if not all(mine):
                may = places.free > 0 and sum(mine) * spare < places.free
                assert not may, "nobody waits for a place that is free"
    for ticket in tickets:
        ticket.leave()
    assert (places.free, places.waiting, places._served) == (size, 0, {})
