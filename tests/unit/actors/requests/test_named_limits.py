"""Named actors that are rejected, stuck, crash too often or find no room."""

import asyncio

import pytest

from actors import (
    ActorSystem,
    AskCrashed,
    ChildGivenUp,
    Code,
    Crashed,
    DeadLetter,
    Event,
    Failure,
    Intensity,
    Lifecycle,
    NotRunning,
    Restart,
    Stuck,
    Unavailable,
)
from actors.testing import ManualClock, settle
from tests.support.kit import STEADY, boom, note, wait_for
from tests.support.named_kit import MISSING, Map, who

TWICE = Lifecycle(
    restart=Restart.TRANSIENT, backoff=STEADY, intensity=Intensity(restarts=2, period=1000.0)
)
"""Restarted twice, after 1 and 2 seconds."""


def kinds(events: list[Event]) -> set[type[Event]]:
    return {type(event) for event in events}


async def test_a_rejected_key_answers_all_questions_with_its_failure(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    """Every question that waited raises the failure, and what nobody asked is a dead letter."""
    places = Map()
    places.missing.add("nowhere")
    places.close("start nowhere")
    ref = (await places.serve(actor_system))("nowhere")
    ref.tell(note(places.log, "told"))
    questions = [asyncio.create_task(who(ref)) for _ in range(3)]
    await settle()
    places.open("start nowhere")
    for question in questions:
        with pytest.raises(Failure) as failure:
            await question
        assert failure.value is MISSING
    assert places.rejected == 1
    assert [event.path for event in actor_events if isinstance(event, DeadLetter)] == [ref.path] * 4
    assert ref.state == "stopped"


async def test_a_rejection_is_no_crash_and_the_next_message_tries_anew(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    """However often a key is rejected, nothing is restarted or counted, and it can exist later."""
    places = Map()
    places.missing.add("new")
    ref = (await places.serve(actor_system, lifecycle=TWICE))("new")
    for _ in range(10):
        with pytest.raises(Failure, match="NOT_FOUND"):
            await who(ref)
    assert places.rejected == 10
    assert not kinds(actor_events) & {Crashed, ChildGivenUp}
    places.missing.clear()
    await who(ref)


async def test_a_rejection_takes_no_slot(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """Unknown keys passivate nobody, though there is room for one actor alone."""
    places = Map()
    places.missing.add("nowhere")
    ref = await places.serve(actor_system, at_most=1)
    first = await who(ref("a"))
    for _ in range(10):
        with pytest.raises(Failure, match="NOT_FOUND"):
            await who(ref("nowhere"))
    assert await who(ref("a")) is first


async def test_at_the_limit_the_one_idle_longest_makes_room(actor_system: ActorSystem) -> None:
    """The order is that of the last message, not that of the starts."""
    places = Map()
    ref = await places.serve(actor_system, at_most=3)
    for key in ("a", "b", "c", "a"):
        await who(ref(key))
    await who(ref("d"))
    assert places.alive == ["a", "c", "d"]
    ref("a").tell(wait_for(asyncio.Event()))
    await who(ref("c"))
    await who(ref("d"))
    await who(ref("e"))
    assert places.alive == ["a", "d", "e"], "a is at work"


async def test_without_an_idle_actor_there_is_no_room(actor_system: ActorSystem) -> None:
    """Asks end with RESOURCE_EXHAUSTED, and tells raise Unavailable, until one is idle."""
    places = Map()
    ref = await places.serve(actor_system, at_most=2)
    gate = asyncio.Event()
    for key in "ab":
        ref(key).tell(wait_for(gate))
    await settle()
    with pytest.raises(Failure) as failure:
        await who(ref("c"))
    assert (failure.value.code, failure.value.retryable) == (Code.RESOURCE_EXHAUSTED, True)
    with pytest.raises(Unavailable):
        ref("c").tell(boom)
    gate.set()
    await settle()
    await who(ref("c"))
    assert places.alive == ["b", "c"]


async def test_room_that_is_lost_during_the_start_ends_the_new_actor(
    actor_system: ActorSystem,
) -> None:
    """If all others became busy meanwhile, the new one stops; no more than the limit are alive."""
    places = Map()
    places.close("start b")
    ref = await places.serve(actor_system, at_most=1)
    await who(ref("a"))
    question = asyncio.create_task(who(ref("b")))
    await settle()
    with pytest.raises(Failure, match="RESOURCE_EXHAUSTED"):
        await who(ref("c"))  # no more may start at once than may be alive
    ref("a").tell(wait_for(asyncio.Event()))
    places.open("start b")
    with pytest.raises(Failure, match="RESOURCE_EXHAUSTED"):
        await question
    assert places.alive == ["a"]
    assert places.log[-2:] == ["b started", "b stopped"]


@pytest.mark.own_bound("several messages wait for one actor at once")
async def test_a_crash_restarts_that_actor_alone(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """The ref, the mailbox and other keys survive; the next incarnation is a new object."""
    places = Map()
    ref = await places.serve(actor_system, lifecycle=TWICE)
    first, other = await who(ref("a")), await who(ref("b"))
    ref("a").tell(boom)
    ref("a").tell(note(places.log, "kept"))
    await manual_clock.advance(1.0)
    assert places.log[-1] == "kept"
    assert await who(ref("a")) is not first
    assert await who(ref("b")) is other


async def test_a_first_start_that_fails_is_tried_again(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """A question waits while `started` crashes less often than the intensity allows."""
    places = Map()
    places.failing["a"] = 2
    ref = await places.serve(actor_system, lifecycle=TWICE)
    await manual_clock.until(who(ref("a")))
    assert manual_clock.now() == 3.0


@pytest.mark.own_bound("several messages wait for one actor at once")
async def test_a_spent_intensity_makes_the_key_unavailable_for_a_growing_pause(
    actor_system: ActorSystem, manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    """Questions that wait get UNAVAILABLE; after the pause, a message tries anew."""
    places = Map()
    ref = (await places.serve(actor_system, lifecycle=TWICE))("a")
    advice = []
    for _ in range(4):
        places.failing["a"] = 3
        with pytest.raises(Failure) as failure:
            await manual_clock.until(who(ref))
        assert (failure.value.code, failure.value.retryable) == (Code.UNAVAILABLE, True)
        advice.append(failure.value.retry_after_ms)
        await manual_clock.advance(advice[-1] / 1000 - 0.1)
        with pytest.raises(Failure) as early:
            await who(ref)
        assert early.value.code is Code.UNAVAILABLE
        assert 0 < early.value.retry_after_ms <= 101
        with pytest.raises(Unavailable):
            ref.tell(boom)
        assert places.failing["a"] == 0, "nothing was started"
        await manual_clock.advance(0.2)
    assert [round(pause / 1000) for pause in advice] == [1, 2, 4, 8]
    assert sum(isinstance(event, ChildGivenUp) for event in actor_events) == 4
    first = await who(ref)
    ref.stop()
    await settle()
    assert await who(ref) is not first
    places.failing["a"] = 2
    for _ in range(3):
        ref.tell(boom)
    with pytest.raises(Failure) as after:
        await manual_clock.until(who(ref))
    assert round(after.value.retry_after_ms / 1000) == 1, "a good end is the end of the trouble"


async def test_a_crash_loop_in_one_key_leaves_the_others_alone(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """A lifecycle without an intensity gets one, so the directory is never given up."""
    places = Map()
    lifecycle = Lifecycle(restart=Restart.TRANSIENT)
    ref = await places.serve(actor_system, idle=10_000.0, lifecycle=lifecycle)
    other = await who(ref("b"))
    given_up = 0
    for _ in range(100):
        try:
            ref("a").tell(boom)
        except Unavailable:
            given_up += 1
        await manual_clock.advance(1.0)
    assert given_up > 10
    assert await who(ref("b")) is other


async def test_pauses_are_forgotten(actor_system: ActorSystem, manual_clock: ManualClock) -> None:
    """A key that is not tried again is forgotten, so pauses hold no memory forever."""
    places = Map()
    once = Lifecycle(restart=Restart.TEMPORARY)
    ref = await places.serve(actor_system, lifecycle=once)

    async def crash(key: str) -> int:
        ref(key).tell(boom)
        with pytest.raises(Failure) as failure:
            await who(ref(key))
        return round(failure.value.retry_after_ms / 1000)

    assert await crash("a") == 1
    await manual_clock.advance(10.0)
    assert await crash("a") == 2
    await manual_clock.advance(1000.0)
    assert await crash("b") == 1
    assert await crash("a") == 1


async def test_a_question_that_was_taken_hears_of_the_crash(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """The one that crashed gets AskCrashed with the cause, not UNAVAILABLE."""
    places = Map()
    once = Lifecycle(restart=Restart.TEMPORARY)
    ref = (await places.serve(actor_system, lifecycle=once))("a")
    with pytest.raises(AskCrashed):
        await ref.ask(lambda reply: boom, timeout=10.0)


@pytest.mark.own_bound("several messages wait for one actor at once")
async def test_a_stuck_actor_blocks_its_key_until_its_task_ends(
    actor_system: ActorSystem, manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    """Who waits gets UNAVAILABLE when the task is abandoned, and so does who comes after that."""
    places = Map()
    places.close("stop a")
    ref = await places.serve(actor_system, idle=60.0)
    first = await who(ref("a"))
    await manual_clock.advance(60.0)
    question = asyncio.create_task(who(ref("a")))
    sender = asyncio.create_task(ref("a").send(note(places.log, "lost")))
    await manual_clock.advance(20.0)
    assert Stuck in kinds(actor_events)
    with pytest.raises(Failure) as failure:
        await question
    await sender
    assert (failure.value.code, failure.value.retryable) == (Code.UNAVAILABLE, True)
    for _ in range(3):
        with pytest.raises(Failure, match="UNAVAILABLE"):
            await who(ref("a"))
        with pytest.raises(Unavailable):
            ref("a").tell(boom)
        await manual_clock.advance(1000.0)
    await who(ref("b"))
    assert places.alive == ["a", "b"], "the old incarnation has not ended"
    places.open("stop a")
    await settle()
    assert await who(ref("a")) is not first
    assert "lost" not in places.log


async def test_a_sender_that_waits_for_a_stuck_key_hears_of_it(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """Its message comes back with NotRunning when the key becomes unavailable."""
    places = Map()
    places.close("stop a")
    full = Lifecycle(restart=Restart.TRANSIENT, capacity=1)
    ref = (await places.serve(actor_system, idle=60.0, lifecycle=full))("a")
    await who(ref)
    await manual_clock.advance(60.0)
    ref.tell(note(places.log, "1"))
    sender = asyncio.create_task(ref.send(boom))
    await manual_clock.advance(20.0)
    with pytest.raises(NotRunning) as refused:
        await sender
    assert refused.value.undelivered is boom
    places.open("stop a")
    await settle()
