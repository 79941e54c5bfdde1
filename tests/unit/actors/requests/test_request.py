"""Request actors, each in a session, as a client sees them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import ClassVar

import pytest

from actors import (
    ActorSystem,
    Call,
    Code,
    Crashed,
    Event,
    Failure,
    Handler,
    Message,
    RequestActor,
    Started,
    StreamActor,
    Yielded,
)
from actors.protocol.frames import COMPLETED, Cancel, Completed
from actors.runtime.deadlines import TICK
from actors.runtime.eager import EAGER, begin
from actors.testing import ManualClock, settle
from tests.support.kit import Boom, tasks_of_actors
from tests.support.session_kit import Counting, Sent, Service, Text, Unspeakable, client_of

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


async def test_a_restartable_request_runs_again_and_the_client_does_not_notice(
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


async def test_a_request_that_fails_when_it_runs_again_ends_with_its_failure(
    service: Service, manual_clock: ManualClock
) -> None:
    class Mine(RequestActor[Text, Text]):
        restartable = True
        runs = 0

        async def handle(self, request: Text) -> Text:
            type(self).runs += 1
            if self.runs == 1:
                raise Boom
            raise Failure(Code.ABORTED, "not this time either")

    client = await client_of(service, Mine)
    client.request(Text())
    await manual_clock.advance(5.0)
    assert await client.said(1) == ["!ABORTED"]
    assert Mine.runs == 2


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


async def test_a_request_that_always_crashes_is_given_up_and_hurts_nobody(
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


async def test_cancel_and_deadline_reach_a_request_that_waits_to_run_again(
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


async def test_a_request_that_is_not_restartable_runs_once(
    service: Service, manual_clock: ManualClock
) -> None:
    class Mine(Retried):
        restartable = False

    client = await client_of(service, Mine)
    client.request(Text())
    await manual_clock.advance(60.0)
    assert Mine.runs == 1
    assert await client.said(1) == ["!INTERNAL"]


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

    class SelfAborting(RequestActor[Text, Text]):
        async def handle(self, request: Text) -> Text:
            self.context.abort(Failure(Code.ABORTED, "enough"))
            await asyncio.sleep(0)
            after.append("went on")
            return Text("never")

    client = await client_of(service, SelfAborting)
    client.request(Text())
    assert await client.said(1) == ["!ABORTED"]
    assert after == []


# -- how requests end, and which are actors --------------------------------------------------------


class Slow(RequestActor[Text, Text]):
    """Takes two seconds, whatever happens."""

    async def handle(self, request: Text) -> Text:
        done = asyncio.get_running_loop().create_future()
        self.context.clock.call_later(2.0, lambda: done.set_result(None))
        with suppress(asyncio.CancelledError):
            await asyncio.shield(done)
        await done
        return request


async def test_the_end_of_each_request_is_reported(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    ends: list[tuple[object, ...]] = []
    service = Service(actor_system, on_request_end=lambda *end: ends.append(end))
    client = await client_of(service, Slow)
    client.request(Text("a"))
    client.request(None)
    await manual_clock.advance(2.0)
    message, said, *seconds = ends[0]
    assert message == "unknown"
    assert isinstance(said, Failure)
    assert seconds == [0.0, 0.0]
    assert ends[1] == ("Text", Text("a"), 2.0, 2.0)
    last = client.request(Text("b"))
    await settle()
    client.send(Cancel(last))
    await manual_clock.advance(2.0)
    cancelled = ends[2][1]
    assert isinstance(cancelled, Failure)
    assert cancelled.code is Code.CANCELLED
    assert len(ends) == 3  # what the handler returns after that does not count


class Passing(RequestActor[Text, Text]):
    """Ends in its first step, except on "wait"; uses its ref on "look"."""

    @staticmethod
    async def at_once() -> None:
        """Return without waiting."""

    async def handle(self, request: Text) -> Text:
        if request.text == "look":
            return Text(self.context.ref.path)
        if request.text == "wait":
            await asyncio.sleep(0)
        if request.text == "timeout":
            async with asyncio.timeout(10):  # requires a task
                await Passing.at_once()
                return Text("in time")
        return request


def actors_of(events: list[Event]) -> list[str]:
    paths = [event.path for event in events if isinstance(event, Started)]
    return [path for path in paths if path.count("/") == 3]


async def test_a_request_that_never_waits_is_no_actor_and_is_counted(
    service: Service, actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    client = await client_of(service, Passing)
    for text in ("a", "b", "timeout"):
        client.request(Text(text))
    assert [frame.said for frame in await client.read()] == ["a", "b", "in time"]
    assert actors_of(actor_events) == []
    session = actor_system.snapshot().children[0].children[0]
    assert (session.tally.started, session.tally.stopped) == (3, 3)
    assert session.children == ()


@pytest.mark.parametrize("text", ["wait", "look"])
async def test_a_request_that_waits_or_needs_its_ref_is_an_actor(
    service: Service, actor_events: list[Event], text: str
) -> None:
    client = await client_of(service, Passing)
    client.request(Text(text))
    (answer,) = await client.read()
    (path,) = actors_of(actor_events)
    assert answer.said == (path if text == "look" else text)
    client.check()


# -- a plain function ----------------------------------------------------------------------------


class Plain(RequestActor[Text, Text]):
    """Does what its request says, without waiting."""

    tries = 0
    kept: ClassVar[Callable[[Failure], None]]

    def handle(self, request: Text) -> Text | Awaitable[Text]:
        context = self.context
        match request.text:
            case "fail":
                raise Failure(Code.NOT_FOUND, "no such city")
            case "crash":
                raise Boom("a secret")
            case "abort":
                context.abort(Failure(Code.ABORTED, "by itself"))
                return Text("too late")
            case "notice":
                context.notice("patience")
            case "abort, wait":
                context.abort(Failure(Code.ABORTED, "by itself"))
                return self._waits(request)
            case "keep":
                Plain.kept = context.abort
            case "look":
                assert context.clock.now() >= 0
                return Text(f"{context.session}/{context.request_id}/{context.deadline}")
            case "task":
                return Text(str(asyncio.current_task()))
            case "ref":
                return Text(context.ref.path)
            case "odd":
                return Unspeakable()
            case "wait":
                return self._waits(request)
            case "again":
                type(self).tries += 1
                if self.tries == 1:
                    raise Boom
            case _:
                pass
        return request

    async def _waits(self, request: Text) -> Text:
        await asyncio.sleep(0)
        return Text(self.context.path)


class AsCoroutine(Plain):
    """`Plain` as a coroutine function."""

    async def handle(self, request: Text) -> Text:
        answer = super().handle(request)
        return await answer if isinstance(answer, Awaitable) else answer


async def test_a_plain_function_answers_in_the_turn_of_its_request(
    service: Service, actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    client = await client_of(service, Plain)
    client.request(Text("task"))
    client.request(Text("look"))
    assert [frame.said for frame in await client.read()] == ["None", "s1/2/None"]
    assert actors_of(actor_events) == []
    session = actor_system.snapshot().children[0].children[0]
    assert (session.tally.started, session.tally.stopped) == (2, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fail", ["!NOT_FOUND"]),
        ("crash", ["!INTERNAL"]),
        ("odd", ["!INTERNAL"]),
        ("abort", ["!ABORTED"]),
        ("abort, wait", ["!ABORTED"]),
        ("notice", ["(patience 0)", "notice"]),
        ("wait", ["system/sessions/s1/1"]),
    ],
)
@pytest.mark.parametrize("kind", [Plain, AsCoroutine])
async def test_a_plain_function_ends_as_a_coroutine_does(
    service: Service, kind: type[Plain], text: str, said: list[str]
) -> None:
    client = await client_of(service, kind)
    client.request(Text(text))
    client.request(Text("next"))
    frames = await client.read()
    assert [frame.said for frame in frames if frame.request_id == 1] == said
    assert [frame.said for frame in frames if frame.request_id == 2] == ["next"]
    assert [frame.end for frame in frames].count(True) == 2
    assert tasks_of_actors() == 0
    client.check()


@pytest.mark.parametrize("kind", [Plain, AsCoroutine])
async def test_what_has_ended_at_once_is_not_ended_again(
    service: Service, kind: type[Plain]
) -> None:
    client = await client_of(service, kind)
    client.request(Text("keep"))
    assert [frame.said for frame in await client.read()] == ["keep"]
    Plain.kept(Failure(Code.ABORTED, "too late"))
    client.request(Text("third"))
    assert [frame.said for frame in await client.read()] == ["third"]
    client.check()


@pytest.mark.parametrize("kind", [Plain, AsCoroutine])
async def test_what_ends_at_once_leaves_no_deadline(
    service: Service, actor_system: ActorSystem, kind: type[Plain]
) -> None:
    client = await client_of(service, kind)
    before = len(actor_system.deadlines)
    client.request(Text("x"), timeout_ms=1000)
    assert [frame.said for frame in await client.read()] == ["x"]
    assert len(actor_system.deadlines) == before


async def test_what_was_refused_is_not_ended_again(service: Service) -> None:
    made: list[RequestActor[Text, Text]] = []

    class One(RequestActor[Text, Text]):
        at_most = 1

        def __init__(self) -> None:
            made.append(self)

        async def handle(self, request: Text) -> Text:
            await self.context.sleep(1.0)
            return request

    client = await client_of(service, One)
    client.request(Text("first"))
    await settle()
    client.request(Text("second"))
    assert [frame.said for frame in await client.read()] == ["!RESOURCE_EXHAUSTED retryable"]
    made[1].context.abort(Failure(Code.ABORTED, "too late"))
    made[1].context.notice("too late")
    assert await client.read() == []
    for request_id in (1, 3):  # either end makes room again
        client.send(Cancel(request_id))
        await settle()
        assert [frame.said for frame in await client.read()] == ["!CANCELLED"]
        client.request(Text("next"))
        await settle()
    client.send(Cancel(4))
    await client.read()
    client.check()


@pytest.mark.parametrize("kind", [Plain, AsCoroutine])
async def test_a_report_of_an_end_that_raises_does_not_end_the_session(
    actor_system: ActorSystem, actor_events: list[Event], kind: type[Plain]
) -> None:
    left = [Boom()]

    def count(*_: object) -> None:
        if left:
            raise left.pop()

    client = await client_of(Service(actor_system, on_request_end=count), kind)
    client.request(Text("first"))
    client.request(Text("second"))
    assert [frame.said for frame in await client.read()] == ["first", "second"]
    assert [event for event in actor_events if isinstance(event, Crashed)]
    client.check()


async def test_a_custom_handler_may_answer_in_any_way(service: Service) -> None:
    class Own(Handler[Text]):
        async def run(self) -> Completed:
            match self.request:
                case Text("answer"):
                    self.exchange.answer(Text("said"))
                case Text("answers"):
                    self.exchange.answers()(Text("said"))
                case Text("all"):
                    self.exchange.answer_all(iter([Text("said")]), 9)
                case _:
                    self.exchange.add_closing("key", Text("said"))
            return COMPLETED

    client = await client_of(service, Own)
    for text in ("answer", "answers", "all", "owe"):
        assert await client.said(client.request(Text(text))) == ["said", "completed"]
    client.check()


@pytest.mark.parametrize("stepped", [True, False])
async def test_a_drain_does_not_wait_for_what_ends_in_its_first_step(
    service: Service, monkeypatch: pytest.MonkeyPatch, stepped: bool
) -> None:
    monkeypatch.setattr("actors.sessions.execution.STEPPED", stepped)
    client = await client_of(service, AsCoroutine)
    client.request(Text("x"))
    drained = client.drain()
    assert "x" in [frame.said for frame in await client.read()]
    assert drained.done()


@pytest.mark.skipif(not EAGER, reason="no task begins at once")
async def test_a_request_may_abort_itself_from_its_own_eager_task(
    service: Service,
) -> None:
    ended: list[str] = []

    class Parent(RequestActor[Text, Text]):
        async def handle(self, request: Text) -> Text:
            child = begin(self._abort())
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")
                child.cancel()
            return request

        async def _abort(self) -> None:
            self.context.abort(Failure(Code.ABORTED, "by its child"))
            await asyncio.Event().wait()

    client = await client_of(service, Parent)
    assert await client.said(client.request(Text())) == ["!ABORTED"]
    assert ended == ["cancelled"]
    assert tasks_of_actors() == 0
    client.check()


@pytest.mark.parametrize(("text", "error"), [("crash", "a secret"), ("ref", "is not an actor")])
async def test_a_crash_of_a_plain_function_is_reported(
    service: Service, actor_events: list[Event], text: str, error: str
) -> None:
    client = await client_of(service, Plain)
    client.request(Text(text))
    await client.read()
    (crash,) = [event for event in actor_events if isinstance(event, Crashed)]
    assert crash.path == "system/sessions/s1/1"
    assert error in str(crash.error)


async def test_a_plain_function_that_crashed_runs_again_if_it_may(
    service: Service, manual_clock: ManualClock
) -> None:
    class Restartable(Plain):
        restartable = True

    client = await client_of(service, Restartable)
    client.request(Text("again"))
    await manual_clock.advance(10.0)
    assert await client.read() == [Sent(1, 1, True, "again")]
    assert Restartable.tries == 2


async def test_a_plain_function_inside_an_interceptor(service: Service) -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def watching(call: Call[Message]) -> AsyncIterator[None]:
        yield
        seen.append(call.ending_code)

    service.registry.intercept_all(watching)
    client = await client_of(service, Plain)
    for text in ("a", "wait"):
        client.request(Text(text))
    assert sorted(frame.said for frame in await client.read()) == ["a", "system/sessions/s1/2"]
    assert seen == ["OK", "OK"]
