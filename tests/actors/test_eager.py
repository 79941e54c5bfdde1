"""Tasks that begin at once, where Python has them; without them everything comes, only later."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors import ActorSystem, RequestActor, StreamActor, Stuck, Yielded
from actors.eager import EAGER
from actors.events import Event
from actors.frames import Cancel, Inform
from actors.testing import ManualClock, settle
from tests.actors.kit import Bare, Boom, Worker, note, tasks_of_actors
from tests.actors.session_kit import Service, Text, client_of

WAYS = {"later": False} | ({"at once": True} if EAGER else {})
"""A Python that has such tasks is tested as one that has none too."""


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def eager(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    at_once: bool = request.param
    for module in ("cell", "session"):
        monkeypatch.setattr(f"actors.{module}.EAGER", at_once)
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


class Doing(RequestActor[Text, Text]):
    """Does what it is asked; counts its runs."""

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
