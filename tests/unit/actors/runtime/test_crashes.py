"""An exception in user code, even SystemExit, crashes only its actor or ends only its request."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from actors import (
    ActorSystem,
    Call,
    Crashed,
    Down,
    Event,
    Exit,
    RequestActor,
    StartFailed,
    StreamActor,
    Yielded,
)
from actors.protocol.frames import Message
from actors.runtime import crashes
from actors.runtime.crashes import interrupts_raise as INTERRUPTS_RAISE  # noqa: N812 - the fixture replaces it
from actors.runtime.crashes import is_crash
from actors.testing import ManualClock, settle
from tests.support.kit import PERMANENT, TEMPORARY, Bare, Worker, names
from tests.support.session_kit import Service, Text, client_of


class Odd(BaseException):
    """An exception that `except Exception` does not catch."""


RAISED = [SystemExit, KeyboardInterrupt, Odd]
raising = pytest.mark.parametrize("kind", RAISED)
pytestmark = pytest.mark.usefixtures("ctrl_c_is_handled")
Kind = type[BaseException]


def errors_of(events: list[Event]) -> list[BaseException]:
    return [event.error for event in events if isinstance(event, Crashed)]


# -- requests ------------------------------------------------------------------------------------


class Base(RequestActor[Text, Text]):
    kind: Kind = SystemExit


class Plain(Base):
    def handle(self, request: Text) -> Text:
        raise self.kind


class AtOnce(Base):
    async def handle(self, request: Text) -> Text:
        raise self.kind


class Later(Base):
    async def handle(self, request: Text) -> Text:
        await asyncio.sleep(0)
        raise self.kind


class Unmakeable(Plain):
    def __init__(self) -> None:
        raise self.kind


class Streaming(StreamActor[Text, Text]):
    kind: Kind = SystemExit

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        yield Text("a")
        await asyncio.sleep(0)
        raise self.kind


class Closing(StreamActor[Text, Text]):
    kind: Kind = SystemExit

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        try:
            yield Text("a")
            raise ZeroDivisionError
        finally:
            raise self.kind


@raising
@pytest.mark.parametrize("handler", [Plain, AtOnce, Later, Unmakeable, Streaming, Closing])
async def test_a_handler_that_exits_ends_its_request_alone(
    service: Service, actor_events: list[Event], kind: Kind, handler: Any
) -> None:
    made = type(handler.__name__, (handler,), {"kind": kind})
    client = await client_of(service, made)
    client.request(Text())
    await settle()
    assert (await client.said(1))[-1] == "!INTERNAL"
    (error,) = errors_of(actor_events)
    assert isinstance(error, kind)
    client.request(Text(), 2)
    await settle()
    assert (await client.said(2))[-1] == "!INTERNAL", "the session lives on"


@raising
@pytest.mark.parametrize("moment", ["before", "after", "listener"])
async def test_an_interceptor_that_exits_ends_its_request_alone(
    service: Service, actor_events: list[Event], kind: Kind, moment: str
) -> None:
    def listen(answer: Message) -> None:
        raise kind

    @asynccontextmanager
    async def exiting(call: Call[Message]) -> AsyncIterator[None]:
        if moment == "before":
            raise kind
        if moment == "listener":
            call.listen(listen)
        yield
        raise kind

    class Answering(StreamActor[Text, Text]):
        async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
            yield request

    service.registry.intercept_all(exiting)
    client = await client_of(service, Answering)
    client.request(Text())
    await settle()
    assert (await client.said(1))[-1] == "!INTERNAL"
    assert isinstance(errors_of(actor_events)[0], kind)


# -- actors --------------------------------------------------------------------------------------


@raising
@pytest.mark.parametrize("waits", [False, True])
async def test_a_message_that_exits_crashes_its_actor(
    actor_system: ActorSystem, manual_clock: ManualClock, kind: Kind, waits: bool
) -> None:
    def exit_now(worker: Worker) -> None:
        raise kind

    async def exit_later(worker: Worker) -> None:
        await asyncio.sleep(0)
        raise kind

    ref = actor_system.spawn(Bare, lifecycle=PERMANENT)
    ref.tell(exit_later if waits else exit_now)
    done: list[str] = []
    await manual_clock.advance(1.0)
    ref.tell(lambda worker: done.append("after"))
    await settle()
    assert done == ["after"]
    assert actor_system.snapshot().children[0].restarts == 1


@pytest.mark.own_bound("three messages of one turn are what it is about")
@raising
async def test_an_exit_after_others_of_one_turn_crashes_its_actor(
    actor_system: ActorSystem, manual_clock: ManualClock, kind: Kind
) -> None:
    def exit_now(worker: Worker) -> None:
        raise kind

    async def wait(worker: Worker) -> None:
        await asyncio.sleep(0)

    ref = actor_system.spawn(Bare, lifecycle=PERMANENT)
    for message in (wait, exit_now, exit_now):
        ref.tell(message)
    await manual_clock.advance(10.0)
    assert actor_system.snapshot().children[0].restarts == 2


@raising
@pytest.mark.parametrize("hook", ["started", "main", "stopped"])
async def test_a_hook_that_exits_crashes_its_actor(
    actor_system: ActorSystem, actor_events: list[Event], kind: Kind, hook: str
) -> None:
    def fail(self: object) -> None:
        raise kind

    made: Any = type("Hooked", (Bare,), {hook: fail})
    ref = actor_system.spawn(made, lifecycle=TEMPORARY)
    await settle()
    ref.stop()
    down = await ref.join()
    assert down.exit is Exit.CRASHED
    assert isinstance(errors_of(actor_events)[0], kind)


@raising
async def test_a_factory_that_exits_has_not_started(actor_system: ActorSystem, kind: Kind) -> None:
    def make() -> Bare:
        raise kind

    with pytest.raises(StartFailed):
        actor_system.spawn(make)
    assert names(actor_system) == []


@raising
@pytest.mark.parametrize("hook", ["down", "child_ended"])
async def test_a_hook_for_another_actors_end_that_exits_crashes_its_own_actor(
    actor_system: ActorSystem, actor_events: list[Event], kind: Kind, hook: str
) -> None:
    class Parent(Worker):
        def started(self) -> None:
            self.context.watch(self.context.spawn(Bare, name="child", lifecycle=TEMPORARY))

        def receive(self, message: Any) -> None:
            raise ZeroDivisionError

    def fail(self: object, down: Down) -> None:
        raise kind

    made: Any = type("Hooked", (Parent,), {hook: fail})
    ref = actor_system.spawn(made, name="parent", lifecycle=TEMPORARY)
    await settle()
    child = actor_system._root.children.members["parent"].children.members["child"]  # type: ignore[union-attr]  # both exist
    child.stop()
    down = await ref.join()
    assert (down.exit, type(down.error)) == (Exit.CRASHED, kind)
    assert isinstance(errors_of(actor_events)[0], kind)


@raising
async def test_a_watcher_that_exits_hurts_nobody(
    actor_system: ActorSystem, actor_events: list[Event], kind: Kind
) -> None:
    told: list[str] = []

    def fail(down: Down) -> None:
        raise kind

    ref = actor_system.spawn(Bare)
    ref.watch(fail)
    ref.watch(lambda down: told.append(down.name))
    ref.stop()
    await ref.join()
    assert len(told) == 1
    assert isinstance(errors_of(actor_events)[0], kind)


@raising
async def test_an_observer_that_exits_hurts_nobody(actor_system: ActorSystem, kind: Kind) -> None:
    failures: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))

    def fail(event: Event) -> None:
        raise kind

    end = actor_system.subscribe(fail)
    ref = actor_system.spawn(Bare)
    ref.stop()
    await ref.join()
    end()
    assert {type(failure) for failure in failures} == {kind}


@raising
async def test_a_supervised_tree_restarts_what_exits(
    actor_system: ActorSystem, manual_clock: ManualClock, kind: Kind
) -> None:
    def exit_now(worker: Worker) -> None:
        raise kind

    parent = Worker(name="parent")
    actor_system.spawn(lambda: parent)
    await settle()
    ref = parent.context.spawn(Bare, lifecycle=PERMANENT)
    ref.tell(exit_now)
    await manual_clock.advance(1.0)
    assert ref.alive


# -- which exceptions are crashes ------------------------------------------------------------------


@raising
def test_what_ends_a_task_or_a_generator_is_no_crash(kind: Kind) -> None:
    assert is_crash(kind())
    assert not is_crash(asyncio.CancelledError())
    assert not is_crash(GeneratorExit())


@raising
def test_where_ctrl_c_raises_only_its_exception_is_no_crash(
    monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    monkeypatch.setattr(crashes, "interrupts_raise", lambda: True)
    assert is_crash(kind()) is (kind is not KeyboardInterrupt)


async def _do_they_raise() -> bool:
    return INTERRUPTS_RAISE()


def test_ctrl_c_raises_with_the_handler_of_python_and_of_asyncio_alone() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert INTERRUPTS_RAISE()
        assert asyncio.run(_do_they_raise())
        signal.signal(signal.SIGINT, lambda number, frame: None)
        assert not INTERRUPTS_RAISE()
        assert not asyncio.run(_do_they_raise())
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_exception_is_a_crash() -> None:
    assert is_crash(ValueError())
