"""The client of `serving` says clearly how a handler's answers differ from the expected ones."""

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from actors import (
    ActorSystem,
    Crashed,
    DuplexActor,
    EndedBy,
    Event,
    Failure,
    Registry,
    RequestActor,
    StreamActor,
    Yielded,
)
from actors.protocol.frames import Request
from actors.testing import LogLines, ManualClock, serving, settle
from tests.support.session_kit import Ask, Text


class Echo(RequestActor[Text, Text]):
    async def handle(self, request: Text) -> Text:
        self.context.log.info("asked", text=request.text)
        return request


class Letters(StreamActor[Ask, Text]):
    """Yields each letter, and for "?" the next message from the client."""

    async def handle(self, request: Ask) -> AsyncIterator[Yielded[Text]]:
        self.context.notice("it begins")
        for letter in request.text:
            yield await self.context.received(Text) if letter == "?" else Text(letter)
        self.context.notice("it ends")


def register(registry: Registry) -> None:
    registry.register(Text, Echo)
    registry.register(Ask, Letters)


async def test_an_answer_of_another_type_is_named(actor_system: ActorSystem) -> None:
    async with serving(actor_system, register) as calls:
        with pytest.raises(AssertionError, match=r"the answer is a Text: Text\(text='a'\)"):
            await calls.call(Text("a"), Ask)


@pytest.mark.parametrize(("text", "count"), [("", 0), ("ab", 2)])
async def test_a_call_that_has_not_one_answer_says_how_many(
    actor_system: ActorSystem, text: str, count: int
) -> None:
    async with serving(actor_system, register) as calls:
        with pytest.raises(AssertionError, match=f"{count} answers, where there should be one"):
            await calls.call(Ask(text), Text)


async def test_notices_are_kept_beside_the_answers_and_take_their_credit(
    actor_system: ActorSystem,
) -> None:
    async with serving(actor_system, register) as calls:
        letters = calls.stream(Ask("ab"), Text)
        assert (await anext(letters)).text == "a"
        assert letters.notices == ["it begins"]
        assert [answer.text async for answer in letters] == ["b"]
        assert letters.notices == ["it begins", "it ends"]


async def test_what_is_told_is_received(actor_system: ActorSystem) -> None:
    async with serving(actor_system, register) as calls:
        letters = calls.stream(Ask("?!"), Text)
        letters.tell(Text("yes"))
        assert [answer.text async for answer in letters] == ["yes", "!"]


async def test_the_log_keeps_what_a_handler_writes_and_whose_it_is(
    actor_system: ActorSystem,
) -> None:
    async with serving(actor_system, register) as calls:
        await calls.call(Text("a"), Text)
        await calls.call(Text("b"), Text)
        assert calls.log.lines == [
            ("asked", {"session": "test", "request": 1, "text": "a"}),
            ("asked", {"session": "test", "request": 2, "text": "b"}),
        ]


async def test_an_answer_that_no_call_waits_for_is_passed_over(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    async with serving(actor_system, register) as calls:
        letters = calls.stream(Ask("a?"), Text)
        assert (await anext(letters)).text == "a"
        calls.send(Request(2, 0, Text("by hand")))
        await settle()
        assert calls.log.lines[-1][1]["text"] == "by hand"
        letters.tell(Text("b"))
        assert (await anext(letters)).text == "b"
    assert not [event for event in actor_events if isinstance(event, Crashed)]


async def test_a_session_that_closes_the_connection_says_why(
    actor_system: ActorSystem, actor_events: list[Event]
) -> None:
    async with serving(actor_system, register) as calls:
        calls.send(Request(0, 0, Text()))
        await settle()
    (crash,) = [event for event in actor_events if isinstance(event, Crashed)]
    assert "the session closed the connection: 4500" in str(crash.error)


async def test_more_than_the_session_has_room_for_waits_and_comes_in_order(
    actor_system: ActorSystem,
) -> None:
    taken: list[str] = []

    class Taking(DuplexActor[Ask, Text, Text]):
        async def handle(
            self, request: Ask, inputs: AsyncIterator[Text]
        ) -> AsyncIterator[Yielded[Text]]:
            taken.extend([item.text async for item in inputs])
            yield Text("all")

    def duplex(registry: Registry) -> None:
        registry.register(Text, Echo)
        registry.register_duplex(Ask, Text, Taking)

    async with serving(actor_system, duplex) as calls:
        many = 3000  # a session's mailbox holds 1024
        echoes = [calls.call(Text(str(number)), Text) for number in range(many)]
        answers = await asyncio.gather(*echoes)
        assert [answer.text for answer in answers] == [str(number) for number in range(many)]
        taking = calls.stream(Ask(), Text)
        for number in range(10):
            taking.send(Text(str(number)), last=number == 9)
        assert [answer.text async for answer in taking] == ["all"]
        assert taken == [str(number) for number in range(10)]


async def test_what_waits_for_room_when_the_test_ends_is_left(actor_system: ActorSystem) -> None:
    async with serving(actor_system, register) as calls:
        for number in range(3000):
            calls.stream(Text(str(number)), Text)
    calls.stream(Text("to nobody"), Text)
    assert len(calls.log.lines) < 3000
    assert actor_system.dead_letters > 0


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_lines_of_every_level_are_kept_with_what_is_bound(level: str) -> None:
    log = LogLines(place="here")
    getattr(log.bind(more=1), level)("it happened", number=2)
    assert log.lines == [("it happened", {"place": "here", "more": 1, "number": 2})]


class Following(StreamActor[Text, Text]):
    """Says what its client understands, and then follows nothing for ever."""

    endless = True
    ended: ClassVar[list[EndedBy | None]] = []

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        try:
            for feature in sorted(self.context.features):
                yield Text(feature)
            await asyncio.Event().wait()
        finally:
            self.ended.append(self.context.ended_by)


def register_following(registry: Registry) -> None:
    registry.register(Text, Following)
    registry.register(Ask, Letters)


async def test_a_test_says_what_its_client_understands(actor_system: ActorSystem) -> None:
    """A handler sees the features that `serving` was given, and none by default."""
    for features in ((), ("follow", "steer")):
        async with serving(actor_system, register_following, features=features) as calls:
            following = calls.stream(Text(), Text)
            assert [await anext(following) for _ in features] == [*map(Text, features)]
            await settle()


async def test_a_test_ends_a_request_in_every_way(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """A handler reads that it was ended by a cancel, a deadline, a drain and its client leaving."""
    Following.ended.clear()
    async with serving(actor_system, register_following, features=["follow"]) as calls:
        cancelled = calls.stream(Text(), Text)
        late = calls.stream(Text(), Text, timeout_ms=1000)
        await anext(cancelled)
        cancelled.cancel()
        await manual_clock.advance(2.0)
        calls.stream(Text(), Text)
        await settle()
        await calls.drain(700)
        with pytest.raises(Failure) as refused:
            await calls.call(Text(), Text)
        assert refused.value.retry_after_ms == 700
        assert await anext(late) == Text("follow")
    async with serving(actor_system, register_following) as calls:
        calls.stream(Text(), Text)
        await settle()
        await calls.leave()
    assert Following.ended == [
        EndedBy.CLIENT, EndedBy.DEADLINE, EndedBy.SERVICE, EndedBy.SESSION
    ]  # fmt: skip


async def test_a_drain_in_a_test_waits_for_what_runs(actor_system: ActorSystem) -> None:
    """A drain is over once the client has said what a request waits for."""
    async with serving(actor_system, register_following) as calls:
        letters = calls.stream(Ask("?"), Text)
        await settle()
        drained = asyncio.create_task(calls.drain())
        await settle()
        assert not drained.done()
        letters.tell(Text("a"))
        assert [answer.text async for answer in letters] == ["a"]
        await drained
