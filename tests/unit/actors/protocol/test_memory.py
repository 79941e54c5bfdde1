"""Sessions hold a bounded number of bytes; beyond that, requests are refused."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import (
    ActorSystem,
    Burst,
    Closes,
    Code,
    DuplexActor,
    Failure,
    Last,
    Opens,
    RequestActor,
    StreamActor,
    Yielded,
)
from actors.protocol.answer_stream import too_large
from actors.protocol.connection import NO_CONNECTION
from actors.protocol.effects import Limit
from actors.protocol.flow_control import ROOM
from actors.protocol.frames import Ack, Cancel, Credit, Inform, Input, Request, Sealed
from actors.protocol.limits import SessionLimits
from actors.protocol.machine import LARGE, SessionMachine
from actors.protocol.memory import STEP, Account, Budget
from actors.protocol.output import Output
from actors.testing import ManualClock, settle
from tests.support.kit import Boom
from tests.support.machine_kit import Asker, Machine, stream
from tests.support.session_kit import Ask, Client, Service, Text, encode

MIB = 1024 * 1024
LIMITS = SessionLimits(
    messages_per_second=0, bytes_per_second=0, max_session_bytes=8 * MIB, max_answer_bytes=2 * MIB
)


def sealed(text: str) -> Sealed:
    return Sealed(Text, text.encode(), lambda data: Text(data.decode()))


class Waiting(RequestActor[Text, Text]):
    """Answers with the next message from the client."""

    async def handle(self, request: Text) -> Text:
        return await self.context.received(Text)


class Deaf(RequestActor[Text, Text]):
    """Never takes what the client sends."""

    taken = 0

    async def handle(self, request: Text) -> Text:
        await asyncio.Event().wait()
        return request


class Asking(StreamActor[Text, Text]):
    """Asks once, and ends with the answer to its ask."""

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        yield Opens("ask", Text("?"), Text("void"))
        answer = await self.context.received(Text)
        yield Closes("ask", Text("settled"))
        yield Last(answer)


class Large(RequestActor[Text, Text]):
    """Answers with as many bytes as the request says."""

    made = 0

    async def handle(self, request: Text) -> Text:
        type(self).made += 1
        return Text("x" * int(request.text))


class LargePlainly(RequestActor[Text, Text]):
    def handle(self, request: Text) -> Text:
        return Text("x" * int(request.text))


class LargeStream(StreamActor[Text, Text]):
    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        yield Text("first")
        yield Text("x" * int(request.text))
        yield Text("never")


class LargeBurst(StreamActor[Text, Text]):
    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        yield Burst([Text("first"), Text("x" * int(request.text)), Text("never")])


class LargeLast(StreamActor[Text, Text]):
    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        yield Text("first")
        yield Last(Text("x" * int(request.text)))


class Reserving(RequestActor[Text, Text]):
    """Makes its large answer only once there is room for it."""

    making = 0
    most = 0

    async def handle(self, request: Text) -> Text:
        await self.context.reserve(int(request.text))
        type(self).making += 1
        type(self).most = max(self.most, self.making)
        try:
            await asyncio.sleep(0)
            return Text("x" * int(request.text))
        finally:
            type(self).making -= 1


async def client_of(
    actor_system: ActorSystem,
    handler: type[RequestActor[Text, Text]] | type[StreamActor[Text, Text]],
    budget: int = 64 * MIB,
    *,
    acknowledges: bool = False,
    initial_credit: int = 0,
) -> tuple[Client, Budget, Service]:
    shared = Budget(budget)
    service = Service(actor_system, LIMITS, budget=shared)
    service.registry.register(Text, handler)
    return await service.open(initial_credit, acknowledges=acknowledges), shared, service


def counted(client: Client) -> int:
    """Return how many bytes of input the session's account holds."""
    assert client.attached is not None
    return client.attached.outbox._session.machine.account.input_bytes


# -- input ---------------------------------------------------------------------------------------


async def test_requests_in_flight_count_and_what_is_too_much_is_refused(
    actor_system: ActorSystem,
) -> None:
    client, _, service = await client_of(actor_system, Waiting)
    for _ in range(9):
        client.last_id += 1
        client.send(_request(client.last_id), MIB - 64)
    await settle()
    assert await client.said(9) == ["!RESOURCE_EXHAUSTED retryable"]
    assert service.books.limits == [Limit.MEMORY]
    client.send(Inform(1, Text("done")))
    assert await client.said(1) == ["done"]
    client.last_id += 1
    client.send(_request(client.last_id), MIB - 64)
    client.send(Inform(10, Text("served")))
    assert await client.said(10) == ["served"]


def _request(request_id: int, text: str = "go") -> Request:
    return Request(request_id, 0, Text(text))


async def test_an_answer_without_an_open_ask_is_dropped_on_arrival(
    actor_system: ActorSystem,
) -> None:
    client, _, _ = await client_of(actor_system, Deaf)
    client.request(Text("go"))
    await settle()
    before = counted(client)
    for _ in range(1500):
        client.send(Inform(1, sealed("x" * 1024), about="ask"))
    await settle()
    assert counted(client) == before
    client.send(Cancel(1))
    assert await client.said(1) == ["!CANCELLED"]


async def test_an_answer_to_an_open_ask_is_delivered_and_counted_until_it_is_taken(
    actor_system: ActorSystem,
) -> None:
    client, _, _ = await client_of(actor_system, Asking, initial_credit=1)
    client.request(Text("go"))
    assert await client.said(1) == ["?"]
    before = counted(client)
    client.send(Inform(1, sealed("another"), about="another"))
    client.send(Inform(1, sealed("yes" * STEP), about="ask"))
    await settle()
    assert counted(client) > before, "the handler waits for credit, and has not taken it"
    client.send(Credit(1, 10))
    assert await client.said(1) == ["?", "settled", "yes" * STEP]
    assert counted(client) == 0


async def test_one_small_answer_is_let_in_however_little_is_free(
    actor_system: ActorSystem,
) -> None:
    client, budget, _ = await client_of(actor_system, Asking)
    client.request(Text("go"))
    await settle()
    assert client.attached is not None
    output = client.attached.outbox._session.machine.output
    for _ in range(3):
        output.queue.put(bytes(STEP))  # unread
    budget.held += budget.limit  # by others
    output.flow.count_bytes()
    client.send(Inform(1, sealed("yes"), about="ask"))
    await settle()
    budget.held -= budget.limit
    assert output.queue.sequence == 5, "the ask, three unread answers, and what settles the ask"


async def test_a_second_small_message_that_no_handler_takes_ends_the_request(
    actor_system: ActorSystem,
) -> None:
    client, budget, _ = await client_of(actor_system, Deaf)
    client.request(Text("go"))
    await settle()
    before = counted(client)
    budget.held += budget.limit
    assert client.attached is not None
    output = client.attached.outbox._session.machine.output
    for _ in range(3):
        output.queue.put(bytes(STEP))
    client.send(Inform(1, sealed("one")))
    await settle()
    assert before < counted(client) < before + 1024
    client.send(Inform(1, sealed("two")))
    await settle()
    assert counted(client) == 0, "the request has ended"


async def test_input_that_no_handler_takes_ends_its_request_when_it_is_too_much(
    actor_system: ActorSystem,
) -> None:
    client, _, _ = await client_of(actor_system, Deaf)
    client.request(Text("go"))
    for _ in range(9):
        client.send(Inform(1, sealed("x" * MIB)))
    assert await client.said(1) == ["!RESOURCE_EXHAUSTED retryable"]
    assert counted(client) == 0


class Hoarding(DuplexActor[Ask, Text, Text]):
    """Answers each input with its length, and so takes no more inputs than its credit allows."""

    go = asyncio.Event()

    async def handle(
        self, request: Ask, inputs: AsyncIterator[Text]
    ) -> AsyncIterator[Yielded[Text]]:
        async for item in inputs:
            yield Text(str(len(item.text)))


async def test_inputs_stay_encoded_and_count_until_they_are_taken(
    actor_system: ActorSystem,
) -> None:
    service = Service(actor_system, LIMITS)
    service.registry.register_duplex(Ask, Text, Hoarding)
    client = await service.open(initial_credit=1)
    client.request(Ask("go"))
    client.send(Inform(1, Input(1, sealed("x" * 10), last=False)))
    assert await client.said(1) == ["10"]
    for number in range(2, 8):
        client.send(Inform(1, Input(number, sealed("x" * MIB), last=False)))
        client.send(Inform(1, Input(number, sealed("x" * MIB), last=False)))  # sent again
    await settle()
    assert 6 * MIB <= counted(client) < 7 * MIB
    client.send(Inform(1, Input(8, sealed("x" * 2 * MIB), last=False)))
    assert await client.said(1) == ["10", "!RESOURCE_EXHAUSTED retryable"]
    assert counted(client) == 0


@pytest.mark.parametrize("kind", [Ask, Text])
async def test_what_cannot_be_decoded_ends_the_request_when_it_is_taken(
    actor_system: ActorSystem, kind: type[Text]
) -> None:
    service = Service(actor_system, LIMITS)
    service.registry.register_duplex(Ask, Text, Hoarding)
    service.registry.register(Text, Waiting)
    client = await service.open()
    client.request(kind("go"))
    broken = Sealed(Text, b"\xff", lambda data: Text(data.decode()))
    client.send(Inform(1, Input(1, broken, last=False) if kind is Ask else broken))
    assert await client.said(1) == ["!INVALID_ARGUMENT"]
    assert counted(client) == 0


async def test_what_is_taken_after_the_end_is_not_given_back_twice(
    actor_system: ActorSystem,
) -> None:
    service = Service(actor_system, LIMITS)
    service.registry.register_duplex(Ask, Text, Late)
    client = await service.open()
    client.request(Ask("go"))
    client.send(Inform(1, Input(1, sealed("one"), last=False)))
    client.send(Inform(1, Input(2, sealed("two"), last=False)))
    assert await client.said(1) == ["one"]
    client.send(Cancel(1))
    await client.read()
    assert counted(client) == 0


class Late(DuplexActor[Ask, Text, Text]):
    """Takes one more input when it is cancelled."""

    async def handle(
        self, request: Ask, inputs: AsyncIterator[Text]
    ) -> AsyncIterator[Yielded[Text]]:
        item = await anext(inputs)
        yield item
        try:
            await asyncio.Event().wait()
        finally:
            await anext(inputs)


class Stubborn(DuplexActor[Ask, Text, Text]):
    """Ignores cancellation, then takes an input and reserves room once `go` is set."""

    go = asyncio.Event()

    async def handle(
        self, request: Ask, inputs: AsyncIterator[Text]
    ) -> AsyncIterator[Yielded[Text]]:
        while not self.go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.go.wait()
        item = await anext(inputs)
        await self.context.reserve(10)
        yield item


async def test_a_handler_that_outlives_its_request_changes_no_account(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    Stubborn.go = asyncio.Event()
    service = Service(actor_system, LIMITS)
    service.registry.register_duplex(Ask, Text, Stubborn)
    service.registry.register(Text, Reserving)
    client = await service.open()
    for request_id in (1, 2):
        client.request(Ask("go"))
        client.send(Inform(request_id, Input(1, sealed("x" * MIB), last=False)))
        await settle()
        client.send(Cancel(request_id))
    await settle()
    await manual_clock.advance(60.0)  # long enough to abandon the handlers
    await settle()
    assert counted(client) == 0
    Stubborn.go.set()
    await settle()
    assert counted(client) == 0
    client.request(Text("10"))
    assert await client.said(3) == ["x" * 10], "both turns to make a large answer are free"


# -- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("handler", [Large, LargePlainly, LargeLast])
async def test_a_large_answer_waits_for_room_and_comes_whole(
    actor_system: ActorSystem,
    handler: type[RequestActor[Text, Text]] | type[StreamActor[Text, Text]],
) -> None:
    client, budget, _ = await client_of(actor_system, handler)
    for _ in range(40):
        client.request(Text(str(MIB)))
    await settle()
    assert client.attached is not None
    output = client.attached.outbox._session.machine.output
    assert output.queue.size < 3 * MIB
    assert budget.held <= LIMITS.max_session_bytes + STEP
    said = {frame.request_id: frame for frame in await client.read() if frame.end}
    assert set(said) == set(range(1, 41))
    assert {len(frame.said) for frame in said.values()} <= {
        MIB,
        len("!RESOURCE_EXHAUSTED retryable"),
    }
    assert sum(len(frame.said) == MIB for frame in said.values()) >= 4
    assert counted(client) == 0


async def test_a_small_answer_does_not_wait(actor_system: ActorSystem) -> None:
    client, _, _ = await client_of(actor_system, Large)
    client.request(Text(str(MIB)))
    client.request(Text(str(LARGE // 2)))
    await settle()
    assert client.attached is not None
    assert client.attached.outbox._session.machine.output.queue.sequence == 2


@pytest.mark.parametrize(
    ("handler", "before"),
    [(Large, []), (LargePlainly, []), (LargeStream, ["first"]), (LargeBurst, ["first"]),
     (LargeLast, ["first"])],
)  # fmt: skip
async def test_an_answer_beyond_the_largest_frame_ends_its_request(
    actor_system: ActorSystem,
    handler: type[RequestActor[Text, Text]] | type[StreamActor[Text, Text]],
    before: list[str],
) -> None:
    client, _, _ = await client_of(actor_system, handler)
    client.request(Text(str(LIMITS.max_answer_bytes)))
    assert await client.said(1) == [*before, "!RESOURCE_EXHAUSTED"]
    client.check()


async def test_few_large_answers_are_made_at_once_and_all_arrive(
    actor_system: ActorSystem,
) -> None:
    Reserving.making = Reserving.most = 0
    client, _, _ = await client_of(actor_system, Reserving)
    for _ in range(40):
        client.request(Text(str(MIB)))
    await settle()
    assert client.attached is not None
    session = client.attached.outbox._session
    assert session.machine.output.queue.size < 3 * MIB
    assert Reserving.most <= 2
    ends = [frame for frame in await client.read() if frame.end]
    assert [frame.request_id for frame in ends] == list(range(1, 41))
    assert {len(frame.said) for frame in ends} == {MIB}
    assert counted(client) == 0


async def test_a_request_that_is_cancelled_while_it_waits_for_room_holds_up_nobody(
    actor_system: ActorSystem,
) -> None:
    client, _, _ = await client_of(actor_system, Reserving)
    for _ in range(10):
        client.request(Text(str(MIB)))
    await settle()
    for request_id in range(2, 10):
        client.send(Cancel(request_id))
    await settle()
    ends = {frame.request_id: frame.said[:12] for frame in await client.read() if frame.end}
    assert set(ends) == set(range(1, 11))
    assert ends[10] == "x" * 12
    assert counted(client) == 0


class Twice(RequestActor[Text, Text]):
    """Reserves room in two parts."""

    async def handle(self, request: Text) -> Text:
        half = int(request.text) // 2
        await self.context.reserve(half)
        await self.context.reserve(half)
        return Text("x" * half)


async def test_a_reservation_can_grow_and_is_refused_where_there_is_no_room(
    actor_system: ActorSystem,
) -> None:
    client, _, _ = await client_of(actor_system, Twice)
    client.request(Text(str(2 * MIB)))
    assert len((await client.said(1))[0]) == MIB
    client.request(Text(str(LIMITS.max_session_bytes * 2)))
    assert await client.said(2) == ["!RESOURCE_EXHAUSTED retryable"]
    assert counted(client) == 0


class Modest(RequestActor[Text, Text]):
    """Makes a smaller answer where there is no room for a large one."""

    async def handle(self, request: Text) -> Text:
        granted = await self.context.reserve(int(request.text), at_least=100)
        return Text("x" * granted)


async def test_a_reservation_may_be_smaller_where_there_is_no_room(
    actor_system: ActorSystem,
) -> None:
    client, budget, _ = await client_of(actor_system, Modest)
    client.request(Text(str(MIB)))
    assert len((await client.said(1))[0]) == MIB
    budget.held += budget.limit  # by others
    client.request(Text(str(MIB)))
    assert await client.said(2) == ["x" * 100]
    client.request(Text(str(STEP // 2)))
    assert len((await client.said(3))[0]) == STEP // 2
    assert counted(client) == 0


class LargeAgain(RequestActor[Ask, Text]):
    """Crashes once, and then has a large answer."""

    restartable = True
    tries = 0

    async def handle(self, request: Ask) -> Text:
        type(self).tries += 1
        if self.tries == 1:
            await asyncio.sleep(0)
            raise Boom
        return Text("x" * MIB)


async def test_a_large_answer_of_a_second_try_waits_too(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    LargeAgain.tries = 0
    service = Service(actor_system, LIMITS)
    service.registry.register(Text, Large)
    service.registry.register(Ask, LargeAgain)
    client = await service.open()
    client.request(Text(str(MIB)))
    client.request(Ask())
    await settle()
    await manual_clock.advance(1.0)
    await settle()
    assert LargeAgain.tries == 2
    assert client.attached is not None
    assert client.attached.outbox._session.machine.output.queue.sequence == 1
    assert [len(said) for said in await client.said(2)] == [MIB]


class LeavingOpen(StreamActor[Text, Text]):
    """Ends while its ask is open, with an answer of as many bytes as the request says."""

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        yield Opens("ask", Text("?"), Text("void"))
        yield Last(Text("x" * int(request.text)))


async def test_a_pending_closing_is_sent_before_an_end_that_is_too_large(
    actor_system: ActorSystem,
) -> None:
    client, _, _ = await client_of(actor_system, LeavingOpen)
    client.request(Text(str(LIMITS.max_answer_bytes)))
    assert await client.said(1) == ["?", "void", "!RESOURCE_EXHAUSTED"]


class LargeClosing(StreamActor[Text, Text]):
    """Opens an ask whose closing has as many bytes as the request says."""

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        yield Opens("ask", Text("?"), Text("x" * int(request.text)))
        yield Text("never")


async def test_a_closing_that_is_too_large_ends_its_request(actor_system: ActorSystem) -> None:
    client, _, _ = await client_of(actor_system, LargeClosing)
    client.request(Text(str(LIMITS.max_answer_bytes)))
    assert await client.said(1) == ["?", "!RESOURCE_EXHAUSTED"]


# -- the budget of all sessions --------------------------------------------------------------------


async def test_the_session_that_holds_most_is_refused_first(actor_system: ActorSystem) -> None:
    hog, budget, service = await client_of(actor_system, Waiting, budget=8 * MIB)
    for _ in range(6):
        hog.last_id += 1
        hog.send(_request(hog.last_id), MIB)
    await settle()
    refused = [frame for frame in await hog.read() if frame.end]
    assert refused
    assert {frame.said for frame in refused} == {"!RESOURCE_EXHAUSTED retryable"}
    other = await service.open()
    other.last_id += 1
    other.send(_request(1), MIB)
    other.send(Inform(1, Text("served")))
    assert await other.said(1) == ["served"]
    assert budget.held <= budget.limit


async def test_many_that_hold_much_never_hold_more_than_the_budget(
    actor_system: ActorSystem,
) -> None:
    _, budget, service = await client_of(actor_system, Waiting, budget=16 * MIB)
    clients = [await service.open() for _ in range(20)]
    for _ in range(8):
        for client in clients:
            client.last_id += 1
            client.send(_request(client.last_id), MIB)
        await settle()
    held = sum(counted(client) for client in clients)
    assert 8 * MIB < held <= budget.limit
    small = await service.open()
    small.request(Text("small"))
    small.send(Inform(1, Text("served")))
    assert await small.said(1) == ["served"]


async def test_a_session_that_ends_gives_everything_back(actor_system: ActorSystem) -> None:
    client, budget, _ = await client_of(actor_system, LargeStream)
    for _ in range(6):
        client.request(Text(str(MIB)))
    await client.read(MIB)
    assert budget.held > MIB
    client.detach(1000)
    await settle()
    assert budget.held == 0


@pytest.mark.parametrize("acknowledges", [False, True])
async def test_what_a_session_sends_after_its_end_is_not_part_of_the_budget(
    actor_system: ActorSystem, acknowledges: bool
) -> None:
    client, budget, service = await client_of(actor_system, Waiting, acknowledges=acknowledges)
    service.registry.register(Ask, LargeAsk)
    client.request(Ask(str(2 * STEP)))
    for _ in range(10):
        client.last_id += 1
        client.send(_request(client.last_id), STEP - 1)
    await settle()
    client.send(_request(1))  # a violation, which ends the session
    await settle()
    assert not client.ref.alive
    assert client.attached is not None
    flow = client.attached.outbox._session.machine.output.flow
    assert flow.size >= 2 * STEP
    flow.count_bytes()
    assert budget.held == 0
    assert client.take(MIB), "its answers still go out"
    assert budget.held == 0


class LargeAsk(RequestActor[Ask, Text]):
    async def handle(self, request: Ask) -> Text:
        return Text("x" * int(request.text))


async def test_what_is_kept_for_a_replay_shrinks_where_others_need_the_room(
    actor_system: ActorSystem,
) -> None:
    client, budget, service = await client_of(actor_system, LargeStream, budget=4 * MIB)
    for _ in range(3):
        client.request(Text(str(MIB)))
        await client.read()
    assert budget.held <= 3 * MIB
    others = [await service.open() for _ in range(4)]
    for other in others:
        other.request(Text(str(MIB)))
        assert len((await other.said(1))[1]) == MIB
    assert budget.held <= budget.limit + len(others) * STEP


@pytest.mark.parametrize("acknowledges", [False, True])
async def test_what_is_kept_for_a_replay_makes_room_for_a_request_when_memory_is_short(
    actor_system: ActorSystem, acknowledges: bool
) -> None:
    client, budget, service = await client_of(
        actor_system, Waiting, budget=4 * MIB, acknowledges=acknowledges
    )
    service.registry.register(Ask, LargeAsk)
    for _ in range(400):
        client.request(Ask("1000"))
    await client.read()
    budget.held += 4 * MIB  # by others
    client.last_id += 1
    client.send(_request(401), MIB)
    assert await client.said(401) == ["!RESOURCE_EXHAUSTED retryable"]
    for request_id in range(402, 406):
        client.last_id += 1
        client.send(_request(request_id), STEP // 2)
        client.send(Inform(request_id, Text("served")))
        assert await client.said(request_id) == ["served"]


async def test_a_client_that_acknowledges_can_go_on_when_memory_is_short(
    actor_system: ActorSystem,
) -> None:
    client, budget, _ = await client_of(actor_system, Large, budget=4 * MIB, acknowledges=True)
    for number in range(1, 20):
        client.request(Text(str(MIB)))
        assert [len(said) for said in await client.said(number)] == [MIB]
        if number % 2 == 0:
            client.send(Ack(client.last_sequence))
    assert budget.held <= budget.limit


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["answer", "input"]), st.integers(0, 300_000)),
        max_size=60,
    )
)
def test_a_budget_is_never_exceeded_and_is_whole_again(
    steps: list[tuple[int, str, int]],
) -> None:
    budget = Budget(1024 * 1024)
    accounts = [Account(512 * 1024, budget) for _ in range(4)]
    answers = [0] * 4
    for who, kind, size in steps:
        account = accounts[who]
        if not account.has_room(answers[who], size):
            continue
        if kind == "answer":
            answers[who] += size
        else:
            account.input_bytes += size
        account.count(answers[who])
        assert budget.held == sum(answers) + sum(account.input_bytes for account in accounts)
        assert budget.held <= budget.limit + 4 * STEP
    for account in accounts:
        account.close()
    assert budget.held == 0


def test_a_limit_is_lifted_only_of_a_request_that_has_not_ended() -> None:
    machine: Machine = SessionMachine(LIMITS, encode)
    machine.attach(initial_credit=1, acknowledges=False)
    machine.admit(Request(1, 0, Text()), 10, 0.0)
    machine.open(Asker(1))
    stream(machine, 1).answer(Text("a"))
    assert not stream(machine, 1).has_room()
    stream(machine, 1).lift_limit()
    assert stream(machine, 1).has_room()
    stream(machine, 1).end(Text("b"))
    stream(machine, 1).lift_limit()
    assert not stream(machine, 1).has_room()


@pytest.mark.parametrize("away", [False, True])
def test_streams_wait_where_the_budget_is_used_up(away: bool) -> None:
    budget = Budget(4 * STEP)
    budget.held = 4 * STEP  # by others
    output = Output(LIMITS, Account(LIMITS.max_session_bytes, budget))
    if not away:
        output.attach(NO_CONNECTION, acknowledges=False)
    sent = 0
    while output.queue.put(bytes(1024)) or output.flow.verdict() is ROOM:
        sent += 1
    assert STEP // 1024 - 2 <= sent <= STEP // 1024 + 1, "so much each may hold"
    budget.held = 0
    assert output.flow.verdict() is ROOM


class SmallBursts(StreamActor[Text, Text]):
    """Yields small bursts without ever waiting."""

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        for _ in range(2000):
            yield Burst([Text("x" * 1000), Text("x" * 1000)])


@pytest.mark.parametrize("away", [False, True])
async def test_bursts_wait_where_the_budget_is_used_up(
    actor_system: ActorSystem, away: bool
) -> None:
    client, budget, _ = await client_of(actor_system, SmallBursts)
    budget.held += budget.limit  # by others
    client.request(Text())
    if away:
        client.detach(1006)
    await settle()
    assert budget.held <= budget.limit + STEP + 4000, "so much each may hold"
    if away:
        assert await client.attach(0)
    assert len(await client.said(1)) == 4001
    client.check()


def test_a_failure_names_the_sizes() -> None:
    failure = too_large(10, 5)
    assert isinstance(failure, Failure)
    assert failure.code is Code.RESOURCE_EXHAUSTED
    assert failure.message == "an answer has 10 bytes, and a frame holds 5 at most"


def test_what_many_requests_held_is_given_back_when_the_last_is_gone() -> None:
    budget = Budget(2**30)
    limits = SessionLimits(max_session_bytes=2**26)
    machine: Machine = SessionMachine(limits, encode, budget=budget)
    machine.attach(initial_credit=0, acknowledges=False)
    askers = [Asker(number, size=STEP - 1) for number in range(1, 51)]
    for asker in askers:
        machine.open(asker)
    assert budget.held > 49 * (STEP - 1)
    for asker in askers:
        asker.stream.end(Text("done"))
        machine.gone(asker)
    assert budget.held <= 2 * STEP
