"""Duplex requests take each input once, in order; a bad input ends only its request."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from actors import ActorSystem, Code, DuplexActor, Failure, Registry, RequestActor, Yielded
from actors.protocol.frames import Inform, Input
from actors.requests.duplex import INPUT_WINDOW, Inputs
from actors.testing import Calls, serving, settle
from tests.support.kit import Boom
from tests.support.session_kit import Ask, Text, Unspeakable


class Echo(DuplexActor[Ask, Text, Text]):
    """Repeats each input after the request's text, and then answers "over"."""

    async def handle(self, request: Ask, inputs: AsyncIterator[Text]) -> AsyncIterator[Text]:
        async for item in inputs:
            yield Text(request.text + item.text)
        yield Text("over")


class Deaf(DuplexActor[Ask, Text, Text]):
    """Answers once, and takes nothing."""

    async def handle(self, request: Ask, inputs: AsyncIterator[Text]) -> AsyncIterator[Text]:
        yield Text("ready")
        await self.context.sleep(3600)


class Plain(RequestActor[Text, Text]):
    async def handle(self, request: Text) -> Text:
        await self.context.sleep(3600)
        return request


def register(registry: Registry) -> None:
    registry.register_duplex(Ask, Text, Echo)
    registry.register(Text, Plain)


def deaf(registry: Registry) -> None:
    registry.register_duplex(Ask, Text, Deaf)


def broken(
    calls: Calls, number: int, payload: Text | Failure | None, *, last: bool = False
) -> None:
    calls.send(Inform(1, Input(number, payload, last)))


async def test_answers_stream_while_inputs_come(actor_system: ActorSystem) -> None:
    async with serving(actor_system, register) as calls:
        echo = calls.stream(Ask(">"), Text)
        echo.send(Text("a"))
        assert await anext(echo) == Text(">a")
        echo.send(Text("b"), last=True)
        assert [answer.text async for answer in echo] == [">b", "over"]


async def test_the_end_of_the_inputs_may_come_alone(actor_system: ActorSystem) -> None:
    async with serving(actor_system, register) as calls:
        echo = calls.stream(Ask(), Text)
        echo.finish()
        assert [answer.text async for answer in echo] == ["over"]


async def test_an_input_sent_again_is_taken_once(actor_system: ActorSystem) -> None:
    async with serving(actor_system, register) as calls:
        echo = calls.stream(Ask(), Text)
        echo.send(Text("a"))
        broken(calls, 1, Text("a"))
        echo.send(Text("b"), last=True)
        broken(calls, 2, Text("b"), last=True)
        assert [answer.text async for answer in echo] == ["a", "b", "over"]


async def test_a_handler_that_takes_nothing_is_sent_no_more_than_a_window(
    actor_system: ActorSystem,
) -> None:
    async with serving(actor_system, deaf) as calls:
        answers = calls.stream(Ask(), Text)
        for _ in range(INPUT_WINDOW):
            answers.send(Text("x"))
        assert await anext(answers) == Text("ready")
        assert answers.granted is None
        answers.send(Text("one too many"))
        with pytest.raises(Failure) as failure:
            await anext(answers)
        assert failure.value.code is Code.RESOURCE_EXHAUSTED


async def test_ten_thousand_inputs_within_the_credit(actor_system: ActorSystem) -> None:
    async with serving(actor_system, register) as calls:
        echo = calls.stream(Ask(), Text)
        for number in range(1, 10_001):
            assert number <= (echo.granted or INPUT_WINDOW)
            echo.send(Text(str(number)))
            assert await anext(echo) == Text(str(number))
        echo.cancel()
        with pytest.raises(Failure) as failure:
            await anext(echo)
        assert failure.value.code is Code.CANCELLED


@pytest.mark.parametrize(
    ("number", "payload", "message"),
    [
        (2, Text("early"), "input 2 came, but 1 was expected"),
        (1, None, "an input that is not the last needs a payload"),
        (1, Ask("x"), "the inputs of this request must be Unspeakable"),
        (1, Failure(Code.INVALID_ARGUMENT, "an input cannot be decoded"), "cannot be decoded"),
    ],
    ids=["gap", "empty", "another type", "garbage"],
)
async def test_a_bad_input_ends_its_request_with_a_clear_error(
    actor_system: ActorSystem, number: int, payload: Text | Failure | None, message: str
) -> None:
    class Strict(DuplexActor[Ask, Unspeakable, Text]):
        async def handle(
            self, request: Ask, inputs: AsyncIterator[Unspeakable]
        ) -> AsyncIterator[Text]:
            async for item in inputs:
                yield item

    def strict(registry: Registry) -> None:
        registry.register_duplex(Ask, Unspeakable, Strict)

    async with serving(actor_system, strict) as calls:
        answers = calls.stream(Ask(), Text)
        broken(calls, number, payload)
        with pytest.raises(Failure, match=message) as failure:
            await anext(answers)
        assert failure.value.code is Code.INVALID_ARGUMENT


async def test_nothing_may_follow_the_last_input(actor_system: ActorSystem) -> None:
    async with serving(actor_system, deaf) as calls:
        answers = calls.stream(Ask(), Text)
        assert await anext(answers) == Text("ready")
        answers.finish()
        answers.send(Text("more"))
        with pytest.raises(Failure, match="an input came after the last one"):
            await anext(answers)


async def test_other_kinds_take_no_inputs(actor_system: ActorSystem) -> None:
    async with serving(actor_system, register) as calls:
        answers = calls.stream(Text(), Text)
        answers.send(Text("x"))
        with pytest.raises(Failure, match="this request takes no inputs"):
            await anext(answers)


async def test_inputs_after_the_end_are_ignored(actor_system: ActorSystem) -> None:
    async with serving(actor_system, register) as calls:
        echo = calls.stream(Ask(), Text)
        echo.finish()
        assert [answer.text async for answer in echo] == ["over"]
        echo.send(Text("late"))
        await settle()
        again = calls.stream(Ask(), Text)
        again.finish()
        assert [answer.text async for answer in again] == ["over"]


class Fragile(DuplexActor[Ask, Text, Text]):
    """Crashes before it takes an input, at its first try only, or after it has taken one."""

    restartable = True
    tries = 0

    async def handle(
        self, request: Ask, inputs: AsyncIterator[Text]
    ) -> AsyncIterator[Yielded[Text]]:
        type(self).tries += 1
        if request.text == "before" and self.tries == 1:
            raise Boom
        async for item in inputs:
            if request.text == "after":
                raise Boom
            yield item


@pytest.mark.parametrize(("when", "tries"), [("before", 2), ("after", 1)])
async def test_it_is_run_again_only_while_it_has_taken_nothing(
    actor_system: ActorSystem, when: str, tries: int
) -> None:
    class Mine(Fragile):
        pass

    def fragile(registry: Registry) -> None:
        registry.register_duplex(Ask, Text, Mine)

    async with serving(actor_system, fragile) as calls:
        answers = calls.stream(Ask(when), Text)
        answers.send(Text("a"), last=True)
        clock = actor_system.clock
        if when == "before":
            assert await clock.until(anext(answers)) == Text("a")  # type: ignore[attr-defined]  # the fixture's is manual
        else:
            with pytest.raises(Failure) as failure:
                await anext(answers)
            assert failure.value.code is Code.INTERNAL
        assert Mine.tries == tries


def inputs_of(
    grant: Callable[[int], None], started: Callable[[], None], window: int = INPUT_WINDOW
) -> Inputs:
    """Return inputs that always have room in memory."""
    return Inputs(Text, grant, started, lambda size: True, lambda sealed: None, window)


async def test_a_wait_for_an_input_ends_when_it_comes() -> None:
    inputs = inputs_of(lambda limit: None, lambda: None)
    waiting = asyncio.create_task(inputs.next())
    await settle()
    assert not waiting.done()
    for number in (1, 2):  # the second comes before the waiting task has run
        assert inputs.put(Input(number, Text(str(number)), last=False)) is None
    assert await waiting == Text("1")
    assert await inputs.next() == Text("2")
    waiting = asyncio.create_task(inputs.next())
    await settle()
    assert inputs.put(Input(3, None, last=True)) is None
    assert await waiting is None


async def test_a_cancelled_wait_for_an_input_takes_none() -> None:
    inputs = inputs_of(lambda limit: None, lambda: None)
    waiting = asyncio.create_task(inputs.next())
    await settle()
    waiting.cancel()
    assert inputs.put(Input(1, Text("1"), last=False)) is None
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    assert await inputs.next() == Text("1")


async def test_half_a_window_taken_grants_as_much_again() -> None:
    grants: list[int] = []
    started: list[None] = []
    inputs = inputs_of(grants.append, lambda: started.append(None), window=4)
    for number in range(1, 5):
        assert inputs.put(Input(number, Text(str(number)), last=False)) is None
    refused = inputs.put(Input(5, Text("5"), last=False))
    assert refused is not None
    assert refused.code is Code.RESOURCE_EXHAUSTED
    assert await inputs.next() == Text("1")
    assert grants == []
    assert await inputs.next() == Text("2")
    assert grants == [6]
    assert len(started) == 1
    assert inputs.put(Input(5, Text("5"), last=True)) is None
    for rest in ("3", "4", "5"):
        assert await inputs.next() == Text(rest)
    assert grants == [6]
    assert await inputs.next() is None
