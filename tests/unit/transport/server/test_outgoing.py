"""Connections write together at the end of a turn, and a failure affects no other's write."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from transport.server.outgoing import TOGETHER, Outgoing


@dataclass
class Calling:
    flush: Callable[[], None]


def writes_of(written: list[int], outgoing: Outgoing, count: int) -> None:
    def write(number: int) -> Callable[[], None]:
        return lambda: written.append(number)

    for number in range(count):
        outgoing.add(Calling(write(number)))


async def test_what_was_said_in_a_turn_is_written_at_its_end_in_order() -> None:
    written: list[int] = []
    writes_of(written, Outgoing(), 3)
    assert written == []
    await asyncio.sleep(0)
    assert written == [0, 1, 2]


async def test_nothing_is_written_twice() -> None:
    written: list[int] = []
    outgoing = Outgoing()
    for turn in (1, 2):
        writes_of(written, outgoing, 2)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert written == [0, 1] * turn


async def test_many_need_not_wait_for_the_end_of_the_turn() -> None:
    written: list[int] = []
    outgoing = Outgoing()
    writes_of(written, outgoing, TOGETHER - 1)
    many = [outgoing.are_many]
    writes_of(written, outgoing, 1)
    many.append(outgoing.are_many)
    outgoing.write()
    assert len(written) == TOGETHER
    assert [*many, outgoing.are_many] == [False, True, False]
    await asyncio.sleep(0)
    assert len(written) == TOGETHER


async def test_a_connection_that_writes_again_waits_for_the_next_turn() -> None:
    turns: list[int] = []
    outgoing = Outgoing()

    def write() -> None:
        turns.append(1)
        if len(turns) < 3:
            outgoing.add(Calling(write))

    outgoing.add(Calling(write))
    for turn in range(1, 4):
        await asyncio.sleep(0)
        assert len(turns) == turn
    await asyncio.sleep(0)
    assert len(turns) == 3


async def test_a_failed_write_does_not_affect_the_others() -> None:
    written: list[int] = []
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: told.append(str(context["exception"]))
    )
    outgoing = Outgoing()

    def fail() -> None:
        raise RuntimeError("a fault of the service")

    writes_of(written, outgoing, 1)
    outgoing.add(Calling(fail))
    writes_of(written, outgoing, 1)
    await asyncio.sleep(0)
    assert written == [0, 0]
    assert told == ["a fault of the service"]
