import pytest

from actors.runtime.deadlines import TICK, Deadlines, DeadlineStatistics
from actors.testing import ManualClock
from tests.support.kit import Boom


async def test_a_deadline_is_never_early_and_at_most_a_tick_late() -> None:
    clock = ManualClock(start=3.1234)
    deadlines = Deadlines(clock)
    passed: dict[float, float] = {}

    def add(delay: float) -> None:
        deadlines.add(delay, lambda: passed.update({delay: clock.now() - 3.1234}))

    for index in range(200):
        add(index * 0.00371)
    await clock.advance(2.0)
    assert len(passed) == 200
    for delay, seen in passed.items():
        assert delay - 1e-7 <= seen <= delay + TICK + 1e-7


async def test_a_deadline_that_is_met_does_not_pass() -> None:
    clock = ManualClock()
    deadlines = Deadlines(clock)
    passed: list[str] = []
    met = deadlines.add(1.0, lambda: passed.append("met"))
    deadlines.add(1.0, lambda: passed.append("passed"))
    assert len(deadlines) == 2
    met.met()
    met.met()
    assert len(deadlines) == 1
    await clock.advance(2.0)
    assert passed == ["passed"]
    assert len(deadlines) == 0


async def test_one_timer_serves_all() -> None:
    clock = ManualClock()
    deadlines = Deadlines(clock)
    for index in range(1000):
        deadlines.add(1.0 + index, lambda: None)
    assert clock.pending == 1
    await clock.advance(2000.0)
    assert clock.pending == 0


async def test_an_earlier_deadline_moves_the_timer() -> None:
    clock = ManualClock()
    deadlines = Deadlines(clock)
    passed: list[str] = []
    deadlines.add(10.0, lambda: passed.append("late"))
    deadlines.add(1.0, lambda: passed.append("early"))
    assert clock.pending == 1
    await clock.advance(1.0 + TICK)
    assert passed == ["early"]
    await clock.advance(10.0)
    assert passed == ["early", "late"]


async def test_a_callback_may_end_one_deadline_and_add_another() -> None:
    clock = ManualClock()
    deadlines = Deadlines(clock)
    passed: list[str] = []

    def first() -> None:
        passed.append("first")
        second.met()
        deadlines.add(0.0, lambda: passed.append("third"))

    deadlines.add(1.0, first)
    second = deadlines.add(1.0, lambda: passed.append("second"))
    await clock.advance(2.0)
    assert passed == ["first", "third"]


async def test_a_callback_that_raises_affects_no_other_deadline() -> None:
    clock = ManualClock()
    deadlines = Deadlines(clock)
    passed: list[str] = []

    def fail() -> None:
        raise Boom

    deadlines.add(1.0, fail)
    deadlines.add(1.0, lambda: passed.append("same slot"))
    deadlines.add(5.0, lambda: passed.append("later"))
    with pytest.raises(Boom):
        await clock.advance(2.0)
    await clock.advance(5.0)
    assert passed == ["same slot", "later"]


async def test_a_timer_that_is_early_is_set_again() -> None:
    class Hasty(ManualClock):
        """Ends each wait half a tick early, as a coarse system clock may."""

        def call_later(self, delay: float, callback: object) -> object:  # type: ignore[override]  # for this test
            early = max(delay - TICK / 2, 0.0) if delay > TICK / 2 else delay
            return super().call_later(early, callback)  # type: ignore[arg-type]  # passed on

    clock = Hasty()
    deadlines = Deadlines(clock)  # type: ignore[arg-type]  # see above
    passed: list[float] = []
    deadlines.add(1.0, lambda: passed.append(clock.now()))
    await clock.advance(2.0)
    assert len(passed) == 1
    assert 1.0 - 1e-7 <= passed[0] <= 1.0 + TICK + 1e-7


async def test_nothing_runs_after_closing() -> None:
    clock = ManualClock()
    deadlines = Deadlines(clock)
    passed: list[str] = []
    deadlines.add(1.0, lambda: passed.append("x"))
    deadlines.close()
    await clock.advance(2.0)
    assert passed == []
    assert clock.pending == 0
    deadlines.close()


def test_the_statistics_of_the_deadlines() -> None:
    deadlines = Deadlines(ManualClock())
    for _ in range(3):
        deadlines.add(1.0, lambda: None)
    deadlines.add(2.0, lambda: None)
    assert deadlines.statistics() == DeadlineStatistics(pending=4, slots=2)
