"""Interceptors, as handlers and clients see them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from actors import (
    ActorSystem,
    Burst,
    Call,
    Code,
    Failure,
    Last,
    Message,
    NotRegistered,
    Registry,
    RequestActor,
    StreamActor,
    Yielded,
    shared,
)
from actors.testing import ManualClock, serving
from tests.support.kit import Boom
from tests.support.session_kit import Ask, Text


class Upper(RequestActor[Text, Text]):
    async def handle(self, request: Text) -> Text:
        if request.text == "no":
            raise Failure(Code.NOT_FOUND, "no such word")
        if request.text == "boom":
            raise Boom
        return Text(request.text.upper())


class Letters(StreamActor[Ask, Text]):
    deadline = 60.0

    async def handle(self, request: Ask) -> AsyncIterator[Yielded[Text]]:
        for letter in request.text:
            yield Text(letter)
        if request.text == "wait":
            await self.context.sleep(3600)
        yield Last(Text("."))


class Trace:
    """Records what its interceptors see."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def named(self, name: str) -> "Interceptor":
        return Interceptor(self, name)

    def register(self, registry: Registry) -> None:
        registry.intercept_all(self.named("outer").around)
        registry.register(Text, Upper)
        registry.register(Ask, Letters)
        registry.intercept_all(self.named("inner").around)


class Interceptor:
    def __init__(self, trace: Trace, name: str) -> None:
        self.trace = trace
        self.name = name

    @asynccontextmanager
    async def around(self, call: Call[Message]) -> AsyncIterator[None]:
        self.trace.lines.append(f"{self.name} before")
        call.listen(lambda answer: self.trace.lines.append(f"{self.name} {answer}"))
        try:
            yield
        finally:
            self.trace.lines.append(f"{self.name} {call.ending_code} {call.answers}")


async def test_the_first_interceptor_is_outermost_wherever_actors_are_registered(
    actor_system: ActorSystem,
) -> None:
    trace = Trace()
    async with serving(actor_system, trace.register) as calls:
        assert await calls.call(Text("a"), Text) == Text("A")
    assert trace.lines == ["outer before", "inner before", "inner OK 0", "outer OK 0"]


async def test_each_answer_of_a_stream_is_heard(actor_system: ActorSystem) -> None:
    def only_letters(registry: Registry) -> None:
        registry.register(Ask, Letters)
        registry.intercept(Ask, trace.named("one").around)

    trace = Trace()
    async with serving(actor_system, only_letters) as calls:
        assert [answer.text async for answer in calls.stream(Ask("ab"), Text)] == ["a", "b", "."]
    assert trace.lines == ["one before", "one Text(text='a')", "one Text(text='b')", "one OK 2"]


async def test_each_answer_of_a_burst_is_heard_before_it_is_sent(actor_system: ActorSystem) -> None:
    class Bursting(StreamActor[Ask, Text]):
        async def handle(self, request: Ask) -> AsyncIterator[Yielded[Text]]:
            yield Burst([Text("a"), shared(Text("b"))])
            yield shared(Text("c"))

    def only_bursts(registry: Registry) -> None:
        registry.register(Ask, Bursting)
        registry.intercept(Ask, trace.named("one").around)

    trace = Trace()
    async with serving(actor_system, only_bursts) as calls:
        answers = calls.stream(Ask(), Text)
        assert await anext(answers) == Text("a")
        assert trace.lines == ["one before", "one Text(text='a')"], "no further than its credit"
        assert [answer.text async for answer in answers] == ["b", "c"]
    assert trace.lines[2:] == ["one Text(text='b')", "one Text(text='c')", "one OK 3"]


@pytest.mark.parametrize(
    ("when", "raised", "seen"),
    [
        ("before", Failure(Code.PERMISSION_DENIED, "no"), "PERMISSION_DENIED"),
        ("after", Failure(Code.ABORTED, "no"), "ABORTED"),
        ("before", Boom(), "INTERNAL"),
        ("after", Boom(), "INTERNAL"),
    ],
)
async def test_an_outer_interceptor_sees_the_end_that_an_inner_one_causes(
    actor_system: ActorSystem, when: str, raised: Exception, seen: str
) -> None:
    @asynccontextmanager
    async def within(call: Call[Message]) -> AsyncIterator[None]:
        if when == "before":
            raise raised
        yield
        raise raised

    def register(registry: Registry) -> None:
        registry.intercept_all(trace.named("outside").around)
        registry.intercept_all(within)
        registry.register(Text, Upper)

    trace = Trace()
    async with serving(actor_system, register) as calls:
        with pytest.raises(Failure) as failure:
            await calls.call(Text("a"), Text)
        assert failure.value.code.value == seen
    assert trace.lines == ["outside before", f"outside {seen} 0"]


@pytest.mark.parametrize(("word", "code"), [("no", Code.NOT_FOUND), ("boom", Code.INTERNAL)])
async def test_an_interceptor_sees_failures_and_crashes(
    actor_system: ActorSystem, word: str, code: Code
) -> None:
    trace = Trace()
    async with serving(actor_system, trace.register) as calls:
        with pytest.raises(Failure) as failure:
            await calls.call(Text(word), Text)
        assert failure.value.code is code
    assert trace.lines[-1] == f"outer {code.value} 0"


async def test_a_cancel_and_a_deadline_are_told_apart(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    trace = Trace()
    async with serving(actor_system, trace.register) as calls:
        for ended, code in (("cancel", "CANCELLED"), ("deadline", "DEADLINE_EXCEEDED")):
            letters = calls.stream(Ask("wait"), Text)
            for _ in "wait":
                await anext(letters)
            if ended == "cancel":
                letters.cancel()
            else:
                await manual_clock.advance(61)
            with pytest.raises(Failure):
                await anext(letters)
            await manual_clock.settle()
            assert trace.lines[-1] == f"outer {code} 4"


async def test_an_interceptor_refuses_and_the_handler_never_runs(actor_system: ActorSystem) -> None:
    @asynccontextmanager
    async def only_lower(call: Call[Text]) -> AsyncIterator[None]:
        if not call.request.text.islower():
            raise Failure(Code.PERMISSION_DENIED, "lower case alone")
        yield

    def register(registry: Registry) -> None:
        registry.intercept(Text, only_lower)
        trace.register(registry)

    trace = Trace()
    async with serving(actor_system, register) as calls:
        with pytest.raises(Failure, match="lower case alone"):
            await calls.call(Text("A"), Text)
        assert trace.lines == []
        assert await calls.call(Text("a"), Text) == Text("A")
        letters = calls.stream(Ask("A"), Text)
        assert (await anext(letters)).text == "A", "another message is none of its affair"
        await anext(letters)


async def test_an_interceptor_turns_an_answer_into_an_error(actor_system: ActorSystem) -> None:
    @asynccontextmanager
    async def strict(call: Call[Text]) -> AsyncIterator[None]:
        yield
        if isinstance(call.ending, Text) and call.ending.text == "B":
            raise Failure(Code.ABORTED, "not that one")

    def register(registry: Registry) -> None:
        registry.register(Text, Upper)
        registry.intercept(Text, strict)

    async with serving(actor_system, register) as calls:
        assert await calls.call(Text("a"), Text) == Text("A")
        with pytest.raises(Failure, match="not that one"):
            await calls.call(Text("b"), Text)


@pytest.mark.parametrize(("word", "code"), [("no", Code.NOT_FOUND), ("boom", Code.INTERNAL)])
async def test_swallowing_an_error_answers_nothing(
    actor_system: ActorSystem, word: str, code: Code
) -> None:
    @asynccontextmanager
    async def quiet(call: Call[Message]) -> AsyncIterator[None]:
        with suppress(Failure, Boom):
            yield

    def register(registry: Registry) -> None:
        registry.register(Text, Upper)
        registry.intercept_all(quiet)

    async with serving(actor_system, register) as calls:
        with pytest.raises(Failure) as failure:
            await calls.call(Text(word), Text)
        assert failure.value.code is code


async def test_an_interceptor_that_crashes_ends_only_that_request(
    actor_system: ActorSystem,
) -> None:
    @asynccontextmanager
    async def broken(call: Call[Text]) -> AsyncIterator[None]:
        if call.request.text == "x":
            raise Boom
        yield

    def register(registry: Registry) -> None:
        registry.register(Text, Upper)
        registry.intercept(Text, broken)

    async with serving(actor_system, register) as calls:
        with pytest.raises(Failure) as failure:
            await calls.call(Text("x"), Text)
        assert failure.value.code is Code.INTERNAL
        assert await calls.call(Text("a"), Text) == Text("A")


def test_an_interceptor_of_a_message_that_nobody_answers_is_found_at_the_start() -> None:
    registry = Registry()
    registry.intercept(Text, Trace().named("lost").around)
    with pytest.raises(NotRegistered, match=r"Interceptor.around intercepts Text, which no actor"):
        registry.check()
