"""The client without a socket, as the tests of an extension use it: testing.py."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors import ActorSystem, Code, Failure, Last, Registry, RequestActor, StreamActor, Yielded
from actors.protocol.limits import SessionLimits
from actors.testing import (
    ManualClock,
    actor_events,
    actor_system,
    leak_check,
    manual_clock,
    settle,
)
from callboard.v1.chat_pb2 import (
    AnswerRequest,
    ChatToken,
    CreateSessionRequest,
    SendMessageRequest,
    SessionInfo,
)
from callboard.v1.system_pb2 import ServiceStatus, ServiceStatusRequest
from transport.client.calls import ClientSettings
from transport.errors import ConnectionClosed, RequestFailed, SessionLost
from transport.testing import MemoryService

__all__ = ["actor_events", "actor_system", "leak_check", "manual_clock"]


class Status(RequestActor[ServiceStatusRequest, ServiceStatus]):
    """Its messages have no arm of their own, so they go in `call` and `reply`."""

    async def handle(self, request: ServiceStatusRequest) -> ServiceStatus:
        return ServiceStatus(version=str(request.max_children))


class Create(RequestActor[CreateSessionRequest, SessionInfo]):
    async def handle(self, request: CreateSessionRequest) -> SessionInfo:
        if not request.title:
            raise Failure(Code.INVALID_ARGUMENT, "no title")
        return SessionInfo(title=request.title)


class Count(StreamActor[SendMessageRequest, ChatToken]):
    """Counts up to the number in the text. With the session id "waits", awaits an answer at 3."""

    made = 0

    async def handle(self, request: SendMessageRequest) -> AsyncIterator[Yielded[ChatToken]]:
        for number in range(int(request.text)):
            if request.session_id == "waits" and number == 3:
                answer = await self.context.received(AnswerRequest)
                yield ChatToken(text=answer.message)
            Count.made += 1
            yield ChatToken(text=str(number))
        yield Last(ChatToken(text="end"))


@pytest.fixture
async def service(actor_system: ActorSystem) -> MemoryService:
    Count.made = 0
    registry = Registry()
    registry.register(ServiceStatusRequest, Status)
    registry.register(CreateSessionRequest, Create)
    registry.register(SendMessageRequest, Count)
    return await MemoryService.start(
        actor_system, registry, SessionLimits(resume_window=60.0, resume_buffer_messages=64)
    )


async def test_an_actor_type_is_called(service: MemoryService) -> None:
    async with service.client() as client:
        assert client.welcome.backend == "memory"
        assert await client.call(CreateSessionRequest(title="a"), SessionInfo) == SessionInfo(
            title="a"
        )
        status = await client.call(ServiceStatusRequest(max_children=3), ServiceStatus)
        assert status.version == "3"
        with pytest.raises(RequestFailed, match="no title") as failed:
            await client.call(CreateSessionRequest(), SessionInfo)
        assert failed.value.code is Code.INVALID_ARGUMENT


async def test_a_stream_has_all_its_answers_and_no_more_are_made_than_wanted(
    service: MemoryService,
) -> None:
    async with service.client(ClientSettings(window=4)) as client:
        stream = client.stream(SendMessageRequest(text="100"), ChatToken)
        await settle()
        assert Count.made == 4
        got = [token.text async for token in stream]
        assert got == [*map(str, range(100)), "end"]


async def test_a_deadline_is_measured_on_the_manual_clock(
    service: MemoryService, manual_clock: ManualClock
) -> None:
    async with service.client() as client:
        waiting = asyncio.create_task(
            client.call(SendMessageRequest(text="9", session_id="waits"), ChatToken, timeout=5.0)
        )
        await manual_clock.advance(6.0)
        with pytest.raises(RequestFailed, match="DEADLINE"):
            await waiting


async def test_a_cut_loses_nothing(service: MemoryService, manual_clock: ManualClock) -> None:
    async with service.client(ClientSettings(window=8)) as client:
        got: list[str] = []
        stream = client.stream(SendMessageRequest(text="50", session_id="waits"), ChatToken)
        async for token in stream:
            got.append(token.text)
            if token.text == "2":
                service.cut()
                stream.answer("a", [], "answered while away")
                await manual_clock.advance(1.0)
        assert got == [
            "0", "1", "2", "answered while away", *map(str, range(3, 50)), "end",
        ]  # fmt: skip
        assert client.protocol.resumes == 1


async def test_after_the_window_the_session_is_lost(
    service: MemoryService, actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    settings = ClientSettings(backoff_initial=100.0, backoff_maximum=100.0, give_up=1000.0)
    async with service.client(settings) as client:
        stream = client.stream(SendMessageRequest(text="9", session_id="waits"), ChatToken)
        for number in range(3):
            assert (await stream.next()).text == str(number)
        service.cut()
        await manual_clock.advance(101.0)
        with pytest.raises(SessionLost):
            await stream.next()
        assert client.connected


async def test_two_clients_do_not_see_each_other(service: MemoryService) -> None:
    async with service.client() as one, service.client() as two:
        first = [token.text async for token in one.stream(SendMessageRequest(text="2"), ChatToken)]
        second = [token.text async for token in two.stream(SendMessageRequest(text="2"), ChatToken)]
        assert first == second == ["0", "1", "end"]
        assert one.welcome.session != two.welcome.session


async def test_a_client_that_leaves_ends_its_session(
    service: MemoryService, actor_system: ActorSystem
) -> None:
    async with service.client() as client:
        client.stream(SendMessageRequest(text="9", session_id="waits"), ChatToken)
        await settle()
    await settle()
    sessions = next(c for c in actor_system.snapshot().children if c.name == "sessions")
    assert not sessions.children
    assert not service.websockets


async def test_a_system_that_stops_takes_its_clients_along(
    service: MemoryService, actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    async with service.client(ClientSettings(give_up=5.0)) as client:
        stream = client.stream(SendMessageRequest(text="9", session_id="waits"), ChatToken)
        await settle()
        await manual_clock.until(actor_system.stop())
        with pytest.raises(RequestFailed):
            await anext(text async for text in stream if text.text not in "012")
        await manual_clock.advance(20.0)
        with pytest.raises(ConnectionClosed, match="4001"):
            await client.ready()


async def test_a_client_that_breaks_the_rules_is_thrown_out(
    actor_system: ActorSystem,
) -> None:
    registry = Registry()
    registry.register(CreateSessionRequest, Create)
    limits = SessionLimits(messages_per_second=0.001, message_burst=1)
    service = await MemoryService.start(actor_system, registry, limits)
    async with service.client() as client:
        streams = [
            client.stream(CreateSessionRequest(title="x" * n), SessionInfo) for n in range(40)
        ]
        await settle()
        with pytest.raises(ConnectionClosed, match="4505"):
            for stream in streams:
                try:
                    await stream.next()
                except RequestFailed as failed:
                    assert failed.code in (Code.RESOURCE_EXHAUSTED, Code.INVALID_ARGUMENT)
        assert client.over
