"""Why a request ended, as its handler learns it while it cleans up."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors import (
    ActorSystem,
    Code,
    EndedBy,
    Failure,
    RequestActor,
    RequestContext,
    StreamActor,
    Yielded,
)
from actors.protocol.frames import Cancel, Ping, Violation
from actors.testing import ManualClock, settle
from tests.support.session_kit import Ask, Client, Service, Text

seen: list[EndedBy | None] = []
contexts: list[RequestContext] = []


class Waiting(RequestActor[Text, Text]):
    """Waits until it is ended, or crashes."""

    async def handle(self, request: Text) -> Text:
        contexts.append(self.context)
        seen.append(self.context.ended_by)
        try:
            if request.text == "answer":
                return request
            if request.text == "crash":
                raise RuntimeError
            await asyncio.Event().wait()
        finally:
            seen.append(self.context.ended_by)
        return request


class Streaming(StreamActor[Ask, Text]):
    """Answers once, and then as `Waiting` does."""

    async def handle(self, request: Ask) -> AsyncIterator[Yielded[Text]]:
        contexts.append(self.context)
        seen.append(self.context.ended_by)
        try:
            yield Text("first")
            if request.text == "crash":
                raise RuntimeError
            if request.text != "answer":
                await asyncio.Event().wait()
        finally:
            seen.append(self.context.ended_by)


@pytest.fixture
def service(actor_system: ActorSystem) -> Service:
    seen.clear()
    contexts.clear()
    service = Service(actor_system)
    service.registry.register(Text, Waiting)
    service.registry.register(Ask, Streaming)
    return service


async def do(how: str, client: Client, system: ActorSystem, clock: ManualClock) -> None:
    """Have the first request end in this way."""
    match how:
        case "cancel":
            client.send(Cancel(1))
        case "leave":
            client.detach()
        case "violation":
            client.send(Violation(4500, "broken"))
        case "stay away":
            client.detach(1006)
            await clock.advance(1000.0)
        case "crash of the session":
            client.send(Ping(2**64))  # what the encoding fails on
        case "stop of the system":
            await system.stop()
        case "shutdown":
            drained = client.drain()
            await client.fail_all(Failure(Code.UNAVAILABLE, "bye", retryable=True))
            await drained
        case "abort":
            contexts[0].abort(Failure(Code.ABORTED, "by code"))
        case _:
            raise AssertionError(how)
    await settle()


@pytest.mark.parametrize("message", [Text, Ask])
@pytest.mark.parametrize(
    ("how", "by"),
    [
        ("cancel", EndedBy.CLIENT),
        ("leave", EndedBy.SESSION),
        ("violation", EndedBy.SESSION),
        ("stay away", EndedBy.SESSION),
        ("crash of the session", EndedBy.SESSION),
        ("stop of the system", EndedBy.SESSION),
        ("shutdown", EndedBy.SERVICE),
        ("abort", EndedBy.SERVICE),
    ],
)
async def test_a_handler_learns_why_its_request_was_ended(
    service: Service,
    actor_system: ActorSystem,
    manual_clock: ManualClock,
    how: str,
    by: EndedBy,
    message: type[Text],
) -> None:
    """A handler that is ended from outside reads the reason in its `finally`."""
    client = await service.open()
    client.request(message())
    await settle()
    assert seen == [None]
    await do(how, client, actor_system, manual_clock)
    assert seen == [None, by]


@pytest.mark.parametrize("message", [Text, Ask])
async def test_a_deadline_is_a_reason_of_its_own(
    service: Service, manual_clock: ManualClock, message: type[Text]
) -> None:
    """A handler whose deadline passes reads DEADLINE."""
    client = await service.open()
    client.request(message(), timeout_ms=1000)
    await manual_clock.advance(2.0)
    assert seen == [None, EndedBy.DEADLINE]


@pytest.mark.parametrize("message", [Text, Ask])
@pytest.mark.parametrize("how", ["answer", "crash"])
async def test_what_ends_by_itself_has_not_been_ended(
    service: Service, how: str, message: type[Text]
) -> None:
    """A handler that returns or crashes reads None, and ANSWER once its end has been sent."""
    client = await service.open()
    client.request(message(how))
    await client.read()
    client.detach()
    await client.ref.join()
    assert seen == [None, None]
    assert contexts[0].ended_by is EndedBy.ANSWER


async def test_the_client_sees_no_difference_between_its_cancel_and_the_end_of_its_session(
    service: Service,
) -> None:
    """Both end the request with CANCELLED and the same text."""
    client = await service.open()
    client.request(Text())
    client.request(Text())
    await settle()
    client.send(Cancel(1))
    client.send(Violation(4500, "broken"))
    assert [await client.said(number) for number in (1, 2)] == [["!CANCELLED"]] * 2
    assert seen == [None, None, EndedBy.CLIENT, EndedBy.SESSION]
