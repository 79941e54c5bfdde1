import asyncio
from contextvars import ContextVar

import pytest

from actors import Actor, ActorRef, ActorSystem, Backoff, Intensity, Lifecycle, Reply
from actors.runtime.eager import EAGER
from actors.runtime.runqueue import ASKS_IN_A_ROW, MESSAGES_PER_TURN, TURNS
from actors.testing import settle
from tests.support.kit import Bare, Boom, Do, Worker, note, sending, tasks_of_actors, wait_for

TOLD: ContextVar[str] = ContextVar("TOLD", default="nothing")


async def test_actors_have_their_turns_in_the_order_in_which_they_were_woken(
    actor_system: ActorSystem,
) -> None:
    log: list[str] = []
    refs = [actor_system.spawn(Bare) for _ in range(5)]
    for index, ref in enumerate(reversed(refs)):
        ref.tell(note(log, str(index)))
    assert actor_system.statistics().run_queue.ready == 5
    await settle()
    assert log == ["0", "1", "2", "3", "4"]
    assert actor_system.statistics().run_queue.ready == 0


@pytest.mark.own_bound("more waits for one actor than it handles in a row")
async def test_an_actor_with_many_messages_lets_others_in_between(
    actor_system: ActorSystem,
) -> None:
    log: list[str] = []
    busy, other = actor_system.spawn(Bare), actor_system.spawn(Bare)
    for _ in range(3 * MESSAGES_PER_TURN):
        busy.tell(note(log, "busy"))
    other.tell(note(log, "other"))
    await settle()
    assert log.index("other") == MESSAGES_PER_TURN


async def test_actors_that_wake_each_other_do_not_hold_up_the_loop(
    actor_system: ActorSystem,
) -> None:
    hops = 0
    refs: list[ActorRef[Do]] = []

    def hop(place: int) -> Do:
        def pass_on(worker: object) -> None:
            nonlocal hops
            hops += 1
            if hops < 10 * TURNS:
                refs[place].tell(hop(1 - place))

        return pass_on

    refs.extend(actor_system.spawn(Bare) for _ in range(2))
    refs[0].tell(hop(1))
    turns = 0
    while hops < 10 * TURNS:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 10


async def test_a_flood_of_ones_own_mailbox_does_not_hold_up_the_loop(
    actor_system: ActorSystem,
) -> None:
    handled = 0
    ref = actor_system.spawn(Bare)

    def flood(worker: object) -> None:
        nonlocal handled
        handled += 1
        if handled < 10 * TURNS:
            ref.tell(flood)

    ref.tell(flood)
    turns = 0
    while handled < 10 * TURNS:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 10


async def test_asking_again_and_again_does_not_hold_up_the_loop(actor_system: ActorSystem) -> None:
    ref = actor_system.spawn(Bare)
    others = 0

    async def count() -> None:
        nonlocal others
        while True:
            await asyncio.sleep(0)
            others += 1

    def answer(reply: Reply[None]) -> Do:
        return lambda worker: reply.send(None)

    counting = asyncio.create_task(count())
    for _ in range(10 * ASKS_IN_A_ROW):
        await ref.ask(answer, timeout=1.0)
    counting.cancel()
    assert others >= 9


async def test_a_handler_sees_nothing_of_its_senders_context(actor_system: ActorSystem) -> None:
    seen: list[str] = []
    ref = actor_system.spawn(Bare)

    async def later(worker: object) -> None:
        seen.append(TOLD.get())

    async def send() -> None:
        TOLD.set("secret")
        ref.tell(lambda worker: seen.append(TOLD.get()))
        await ref.send(later)
        await settle()
        await ref.ask(answer, timeout=1.0)

    def answer(reply: Reply[None]) -> Do:
        def see(worker: object) -> None:
            seen.append(TOLD.get())
            reply.send(None)

        return see

    await asyncio.create_task(send())
    assert seen == ["nothing"] * 3


@pytest.mark.usefixtures("ctrl_c_raises")
async def test_ctrl_c_in_a_plain_function_goes_through_and_leaves_the_queue_in_order(
    actor_system: ActorSystem,
) -> None:
    def leave(worker: object) -> None:
        raise KeyboardInterrupt

    log: list[str] = []
    ref, other = actor_system.spawn(Bare), actor_system.spawn(Bare)
    ref.tell(leave)
    other.tell(note(log, "other"))
    with pytest.raises(KeyboardInterrupt):
        actor_system.run_queue._run()  # called directly, since the exception would end the loop
    assert not ref.alive
    await settle()
    assert log == ["other"]
    assert tasks_of_actors() == 0


async def test_an_actor_that_has_waited_lets_others_in_between_too(
    actor_system: ActorSystem,
) -> None:
    log: list[str] = []
    gate = asyncio.Event()
    busy, other = actor_system.spawn(Bare), actor_system.spawn(Bare)
    busy.tell(wait_for(gate))
    await settle()
    sender = sending(busy, *[note(log, "busy")] * (3 * MESSAGES_PER_TURN))
    await settle()
    gate.set()
    await asyncio.sleep(0)
    other.tell(note(log, "other"))
    await sender
    await settle()
    assert log.index("other") < 3 * MESSAGES_PER_TURN
    assert log.count("busy") == 3 * MESSAGES_PER_TURN


@pytest.mark.own_bound("tells several at once, and to tell is not to wait for room")
@pytest.mark.parametrize("each", [MESSAGES_PER_TURN // 2, 2 * MESSAGES_PER_TURN])
async def test_many_busy_actors_with_tasks_do_not_hold_up_the_loop(
    actor_system: ActorSystem, each: int
) -> None:
    handled = 0

    async def count(worker: object) -> None:
        nonlocal handled
        handled += 1

    for _ in range(10 * TURNS // each):
        ref = actor_system.spawn(Bare)
        for _ in range(each):
            ref.tell(count)
    turns = 0
    while handled < 10 * TURNS:
        await asyncio.sleep(0)
        turns += 1
    # Without eager tasks, each actor has its own task, and the loop runs all of them in one turn.
    assert turns >= (5 if EAGER else 1)


@pytest.mark.parametrize("kind", [Bare, Worker], ids=["without hooks", "with hooks"])
@pytest.mark.parametrize("waits", [False, True], ids=["in a plain function", "in a task"])
async def test_an_actor_that_keeps_crashing_without_a_pause_lets_others_in_between(
    actor_system: ActorSystem, kind: type[Actor[Do]], waits: bool
) -> None:
    log: list[str] = []

    def crash(worker: object) -> None:
        log.append("crash")
        raise Boom

    async def crash_later(worker: object) -> None:
        crash(worker)

    at_once = Lifecycle(backoff=Backoff(initial=0.0), intensity=Intensity(10**6, 1.0))
    busy = actor_system.spawn(kind, lifecycle=at_once)
    await settle()
    sender = sending(busy, *[crash_later if waits else crash] * (4 * TURNS))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(
        lambda: asyncio.get_running_loop().call_soon(log.append, "other")
    )
    await sender
    await settle()
    assert log.index("other") <= 2 * TURNS  # "other" runs two turns of the loop later
    assert log.count("crash") == 4 * TURNS
