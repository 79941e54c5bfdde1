"""Streams that wait for a turn of the loop: resumed together, and none of them can tell."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import suppress
from contextvars import ContextVar
from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st

import actors.runtime.rounds
from actors import ActorSystem, Closes, Opens, StreamActor, Yielded, next_turn
from actors.protocol.block import frames
from actors.protocol.frames import Cancel
from actors.requests.pull import AT_ONCE, FIRST
from actors.runtime.eager import begin
from actors.runtime.rounds import ALONE, SEATS, Rounds, Seat
from actors.testing import settle
from tests.support.kit import Boom
from tests.support.session_kit import Ask, Sent, Service, Text, decode

seats = pytest.mark.skipif(not SEATS, reason="there are no seats: `actors.runtime.rounds`")

OWN: ContextVar[str] = ContextVar("OWN")
KEPT: ContextVar[object] = ContextVar("KEPT")


class Rider:
    """A coroutine that waits for turns, from the second on in the round where it is allowed to."""

    def __init__(self, rounds: Rounds | None) -> None:
        self.log: list[str] = []
        self.seat: Seat | None = None
        self.task: asyncio.Task[object]
        self._rounds = rounds

    @property
    def rides(self) -> bool:
        return self.seat is not None and self.seat.taken

    def begin(self, work: "Work") -> None:
        self.task = asyncio.create_task(self._ride(work))

    async def turn(self) -> None:
        if self._rounds is None or self.rides:
            await next_turn()
        else:
            self.seat = await self._rounds.turn()

    async def sit_down(self) -> None:
        """Ask for a seat, have one turn in it, and note whether it is still had."""
        await self.turn()
        await self.turn()
        self.log.append(f"{self.rides}")

    async def _ride(self, work: "Work") -> object:
        OWN.set(f"{id(self)}")
        try:
            return await work(self)
        finally:
            if self.seat is not None:
                await self.seat.leave()

    async def ended(self) -> str:
        """How the task ended."""
        try:
            return f"{await self.task}"
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - told by the test
            return repr(error)


Work = Callable[[Rider], Awaitable[object]]


async def turns(rider: Rider) -> None:
    """One turn after the other, each noted."""
    for number in range(1000):
        rider.log.append(f"{number}")
        await rider.turn()


async def riding(*works: Work) -> list[Rider]:
    """A rider for each, who has a seat by then, and one more so that none is alone."""
    rounds = Rounds()
    riders = [Rider(rounds) for _ in range(1 + len(works))]
    for rider, work in zip(riders, (turns, *works), strict=True):
        rider.begin(work)
    await settle_some(3)
    return riders[1:]


async def settle_some(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
async def all_end() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


# -- what is the same as without ---------------------------------------------------------------

STEPS = (
    "turn", "future", "failed", "cancelled", "self", "spared", "late", "timeout", "catch", "last",
    "swallowed", "by a child", "odd",
)  # fmt: skip
"""What a program does: `perform`."""


async def swallow() -> str:
    """Not to be cancelled once."""
    with suppress(asyncio.CancelledError):
        await asyncio.get_running_loop().create_future()
    return "swallowed"


async def cancel(task: "asyncio.Task[object]") -> None:
    task.cancel("by a child")


async def perform(rider: Rider, steps: list[str]) -> str:
    """Do this, and note what is seen: of the task, its context, what it waits for."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    for step in steps:
        rider.log.append(step)
        assert asyncio.current_task() is task
        assert OWN.get() == f"{id(rider)}"
        future: asyncio.Future[str] = loop.create_future()
        match step:
            case "turn":
                await rider.turn()
            case "future":
                loop.call_soon(future.set_result, "result")
                rider.log.append(await future)
            case "failed":
                loop.call_soon(future.set_exception, Boom("failed"))
                with pytest.raises(Boom):
                    await future
            case "cancelled":
                loop.call_soon(future.cancel)
                await future
            case "self":
                task.cancel("from within")
                rider.log.append(f"{task.cancelling()}")
                await future
            case "spared":  # asks to be cancelled, and not to be: Python 3.13 forgets it then
                task.cancel()
                task.uncancel()
                await rider.turn()
            case "late":
                loop.call_soon(task.cancel)
                await rider.turn()
                await rider.turn()
                rider.log.append("went on")
            case "timeout":
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0):
                        await rider.turn()
                        await future
            case "last":
                task.cancel()
                return "cancelled at the end"
            case "swallowed":
                other = asyncio.create_task(swallow())
                await rider.turn()
                task.cancel()
                rider.log.append(await other)
            case "by a child":
                _ = begin(cancel(task))
                await future
            case "odd":
                own = asyncio.futures._PyFuture(loop=loop)  # type: ignore[attr-defined]  # the one in Python
                loop.call_soon(own.set_result, "odd")
                rider.log.append(await own)
            case _:  # "catch"
                task.cancel()
                try:
                    await rider.turn()
                except asyncio.CancelledError:
                    rider.log.append(f"caught, {task.uncancel()}")
    return "the end"


async def outcomes(programs: list[list[str]], rounds: Rounds | None) -> list[list[str]]:
    riders = [Rider(rounds) for _ in programs]
    for rider, steps in zip(riders, programs, strict=True):
        rider.begin(lambda rider, steps=steps: perform(rider, steps))  # type: ignore[misc]  # a default argument
    ends = [await rider.ended() for rider in riders]
    return [[*rider.log, end] for rider, end in zip(riders, ends, strict=True)]


programs = st.lists(
    st.lists(st.sampled_from(STEPS) | st.just("turn"), max_size=12), min_size=1, max_size=4
)


@given(programs)
def test_nobody_can_tell_whether_it_has_a_seat(programs: list[list[str]]) -> None:
    async def compare() -> None:
        assert await outcomes(programs, Rounds()) == await outcomes(programs, None)

    asyncio.run(compare())


# -- turns ---------------------------------------------------------------------------------------


@seats
async def test_each_has_one_step_in_each_turn_of_the_loop() -> None:
    riders = await riding(turns, turns)
    assert [rider.rides for rider in riders] == [True, True]
    before = [len(rider.log) for rider in riders]
    for turn in range(1, 5):
        await asyncio.sleep(0)
        assert [len(rider.log) for rider in riders] == [each + turn for each in before]


@seats
async def test_who_is_alone_keeps_its_task() -> None:
    rounds = Rounds()
    first, second = Rider(rounds), Rider(rounds)
    first.begin(turns)
    await settle_some(5)
    assert first.log
    assert first.seat is None
    second.begin(turns)
    await settle_some(3)
    assert first.rides
    assert second.rides
    second.task.cancel()
    await settle_some(5)
    assert first.rides
    await settle_some(ALONE)
    said = len(first.log)
    await settle_some(3)
    assert len(first.log) == said + 3
    assert first.seat is None


@seats
async def test_two_that_ask_at_different_times_meet() -> None:
    rounds = Rounds()
    riders = [Rider(rounds), Rider(rounds)]

    async def seldom(rider: Rider) -> None:
        while True:
            await rider.turn()
            for _ in range(ALONE - 10):
                await next_turn()

    for rider in riders:
        rider.begin(seldom)
        await settle_some(ALONE // 2)
    await settle_some(2 * ALONE)
    assert [rider.rides for rider in riders] == [True, True]


@seats
async def test_the_round_keeps_no_streams_context() -> None:
    class Kept:
        pass

    gone: list[ref[Kept]] = []

    async def work(rider: Rider) -> None:
        kept = Kept()
        gone.append(ref(kept))
        KEPT.set(kept)
        for _ in range(3):
            await rider.turn()

    short, long = await riding(work, turns)
    await short.ended()
    del short
    await settle_some(2)
    gc.collect()
    assert long.rides
    assert [reference() for reference in gone] == [None]


@seats
async def test_one_that_has_ended_is_no_company() -> None:
    rounds = Rounds()
    first, second = Rider(rounds), Rider(rounds)
    first.begin(lambda rider: rider.turn())
    await first.ended()
    second.begin(turns)
    await settle_some(3)
    assert second.seat is None


async def test_without_seats_each_waits_in_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors.runtime.rounds, "SEATS", False)
    (rider,) = await riding(turns)
    assert rider.seat is None
    assert len(rider.log) == 3


# -- ends ----------------------------------------------------------------------------------------


async def stay(rider: Rider, log: list[str]) -> None:
    try:
        await turns(rider)
    finally:
        log.append("left")


@seats
async def test_who_is_cancelled_has_not_one_step_more() -> None:
    log: list[str] = []
    (rider,) = await riding(lambda rider: stay(rider, log))
    assert rider.rides
    said = len(rider.log)
    assert rider.task.cancel()
    assert rider.task.cancel()
    assert await rider.ended() == "CancelledError()"
    assert (len(rider.log), log) == (said, ["left"])


@seats
async def test_what_it_waits_for_is_cancelled_with_it() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work(rider: Rider) -> None:
        await rider.turn()
        await rider.turn()
        await future

    (rider,) = await riding(work)
    await settle_some(2)
    assert not rider.task.done()
    rider.task.cancel("enough")
    assert await rider.ended() == "CancelledError('enough')"
    assert future.cancelled()


@seats
async def test_who_cancels_itself_and_waits_cancels_what_it_waits_for() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work(rider: Rider) -> None:
        await rider.sit_down()
        rider.task.cancel()
        await future

    (rider,) = await riding(work)
    assert (await rider.ended(), rider.log) == ("CancelledError()", ["True"])
    assert future.cancelled()


@seats
@pytest.mark.parametrize("error", [Boom("bang"), None], ids=["raises", "returns"])
async def test_an_end_in_the_round_is_the_tasks(error: Boom | None) -> None:
    async def work(rider: Rider) -> str:
        await rider.sit_down()
        if error is not None:
            raise error
        return "fine"

    (rider,) = await riding(work)
    assert await rider.ended() == ("fine" if error is None else "Boom('bang')")
    assert rider.log == ["True"]


@seats
def test_all_end_with_their_loop() -> None:
    log: list[str] = []

    async def main() -> None:
        (rider,) = await riding(lambda rider: stay(rider, log))
        assert rider.rides

    asyncio.run(main())
    assert log == ["left"]


@seats
async def test_an_exit_of_the_generators_is_the_tasks_own() -> None:
    async def work(rider: Rider) -> None:
        await rider.turn()
        await rider.turn()
        try:
            raise GeneratorExit
        except GeneratorExit:
            assert rider.seat is not None
            rider.seat.close()
            raise

    rider, other = await riding(work, turns)
    (error,) = await asyncio.gather(rider.task, return_exceptions=True)
    assert isinstance(error, GeneratorExit)
    assert other.rides


@seats
async def test_one_within_another_is_cancelled_with_it() -> None:
    async def work(rider: Rider) -> None:
        rounds = rider._rounds
        assert rounds is not None
        await rider.turn()
        inner = await rounds.turn()
        assert inner is not None
        while True:
            rider.log.append("")
            await next_turn()

    (rider,) = await riding(work)
    await settle_some(5)
    said = len(rider.log)
    rider.task.cancel()
    assert await rider.ended() == "CancelledError()"
    assert len(rider.log) == said > 2


@seats
async def test_one_that_is_closed_before_its_first_turn_is_left_alone() -> None:
    rider, other = await riding(turns, turns)
    rounds = other._rounds
    assert rounds is not None
    waiting = rounds.turn()
    waiting.send(None)
    waiting.close()
    await settle_some(3)
    assert other.rides
    assert rider.rides


class Odd:
    """Something to await that is no future."""

    def __init__(self, yielded: object) -> None:
        self._yielded = yielded

    def __await__(self) -> Generator[object, None, None]:
        yield self._yielded


@seats
async def test_what_cannot_be_waited_for_is_an_error_there() -> None:
    async def work(rider: Rider) -> str:
        await rider.sit_down()
        loop = asyncio.new_event_loop()
        elsewhere = loop.create_future()
        elsewhere._asyncio_future_blocking = True
        loop.close()
        for odd in (5, asyncio.get_running_loop().create_future(), rider.task, elsewhere):
            with pytest.raises(RuntimeError, match="cannot wait for"):
                await Odd(odd)
            await rider.turn()
        return "fine"

    (rider,) = await riding(work)
    assert (await rider.ended(), rider.log) == ("fine", ["True"])


@seats
async def test_a_signal_between_two_of_them_forgets_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    riders = await riding(turns, turns)
    swap, loop = actors.runtime.rounds._swap, asyncio.get_running_loop()
    assert swap is not None
    calls = 0

    def interrupted(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return swap(*arguments)  # type: ignore[arg-type]  # what it was given

    monkeypatch.setattr(actors.runtime.rounds, "_swap", interrupted)
    rounds = riders[0]._rounds
    assert rounds is not None
    with pytest.raises(KeyboardInterrupt):
        rounds._go()
    monkeypatch.setattr(actors.runtime.rounds, "_swap", swap)
    assert asyncio.current_task(loop) is None
    before = [len(rider.log) for rider in riders]
    await settle_some(4)
    assert all(len(rider.log) > said for rider, said in zip(riders, before, strict=True))


# -- streams -------------------------------------------------------------------------------------


class Slow(StreamActor[Text, Text]):
    """As many answers as it is asked for, each after a turn."""

    seen: int

    async def handle(self, request: Text) -> AsyncIterator[Yielded[Text]]:
        task = asyncio.current_task()
        for number in range(int(request.text)):
            await asyncio.sleep(0)
            assert asyncio.current_task() is task
            Slow.seen += 1
            yield Text(f"{number}")


class Paired(StreamActor[Ask, Text]):
    """Opens and closes, and never waits."""

    async def handle(self, request: Ask) -> AsyncIterator[Yielded[Text]]:
        for number in range(AT_ONCE):
            yield Opens("key", Text(f"{number}"), Text("closing"))
            yield Closes("key", Text("closed"))


@pytest.fixture
def service(actor_system: ActorSystem) -> Service:
    Slow.seen = 0
    service = Service(actor_system)
    service.registry.register(Text, Slow)
    service.registry.register(Ask, Paired)
    return service


async def test_streams_that_wait_for_turns_are_whole(service: Service) -> None:
    client = await service.open()
    count = FIRST + 2 * AT_ONCE + 5
    for _ in range(3):
        client.request(Text(f"{count}"))
    expected = [*map(str, range(count)), "completed"]
    assert [await client.said(number) for number in (1, 2, 3)] == [expected] * 3
    client.check()


async def test_a_cancel_ends_one_in_the_round(service: Service) -> None:
    client = await service.open()
    for _ in range(3):
        client.request(Text("100000"))
    await settle_some(3 * FIRST)
    for number in (1, 2, 3):
        client.send(Cancel(number))
    await settle()
    seen = Slow.seen
    await settle_some(5)
    assert Slow.seen == seen
    for number in (1, 2, 3):
        assert (await client.said(number))[-1] == "!CANCELLED"
    client.check()


async def test_what_opens_and_closes_without_a_wait_gives_others_turns(service: Service) -> None:
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


@seats
@pytest.mark.parametrize("company", [True, False])
async def test_one_that_is_closed_from_without_is_left_alone(
    service: Service, company: bool
) -> None:
    client = await service.open()
    for _ in range(1 + company):
        client.request(Text("100000"))
    await settle_some(3 * FIRST)
    works = [task for task in asyncio.all_tasks() if "Run._work" in repr(task)]
    task = max(works, key=lambda task: int(task.get_name().removeprefix("Task-")))
    coroutine = task.get_coro()
    assert coroutine is not None
    coroutine.close()
    seen = Slow.seen
    await settle_some(5)
    assert Slow.seen - seen == (5 if company else 0)
    task.cancel()
    with pytest.raises(RuntimeError, match="already awaited"):
        await task
