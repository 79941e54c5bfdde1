"""Inputs of duplex requests arrive once and in order, whatever happens to the connection."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from google.protobuf.wrappers_pb2 import Int64Value, StringValue

from actors import ActorSystem, Code, DuplexActor, Failure, Registry
from actors.requests.duplex import INPUT_WINDOW
from actors.testing import ManualClock, actor_events, actor_system, manual_clock, settle
from transport.errors import RequestFailed
from transport.testing import MemoryService

__all__ = ["actor_events", "actor_system", "manual_clock"]

HOW_MANY = 1000


class Sums(DuplexActor[StringValue, Int64Value, Int64Value]):
    """Answers each number with the sum so far."""

    async def handle(
        self, request: StringValue, inputs: AsyncIterator[Int64Value]
    ) -> AsyncIterator[Int64Value]:
        total = 0
        async for number in inputs:
            total += number.value
            if request.value == "all":
                yield Int64Value(value=total)
            elif total > 10:
                raise Failure(Code.ABORTED, "enough")
        yield Int64Value(value=total)


class Deaf(DuplexActor[Int64Value, Int64Value, Int64Value]):
    """Takes no input for as many seconds as the request says, and ends."""

    async def handle(
        self, request: Int64Value, inputs: AsyncIterator[Int64Value]
    ) -> AsyncIterator[Int64Value]:
        await self.context.sleep(request.value)
        yield Int64Value()


@pytest.fixture
async def service(actor_system: ActorSystem) -> MemoryService:
    registry = Registry()
    registry.register_duplex(StringValue, Int64Value, Sums)
    registry.register_duplex(Int64Value, Int64Value, Deaf)
    return await MemoryService.start(actor_system, registry)


async def test_each_input_has_its_answer(service: MemoryService) -> None:
    async with service.client() as client:
        sums = client.duplex(StringValue(value="all"), Int64Value, Int64Value)
        for number in range(1, HOW_MANY + 1):
            assert await sums.send(Int64Value(value=number))
            assert (await sums.next()).value == number * (number + 1) // 2
        sums.finish()
        assert [total.value async for total in sums] == [HOW_MANY * (HOW_MANY + 1) // 2]


async def test_inputs_survive_cuts_and_come_once(
    service: MemoryService, manual_clock: ManualClock
) -> None:
    async def send() -> None:
        for number in range(1, HOW_MANY + 1):
            assert await sums.send(Int64Value(value=number), last=number == HOW_MANY)

    async def cut() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
            service.cut()
            await manual_clock.advance(1)

    async with service.client() as client:
        sums = client.duplex(StringValue(value="all"), Int64Value, Int64Value)
        sending, cutting = asyncio.create_task(send()), asyncio.create_task(cut())
        answers: list[int] = []

        async def read() -> None:
            async for total in sums:
                answers.append(total.value)
                await asyncio.sleep(0)

        reading = asyncio.create_task(read())
        await cutting
        await manual_clock.until(asyncio.gather(sending, reading))
        assert client.protocol.resumes > 3
        expected = [number * (number + 1) // 2 for number in range(1, HOW_MANY + 1)]
        assert answers == [*expected, expected[-1]]


async def test_a_handler_that_is_behind_holds_the_sender(
    service: MemoryService, manual_clock: ManualClock
) -> None:
    async with service.client() as client:
        deaf = client.duplex(Int64Value(value=60), Int64Value, Int64Value)
        for _ in range(INPUT_WINDOW):
            assert await deaf.send(Int64Value())
        sending = asyncio.create_task(deaf.send(Int64Value()))
        await settle()
        assert not sending.done()
        await manual_clock.advance(60)
        assert await sending is False, "the request has ended"
        assert [answer.value async for answer in deaf] == [0]
        assert await deaf.send(Int64Value()) is False
        deaf.finish()


async def test_a_cancel_frees_the_sender(service: MemoryService) -> None:
    async with service.client() as client:
        deaf = client.duplex(Int64Value(value=60), Int64Value, Int64Value)
        for _ in range(INPUT_WINDOW):
            await deaf.send(Int64Value())
        sending = asyncio.create_task(deaf.send(Int64Value()))
        await settle()
        deaf.close()
        assert await sending is False


async def test_the_error_of_the_request_comes_to_the_reader(service: MemoryService) -> None:
    async with service.client() as client:
        sums = client.duplex(StringValue(), Int64Value, Int64Value)
        await sums.send(Int64Value(value=11))
        with pytest.raises(RequestFailed, match="enough") as failure:
            await sums.next()
        assert failure.value.code is Code.ABORTED
        assert await sums.send(Int64Value(value=1)) is False


async def test_an_input_that_is_too_large_is_not_sent(service: MemoryService) -> None:
    async with service.client() as client:
        sums = client.duplex(StringValue(), StringValue, Int64Value)
        with pytest.raises(RequestFailed, match="too long"):
            await sums.send(StringValue(value="x" * (1 << 20)))
