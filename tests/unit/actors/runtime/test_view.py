import asyncio

import pytest

from actors import Actor, ActorSystem, ActorView, Reply, Tally
from actors.testing import ManualClock, settle
from tests.support.bound import BOUND
from tests.support.kit import PERMANENT, Bare, Boom, Do, Worker, boom, note, wait_for


class Talkative(Bare):
    """Says something about itself."""

    def describe(self) -> str:
        return "all is well"


class Odd(Bare):
    def describe(self) -> str:
        raise Boom


def of(system: ActorSystem, name: str) -> ActorView:
    view = system.root.child(name)
    assert view is not None
    return view


def test_an_actor_says_nothing_about_itself_unless_it_is_told_to() -> None:
    assert Bare().describe() is None


async def test_a_view_shows_an_actor_as_it_is_now(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    gate = asyncio.Event()
    ref = actor_system.spawn(Bare, name="w", lifecycle=PERMANENT)
    view = of(actor_system, "w")
    assert (view.name, view.path, view.kind) == ("w", "system/w", Bare)
    assert (view.state, view.running, view.restarting) == ("running", True, False)
    assert (view.busy, view.message, view.busy_for) == (False, "", 0.0)
    assert (view.mailbox, view.capacity, view.restarts) == (0, BOUND or 1024, 0)
    assert (view.tally, view.child_count, [*view.children()]) == (Tally(), 0, [])
    assert (view.child("x"), [*view.parts(1)], view.details) == (None, [], None)
    ref.tell(boom)
    await settle()
    assert (view.state, view.running, view.restarting) == ("paused", False, True)
    assert (view.kind, view.up_for, view.details) == (None, 0.0, None)
    await manual_clock.advance(1.0)
    assert (view.kind, view.restarts) == (Bare, 1)
    ref.tell(wait_for(gate))
    await settle()
    ref.tell(boom)
    await manual_clock.advance(2.5)
    assert (view.busy, view.message, view.busy_for) == (True, "function", 2.5)
    assert (view.mailbox, view.up_for) == (1, 2.5)
    gate.set()


async def test_a_view_from_within_a_plain_function_shows_it_as_just_begun(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    seen: list[float] = []
    await manual_clock.advance(7.0)
    ref = actor_system.spawn(Bare, name="w")
    ref.tell(lambda worker: seen.append(of(actor_system, "w").busy_for))
    await settle()
    assert seen == [0.0]


async def test_an_actor_that_waits_for_a_message_is_not_busy(actor_system: ActorSystem) -> None:
    class Waiting(Bare):
        async def main(self) -> None:
            await self.context.next()
            await asyncio.Event().wait()

    ref = actor_system.spawn(Waiting, name="w")
    await settle()
    assert not of(actor_system, "w").busy
    ref.tell(boom)
    await settle()
    assert of(actor_system, "w").busy
    ref.kill()


async def test_an_actor_says_what_it_likes_about_itself(actor_system: ActorSystem) -> None:
    for kind in (Talkative, Odd, Bare):
        actor_system.spawn(kind, name=kind.__name__)
    assert of(actor_system, "Talkative").details == "all is well"
    assert of(actor_system, "Odd").details is None
    assert of(actor_system, "Bare").details is None


async def test_what_is_meant_to_end_the_program_goes_through(actor_system: ActorSystem) -> None:
    class Ending(Bare):
        def describe(self) -> str:
            raise asyncio.CancelledError

    actor_system.spawn(Ending, name="w")
    with pytest.raises(asyncio.CancelledError):
        _ = of(actor_system, "w").details


async def test_children_that_end_during_the_walk_are_left_out(actor_system: ActorSystem) -> None:
    refs = [actor_system.spawn(Bare, name=name) for name in "abc"]
    walk = actor_system.root.children()
    assert next(walk).name == "a"
    refs[1].stop()
    actor_system.spawn(Bare, name="d")
    assert [view.name for view in walk] == ["c"]
    assert [view.name for view in actor_system.root.children()] == ["a", "c", "d"]


async def test_children_at_rest_are_only_counted_in_parts(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    class Parent(Worker):
        def started(self) -> None:
            self.context.spawn(Bare)

    for number in range(5):
        actor_system.spawn(Bare, name=f"bare{number}")
    for kind in (Worker, Talkative, Parent):
        actor_system.spawn(kind, name=kind.__name__)
    await settle()
    actor_system.spawn(Bare, name="crashed", lifecycle=PERMANENT).tell(boom)
    gate = asyncio.Event()
    actor_system.spawn(Bare, name="busy").tell(wait_for(gate))
    await manual_clock.advance(1.0)
    first, second = actor_system.root.parts(5)
    assert {kind: rest.actors for kind, rest in first.resting.items()} == {Bare: 5}
    assert first.views == []
    assert {kind: rest.actors for kind, rest in second.resting.items()} == {Worker: 1}
    assert [view.name for view in second.views] == ["Talkative", "Parent", "crashed", "busy"]
    gate.set()


async def test_a_child_that_ends_between_two_parts_is_left_out(actor_system: ActorSystem) -> None:
    refs = [actor_system.spawn(Bare) for _ in range(2)]
    parts = actor_system.root.parts(1)
    next(parts)
    refs[1].stop()
    part = next(parts)
    assert (part.resting, part.views) == ({}, [])


@pytest.mark.own_bound("tells several at once, and to tell is not to wait for room")
async def test_messages_are_counted_while_somebody_wants_to_know(
    actor_system: ActorSystem,
) -> None:
    async def slowly(worker: Worker) -> None:
        await asyncio.sleep(0)

    class Nested(Actor[Do]):
        async def receive(self, message: Do) -> None:
            await self.context.next()

    log: list[str] = []
    plain, slow = actor_system.spawn(Bare, name="p"), actor_system.spawn(Bare, name="s")
    nested = actor_system.spawn(Nested, name="n")
    views = [of(actor_system, name) for name in "psn"]
    plain.tell(note(log, "not counted"))
    await settle()
    ends = [actor_system.count_messages() for _ in range(2)]
    for _ in range(100):
        plain.tell(note(log, "counted"))
        slow.tell(slowly)
    for _ in range(4):
        nested.tell(boom)
    await settle()
    # A turn that only starts a task counts as well.
    counts = [view.handled for view in views]
    assert counts[0] == 100
    assert 100 <= counts[1] <= 110
    assert 4 <= counts[2] <= 6
    assert actor_system.statistics().run_queue.handled == sum(counts)
    (resting,) = next(actor_system.root.parts(1)).resting.values()
    assert resting.handled == 100
    for end in (ends[0], ends[0]):
        end()
    plain.tell(note(log, "counted"))
    await settle()
    assert views[0].handled == 101
    ends[1]()
    plain.tell(note(log, "not counted"))
    await settle()
    assert views[0].handled == 101


async def test_an_ask_counts_too(actor_system: ActorSystem) -> None:
    class Answering(Actor[Reply[int]]):
        def receive(self, message: Reply[int]) -> None:
            message.send(1)

    ref = actor_system.spawn(Answering, name="a")
    end = actor_system.count_messages()
    for _ in range(3):
        await ref.ask(lambda reply: reply, timeout=1.0)
    end()
    assert of(actor_system, "a").handled == 3
