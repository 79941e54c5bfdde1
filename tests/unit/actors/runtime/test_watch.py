from actors import ActorRef, ActorSystem, Down, Exit
from actors.runtime.watch import Watchers
from actors.testing import ManualClock, Probe, settle
from tests.support.kit import PERMANENT, TEMPORARY, Bare, Boom, Do, Worker, boom, tasks_of_actors


def test_watchers_are_called_once_in_order() -> None:
    watchers, heard = Watchers(), list[str]()
    watchers.add(lambda down: heard.append("a"))
    unwatch = watchers.add(lambda down: heard.append("b"))
    watchers.add(lambda down: heard.append("c"))
    unwatch()
    unwatch()
    down = Down("p", "n", Exit.NORMAL)
    for callback in watchers.take():
        callback(down)
    assert heard == ["a", "c"]
    assert len(watchers) == 0


def test_a_watcher_may_remove_another() -> None:
    watchers, heard = Watchers(), list[str]()
    watchers.add(lambda down: unwatch())
    unwatch = watchers.add(lambda down: heard.append("b"))
    watchers.add(lambda down: heard.append("c"))
    for callback in watchers.take():
        callback(Down("p", "n", Exit.NORMAL))
    assert heard == ["c"]


async def test_a_watch_tells_the_end_and_why(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    downs: list[Down] = []
    crashing = actor_system.spawn(Bare, name="crashing", lifecycle=TEMPORARY)
    stopping = actor_system.spawn(Bare, name="stopping")
    for ref in (crashing, stopping):
        ref.watch(downs.append)
    crashing.tell(boom)
    await settle()
    stopping.stop()
    assert [(down.path, down.name, down.exit) for down in downs] == [
        ("system/crashing", "crashing", Exit.CRASHED),
        ("system/stopping", "stopping", Exit.SHUTDOWN),
    ]
    assert isinstance(downs[0].error, Boom)


async def test_a_restart_is_no_end(actor_system: ActorSystem, manual_clock: ManualClock) -> None:
    downs: list[Down] = []
    ref = actor_system.spawn(Bare, lifecycle=PERMANENT)
    ref.watch(downs.append)
    ref.tell(boom)
    await manual_clock.advance(1.0)
    assert downs == []


async def test_a_watch_after_the_end_tells_it_at_once(actor_system: ActorSystem) -> None:
    downs: list[Down] = []
    ref = actor_system.spawn(Bare)
    ref.stop()
    unwatch = ref.watch(downs.append)
    assert [down.exit for down in downs] == [Exit.SHUTDOWN]
    unwatch()
    assert (await ref.join()) == downs[0]


async def test_unwatch_ends_the_watch(actor_system: ActorSystem) -> None:
    downs: list[Down] = []
    ref = actor_system.spawn(Bare)
    unwatch = ref.watch(downs.append)
    unwatch()
    unwatch()
    ref.stop()
    assert downs == []


async def test_one_of_two_watches_may_end(actor_system: ActorSystem) -> None:
    downs: list[Down] = []
    ref = actor_system.spawn(Bare)
    ref.watch(downs.append)
    ref.watch(downs.append)()
    ref.stop()
    assert len(downs) == 1


# -- an actor that watches -----------------------------------------------------------------------


async def watcher_of(system: ActorSystem, *others: "ActorRef[Do]") -> tuple[Worker, list[Down]]:
    downs: list[Down] = []

    class Watcher(Worker):
        async def down(self, down: Down) -> None:
            downs.append(down)

    watcher = Watcher()
    await system.start(lambda: watcher)
    for other in others:
        watcher.context.watch(other)
    return watcher, downs


async def test_down_is_called_before_and_after_the_end(actor_system: ActorSystem) -> None:
    early, late = actor_system.spawn(Bare, name="early"), actor_system.spawn(Bare, name="late")
    early.stop()
    _, downs = await watcher_of(actor_system, early, late)
    await settle()
    assert [down.name for down in downs] == ["early"]
    late.stop()
    await settle()
    assert [down.name for down in downs] == ["early", "late"]
    assert tasks_of_actors() == 0


async def test_unwatch_takes_back_a_down_that_is_on_its_way(actor_system: ActorSystem) -> None:
    other, third = actor_system.spawn(Bare), actor_system.spawn(Bare, name="third")
    watcher, downs = await watcher_of(actor_system, third)
    unwatch = watcher.context.watch(other)
    third.stop()
    other.stop()
    unwatch()
    unwatch()
    await settle()
    assert [down.name for down in downs] == ["third"]
    unwatch()


async def test_unwatch_before_the_end(actor_system: ActorSystem) -> None:
    other = actor_system.spawn(Bare)
    watcher, downs = await watcher_of(actor_system)
    watcher.context.watch(other)()
    other.stop()
    await settle()
    assert downs == []


async def test_watches_die_with_the_incarnation(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    other = actor_system.spawn(Bare)
    log: list[str] = []
    ref = actor_system.spawn(lambda: Worker(log), lifecycle=PERMANENT)

    def watch(worker: Worker) -> None:
        worker.context.watch(other)

    ref.tell(watch)
    await ref.send(boom)
    await manual_clock.advance(1.0)
    log.clear()
    other.stop()
    await settle()
    assert log == []


async def test_a_watch_that_is_over_leaves_nothing_behind(actor_system: ActorSystem) -> None:
    watcher, downs = await watcher_of(actor_system)
    for _ in range(100):
        other = actor_system.spawn(Bare)
        watcher.context.watch(other)
        watcher.context.watch(other)()
        other.stop()
        watcher.context.watch(other)
    await settle()
    assert len(downs) == 200
    assert not watcher.context._cell.incarnation.watching


async def test_a_stopped_actor_watches_nobody(actor_system: ActorSystem) -> None:
    probe = Probe[int]()
    ref = actor_system.spawn(lambda: probe)
    other = actor_system.spawn(Bare)
    probe.context.watch(other)
    ref.stop()
    other.stop()
    await settle()
    assert probe.downs == []


async def test_down_that_raises_is_a_crash(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    class Faint(Worker):
        def down(self, down: Down) -> None:
            raise Boom

    faint = Faint()
    ref = await actor_system.start(lambda: faint, lifecycle=TEMPORARY)
    other = actor_system.spawn(Bare)
    faint.context.watch(other)
    other.stop()
    assert (await ref.join()).exit is Exit.CRASHED
