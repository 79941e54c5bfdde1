"""Relay passes on another stream, as `async for answer in source: yield answer` would."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import cast

import pytest

from actors import (
    ActorSystem,
    Burst,
    Call,
    Code,
    Failure,
    Last,
    Message,
    PushSource,
    Relay,
    StreamActor,
    Yielded,
)
from actors.protocol.frames import Cancel, Credit
from actors.requests.pull import AT_ONCE
from actors.testing import settle
from tests.support.kit import Boom, tasks_of_actors
from tests.support.session_kit import PULLS_BEFORE_A_CANCEL, Client, Service, Text


@dataclass(frozen=True)
class Marked(Text):
    """A message at which the relay stops."""


async def source_of(text: str, notes: list[str]) -> AsyncGenerator[Text | Burst[Text], None]:
    try:
        yield Text("a")
        if text == "wait":
            await asyncio.get_running_loop().create_future()
        if text in ("crash", "mend", "mend and end"):
            raise Boom
        if text == "fail":
            raise Failure(Code.NOT_FOUND, "no such thing")
        if text == "many":
            for number in range(3 * AT_ONCE):
                notes.append(f"{number}")
                yield Text(f"{number}")
        yield Marked("b")
        yield Burst([Text("c"), Text("d")])
        yield Marked("e")
    finally:
        notes.append("source left")


class Passing(StreamActor[Text, Text]):
    """Relays its source, answers for each Marked message itself, and notes what happens."""

    notes: list[str]

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        async with aclosing(source_of(request.text, self.notes)) as source:
            relay = Relay(source, until={Marked})
            try:
                yield relay
                while (marked := relay.stopped_by) is not None:
                    yield Text(f"{marked.text}!")
                    yield relay
            except Boom:
                self.notes.append("crashed in the handler too")
                if request.text == "crash":
                    raise
                yield Text("mended")
                if request.text == "mend and end":
                    yield Last(Text("whole"))
            except asyncio.CancelledError:
                self.notes.append("cancelled in the handler too")
                raise
            finally:
                self.notes.append("handler left")
        yield Text("after")


@pytest.fixture
def notes() -> list[str]:
    Passing.notes = []
    return Passing.notes


@pytest.fixture
def service(actor_system: ActorSystem, notes: list[str]) -> Service:
    service = Service(actor_system)
    service.registry.register(Text, Passing)
    return service


LEFT = ["source left", "handler left"]


async def said(service: Service, text: str) -> list[str]:
    client = await service.open()
    client.request(Text(text))
    answers = await client.said(1)
    client.check()
    return answers


async def test_all_but_what_is_marked_is_passed_on(service: Service, notes: list[str]) -> None:
    assert await said(service, "") == ["a", "b!", "c", "d", "e!", "after", "completed"]
    assert notes == LEFT


async def test_what_the_source_raises_is_raised_at_the_yield(
    service: Service, notes: list[str]
) -> None:
    assert await said(service, "crash") == ["a", "!INTERNAL"]
    assert notes == ["source left", "crashed in the handler too", "handler left"]


async def test_a_failure_of_the_source_ends_the_request(service: Service, notes: list[str]) -> None:
    assert await said(service, "fail") == ["a", "!NOT_FOUND"]
    assert notes == LEFT


async def test_the_handler_may_go_on_after_what_was_raised(
    service: Service, notes: list[str]
) -> None:
    assert await said(service, "mend and end") == ["a", "mended", "whole"]
    assert await said(service, "mend") == ["a", "mended", "after", "completed"]
    del notes[3:]
    assert notes == ["source left", "crashed in the handler too", "handler left"]


async def test_the_handler_may_end_after_what_was_raised(service: Service) -> None:
    class Quiet(StreamActor[Marked, Text]):
        async def handle(self, request: Marked) -> AsyncIterator[Yielded[Text]]:
            async with aclosing(source_of("crash", [])) as source:
                try:
                    yield Relay(source)
                except Boom:
                    return

    service.registry.register(Marked, Quiet)
    client = await service.open()
    client.request(Marked())
    assert await client.said(1) == ["a", "completed"]


async def test_a_cancel_is_felt_by_the_source_first(service: Service, notes: list[str]) -> None:
    client = await service.open()
    client.request(Text("wait"))
    await settle()
    client.send(Cancel(1))
    assert await client.said(1) == ["a", "!CANCELLED"]
    await settle()
    assert notes == ["source left", "cancelled in the handler too", "handler left"]
    assert tasks_of_actors() == 0


async def test_it_is_not_pulled_beyond_credit(service: Service, notes: list[str]) -> None:
    client = await service.open(3)
    client.request(Text("many"))
    await settle()
    assert notes == ["0", "1"]
    client.send(Credit(1, 5))
    await settle()
    assert notes == ["0", "1", "2", "3"]


async def test_a_cancel_while_it_waits_for_credit_closes_both(
    service: Service, notes: list[str]
) -> None:
    client = await service.open(2)
    client.request(Text("many"))
    await settle()
    client.send(Cancel(1))
    assert await client.said(1) == ["a", "0", "!CANCELLED"]
    await settle()
    assert notes[1:] in (LEFT, LEFT[::-1])


async def test_others_have_their_turn_meanwhile(service: Service, notes: list[str]) -> None:
    client = await service.open()
    client.request(Text("many"))
    client.send(Cancel(1))
    await settle()
    assert len(notes) <= PULLS_BEFORE_A_CANCEL + 3


async def test_many_are_passed_on_whole(service: Service) -> None:
    answers = await said(service, "many")
    assert answers[1 : 3 * AT_ONCE + 1] == [f"{number}" for number in range(3 * AT_ONCE)]


async def test_a_handler_that_is_no_generator_just_fails(service: Service) -> None:
    class Plain(AsyncIterator[Yielded[Text]]):
        def __init__(self, source: AsyncIterator[Text | Burst[Text]]) -> None:
            self.source = source

        async def __anext__(self) -> Relay[Text]:
            return Relay(self.source)

    class Iterating(StreamActor[Marked, Text]):
        def handle(self, request: Marked) -> AsyncIterator[Yielded[Text]]:
            return Plain(source_of("fail", []))

    service.registry.register(Marked, Iterating)
    client: Client = await service.open()
    client.request(Marked())
    assert await client.said(1) == ["a", "!NOT_FOUND"]


class Pushing(PushSource[Text]):
    """Pushes what a test puts into it, in the test's own turn of the event loop."""

    def __init__(self) -> None:
        self._kept: deque[Text | Burst[Text] | Exception | None] = deque()
        self._take: Callable[[Text], bool] | None = None
        self._until: Collection[type] = ()
        self._waiter: asyncio.Future[bool] | None = None

    def put(self, *items: Text | Burst[Text] | Exception | None) -> None:
        """Push answers, raise an error, or end with None."""
        for item in items:
            passed = self._take is not None and isinstance(item, Text)
            if passed and type(item) not in self._until and not self._kept:
                assert self._take is not None
                if not self._take(cast("Text", item)):
                    self._stop(enough=True)
            else:
                self._kept.append(item)
                self._stop()

    def _stop(self, *, enough: bool = False) -> None:
        self._take = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(enough)

    async def push(
        self, take: Callable[[Text], bool], until: Collection[type]
    ) -> Text | Burst[Text] | None:
        while self._kept:
            item = self._kept.popleft()
            if item is None:
                raise StopAsyncIteration
            if isinstance(item, Exception):
                raise item
            if isinstance(item, Burst) or type(item) in until:
                return item
            if not take(item):
                return None
        self._take, self._until = take, until
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            enough = await self._waiter
        finally:
            self._take = None
        return None if enough else await self.push(take, until)


class Pushed(StreamActor[Text, Text]):
    """Relays a source that pushes; mends the error of one that fails."""

    source: Pushing

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        relay = Relay(self.source, until={Marked})
        try:
            yield relay
            while (marked := relay.stopped_by) is not None:
                yield Text(f"{marked.text}!")
                yield relay
        except Boom:
            yield Text("mended")
        yield Last(Text("end"))


async def pushed(system: ActorSystem, credit: int = 0) -> tuple[Client, Pushing]:
    """Return a client of a stream that relays what a test pushes."""
    source = Pushed.source = Pushing()
    service = Service(system)
    service.registry.register(Text, Pushed)
    client = await service.open(credit) if credit else await service.open()
    client.request(Text())
    await settle()
    return client, source


async def test_what_is_pushed_is_sent_at_once_and_waits_for_room(
    actor_system: ActorSystem,
) -> None:
    client, source = await pushed(actor_system, 3)
    source.put(Text("a"))
    await settle()
    source.put(Text("b"))
    assert b"b" in b"".join(client.take(1 << 20)), "sent before any task has run"
    source.put(Text("c"), Text("d"), Text("e"))
    await settle()
    client.send(Credit(1, 4))
    await settle()
    source.put(Text("f"))
    client.send(Credit(1, 100))
    await settle()
    source.put(None)
    await settle()
    assert await client.said(1) == ["c", "d", "e", "f", "end"]


async def test_a_push_source_stops_at_marks_and_batches_are_sent(
    actor_system: ActorSystem,
) -> None:
    client, source = await pushed(actor_system)
    source.put(Text("a"), Marked("b"), Text("c"), Burst([Text("d"), Text("e")]), Text("f"))
    await settle()
    source.put(Text("g"), None)
    await settle()
    assert await client.said(1) == ["a", "b!", "c", "d", "e", "f", "g", "end"]
    client.check()


async def test_the_error_of_a_push_source_is_raised_where_it_is_relayed(
    actor_system: ActorSystem,
) -> None:
    client, source = await pushed(actor_system)
    source.put(Text("a"), Boom())
    await settle()
    assert await client.said(1) == ["a", "mended", "end"]


async def test_a_cancel_ends_a_push_source(actor_system: ActorSystem) -> None:
    client, source = await pushed(actor_system)
    source.put(Text("a"))
    await settle()
    client.send(Cancel(1))
    await settle()
    source.put(Text("b"))
    await settle()
    assert await client.said(1) == ["a", "!CANCELLED"]


async def test_a_cancel_while_a_push_source_waits_for_room_is_not_its_error(
    actor_system: ActorSystem,
) -> None:
    client, source = await pushed(actor_system, 1)
    source.put(Text("a"), Text("b"), Text("c"))
    await settle()
    client.send(Cancel(1))
    await settle()
    assert await client.said(1) == ["a", "!CANCELLED"]


async def test_interceptors_are_told_what_is_pushed(actor_system: ActorSystem) -> None:
    told, source = list[str](), Pushing()

    @asynccontextmanager
    async def around(call: Call[Message]) -> AsyncGenerator[None, None]:
        call.listen(lambda answer: told.append(cast("Text", answer).text))
        yield

    Pushed.source = source
    service = Service(actor_system)
    service.registry.register(Text, Pushed)
    service.registry.intercept(Text, around)
    client = await service.open()
    client.request(Text())
    await settle()
    source.put(Text("a"), Burst([Text("b")]), Text("c"), None)
    await settle()
    assert await client.said(1) == [*told, "end"] == ["a", "b", "c", "end"]
