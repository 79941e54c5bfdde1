"""Eager tasks change when a handler begins, and nothing about its results."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors import (
    Actor,
    ActorRef,
    ActorSystem,
    Code,
    Exit,
    Failure,
    RequestActor,
    StreamActor,
    Stuck,
    Yielded,
)
from actors.protocol.frames import Cancel, Inform
from actors.runtime.eager import EAGER
from actors.runtime.events import Event
from actors.runtime.runqueue import MESSAGES_PER_TURN
from actors.sessions.messages import SessionMessage
from actors.testing import ManualClock, settle
from tests.support.kit import Bare, Boom, Worker, note, tasks_of_actors
from tests.support.session_kit import Service, Text, client_of

WAYS = {"later": False} | ({"at once": True} if EAGER else {})
"""Where Python has eager tasks, each test also runs without them."""


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def eager(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    at_once: bool = request.param
    for module in ("cell", "eager", "turns", "work"):
        monkeypatch.setattr(f"actors.runtime.{module}.EAGER", at_once)
    return at_once


async def test_a_handler_that_waits_is_begun_in_its_actors_turn_or_after_it(
    actor_system: ActorSystem, eager: bool
) -> None:
    log: list[str] = []

    async def wait(worker: Worker) -> None:
        log.append("begun")
        await asyncio.sleep(0)
        log.append("done")

    first, second = actor_system.spawn(Bare), actor_system.spawn(Bare)
    first.tell(wait)
    second.tell(note(log, "second"))
    await settle()
    assert log == (["begun", "second", "done"] if eager else ["second", "begun", "done"])
    first.tell(wait)
    await first.send(note(log, "after"))
    await settle()
    assert log[3:] == ["begun", "done", "after"]
    assert tasks_of_actors() == 0


class Coroutine(Actor[list[str]]):
    """Has a `receive` that is a coroutine function."""

    async def receive(self, message: list[str]) -> None:
        message.append("begun")


async def test_a_coroutine_function_is_begun_in_its_actors_turn_or_in_a_task_of_its_own(
    actor_system: ActorSystem, eager: bool
) -> None:
    log: list[str] = []
    ref = actor_system.spawn(Coroutine)
    ref.tell(log)
    assert tasks_of_actors() == (0 if eager else 1)
    await settle()
    assert log == ["begun"]
    assert tasks_of_actors() == 0


@pytest.mark.usefixtures("eager")
@pytest.mark.own_bound("tells several at once, and to tell is not to wait for room")
async def test_a_long_queue_of_a_coroutine_function_lets_others_in_between(
    actor_system: ActorSystem,
) -> None:
    log: list[str] = []
    busy, other = actor_system.spawn(Coroutine), actor_system.spawn(Bare)
    for _ in range(4 * MESSAGES_PER_TURN):
        busy.tell(log)
    other.tell(note(log, "other"))
    await settle()
    assert log.index("other") <= 2 * MESSAGES_PER_TURN
    assert len(log) == 4 * MESSAGES_PER_TURN + 1


class Doing(RequestActor[Text, Text]):
    """Does what the request says, and counts its runs."""

    restartable = True
    runs = 0

    async def handle(self, request: Text) -> Text:
        type(self).runs += 1
        match request.text:
            case "wait":
                await asyncio.sleep(0)
            case "receive":
                return await self.context.received(Text)
            case "crash once" if self.runs == 1:
                raise Boom
            case _:
                pass
        return Text(f"{request.text}, {self.context.ref.state}")


@pytest.mark.usefixtures("eager")
async def test_a_request_is_answered(service: Service, manual_clock: ManualClock) -> None:
    class Mine(Doing):
        pass

    client = await client_of(service, Mine)
    for text in ("pass", "wait", "receive"):
        client.request(Text(text))
    await settle()
    client.send(Inform(3, Text("received")))
    assert [frame.said for frame in await client.read()] == [
        "pass, running", "wait, running", "received"
    ]  # fmt: skip
    client.check()
    assert tasks_of_actors() == 0
    Mine.runs = 0
    crashing = client.request(Text("crash once"))
    await manual_clock.advance(10.0)
    assert await client.said(crashing) == ["crash once, running"]
    assert Mine.runs == 2


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("settled", [True, False])
async def test_a_stream_is_cancelled_begun_or_not(
    service: Service, manual_clock: ManualClock, actor_events: list[Event], settled: bool
) -> None:
    closed: list[str] = []

    class Waiting(StreamActor[Text, Text]):
        async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
            try:
                yield Text("begun")
                await asyncio.Event().wait()
            finally:
                closed.append("closed")

    client = await client_of(service, Waiting)
    client.request(Text())
    if settled:
        await settle()
    client.send(Cancel(1))
    said = await client.said(1)
    assert said[-1] == "!CANCELLED"
    assert len(closed) == len(said) - 1 == said.count("begun")
    client.check()
    assert manual_clock.now() == 0.0
    assert not [event for event in actor_events if isinstance(event, Stuck)]
    assert tasks_of_actors() == 0


@pytest.mark.usefixtures("eager")
async def test_what_a_client_sends_before_the_first_step_is_kept(service: Service) -> None:
    client = await client_of(service, Doing)
    client.request(Text("receive"))
    client.send(Inform(1, Text("at once")))
    assert await client.said(1) == ["at once"]


class Saboteur(RequestActor[Text, Text]):
    """Stops or kills its own session in its first step, and then waits."""

    session_ref: ActorRef[SessionMessage]
    begun = ended = 0

    async def handle(self, request: Text) -> Text:
        type(self).begun += 1
        if request.text == "kill":
            self.session_ref.kill()
        else:
            self.session_ref.stop()
        try:
            await asyncio.Event().wait()
        finally:
            type(self).ended += 1
            self.context.abort(Failure(Code.ABORTED, "harmless by now"))
        return request


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_request_that_ends_its_session_ends_with_it(
    service: Service, manual_clock: ManualClock, how: str
) -> None:
    class Mine(Saboteur):
        pass

    client = await client_of(service, Mine)
    Mine.session_ref = client.ref
    client.request(Text(how))
    client.request(Text(how))
    down = await client.ref.join()
    assert down.exit is (Exit.KILLED if how == "kill" else Exit.SHUTDOWN)
    assert (Mine.begun, Mine.ended) == (1, 1)
    assert manual_clock.now() == 0.0
    assert tasks_of_actors() == 0
