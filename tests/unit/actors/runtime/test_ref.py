"""`tell_now` handles the message before it returns, if the actor is idle."""

import asyncio
from collections.abc import Awaitable

import pytest

from actors import Actor, ActorSystem, Backoff, Down, Exit, Lifecycle
from actors.runtime.eager import EAGER
from actors.testing import settle
from tests.support.kit import PERMANENT, TEMPORARY, Boom, names


class Noting(Actor[str]):
    """Records its messages, and acts on those that it knows."""

    def __init__(self, notes: list[str], gate: asyncio.Event | None = None) -> None:
        self._notes = notes
        self._gate = gate

    def receive(self, message: str) -> Awaitable[None] | None:
        self._notes.append(message)
        match message:
            case "again":
                self.context.ref.tell_now("told by itself")
                self._notes.append("after")
            case "crash":
                raise Boom
            case "interrupt":
                raise KeyboardInterrupt
            case "stop":
                self.context.stop()
            case "wait":
                return self._wait()
            case _:
                pass
        return None

    async def _wait(self) -> None:
        assert self._gate is not None
        self._notes.append("begun")
        await self._gate.wait()
        self._notes.append("done")

    def down(self, down: Down) -> None:
        self._notes.append(f"{down.name} down")


async def test_it_is_handled_before_it_returns(actor_system: ActorSystem) -> None:
    notes: list[str] = []
    ref = actor_system.spawn(lambda: Noting(notes))
    ref.tell_now("a")
    assert notes == ["a"]
    ref.tell_now("b")
    assert notes == ["a", "b"]


@pytest.mark.own_bound("behind what waits in the mailbox there is room for one more")
async def test_it_overtakes_nothing(actor_system: ActorSystem) -> None:
    notes: list[str] = []
    ref = actor_system.spawn(lambda: Noting(notes))
    ref.tell_now("again")
    ref.tell_now("b")
    assert notes == ["again", "after"], "what the actor told itself stands before it"
    await settle()
    assert notes == ["again", "after", "told by itself", "b"]


async def test_a_control_is_handled_before_it(actor_system: ActorSystem) -> None:
    notes: list[str] = []
    noting = Noting(notes)
    ref = actor_system.spawn(lambda: noting)
    other = actor_system.spawn(lambda: Noting([]), name="other")
    noting.context.watch(other)
    other.stop()
    ref.tell_now("a")
    assert notes == []
    await settle()
    assert notes == ["other down", "a"]


async def test_with_a_message_in_hand_it_waits(actor_system: ActorSystem) -> None:
    notes: list[str] = []
    ref = actor_system.spawn(lambda: Noting(notes))
    ref.tell_now("again")
    assert notes == ["again", "after"]
    await settle()
    assert notes == ["again", "after", "told by itself"]


async def test_a_handler_that_waits_is_begun_and_holds_up_the_next(
    actor_system: ActorSystem,
) -> None:
    notes: list[str] = []
    gate = asyncio.Event()
    ref = actor_system.spawn(lambda: Noting(notes, gate))
    ref.tell_now("wait")
    assert notes == (["wait", "begun"] if EAGER else ["wait"])
    ref.tell_now("b")
    await settle()
    assert notes == ["wait", "begun"]
    gate.set()
    await settle()
    assert notes == ["wait", "begun", "done", "b"]


async def test_a_crash_is_the_supervisors_affair(actor_system: ActorSystem) -> None:
    notes: list[str] = []
    ref = actor_system.spawn(lambda: Noting(notes), lifecycle=TEMPORARY)
    ref.tell_now("crash")
    down = await ref.join()
    assert down.exit is Exit.CRASHED
    assert isinstance(down.error, Boom)
    ref.tell_now("b")
    assert notes == ["crash"]
    assert actor_system.dead_letters == 1


async def test_an_actor_that_is_restarted_at_once_handles_the_next_message(
    actor_system: ActorSystem,
) -> None:
    notes: list[str] = []
    at_once = Lifecycle(backoff=Backoff(initial=0.0))
    ref = actor_system.spawn(lambda: Noting(notes), lifecycle=at_once)
    ref.tell_now("crash")
    ref.tell_now("b")
    assert notes == ["crash", "b"]


async def test_an_actor_that_stops_itself_ends_normally(actor_system: ActorSystem) -> None:
    notes: list[str] = []
    ref = actor_system.spawn(lambda: Noting(notes), lifecycle=TEMPORARY)
    ref.tell_now("stop")
    assert (await ref.join()).exit is Exit.NORMAL
    assert notes == ["stop"]


@pytest.mark.usefixtures("ctrl_c_raises")
async def test_ctrl_c_goes_through_to_the_sender(actor_system: ActorSystem) -> None:
    notes: list[str] = []
    ref = actor_system.spawn(lambda: Noting(notes), lifecycle=PERMANENT)
    other = actor_system.spawn(lambda: Noting(notes), name="other")
    with pytest.raises(KeyboardInterrupt):
        ref.tell_now("interrupt")
    assert not ref.alive
    assert names(actor_system) == ["other"]
    other.tell_now("at once")
    assert notes == ["interrupt", "at once"], "nobody has the turn any more"
