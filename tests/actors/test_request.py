"""Request actors, each in a session, as a client sees them."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import pytest

from actors import (
    ActorSystem,
    Closes,
    Code,
    Crashed,
    Event,
    Failure,
    Handler,
    Last,
    Opens,
    RequestActor,
    StreamActor,
    Stuck,
    Yielded,
)
from actors.deadlines import TICK
from actors.frames import Cancel, Credit, Inform
from actors.testing import ManualClock, settle
from tests.actors.kit import Boom, tasks_of_actors
from tests.actors.session_kit import Client, Sent, Service, Text, Unspeakable


@pytest.fixture
def service(actor_system: ActorSystem) -> Service:
    return Service(actor_system)


async def client_of(
    service: Service, handler: "type[Handler[Text]]", initial_credit: int = 0
) -> Client:
    service.registry.register(Text, handler)
    return await service.open(initial_credit)


# -- one answer ----------------------------------------------------------------------------------


async def test_one_answer(service: Service) -> None:
    class Upper(RequestActor[Text, Text]):
        async def handle(self, request: Text) -> Text:
            return Text(request.text.upper())

    client = await client_of(service, Upper)
    client.request(Text("a"))
    client.request(Text("b"))
    assert await client.read() == [Sent(1, 1, True, "A"), Sent(2, 2, True, "B")]
    assert tasks_of_actors() == 0


async def test_a_failure_is_an_answer(service: Service, actor_events: list[Event]) -> None:
    class No(RequestActor[Text, Text]):
        async def handle(self, request: Text) -> Text:
            raise Failure(Code.NOT_FOUND, "no such city")

    client = await client_of(service, No)
    client.request(Text())
    assert await client.read() == [Sent(1, 1, True, "!NOT_FOUND")]
    assert not [event for event in actor_events if isinstance(event, Crashed)]


async def test_a_crash_is_internal_with_nothing_of_it_in_the_message(
    service: Service, actor_events: list[Event]
) -> None:
    class Crashing(RequestActor[Text, Text]):
        async def handle(self, request: Text) -> Text:
            raise Boom("a secret")

    client = await client_of(service, Crashing)
    client.request(Text())
    assert await client.read() == [Sent(1, 1, True, "!INTERNAL")]
    (crash,) = [event for event in actor_events if isinstance(event, Crashed)]
    assert crash.path == "system/sessions/s1/1"
    assert str(crash.error) == "a secret"


async def test_an_answer_that_cannot_be_encoded_is_a_crash(service: Service) -> None:
    class Odd(RequestActor[Text, Text]):
        async def handle(self, request: Text) -> Text:
            return Unspeakable()

    client = await client_of(service, Odd)
    client.request(Text())
    assert await client.read() == [Sent(1, 1, True, "!INTERNAL")]


async def test_a_handler_that_cannot_be_made_costs_its_request_alone(
    service: Service, actor_events: list[Event]
) -> None:
    class Unmade(RequestActor[Text, Text]):
        made = 0

        def __init__(self) -> None:
            type(self).made += 1
            if self.made == 1:
                raise Boom

        async def handle(self, request: Text) -> Text:
            return Text("made")

    client = await client_of(service, Unmade)
    client.request(Text())
    client.request(Text())
    assert await client.read() == [Sent(1, 1, True, "!INTERNAL"), Sent(2, 2, True, "made")]
    (crash,) = [event for event in actor_events if isinstance(event, Crashed)]
    assert isinstance(crash.error, Boom)


async def test_the_context_of_a_request(service: Service, manual_clock: ManualClock) -> None:
    seen: list[object] = []

    class Looking(RequestActor[Text, Text]):
        async def handle(self, request: Text) -> Text:
            context = self.context
            seen.extend([context.session, context.request_id, context.deadline])
            seen.append(context.log.fields)  # type: ignore[attr-defined]  # of the tests' log
            context.notice("patience", discard=1)
            return Text("done")

    client = await client_of(service, Looking)
    await manual_clock.advance(100.0)
    client.request(Text(), timeout_ms=2500)
    assert [frame.said for frame in await client.read()] == ["(patience 1)", "done"]
    assert seen == ["s1", 1, 102.5, {"session": "s1", "request": 1}]
    client.request(Text())
    await settle()
    assert seen[6] is None


# -- streams -------------------------------------------------------------------------------------


class Counting(StreamActor[Text, Text]):
    """Streams numbers for ever, and counts how often it is pulled and how often it was closed."""

    pulls = 0
    closed = 0

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        try:
            for number in count(1):
                type(self).pulls += 1
                yield Text(str(number))
        finally:
            type(self).closed += 1


@pytest.fixture(autouse=True)
def counters() -> None:
    Counting.pulls = Counting.closed = 0


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
        client.opened.outbox.take(10_000)
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


async def test_with_a_full_outbox_the_generator_is_not_advanced(service: Service) -> None:
    client = await client_of(service, Counting)
    client.request(Text())
    await settle()
    limit = service.environment.limits.outbox_bytes
    machine_holds = client.opened.outbox.take(0)
    pulls = Counting.pulls
    await settle()
    assert Counting.pulls == pulls  # one frame less, and not half of it
    sizes = sum(map(len, machine_holds))
    while not sizes > limit // 2 + 100:
        sizes += sum(map(len, client.opened.outbox.take(1000)))
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
    assert await client.said(1) == ["!CANCELLED"]
    assert manual_clock.now() == 0.0
    assert Counting.pulls == 0
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


# -- deadlines -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "timeout_ms", "expected"),
    [(None, 2000, 2.0), (2.0, 0, 2.0), (2.0, 5000, 2.0), (5.0, 2000, 2.0)],
)
async def test_the_nearer_deadline_ends_the_request(
    service: Service,
    manual_clock: ManualClock,
    declared: float | None,
    timeout_ms: int,
    expected: float,
) -> None:
    class Limited(Counting):
        deadline = declared

    client = await client_of(service, Limited, initial_credit=1)
    client.request(Text(), timeout_ms=timeout_ms)
    await manual_clock.advance(expected)
    assert await client.said(1) == ["1"]
    await manual_clock.advance(1.5 * TICK)
    assert await client.said(1) == ["1", "!DEADLINE_EXCEEDED"]
    assert Limited.closed == 1
    client.check()


async def test_a_deadline_that_is_met_is_forgotten(
    service: Service, manual_clock: ManualClock, actor_system: ActorSystem
) -> None:
    class Quick(RequestActor[Text, Text]):
        deadline = 5.0

        async def handle(self, request: Text) -> Text:
            return Text("quick")

    client = await client_of(service, Quick)
    client.request(Text())
    await client.read()
    assert len(actor_system.deadlines) == 0
    await manual_clock.advance(10.0)
    assert await client.said(1) == ["quick"]


# -- run again -----------------------------------------------------------------------------------


class Retried(StreamActor[Text, Text]):
    """Crashes on its first runs, before or after its first answer."""

    restartable = True
    runs = 0
    crashes = 2
    answers_before = 0

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        type(self).runs += 1
        for number in range(self.answers_before):
            yield Text(f"early {number}")
        if self.runs <= self.crashes:
            raise Boom
        yield Text(f"{request.text} in run {self.runs}")


async def test_a_restartable_one_runs_again_and_the_client_sees_nothing(
    service: Service, manual_clock: ManualClock
) -> None:
    class Mine(Retried):
        pass

    client = await client_of(service, Mine)
    client.request(Text("done"))
    await manual_clock.advance(5.0)
    assert await client.said(1) == ["done in run 3", "completed"]
    assert Mine.runs == 3
    client.check()


async def test_after_its_first_answer_it_does_not_run_again(
    service: Service, manual_clock: ManualClock
) -> None:
    class Mine(Retried):
        answers_before = 1

    client = await client_of(service, Mine)
    client.request(Text("done"))
    await manual_clock.advance(5.0)
    assert await client.said(1) == ["early 0", "!INTERNAL"]
    assert Mine.runs == 1


async def test_a_notice_is_an_answer_too(service: Service, manual_clock: ManualClock) -> None:
    class Mine(RequestActor[Text, Text]):
        restartable = True
        runs = 0

        async def handle(self, request: Text) -> Text:
            type(self).runs += 1
            self.context.notice("seen")
            raise Boom

    client = await client_of(service, Mine)
    client.request(Text())
    await manual_clock.advance(5.0)
    assert await client.said(1) == ["(seen 0)", "!INTERNAL"]
    assert Mine.runs == 1


async def test_one_that_always_crashes_is_given_up_and_hurts_nobody(
    service: Service, manual_clock: ManualClock
) -> None:
    class Mine(Retried):
        crashes = 1000

    client = await client_of(service, Mine)
    client.request(Text())
    await manual_clock.advance(60.0)
    assert await client.said(1) == ["!INTERNAL"]
    assert Mine.runs == 4
    assert client.ref.alive


async def test_cancel_and_deadline_reach_one_that_waits_to_run_again(
    service: Service, manual_clock: ManualClock
) -> None:
    class Mine(Retried):
        crashes = 1000

    client = await client_of(service, Mine)
    client.request(Text())
    client.request(Text(), timeout_ms=10)
    await settle()
    client.send(Cancel(1))
    await manual_clock.advance(0.02)
    assert await client.said(1) == ["!CANCELLED"]
    assert await client.said(2) == ["!DEADLINE_EXCEEDED"]
    client.check()


async def test_one_that_is_not_restartable_runs_once(
    service: Service, manual_clock: ManualClock
) -> None:
    class Mine(Retried):
        restartable = False

    client = await client_of(service, Mine)
    client.request(Text())
    await manual_clock.advance(60.0)
    assert Mine.runs == 1
    assert await client.said(1) == ["!INTERNAL"]


# -- asks ----------------------------------------------------------------------------------------


class Asking(StreamActor[Text, Text]):
    """Asks, waits for the answer, and says it."""

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
    session = actor_system.snapshot().children[0].children[0]
    assert session.children[0].mailbox == 64
    assert actor_system.dead_letters == 436
    client.send(Cancel(1))


# -- abort ---------------------------------------------------------------------------------------


async def test_abort_ends_a_request_from_anywhere(service: Service) -> None:
    aborts = []

    class Abortable(Counting):
        async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
            aborts.append(self.context.abort)
            async for item in super().handle(request):
                yield item

    client = await client_of(service, Abortable, initial_credit=1)
    client.request(Text())
    await settle()
    aborts[0](Failure(Code.UNAVAILABLE, "backend lost", retryable=True))
    aborts[0](Failure(Code.ABORTED, "again"))
    assert await client.said(1) == ["1", "!UNAVAILABLE retryable"]
    assert tasks_of_actors() == 0
    aborts[0](Failure(Code.ABORTED, "long after"))
    client.check()


async def test_a_handler_may_abort_itself(service: Service) -> None:
    after: list[str] = []

    class Suicidal(RequestActor[Text, Text]):
        async def handle(self, request: Text) -> Text:
            self.context.abort(Failure(Code.ABORTED, "enough"))
            await asyncio.sleep(0)
            after.append("went on")
            return Text("never")

    client = await client_of(service, Suicidal)
    client.request(Text())
    assert await client.said(1) == ["!ABORTED"]
    assert after == []
