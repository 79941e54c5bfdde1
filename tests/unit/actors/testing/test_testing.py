import asyncio

import pytest

from actors import ActorSystem
from actors.testing import LeakCheck, ManualClock, Probe, running_system, settle
from actors.testing.kit import BLIND_ROUNDS
from tests.support.kit import TEMPORARY, Boom, Worker


async def test_timers_run_when_due_in_order_and_the_loop_settles_between() -> None:
    clock = ManualClock(start=100.0)
    seen: list[tuple[str, float]] = []

    def later(name: str) -> None:
        asyncio.get_running_loop().call_soon(lambda: seen.append((name, clock.now())))

    clock.call_later(2.0, lambda: later("b"))
    clock.call_later(1.0, lambda: later("a"))
    clock.call_later(2.0, lambda: later("c"))
    await clock.advance(1.5)
    assert seen == [("a", 101.0)]
    assert clock.now() == 101.5
    await clock.advance(0.5)
    assert seen == [("a", 101.0), ("b", 102.0), ("c", 102.0)]


async def test_a_timer_set_by_a_timer_runs_in_the_same_advance() -> None:
    clock = ManualClock()
    seen: list[float] = []

    def set_another() -> None:
        clock.call_later(1.0, lambda: seen.append(clock.now()))

    clock.call_later(1.0, set_another)
    await clock.advance(5.0)
    assert seen == [2.0]
    assert clock.now() == 5.0


async def test_a_cancelled_timer_does_not_run() -> None:
    clock = ManualClock()
    seen: list[str] = []
    timer = clock.call_later(1.0, lambda: seen.append("x"))
    assert clock.pending == 1
    timer.cancel()
    assert clock.pending == 0
    assert clock.next_due is None
    await clock.advance(2.0)
    assert seen == []


async def test_what_a_timer_raises_comes_out() -> None:
    clock = ManualClock()

    def fail() -> None:
        raise Boom

    clock.call_later(1.0, fail)
    with pytest.raises(Boom):
        await clock.advance(1.0)


async def test_settle_runs_a_chain_to_its_end() -> None:
    steps: list[int] = []

    async def chain() -> None:
        for step in range(500):
            await asyncio.sleep(0)
            steps.append(step)

    task = asyncio.create_task(chain())
    await settle()
    assert len(steps) == 500
    await task


async def test_settle_says_so_when_the_work_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.testing.kit.ROUNDS", 100)

    async def spin() -> None:
        for _ in range(1000):
            await asyncio.sleep(0)

    task = asyncio.create_task(spin())
    with pytest.raises(AssertionError, match="still at work"):
        await settle()
    task.cancel()


async def test_until_moves_the_clock_as_far_as_it_takes() -> None:
    clock = ManualClock()
    done = asyncio.Event()
    clock.call_later(7.0, done.set)
    assert await clock.until(done.wait()) is True
    assert clock.now() == 7.0


async def test_until_fails_when_nothing_can_bring_it_about() -> None:
    clock = ManualClock()
    with pytest.raises(AssertionError, match="not done"):
        await clock.until(asyncio.Event().wait())
    done = asyncio.Event()
    clock.call_later(7.0, done.set)
    with pytest.raises(AssertionError, match="not done"):
        await clock.until(done.wait(), within=6.0)


async def test_the_leak_check_names_a_task() -> None:
    check = LeakCheck()

    async def leaking() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(leaking())
    with pytest.raises(AssertionError, match="leaking"):
        await check.check()
    task.cancel()
    await check.check()


async def test_the_leak_check_names_a_system_and_its_actors() -> None:
    check = LeakCheck()
    system = ActorSystem(name="left", clock=ManualClock())
    check.add(system)
    system.spawn(Worker, name="behind")
    with pytest.raises(AssertionError, match="system left is running\nactor left/behind"):
        await check.check()
    await system.stop()
    await check.check()


async def test_a_running_system_is_stopped_and_checked() -> None:
    with pytest.raises(AssertionError, match="left behind"):
        async with running_system(ManualClock()) as system:
            system.spawn(Worker)
            task = asyncio.create_task(asyncio.Event().wait())
    assert system.snapshot().state == "stopped"
    task.cancel()


async def test_a_probe_keeps_messages_in_order(actor_system: ActorSystem) -> None:
    probe = Probe[int]()
    ref = actor_system.spawn(lambda: probe)
    ref.tell(1)
    await ref.send(2)
    assert await probe.next() == 1
    assert probe.ref == ref
    await probe.ref.send(3)
    assert [await probe.next(), await probe.next()] == [2, 3]
    assert probe.messages == [1, 2, 3]


async def test_a_probe_fails_when_nothing_comes(
    actor_system: ActorSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.testing.kit.PATIENCE", 0.0)
    probe = Probe[int]()
    actor_system.spawn(lambda: probe)
    with pytest.raises(AssertionError, match="nothing more"):
        await probe.next()


async def test_a_probe_waits_for_what_comes_later(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    probe = Probe[str]()
    ref = actor_system.spawn(lambda: probe)
    manual_clock.call_later(5.0, lambda: ref.tell("late"))
    assert await manual_clock.until(probe.next()) == "late"


async def test_a_probe_keeps_downs(actor_system: ActorSystem, manual_clock: ManualClock) -> None:
    probe = Probe[int]()
    other = actor_system.spawn(Worker, name="other", lifecycle=TEMPORARY)
    actor_system.spawn(lambda: probe)
    await manual_clock.settle()
    probe.context.watch(other)
    other.stop()
    await manual_clock.settle()
    assert [down.name for down in probe.downs] == ["other"]


async def test_the_leak_check_is_a_fixture(
    leak_check: LeakCheck, manual_clock: ManualClock
) -> None:
    system = ActorSystem(clock=manual_clock)
    leak_check.add(system)
    assert leak_check.leaks() == ["system system is running"]
    await system.stop()


async def test_a_loop_that_hides_what_is_ready_is_given_many_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(count_turns())
    with monkeypatch.context() as patch:
        patch.setattr(
            "actors.testing.kit.asyncio.get_running_loop", object
        )  # like uvloop's, without `_ready`
        await settle()
    task.cancel()
    assert turns == BLIND_ROUNDS
