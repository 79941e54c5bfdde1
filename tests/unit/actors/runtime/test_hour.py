"""Restarts, backoff and deadlines agree with a model for an hour of virtual time."""

import asyncio

from actors import (
    ActorSystem,
    AskCrashed,
    AskTimeout,
    Backoff,
    ChildGivenUp,
    Event,
    Intensity,
    Lifecycle,
    Reply,
)
from actors.runtime.deadlines import TICK
from actors.testing import ManualClock, settle
from tests.support.kit import Bare, Boom, Do, Worker

HOUR = 3600.0
BACKOFF = Backoff(initial=1.0, factor=2.0, maximum=32.0, jitter=0.0)


def is_up(now: float) -> bool:
    """Return whether the actor's dependency is up: 7 minutes of every 11, then 4 down."""
    return now % 660.0 < 420.0


def expected_starts() -> list[float]:
    """Return when the actor starts: at 0.0, and 1, 2, 4 ... 32 s after each crash."""
    starts, now, streak = [0.0], 0.0, 0
    while True:
        if is_up(now):
            now = now // 660.0 * 660.0 + 420.0  # it runs for over 32 s, which resets the pause
            streak = 0
        now += min(2.0**streak, 32.0)
        streak += 1
        if now > HOUR:
            return starts
        starts.append(now)


async def test_an_hour_of_a_service_that_is_down_now_and_then(
    actor_system: ActorSystem, manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    starts: list[float] = []

    class Fragile(Bare):
        def started(self) -> None:
            starts.append(manual_clock.now())
            if not is_up(manual_clock.now()):
                raise Boom

    def fall(worker: Worker) -> None:
        raise Boom

    often = Intensity(restarts=1000, period=HOUR)
    ref = actor_system.spawn(Fragile, lifecycle=Lifecycle(backoff=BACKOFF, intensity=often))
    for outage in range(5):
        await manual_clock.advance(outage * 660.0 + 420.0 - manual_clock.now())
        ref.tell(fall)
    await manual_clock.advance(HOUR - manual_clock.now())
    assert starts == expected_starts()
    assert not [event for event in actor_events if isinstance(event, ChildGivenUp)]
    assert actor_system.snapshot().children[0].restarts == len(starts) - 1


async def test_an_hour_of_questions_with_deadlines(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """Each question is answered before its deadline, or times out at most a tick after it."""
    waiting: list[Reply[float]] = []

    def keep(reply: Reply[float]) -> Do:
        return lambda worker: waiting.append(reply)

    ref = actor_system.spawn(Bare)
    late: list[float] = []
    counts = {"answered": 0, "late": 0}

    async def ask(seconds: float) -> None:
        asked = manual_clock.now()
        try:
            await ref.ask(keep, timeout=seconds)
            counts["answered"] += 1
        except AskTimeout:
            late.append(manual_clock.now() - asked - seconds)
            counts["late"] += 1

    questions = []
    for second in range(int(HOUR)):
        questions.append(asyncio.create_task(ask(second % 60 + 1.0)))
        await settle()
        if second % 600 == 599:
            for reply in waiting:
                reply.send(manual_clock.now())
            waiting.clear()
        await manual_clock.advance(1.0)
    await manual_clock.advance(60.0)
    await asyncio.gather(*questions)
    assert min(late) >= 0.0
    assert max(late) <= TICK + 1e-6
    # The actor answers every ten minutes: only questions that are not yet due are still waiting.
    in_time = sum(second % 60 + 1 >= 599 - second for second in range(600))
    assert counts == {"answered": 6 * in_time, "late": 3600 - 6 * in_time}
    assert len(actor_system.deadlines) == 0


async def test_an_hour_of_crashes_spends_no_intensity_that_is_wide_enough(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    ref = actor_system.spawn(
        Bare,
        lifecycle=Lifecycle(backoff=BACKOFF, intensity=Intensity(restarts=1, period=59.0)),
    )

    def crash(reply: Reply[None]) -> Do:
        def fall(worker: Worker) -> None:
            raise Boom

        return fall

    for _ in range(60):
        try:
            await ref.ask(crash, timeout=1.0)
        except AskCrashed:
            await manual_clock.advance(60.0)
    assert manual_clock.now() == HOUR
    assert ref.alive
    assert actor_system.snapshot().tally.restarted == 60
