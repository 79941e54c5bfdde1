import sys

import pytest

from actors.testing import ManualClock
from transport.server.lobby import CROWDED, GRACE, REQUESTS, Lobby, requests_at_once


class Visitor:
    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
def manual_clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cut() -> list[None]:
    return []


@pytest.fixture
def lobby(manual_clock: ManualClock, cut: list[None]) -> Lobby:
    return Lobby(2, manual_clock, lambda: cut.append(None))


async def test_over_the_limit_the_oldest_is_cut_off_when_its_time_is_over(
    lobby: Lobby, manual_clock: ManualClock, cut: list[None]
) -> None:
    visitors = [Visitor() for _ in range(4)]
    for visitor in visitors:
        lobby.enter(visitor)
        await manual_clock.advance(GRACE / 8)
    assert not cut
    await manual_clock.advance(GRACE)
    assert [visitor.aborted for visitor in visitors] == [True, True, False, False]
    assert len(cut) == 2


async def test_a_visitor_that_has_left_is_not_cut_off_and_makes_room(
    lobby: Lobby, manual_clock: ManualClock
) -> None:
    first, second, third = (Visitor() for _ in range(3))
    for visitor in (first, second, third):
        lobby.enter(visitor)
    lobby.leave(first)
    lobby.leave(first)
    await manual_clock.advance(10 * GRACE)
    assert not any(visitor.aborted for visitor in (first, second, third))


async def test_in_a_crowd_the_oldest_is_cut_off_at_once(lobby: Lobby, cut: list[None]) -> None:
    visitors = [Visitor() for _ in range(2 * CROWDED + 3)]
    for visitor in visitors:
        lobby.enter(visitor)
    assert [visitor.aborted for visitor in visitors] == [True] * 3 + [False] * 2 * CROWDED
    assert len(cut) == 3


async def test_nobody_is_cut_off_within_the_limit_or_after_the_end(
    lobby: Lobby, manual_clock: ManualClock
) -> None:
    visitors = [Visitor() for _ in range(3)]
    for visitor in visitors[:2]:
        lobby.enter(visitor)
    await manual_clock.advance(10 * GRACE)
    assert not any(visitor.aborted for visitor in visitors)
    lobby.enter(visitors[2])
    lobby.close()
    await manual_clock.advance(10 * GRACE)
    assert not any(visitor.aborted for visitor in visitors)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize(
    ("soft", "hard", "requests", "raised"),
    [
        (1024, 1_000_000, REQUESTS, True),
        (1024, -1, REQUESTS, True),
        (1024, 1200, 72, True),
        (256, 256, 16, False),
        (1_000_000, 1_000_000, REQUESTS, False),
        (-1, -1, REQUESTS, False),
    ],
)
def test_the_limit_of_open_files_is_raised_or_fewer_connections_are_taken(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, requests: int, raised: bool
) -> None:
    import resource

    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    assert requests_at_once(1000) == requests
    assert (limits[-1][0] > soft) == raised
