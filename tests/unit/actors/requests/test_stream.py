"""Streams and their asks, each in a session, as a client sees them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from actors import (
    ActorSystem,
    Closes,
    Code,
    Event,
    Failure,
    Last,
    Opens,
    RequestActor,
    StreamActor,
    Stuck,
    Yielded,
)
from actors.protocol.block import frames
from actors.protocol.frames import Cancel, Credit, Inform
from actors.protocol.limits import SessionLimits
from actors.requests.pull import AT_ONCE
from actors.testing import ManualClock, settle
from tests.support.bound import BOUND
from tests.support.kit import Boom, tasks_of_actors
from tests.support.session_kit import (
    PULLS_BEFORE_A_CANCEL,
    Ask,
    Counting,
    Sent,
    Service,
    Text,
    Unspeakable,
    client_of,
    decode,
)

# -- streams -------------------------------------------------------------------------------------


async def test_a_stream_ends_with_an_empty_frame(service: Service) -> None:
    class Words(StreamActor[Text, Text]):
        async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
            for word in request.text.split():
                yield Text(word)

    client = await client_of(service, Words)
    client.request(Text("to be"))
    assert await client.read() == [
        Sent(1, 1, False, "to"), Sent(1, 2, False, "be"), Sent(1, 3, True, "completed")
    ]  # fmt: skip


async def test_a_stream_may_end_with_its_last_answer(service: Service) -> None:
    closed: list[bool] = []

    class Words(StreamActor[Text, Text]):
        async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
            try:
                yield Text("to")
                yield Last(Text("be"))
                yield Text("never")
            finally:
                closed.append(True)

    client = await client_of(service, Words)
    client.request(Text())
    assert await client.read() == [Sent(1, 1, False, "to"), Sent(1, 2, True, "be")]
    assert closed == [True]


async def test_a_stream_is_closed_before_its_end_is_said(service: Service) -> None:
    gate = asyncio.Event()

    class Tidying(StreamActor[Text, Text]):
        async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
            try:
                yield Last(Text("done"))
            finally:
                await gate.wait()

    client = await client_of(service, Tidying)
    client.request(Text())
    assert await client.read() == []
    gate.set()
    assert await client.said(1) == ["done"]


async def test_a_stream_that_finds_no_room_is_not_begun(service: Service) -> None:
    class Named(Counting):
        async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
            begun.append(request.text)
            async for item in super().handle(request):
                yield item

    begun: list[str] = []
    client = await client_of(service, Named)
    client.request(Text("fills the outbox"))
    await settle()
    client.request(Text("waits"))
    await settle()
    assert begun == ["fills the outbox"]
    client.send(Cancel(1))
    for _ in range(100):
        client.take(10_000)
    await settle()
    assert begun == ["fills the outbox", "waits"]
    client.send(Cancel(2))


async def test_a_stream_that_fails_and_one_that_crashes(service: Service) -> None:
    class Breaking(StreamActor[Text, Text]):
        async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
            yield Text("a")
            raise Failure(Code.ABORTED, "no") if request.text == "fail" else Boom

    client = await client_of(service, Breaking)
    client.request(Text("fail"))
    client.request(Text("crash"))
    assert await client.said(1) == ["a", "!ABORTED"]
    assert await client.said(2) == ["a", "!INTERNAL"]
    client.check()


async def test_without_credit_the_generator_is_not_advanced(service: Service) -> None:
    client = await client_of(service, Counting, initial_credit=3)
    client.request(Text())
    assert [frame.said for frame in await client.read()] == ["1", "2", "3"]
    assert Counting.pulls == 3
    client.send(Credit(1, 3))
    client.send(Credit(1, 2))
    assert await client.read() == []
    client.send(Credit(1, 5))
    assert [frame.said for frame in await client.read()] == ["4", "5"]
    assert Counting.pulls == 5
    assert Counting.closed == 0


async def test_with_a_full_outbox_the_generator_is_not_advanced(actor_system: ActorSystem) -> None:
    service = Service(actor_system, SessionLimits(resume_buffer_messages=1_000_000))
    client = await client_of(service, Counting)
    client.request(Text())
    await settle()
    limit = service.environment.limits.outbox_bytes
    machine_holds = client.take(0)
    pulls = Counting.pulls
    await settle()
    assert Counting.pulls == pulls  # one frame was taken, and more than half are left
    sizes = sum(map(len, machine_holds))
    while not sizes > limit // 2 + 100:
        sizes += sum(map(len, client.take(1000)))
    await settle()
    assert Counting.pulls > pulls
    client.send(Cancel(1))


async def test_cancel_closes_the_generator_and_is_the_end(service: Service) -> None:
    client = await client_of(service, Counting, initial_credit=2)
    client.request(Text())
    await settle()
    client.send(Cancel(1))
    client.send(Cancel(1))
    assert await client.said(1) == ["1", "2", "!CANCELLED"]
    assert Counting.closed == 1
    assert Counting.pulls == 2
    client.check()


async def test_cancel_before_the_actor_has_begun(
    service: Service, manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    client = await client_of(service, Counting)
    client.request(Text())
    client.send(Cancel(1))
    said = await client.said(1)
    assert said[-1] == "!CANCELLED"
    assert len(said) == Counting.pulls + 1
    assert Counting.pulls <= PULLS_BEFORE_A_CANCEL
    assert manual_clock.now() == 0.0
    assert not [event for event in actor_events if isinstance(event, Stuck)]


async def test_cancel_while_the_generator_waits(service: Service) -> None:
    closed: list[str] = []

    class Waiting(StreamActor[Text, Text]):
        async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
            try:
                yield Text("a")
                await asyncio.Event().wait()
            finally:
                closed.append("closed")

    client = await client_of(service, Waiting)
    client.request(Text())
    await settle()
    client.send(Cancel(1))
    assert await client.said(1) == ["a", "!CANCELLED"]
    assert closed == ["closed"]


async def test_a_stream_that_swallows_its_cancellation_says_nothing_more(
    service: Service, manual_clock: ManualClock, actor_events: list[Event]
) -> None:
    gate = asyncio.Event()

    class Stubborn(StreamActor[Text, Text]):
        async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
            for _ in range(2):
                try:
                    await gate.wait()
                    break
                except asyncio.CancelledError:
                    continue
            yield Text("too late")

    client = await client_of(service, Stubborn)
    client.request(Text())
    await settle()
    client.send(Cancel(1))
    await manual_clock.advance(100.0)
    assert [event.path for event in actor_events if isinstance(event, Stuck)] == [
        "system/sessions/s1/1"
    ]
    gate.set()
    assert await client.said(1) == ["!CANCELLED"]
    client.check()
    assert tasks_of_actors() == 0


async def test_a_request_without_async_generator_is_still_pulled(service: Service) -> None:
    class Plain(AsyncIterator[Yielded[Text]]):
        def __init__(self) -> None:
            self.left = 2

        async def __anext__(self) -> Text:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return Text(str(self.left))

    class Iterating(StreamActor[Text, Text]):
        def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
            return Plain()

    client = await client_of(service, Iterating)
    client.request(Text())
    assert await client.said(1) == ["1", "0", "completed"]


# -- asks ----------------------------------------------------------------------------------------


class Asking(StreamActor[Text, Text]):
    """Asks, waits for the answer, and repeats it."""

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        yield Opens("q", Text("ask"), closing=Text("closed void"))
        if request.text == "crash":
            raise Boom
        if request.text == "end":
            return
        answer = await self.context.received(Text)
        yield Closes("q", Text("closed"))
        yield Closes("q", Text("closed twice"))
        yield Text(f"heard {answer.text}")


async def test_an_ask_is_answered(service: Service) -> None:
    client = await client_of(service, Asking)
    client.request(Text())
    assert [frame.said for frame in await client.read()] == ["ask"]
    client.send(Inform(1, Text("yes")))
    assert [frame.said for frame in await client.read()] == [
        "closed", "heard yes", "completed"
    ]  # fmt: skip
    client.check()


async def test_an_ask_takes_credit_as_any_answer_does(service: Service) -> None:
    advanced: list[str] = []

    class Hasty(StreamActor[Text, Text]):
        async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
            yield Opens("q", Text("ask"), closing=Text("void"))
            advanced.append("asked")
            yield Closes("q", Text("closed"))

    client = await client_of(service, Hasty, initial_credit=1)
    client.request(Text())
    assert await client.said(1) == ["ask"]
    assert advanced == []
    client.send(Credit(1, 3))
    assert await client.said(1) == ["ask", "closed", "completed"]


async def test_an_answer_may_come_before_it_is_waited_for(service: Service) -> None:
    client = await client_of(service, Asking)
    client.request(Text())
    client.send(Inform(1, Text("early")))
    assert (await client.said(1))[-2:] == ["heard early", "completed"]


async def test_an_answer_of_another_type_is_passed_over(service: Service) -> None:
    class Particular(RequestActor[Text, Text]):
        async def handle(self, request: Text) -> Text:
            return await self.context.received(Unspeakable) and Text("got it")

    client = await client_of(service, Particular)
    client.request(Text())
    client.send(Inform(1, Text("no")))
    await settle()
    client.send(Inform(1, Unspeakable()))
    client.send(Inform(7, Text("to nobody")))
    assert await client.said(1) == ["got it"]


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("crash", "!INTERNAL"),
        ("end", "completed"),
        ("cancel", "!CANCELLED"),
        ("deadline", "!DEADLINE_EXCEEDED"),
        ("abort", "!ABORTED"),
    ],
)
async def test_an_ask_is_closed_however_the_request_ends(
    service: Service, manual_clock: ManualClock, text: str, end: str
) -> None:
    client = await client_of(service, Asking)
    client.request(Text(text), timeout_ms=1000 if text == "deadline" else 0)
    await settle()
    if text == "cancel":
        client.send(Cancel(1))
    elif text == "abort":
        await client.fail_all(Failure(Code.ABORTED, "lost"))
    await manual_clock.advance(2.0)
    assert await client.said(1) == ["ask", "closed void", end]
    client.check()


async def test_a_flood_of_answers_is_bounded(service: Service, actor_system: ActorSystem) -> None:
    class Deaf(RequestActor[Text, Text]):
        async def handle(self, request: Text) -> Text:
            return Text(str(await asyncio.Event().wait()))

    client = await client_of(service, Deaf)
    client.request(Text())
    for _ in range(500):
        client.send(Inform(1, Text("x")))
    await settle()
    (request,) = actor_system.snapshot().children[0].children[0].children
    assert request.mailbox == request.capacity == (BOUND or 64)
    assert actor_system.dead_letters == 500 - request.mailbox
    client.send(Cancel(1))


# -- turns ---------------------------------------------------------------------------------------


class Slow(StreamActor[Text, Text]):
    """Yields as many answers as the request says, each after a turn of the event loop."""

    said = 0

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        task = asyncio.current_task()
        for number in range(int(request.text)):
            await asyncio.sleep(0)
            assert asyncio.current_task() is task
            Slow.said += 1
            yield Text(f"{number}")


class Paired(StreamActor[Ask, Text]):
    """Opens and closes asks without ever waiting."""

    async def handle(self, request: Ask) -> AsyncIterator[Yielded[Text]]:
        for number in range(AT_ONCE):
            yield Opens("key", Text(f"{number}"), Text("closing"))
            yield Closes("key", Text("closed"))


async def test_streams_that_wait_for_turns_are_whole(service: Service) -> None:
    service.registry.register(Text, Slow)
    client = await service.open()
    count = 2 * AT_ONCE + 5
    for _ in range(3):
        client.request(Text(f"{count}"))
    expected = [*map(str, range(count)), "completed"]
    assert [await client.said(number) for number in (1, 2, 3)] == [expected] * 3
    client.check()


async def test_a_stream_that_waits_for_turns_gets_no_more_once_it_is_cancelled(
    service: Service,
) -> None:
    service.registry.register(Text, Slow)
    client = await service.open()
    for _ in range(3):
        client.request(Text("100000"))
    for _ in range(200):
        await asyncio.sleep(0)
    assert Slow.said > 0
    for number in (1, 2, 3):
        client.send(Cancel(number))
    await settle()
    said = Slow.said
    for _ in range(5):
        await asyncio.sleep(0)
    assert Slow.said == said
    for number in (1, 2, 3):
        assert (await client.said(number))[-1] == "!CANCELLED"
    client.check()


async def test_what_opens_and_closes_without_a_wait_gives_others_turns(service: Service) -> None:
    service.registry.register(Ask, Paired)
    client = await service.open()
    client.request(Ask())
    sent: list[Sent] = []
    turns = 0
    while not (sent and sent[-1].end):
        await asyncio.sleep(0)
        turns += 1
        sent += map(decode, frames(client.take(1 << 20)))
    assert len(sent) == 2 * AT_ONCE + 1
    assert turns > 2
