"""Named actors: refs that stand for a key, and the passivation of actors that are idle."""

import asyncio

import pytest

from actors import (
    ActorSystem,
    AlreadyRegistered,
    Code,
    Down,
    Exit,
    Failure,
    Lifecycle,
    MailboxFull,
    NotRegistered,
    Overflow,
    Registry,
    Reply,
    RequestActor,
    Restart,
    StartFailed,
    Unavailable,
)
from actors.testing import ManualClock, serving, settle
from tests.support.kit import Do, Worker, boom, note, wait_for
from tests.support.named_kit import Map, Place, start, who
from tests.support.session_kit import Text


async def test_a_ref_stands_for_its_key(actor_system: ActorSystem) -> None:
    """Refs to one key are equal and reach one actor, which is another one than that of any key."""
    places = Map()
    ref = await places.serve(actor_system)
    assert ref("a") == ref("a") != ref("b")
    assert ref("a") != Worker
    assert len({ref("a"), ref("a"), ref("b")}) == 2
    assert ref("a").path == "system/extensions/Place/a"
    assert repr(ref("a")) == "<NamedRef system/extensions/Place/a>"
    first = await who(ref("a"))
    assert await who(ref("a")) is first is not await who(ref("b"))
    assert first.context.ref == ref("a")


async def test_a_ref_costs_nothing_until_it_is_used(actor_system: ActorSystem) -> None:
    """Nothing starts before the first message, however the ref is queried."""
    places = Map()
    ref = (await places.serve(actor_system))("a")
    ref.stop()
    ref.kill()
    ref.restart_never()
    assert (ref.alive, ref.state, ref.statistics().messages) == (False, "stopped", 0)
    assert ref.statistics().capacity == 1024
    downs: list[Down] = []
    ref.watch(downs.append)()
    assert downs == [await ref.join()]
    assert (downs[0].name, downs[0].exit) == ("a", Exit.NORMAL)
    await settle()
    assert places.log == []
    ref.tell(note(places.log, "told"))
    assert (ref.alive, ref.state, ref.statistics().messages) == (True, "starting", 1)
    await settle()
    assert places.log == ["a started", "told"]
    assert ref.state == "running"


async def test_every_way_to_send_starts_the_actor(actor_system: ActorSystem) -> None:
    """`tell`, `tell_now` and `send` reach an actor that was not alive, and one that is."""
    places = Map()
    ref = (await places.serve(actor_system))("a")
    ref.tell_now(note(places.log, "1"))
    await ref.send(note(places.log, "2"))
    await settle()
    ref.tell_now(note(places.log, "3"))
    assert places.log == ["a started", "1", "2", "3"]


async def test_an_idle_actor_is_passivated_and_its_ref_survives(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """After `idle` seconds without a message the actor stops; the next message starts another."""
    places = Map()
    ref = await places.serve(actor_system, idle=60.0)
    first, other = await who(ref("a")), await who(ref("b"))
    await manual_clock.advance(40.0)
    assert await who(ref("a")) is first, "40 seconds are not 60"
    await manual_clock.advance(20.0)
    assert places.alive == ["a"], "b has had no message for 60 seconds"
    await manual_clock.advance(39.0)
    assert places.alive == ["a"]
    await manual_clock.advance(1.0)
    assert places.alive == []
    assert await who(ref("b")) is not other
    assert await who(ref("a")) is not first


async def test_one_timer_is_enough(actor_system: ActorSystem, manual_clock: ManualClock) -> None:
    """A directory has one timer, however many actors it has; without actors it has none."""
    places = Map()
    ref = await places.serve(actor_system, idle=60.0)
    for key in "abc":
        ref(key).tell(note(places.log, key))
    await settle()
    assert manual_clock.pending == 1
    await manual_clock.advance(60.0)
    assert manual_clock.pending == 0


async def test_an_actor_that_is_at_work_is_not_passivated(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """A message in hand and a question without an answer keep it alive."""
    places = Map()
    ref = (await places.serve(actor_system, idle=60.0))("a")
    gate = asyncio.Event()
    ref.tell(wait_for(gate))
    await manual_clock.advance(1000.0)
    assert places.alive == ["a"]
    replies: list[Reply[int]] = []

    def keep(reply: Reply[int]) -> Do:
        return lambda worker: replies.append(reply)

    question = asyncio.create_task(ref.ask(keep, timeout=10_000.0))
    gate.set()
    await manual_clock.advance(1000.0)
    assert places.alive == ["a"]
    (reply,) = replies
    reply.send(1)
    assert await question == 1
    await manual_clock.advance(120.0)
    assert places.alive == []


async def test_a_child_a_timer_or_a_hold_keeps_an_actor(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """Each of them keeps an actor that gets no messages alive until it ends."""
    places = Map()
    ref = await places.serve(actor_system, idle=60.0)
    child, timer, held = [await who(ref(key)) for key in ("child", "timer", "held")]
    assert isinstance(held, Place)
    spawned = child.context.spawn(Worker)
    cancel = timer.context.after(1000.0, note(places.log, "due"))
    release = held.context.hold()
    also = held.context.hold()
    await manual_clock.advance(500.0)
    assert places.alive == ["child", "timer", "held"]
    spawned.stop()
    cancel()
    also()
    also()
    await manual_clock.advance(120.0)
    assert places.alive == ["held"], "a hold that is released twice counts once"
    release()
    await manual_clock.advance(120.0)
    assert places.alive == []


async def test_a_hold_ends_with_its_incarnation(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """After a crash, a hold of the incarnation before keeps nothing; releasing it does nothing."""
    places = Map()
    ref = (await places.serve(actor_system, idle=60.0))("a")
    release = (await who(ref)).context.hold()
    ref.tell(boom)
    await manual_clock.advance(10.0)
    later = (await who(ref)).context.hold()
    release()
    await manual_clock.advance(120.0)
    assert places.alive == ["a"]
    later()
    await manual_clock.advance(120.0)
    assert places.alive == []


async def test_a_message_of_its_own_timer_is_a_message(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """The idle time begins with the last message, even if the actor sent it to itself."""
    places = Map()
    ref = (await places.serve(actor_system, idle=60.0))("a")
    (await who(ref)).context.after(50.0, note(places.log, "due"))
    await manual_clock.advance(109.0)
    assert places.alive == ["a"]
    await manual_clock.advance(1.0)
    assert places.alive == []


@pytest.mark.own_bound("several messages wait for one actor at once")
async def test_messages_sent_while_stopped_runs_go_to_the_next_incarnation(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """They wait, in order, and the next incarnation starts only when `stopped` has finished."""
    places = Map()
    places.close("stop a")
    ref = (await places.serve(actor_system, idle=60.0))("a")
    first = await who(ref)
    await manual_clock.advance(60.0)
    assert ref.state == "stopping"
    ref.tell(note(places.log, "1"))
    ref.tell_now(note(places.log, "2"))
    await ref.send(note(places.log, "3"))
    again = asyncio.create_task(who(ref))
    await settle()
    assert places.log == ["a started"]
    places.open("stop a")
    assert await again is not first
    assert places.log == ["a started", "a stopped", "a started", "1", "2", "3"]


@pytest.mark.own_bound("several messages wait for one actor at once")
async def test_the_mailbox_bounds_what_waits_for_the_next_incarnation(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """While `stopped` runs, a full mailbox does what its policy says."""
    places = Map()
    places.close("stop a")
    lifecycle = Lifecycle(capacity=2, overflow=Overflow.WAIT)
    ref = (await places.serve(actor_system, idle=60.0, lifecycle=lifecycle))("a")
    await who(ref)
    await manual_clock.advance(60.0)
    ref.tell(note(places.log, "1"))
    ref.tell(note(places.log, "2"))
    with pytest.raises(MailboxFull):
        ref.tell(note(places.log, "3"))
    waiting = asyncio.create_task(ref.send(note(places.log, "4")))
    await settle()
    assert not waiting.done()
    places.open("stop a")
    await waiting
    await settle()
    assert places.log[-3:] == ["1", "2", "4"]


async def test_a_timer_of_an_actor_that_is_stopping_sends_nothing_to_the_next(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """Its message becomes a dead letter, though a message for the next incarnation waits."""
    places = Map()
    places.close("stop a")
    ref = (await places.serve(actor_system))("a")
    (await who(ref)).context.after(2.0, note(places.log, "due"))
    ref.stop()
    again = asyncio.create_task(who(ref))
    await manual_clock.advance(3.0)
    places.open("stop a")
    await again
    assert places.log == ["a started", "a stopped", "a started"]
    assert actor_system.dead_letters == 1


async def test_a_stop_of_any_kind_makes_way_for_the_next_incarnation(
    actor_system: ActorSystem,
) -> None:
    """An actor that ends by itself, is stopped or is killed is started by the next message."""
    places = Map()
    ref = (await places.serve(actor_system))("a")
    for end in (lambda place: place.context.stop(), lambda _: ref.stop(), lambda _: ref.kill()):
        first = await who(ref)
        ref.tell(end)
        await settle()
        places.alive.clear()  # a kill runs no `stopped`
        assert await who(ref) is not first
    ref.stop()
    await settle()
    assert ref.state == "stopped"


async def test_who_waits_to_start_can_be_stopped(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """A stop while `stopped` of the last actor runs makes what waits dead letters, once."""
    places = Map()
    places.close("stop a")
    ref = (await places.serve(actor_system, idle=60.0))("a")
    await who(ref)
    await manual_clock.advance(60.0)
    ref.tell(note(places.log, "1"))
    downs: list[Down] = []
    ref.watch(downs.append)
    ref.stop()
    assert [down.exit for down in downs] == [Exit.SHUTDOWN]
    ref.tell(note(places.log, "2"))
    places.open("stop a")
    await settle()
    assert places.log == ["a started", "a stopped", "a started", "2"]
    assert actor_system.dead_letters == 1
    places.close("stop a")
    await manual_clock.advance(60.0)
    ref.tell(note(places.log, "3"))
    ref.stop()
    places.open("stop a")
    await settle()
    assert ref.state == "stopped"


async def test_a_watch_is_of_the_actor_that_there_is_now(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """A restart is no end, passivation is one; the next actor is not watched."""
    places = Map()
    ref = (await places.serve(actor_system, idle=60.0))("a")
    await who(ref)
    downs: list[Down] = []
    ref.watch(downs.append)
    gone = asyncio.create_task(ref.join())
    ref.tell(boom)
    await manual_clock.advance(10.0)
    assert downs == []
    assert ref.state == "running"
    await manual_clock.advance(60.0)
    assert [(down.name, down.exit) for down in downs] == [("a", Exit.SHUTDOWN)]
    assert await gone is downs[0]
    await who(ref)
    await manual_clock.advance(60.0)
    assert len(downs) == 1


async def test_an_actor_may_be_made_temporary(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """After `restart_never`, a crash ends the actor that there is."""
    places = Map()
    ref = (await places.serve(actor_system))("a")
    await who(ref)
    ref.restart_never()
    ref.tell(boom)
    await settle()
    assert ref.state == "stopped"


async def test_without_an_idle_time_an_actor_stays(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """With `idle=inf`, only a lack of room passivates."""
    places = Map()
    ref = (await places.serve(actor_system, idle=float("inf")))("a")
    ref.tell(note(places.log, "told"))
    assert manual_clock.pending == 0
    await manual_clock.advance(1_000_000.0)
    assert places.alive == ["a"]


async def test_one_that_is_told_to_stop_answers_as_unavailable(actor_system: ActorSystem) -> None:
    """Before the service has started them and once it stops them, keys are UNAVAILABLE."""
    places = Map()
    registry = Registry()
    registry.named(Place, places.make)
    ref = registry.actor(Place, "a")
    assert (ref.path, ref.state) == ("Place/a", "stopped")
    with pytest.raises(Failure) as failure:
        await who(ref)
    assert (failure.value.code, failure.value.retryable) == (Code.UNAVAILABLE, True)
    with pytest.raises(Unavailable) as unavailable:
        ref.tell(boom)
    assert unavailable.value.undelivered is boom
    assert isinstance(unavailable.value.__cause__, Failure)
    await start(actor_system, registry)
    await who(ref)
    places.close("stop a")
    ref.stop()
    waits = asyncio.create_task(who(ref))
    await settle()
    ending = asyncio.create_task(actor_system.stop())
    await settle()
    with pytest.raises(Unavailable):
        await registry.actor(Place, "b").send(boom)
    places.open("stop a")
    await ending
    with pytest.raises(Failure, match="UNAVAILABLE"):
        await waits
    assert places.log == ["a started", "a stopped"]


class Visit(RequestActor[Text, Text]):
    async def handle(self, request: Text) -> Text:
        place = await who(self.context.actor(Place, request.text))
        assert isinstance(place, Place)
        return Text(place.name)


async def test_handlers_reach_them_by_type_and_key(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """A handler passes on what the actor answers, and its failures end the request properly."""
    places = Map()
    places.missing.add("nowhere")

    def register(registry: Registry) -> None:
        registry.named(Place, places.make)
        registry.register(Text, Visit)

    async with serving(actor_system, register) as calls:
        assert (await calls.call(Text("a"), Text)).text == "a"
        with pytest.raises(Failure, match="NOT_FOUND: there is no such place"):
            await calls.call(Text("nowhere"), Text)
        with pytest.raises(NotRegistered, match="the actors Place are named: give a key"):
            calls.registry.actor(Place)


async def test_a_type_is_named_or_supervised(actor_system: ActorSystem) -> None:
    """Whichever comes second raises; a factory is found out when it makes its actor."""
    places = Map()
    registry = Registry()
    registry.named(Place, places.make)
    with pytest.raises(AlreadyRegistered, match="Place is registered already"):
        registry.named(Place, places.make)
    with pytest.raises(AlreadyRegistered, match="Place is registered with `named` already"):
        registry.supervise("place", Place)  # type: ignore[arg-type]  # it is refused before it is made
    registry.supervise("worker", Worker)
    with pytest.raises(AlreadyRegistered, match="Worker is registered already"):
        registry.named(Worker, lambda key: Worker())
    registry.supervise("hidden", lambda: places.make("hidden"))
    with pytest.raises(StartFailed) as failed:
        await start(actor_system, registry)
    assert isinstance(failed.value.__cause__, AlreadyRegistered)
    assert "the actor 'hidden' is a Place, whose actors are named" in str(failed.value.__cause__)


class Village(Place):
    """A type of its own, though its actors are places too."""


async def test_each_type_has_keys_of_its_own(actor_system: ActorSystem) -> None:
    """One key of two types is two actors."""
    places = Map()
    registry = Registry()
    registry.named(Place, places.make)
    registry.named(Village, lambda key: Village(Map(), key))
    await start(actor_system, registry)
    place, village = registry.actor(Place, "a"), registry.actor(Village, "a")
    assert place != village
    assert isinstance(await who(village), Village)
    assert not isinstance(await who(place), Village)


async def test_a_name_that_is_taken_is_no_obstacle(actor_system: ActorSystem) -> None:
    """Two types of one name, or a background actor of that name, get directories of their own."""
    places = Map()
    registry = Registry()
    registry.supervise("Place", Worker)
    registry.named(Place, places.make)
    await start(actor_system, registry)
    path = registry.actor(Place, "a").path
    assert path == "system/extensions/tests.support.named_kit.Place/a"


def test_limits_are_positive() -> None:
    """A directory without room, or whose actors are idle at once, is an error."""
    registry = Registry()
    with pytest.raises(ValueError, match="at_most"):
        registry.named(Place, Map().make, at_most=0)
    with pytest.raises(ValueError, match="idle"):
        registry.named(Place, Map().make, idle=0.0)


async def test_a_factory_of_another_type_is_a_crash(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """What the factory makes must be of the type that it is registered for."""
    registry = Registry()
    once = Lifecycle(restart=Restart.TEMPORARY)
    registry.named(Place, lambda key: Worker(), lifecycle=once)
    await start(actor_system, registry)
    with pytest.raises(Failure, match="UNAVAILABLE"):
        await who(registry.actor(Place, "a"))
