"""Edge cases between a request's session and its actor, such as two events in one moment."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors import ActorRef, ActorSystem, Code, Failure, RequestActor, StreamActor, Yielded
from actors.protocol.frames import Credit
from actors.testing import ManualClock, settle
from tests.support.kit import working_tasks
from tests.support.session_kit import Service, Text, client_of


async def test_the_first_of_its_answers_is_when_it_began_to_answer(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    class Telling(RequestActor[Text, Text]):
        async def handle(self, request: Text) -> Text:
            for _ in range(3):
                await self.context.sleep(1.0)
                self.context.notice("patience")
            return request

    ends: list[object] = []
    service = Service(actor_system, on_request_end=lambda *end: ends.append(end))
    client = await client_of(service, Telling)
    client.request(Text("done"))
    await manual_clock.advance(3.0)
    assert ends == [("Text", Text("done"), 1.0, 3.0)]
    assert await client.said(1) == ["(patience 0)"] * 3 + ["done"]


async def test_a_connection_is_woken_once_for_what_it_has_not_taken(service: Service) -> None:
    class Two(StreamActor[Text, Text]):
        async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
            yield Text("a")
            await asyncio.sleep(0)
            yield Text("b")

    client = await client_of(service, Two)
    woken = client.connection.wakes
    client.request(Text())
    await settle()
    assert client.connection.wakes == woken + 1
    assert await client.said(1) == ["a", "b", "completed"]
    client.request(Text())
    await settle()
    assert client.connection.wakes == woken + 2


async def test_credit_for_a_notice_wakes_no_handler_that_waits_for_something_else(
    service: Service, manual_clock: ManualClock
) -> None:
    class Telling(StreamActor[Text, Text]):
        async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
            yield Text("a")
            self.context.notice("the last that has room")
            self.context.notice("without room")
            await self.context.sleep(5.0)
            yield Text("b")

    client = await client_of(service, Telling, initial_credit=2)
    client.request(Text())
    said = ["a", "(the last that has room 0)"]
    assert await client.said(1) == said
    client.send(Credit(1, 4))
    await manual_clock.advance(4.0)
    said += ["(without room 0)"]
    assert await client.said(1) == said
    await manual_clock.advance(1.0)
    assert await client.said(1) == [*said, "b"]
    client.send(Credit(1, 5))
    assert await client.said(1) == [*said, "b", "completed"]


async def test_a_sleep_and_its_request_may_end_in_one_moment(
    service: Service, manual_clock: ManualClock
) -> None:
    ended: list[str] = []

    class Sleeping(RequestActor[Text, Text]):
        async def handle(self, request: Text) -> Text:
            failure = Failure(Code.ABORTED, "just now")
            self.context.clock.call_later(5.0, lambda: self.context.abort(failure))
            try:
                await self.context.sleep(5.0)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            return request

    client = await client_of(service, Sleeping)
    client.request(Text())
    await manual_clock.advance(5.0)
    assert await client.said(1) == ["!ABORTED"]
    assert ended == ["cancelled"]
    assert manual_clock.pending == 0


@pytest.mark.usefixtures("ctrl_c_raises")
async def test_ctrl_c_is_not_held_up_by_a_request(service: Service) -> None:
    """A KeyboardInterrupt in a request's handler propagates to the loop and ends the request."""
    raised = KeyboardInterrupt()
    gate = asyncio.Event()
    refs: list[ActorRef[object]] = []

    class Leaving(RequestActor[Text, Text]):
        async def handle(self, request: Text) -> Text:
            refs.append(self.context.ref)
            await gate.wait()
            raise raised

    client = await client_of(service, Leaving)
    client.request(Text())
    await settle()
    gate.set()
    # The exception would end the loop, so the test runs the task's step itself.
    (task,) = working_tasks() - {asyncio.current_task()}
    coroutine = task.get_coro()
    assert coroutine is not None
    with pytest.raises(KeyboardInterrupt):
        coroutine.send(None)
    assert (await refs[0].join()).error is raised
    assert await client.said(1) == ["!INTERNAL"]
    task.cancel()
    await settle()
