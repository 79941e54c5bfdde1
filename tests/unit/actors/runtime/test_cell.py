import asyncio

import pytest

from actors import Actor, ActorSystem, Down, Event, Exit, Lifecycle, Overflow
from actors.runtime.runqueue import TURNS
from actors.testing import ManualClock, running_system, settle
from tests.support.kit import (
    PERMANENT,
    TEMPORARY,
    Bare,
    Boom,
    Worker,
    boom,
    note,
    sending,
    tasks_of_actors,
    wait_for,
)


async def test_messages_are_handled_in_order(actor_system: ActorSystem) -> None:
    log: list[str] = []
    ref = actor_system.spawn(Bare)
    for index in range(200):
        await ref.send(note(log, str(index)))
    await settle()
    assert log == [str(index) for index in range(200)]


async def test_an_idle_actor_owns_no_task(actor_system: ActorSystem) -> None:
    refs = [actor_system.spawn(Bare) for _ in range(100)]
    assert tasks_of_actors() == 0
    gate = asyncio.Event()
    for ref in refs:
        ref.tell(wait_for(gate))
    await settle()
    assert tasks_of_actors() == 100
    gate.set()
    await settle()
    assert tasks_of_actors() == 0


async def test_a_plain_function_needs_no_task(actor_system: ActorSystem) -> None:
    tasks: list[int] = []
    ref = actor_system.spawn(Bare)
    for _ in range(3):
        await ref.send(lambda worker: tasks.append(tasks_of_actors()))
    await settle()
    assert tasks == [0, 0, 0]


@pytest.mark.own_bound("what it tells itself and what another told it wait together")
async def test_a_message_from_within_is_handled_after_those_before_it(
    actor_system: ActorSystem,
) -> None:
    log: list[str] = []
    ref = actor_system.spawn(Bare)

    def tell_oneself(worker: Worker) -> None:
        worker.context.ref.tell(note(log, "own"))
        log.append("first")

    ref.tell(tell_oneself)
    ref.tell(note(log, "second"))
    await settle()
    assert log == ["first", "second", "own"]


async def test_a_message_that_comes_while_one_is_in_hand_waits(actor_system: ActorSystem) -> None:
    log: list[str] = []
    gate = asyncio.Event()
    ref = actor_system.spawn(Bare)
    ref.tell(wait_for(gate))
    await settle()
    ref.tell(note(log, "second"))
    await settle()
    assert log == []
    gate.set()
    await settle()
    assert log == ["second"]


async def test_a_busy_actor_gives_others_a_turn(actor_system: ActorSystem) -> None:
    turns = 0
    log: list[str] = []
    ref = actor_system.spawn(Bare)
    sender = sending(ref, *[note(log, "x")] * 1000)
    while len(log) < 1000:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 1000 // TURNS
    await sender


async def test_a_control_overtakes_messages(actor_system: ActorSystem) -> None:
    worker, gate = Worker(), asyncio.Event()
    ref = actor_system.spawn(lambda: worker)
    other = actor_system.spawn(Bare, name="other")
    await settle()
    worker.context.watch(other)
    ref.tell(wait_for(gate))
    await settle()
    ref.tell(note(worker.log, "message"))
    other.stop()
    worker.log.clear()
    gate.set()
    await settle()
    assert worker.log == ["worker down other shutdown", "message"]


async def test_a_control_overtakes_the_message_that_has_begun_the_turn(
    actor_system: ActorSystem,
) -> None:
    worker = Worker()
    ref = actor_system.spawn(lambda: worker)
    other = actor_system.spawn(Bare, name="other")
    await settle()
    worker.context.watch(other)
    worker.log.clear()
    ref.tell(note(worker.log, "message"))
    other.stop()
    await settle()
    assert worker.log == ["worker down other shutdown", "message"]


async def test_a_control_is_never_refused(actor_system: ActorSystem) -> None:
    worker, gate = Worker(), asyncio.Event()
    ref = actor_system.spawn(
        lambda: worker, lifecycle=Lifecycle(capacity=1, overflow=Overflow.REFUSE)
    )
    others = [actor_system.spawn(Bare) for _ in range(50)]
    await settle()
    for other in others:
        worker.context.watch(other)
    ref.tell(wait_for(gate))
    await settle()
    ref.tell(note(worker.log, "message"))
    for other in others:
        other.stop()
    gate.set()
    await settle()
    assert len([line for line in worker.log if " down " in line]) == 50


# -- timers --------------------------------------------------------------------------------------


async def test_a_timer_tells_the_actor_later(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    worker = Worker()
    actor_system.spawn(lambda: worker)
    await settle()
    worker.log.clear()
    worker.context.after(5.0, note(worker.log, "due"))
    taken_back = worker.context.after(5.0, note(worker.log, "taken back"))
    taken_back()
    taken_back()
    await manual_clock.advance(4.0)
    assert worker.log == []
    await manual_clock.advance(1.0)
    assert worker.log == ["due"]


async def test_timers_die_with_the_incarnation(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    log: list[str] = []
    ref = actor_system.spawn(Bare, lifecycle=PERMANENT)

    def set_timer(worker: Worker) -> None:
        worker.context.after(10.0, note(log, "due"))

    ref.tell(set_timer)
    await ref.send(boom)
    await manual_clock.advance(100.0)
    assert log == []
    assert ref.alive
    ref.tell(set_timer)
    await settle()
    ref.stop()
    await manual_clock.advance(100.0)
    assert log == []
    assert actor_system.dead_letters == 0


async def test_a_timer_that_finds_no_room_becomes_a_dead_letter(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    log: list[str] = []
    gate = asyncio.Event()
    ref = actor_system.spawn(Bare, lifecycle=Lifecycle(capacity=1))

    def set_timer(worker: Worker) -> None:
        worker.context.after(1.0, note(log, "due"))

    ref.tell(set_timer)
    await settle()
    ref.tell(wait_for(gate))
    await settle()
    ref.tell(note(log, "told"))
    await manual_clock.advance(2.0)
    assert actor_system.dead_letters == 1
    gate.set()
    await settle()
    assert log == ["told"]


# -- context.next --------------------------------------------------------------------------------


class Reader(Actor[str]):
    """Takes some of its messages in `main`, with `context.next`."""

    def __init__(self, log: list[str], reads: int) -> None:
        self.log = log
        self.reads = reads

    async def main(self) -> None:
        self.log.append("main")
        for _ in range(self.reads):
            self.log.append("next " + await self.context.next())
        self.log.append("main done")

    def receive(self, message: str) -> None:
        self.log.append("receive " + message)

    async def down(self, down: object) -> None:
        self.log.append("down")

    def stopped(self) -> None:
        self.log.append("stopped")


async def test_next_takes_messages_in_order_and_the_rest_is_received(
    actor_system: ActorSystem,
) -> None:
    log: list[str] = []
    ref = actor_system.spawn(lambda: Reader(log, 2))
    ref.tell("a")
    await settle()
    assert log == ["main", "next a"]
    ref.tell("b")
    await ref.send("c")
    await settle()
    assert log == ["main", "next a", "next b", "main done", "receive c"]


async def test_next_makes_room_for_senders_in_line(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    log: list[str] = []
    ref = actor_system.spawn(lambda: Reader(log, 3), lifecycle=Lifecycle(capacity=1))
    ref.tell("a")
    senders = asyncio.gather(ref.send("b"), ref.send("c"))
    await manual_clock.until(senders)
    await settle()
    assert log == ["main", "next a", "next b", "next c", "main done"]


async def test_a_stop_ends_the_wait_at_once(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    log: list[str] = []
    ref = actor_system.spawn(lambda: Reader(log, 1), lifecycle=TEMPORARY)
    await settle()
    ref.stop()
    down = await ref.join()
    assert manual_clock.now() == 0.0
    assert down.exit is Exit.SHUTDOWN
    assert down.error is None
    assert log == ["main", "stopped"]


async def test_an_actor_that_ignores_the_end_of_its_wait_is_cancelled_at_the_limit(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    class Stubborn(Actor[str]):
        async def main(self) -> None:
            for _ in range(10):
                try:
                    await self.context.next()
                except asyncio.CancelledError:
                    continue
            await asyncio.Event().wait()

        def receive(self, message: str) -> None: ...

    ref = actor_system.spawn(Stubborn, lifecycle=TEMPORARY)
    await settle()
    ref.stop()
    down = await manual_clock.until(ref.join())
    assert manual_clock.now() == TEMPORARY.shutdown
    assert down.exit is Exit.KILLED


async def test_a_down_waits_until_main_is_done(actor_system: ActorSystem) -> None:
    log: list[str] = []
    reader = Reader(log, 1)
    ref = actor_system.spawn(lambda: reader)
    other = actor_system.spawn(Bare)
    await settle()
    reader.context.watch(other)
    other.stop()
    await settle()
    assert log == ["main"]
    ref.tell("a")
    await settle()
    assert log == ["main", "next a", "main done", "down"]


async def test_a_timeout_round_next_loses_no_message(actor_system: ActorSystem) -> None:
    log: list[str] = []

    class Impatient(Actor[str]):
        async def main(self) -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await self.context.next()
            log.append(await self.context.next())

        def receive(self, message: str) -> None: ...

    ref = await actor_system.start(Impatient)
    await asyncio.sleep(0)  # the wait has begun, and its timeout is due
    ref.tell("kept")
    await settle()
    assert log == ["kept"]


# -- at the end ----------------------------------------------------------------------------------


async def test_what_comes_after_the_end_is_a_dead_letter_also_while_nobody_listens(
    manual_clock: ManualClock,
) -> None:
    async with running_system(manual_clock) as system:
        ref = system.spawn(Bare)
        ref.stop()
        await ref.join()
        ref.tell(note([], "late"))
        assert system.dead_letters == 1


async def test_an_actor_that_is_stopping_gets_no_more_downs(actor_system: ActorSystem) -> None:
    worker, gate = Worker(), asyncio.Event()
    ref, other = actor_system.spawn(lambda: worker), actor_system.spawn(Bare)
    await settle()
    worker.context.watch(other)
    ref.tell(wait_for(gate))
    await settle()
    ref.stop()
    other.stop()
    gate.set()
    await ref.join()
    assert worker.log == ["worker started", "worker stopped"]


async def test_a_crash_from_outside_ends_the_wait_for_the_next_message(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    class Parent(Worker):
        def child_ended(self, down: Down) -> None:
            raise Boom

    parents: list[Parent] = []

    def make() -> Parent:
        parents.append(Parent())
        return parents[-1]

    async def take(worker: Worker) -> None:
        await worker.context.next()

    ref = actor_system.spawn(make, lifecycle=TEMPORARY)
    await settle()
    child = parents[0].context.spawn(Bare)
    ref.tell(take)
    await settle()
    child.stop()
    down = await ref.join()
    assert isinstance(down.error, Boom)


@pytest.mark.parametrize("how", ["stop", "kill", "crash", "itself"])
async def test_at_end_is_called_however_an_incarnation_ends(
    actor_system: ActorSystem, manual_clock: ManualClock, how: str
) -> None:
    log: list[str] = []
    ref = actor_system.spawn(lambda: Worker(log), lifecycle=TEMPORARY)
    ref.tell(lambda worker: worker.context.at_end(lambda: log.append("over")))
    await settle()
    assert "over" not in log
    match how:
        case "stop":
            ref.stop()
        case "kill":
            ref.kill()
        case "crash":
            ref.tell(boom)
        case _:
            ref.tell(lambda worker: worker.context.stop())
    await manual_clock.until(ref.join())
    assert log.count("over") == 1
    assert log[-1] == "over"
