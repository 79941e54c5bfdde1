import asyncio

import pytest

from actors import ActorSystem
from actors.testing import ManualClock, settle
from callboard_service.board.survey import (
    DEPTH,
    PART,
    RESTARTING,
    RUNNING,
    STARTING,
    STOPPING,
    WAITING,
    Node,
    Survey,
    find,
    is_endless,
)
from tests.support.board_kit import Crowd, walked
from tests.support.kit import PERMANENT, Bare, Worker, boom, for_ever, wait_for


def names(node: Node) -> list[str]:
    return [child.view.name for child in node.children]


def groups(node: Node) -> dict[tuple[str, int], int]:
    return {
        ("" if kind is None else kind.__name__, state): group.actors
        for (kind, state), group in node.others.items()
    }


async def test_each_state_is_told(actor_system: ActorSystem, manual_clock: ManualClock) -> None:
    gate = asyncio.Event()

    class Slow(Bare):
        async def started(self) -> None:
            await gate.wait()

    actor_system.spawn(Bare, name="waits")
    actor_system.spawn(Bare, name="runs").tell(wait_for(gate))
    actor_system.spawn(Slow, name="starts")
    actor_system.spawn(Bare, name="restarts", lifecycle=PERMANENT).tell(boom)
    stops = actor_system.spawn(Bare, name="stops")
    stops.tell(wait_for(gate))
    await settle()
    stops.stop()
    node, _ = walked(Survey(), actor_system.root)
    assert {child.view.name: child.state for child in node.children} == {
        "waits": WAITING,
        "runs": RUNNING,
        "starts": STARTING,
        "restarts": RESTARTING,
        "stops": STOPPING,
    }
    gate.set()
    await manual_clock.advance(1.0)


async def test_a_handler_is_slow_from_a_second_on(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    refs = [actor_system.spawn(Bare, name=f"slow{number}") for number in range(2)]
    for ref in refs:
        ref.tell(for_ever)
        await manual_clock.advance(0.75)
    survey = Survey()
    walked(survey, actor_system.root)
    assert [(seconds, view.name) for seconds, view in survey.slowest()] == [(1.5, "slow0")]
    await manual_clock.advance(1.0)
    survey = Survey()
    walked(survey, actor_system.root)
    assert [view.name for _, view in survey.slowest()] == ["slow0", "slow1"]
    for ref in refs:
        ref.kill()


async def test_of_many_children_those_are_kept_that_need_a_look(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    gate = asyncio.Event()
    crowd = await actor_system.start(lambda: Crowd(100), name="crowd")
    refs = {
        name: actor_system.spawn(Bare, name=name, lifecycle=PERMANENT)
        for name in ("busy", "crashed", "deep", "stuck")
    }
    refs["stuck"].tell(wait_for(gate))
    refs["deep"].tell(wait_for(gate))
    await manual_clock.advance(2.0)
    refs["crashed"].tell(boom)
    await settle()
    node, _ = walked(Survey(kept=3), actor_system.root)
    assert names(node) == ["crashed", "deep", "stuck"]
    assert groups(node) == {("Crowd", WAITING): 1, ("Bare", WAITING): 1}
    (crowded,) = [
        child
        for child in walked(Survey(kept=5), actor_system.root)[0].children
        if child.view.name == "crowd"
    ]
    assert names(crowded) == []
    assert groups(crowded) == {("Bare", WAITING): 100}
    gate.set()
    crowd.stop()
    await manual_clock.advance(1.0)


async def test_a_parent_is_kept_for_what_is_below_it(actor_system: ActorSystem) -> None:
    crowds = [actor_system.spawn(lambda: Crowd(2), name=f"p{number}") for number in range(9)]
    await settle()
    gate = asyncio.Event()
    crowds[7].tell(lambda worker: worker.context.spawn(Bare, name="x").tell(wait_for(gate)))
    await settle()
    node, _ = walked(Survey(kept=1), actor_system.root)
    assert names(node) == ["p7"]
    assert names(node.children[0]) == ["x"]
    gate.set()


async def test_all_are_counted_in_parts(actor_system: ActorSystem) -> None:
    for size in (3, 2 * PART, 5000):
        await actor_system.start(lambda size=size: Crowd(size))  # type: ignore[misc]  # its default
    survey = Survey()
    _, parts = walked(survey, actor_system.root)
    assert survey.actors == 1 + 3 + 3 + 2 * PART + 5000
    assert 4 <= parts <= 10


async def test_actors_that_are_looked_at_one_by_one_come_in_small_parts(
    actor_system: ActorSystem,
) -> None:
    class Talkative(Bare):
        def describe(self) -> str:
            return "…"

    for _ in range(5 * PART):
        actor_system.spawn(Talkative)
    survey = Survey()
    node, parts = walked(survey, actor_system.root)
    assert parts >= 6
    assert len(node.children) == 50
    assert groups(node) == {("Talkative", WAITING): 5 * PART - 50}


async def test_a_deep_tree_is_looked_at_to_some_depth(actor_system: ActorSystem) -> None:
    class Deep(Worker):
        def __init__(self, depth: int) -> None:
            super().__init__()
            self.depth = depth

        def started(self) -> None:
            if self.depth:
                self.context.spawn(lambda: Deep(self.depth - 1))

    await actor_system.start(lambda: Deep(2 * DEPTH))
    await settle()
    survey = Survey()
    walked(survey, actor_system.root)
    assert survey.actors == DEPTH + 1
    shallow = Survey(depth=1)
    node, _ = walked(shallow, actor_system.root)
    assert shallow.actors == 2
    assert node.children[0].children == ()


async def test_an_actor_is_found_by_its_path(actor_system: ActorSystem) -> None:
    await actor_system.start(lambda: Crowd(2), name="a/b")
    await actor_system.start(lambda: Crowd(1), name="a")
    root = actor_system.root

    def name_of(path: str) -> str | None:
        view = find(root, path)
        return None if view is None else view.path

    for path in ("system", "system/a", "system/a/b", "system/a/b/c1", "system/a/c0"):
        assert name_of(path) == path
    for path in ("", "systems", "system/", "system/b", "system/a/b/c2", "system/a/b/c", "other/a"):
        assert name_of(path) is None


@pytest.mark.parametrize("endless", [True, False])
async def test_a_request_that_follows_something_waits(
    actor_system: ActorSystem, endless: bool
) -> None:
    kind = type("Follower", (Bare,), {"endless": endless})
    actor_system.spawn(kind, name="f").tell(for_ever)
    await settle()
    view = find(actor_system.root, "system/f")
    assert view is not None
    assert is_endless(view) is endless
    node, _ = walked(Survey(), actor_system.root)
    assert node.children[0].state == (WAITING if endless else RUNNING)
