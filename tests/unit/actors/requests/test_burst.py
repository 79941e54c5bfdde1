"""Bursts are pulled like streams, but without an asynchronous step for each answer."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from actors import ActorSystem, Burst, Code, Failure, StreamActor, Yielded, shared
from actors.protocol.frames import Ack, Cancel, Credit
from actors.protocol.limits import SessionLimits
from actors.protocol.machine import WOKEN
from actors.requests.pull import IN_BATCH
from actors.testing import settle
from tests.support.session_kit import TURNS_BEFORE_A_CANCEL, Client, Service, Text

MANY = 3 * IN_BATCH


class Bursting(StreamActor[Text, Text]):
    """Yields several answers in one burst, then one by itself."""

    pulls = 0
    closed = 0

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        try:
            yield Burst(self._answers(request.text))
            yield Text("last")
        finally:
            type(self).closed += 1

    def _answers(self, text: str) -> Iterator[Text]:
        for number in range(MANY if text == "many" else 5):
            type(self).pulls += 1
            if text == "crash" and number == 3:
                raise RuntimeError
            yield Text(f"{number}")


@pytest.fixture
async def client(actor_system: ActorSystem) -> Client:
    Bursting.pulls = Bursting.closed = 0
    service = Service(actor_system)
    service.registry.register(Text, Bursting)
    return await service.open()


async def test_all_of_it_comes_in_order_and_the_stream_goes_on(client: Client) -> None:
    client.request(Text())
    assert await client.said(1) == ["0", "1", "2", "3", "4", "last", "completed"]
    client.check()


async def test_it_is_not_pulled_beyond_credit(actor_system: ActorSystem) -> None:
    Bursting.pulls = 0
    service = Service(actor_system)
    service.registry.register(Text, Bursting)
    client = await service.open(2)
    client.request(Text())
    await settle()
    assert Bursting.pulls == 2
    client.send(Credit(1, 4))
    await settle()
    assert Bursting.pulls == 4
    client.send(Credit(1, 100))
    assert await client.said(1) == ["0", "1", "2", "3", "4", "last", "completed"]


async def test_all_that_wait_for_room_go_on_though_the_first_ones_leave_it(
    actor_system: ActorSystem,
) -> None:
    resumed: list[int] = []

    class Waiting(StreamActor[Text, Text]):
        async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
            if request.text == "fill":
                yield Burst([Text("a"), Text("b"), Text("c")])
            resumed.append(len(resumed))
            await asyncio.Event().wait()

    service = Service(actor_system, SessionLimits(resume_buffer_messages=3))
    service.registry.register(Text, Waiting)
    client = await service.open(acknowledges=True)
    client.request(Text("fill"))
    await settle()
    for _ in range(3 * WOKEN):
        client.request(Text())
    await client.read()
    await settle()
    assert not resumed
    client.send(Ack(3))
    await settle()
    assert len(resumed) == 1 + 3 * WOKEN


async def test_what_it_raises_is_a_crash_after_the_answers_before(client: Client) -> None:
    client.request(Text("crash"))
    assert await client.said(1) == ["0", "1", "2", "!INTERNAL"]
    client.check()


async def test_others_get_their_turn_within_a_long_one(client: Client) -> None:
    client.request(Text("many"))
    client.request(Text("many"))
    said = [frame.request_id for frame in await client.read()]
    first_end = len(said) - 1 - said[::-1].index(1)
    assert said.index(2) < first_end
    assert len(said) == 2 * (MANY + 2)


async def test_cancel_within_a_long_one_closes_the_stream(client: Client) -> None:
    client.request(Text("many"))
    client.send(Cancel(1))
    said = await client.said(1)
    assert said[-1] == "!CANCELLED"
    assert Bursting.pulls <= (IN_BATCH + 1) * TURNS_BEFORE_A_CANCEL
    assert Bursting.closed <= 1


async def test_a_full_outbox_stops_it(actor_system: ActorSystem) -> None:
    Bursting.pulls = 0
    service = Service(actor_system, SessionLimits(outbox_bytes=100))
    service.registry.register(Text, Bursting)
    client = await service.open()
    client.request(Text("many"))
    await settle()
    assert 0 < Bursting.pulls < 20


class Talking(StreamActor[Text, Text]):
    """Sends a notice, or aborts, while its burst is pulled."""

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        yield Burst(self._answers(request.text))
        yield Text("last")

    def _answers(self, text: str) -> Iterator[Text]:
        yield Text("0")
        if text == "abort":
            self.context.abort(Failure(Code.ABORTED, "enough"))
        else:
            self.context.notice("a word")
        yield Text("1")


async def talking(actor_system: ActorSystem, credit: int = 0) -> Client:
    service = Service(actor_system)
    service.registry.register(Text, Talking)
    return await service.open(credit)


async def test_a_notice_during_a_burst_follows_it_under_its_own_number(
    actor_system: ActorSystem,
) -> None:
    client = await talking(actor_system)
    client.request(Text())
    assert await client.said(1) == ["0", "1", "(a word 0)", "last", "completed"]
    client.check()


async def test_a_notice_during_a_burst_needs_credit_like_any_other(
    actor_system: ActorSystem,
) -> None:
    client = await talking(actor_system, 2)
    client.request(Text())
    assert await client.said(1) == ["0", "1"]
    client.send(Credit(1, 3))
    assert await client.said(1) == ["0", "1", "(a word 0)"]
    client.send(Credit(1, 5))
    assert await client.said(1) == ["0", "1", "(a word 0)", "last", "completed"]
    client.check()


async def test_an_abort_during_a_burst_ends_the_request_right_after_it(
    actor_system: ActorSystem,
) -> None:
    client = await talking(actor_system, 2)
    client.request(Text("abort"))
    assert await client.said(1) == ["0", "1", "!ABORTED"]
    client.check()


class Counted(Text):
    """A text that counts how often it is encoded."""

    encoded = 0

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        type(self).encoded += 1
        return super().SerializeToString()


class Repeating(StreamActor[Text, Text]):
    """Yields the same shared answer as every other stream, by itself and in a batch."""

    answer = shared(Text())

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        yield self.answer
        yield Burst([self.answer, Text("own")])


async def test_a_shared_answer_is_encoded_once(actor_system: ActorSystem) -> None:
    Counted.encoded = 0
    Repeating.answer = shared(Counted("same"))
    service = Service(actor_system)
    service.registry.register(Text, Repeating)
    client = await service.open()
    for number in (1, 2, 3):
        client.request(Text(), number)
        assert await client.said(number) == ["same", "same", "own", "completed"]
    client.check()
    assert Counted.encoded == 1


def test_a_shared_answer_encodes_and_measures_like_its_message() -> None:
    answer = shared(Text("abc"))
    assert answer.SerializeToString() == Text("abc").SerializeToString()
    assert answer.ByteSize() == Text("abc").ByteSize()
