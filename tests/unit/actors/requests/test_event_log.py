"""The log that many readers follow, each at its own speed."""

import asyncio
from functools import partial
from random import Random

import pytest

from actors.requests.event_log import AT_ONCE, PAGE, WINDOW, EventLog, Gap, LogClosed


def filled(count: int, *, keep: int = 1000, size: int = 10) -> EventLog[int]:
    """Return a log of `count` events, which are their own positions."""
    log: EventLog[int] = EventLog(keep)
    for position in range(1, count + 1):
        log.append(position, position, size)
    return log


async def test_a_reader_gets_every_event_after_its_position() -> None:
    log = filled(5)
    assert await log.reader(2).next() == [3, 4, 5]
    assert await log.reader(0).next() == [1, 2, 3, 4, 5]
    assert (log.bytes, log.after, log.last, log.end) == (50, 0, 5, 5)


async def test_a_reader_at_the_end_waits_for_the_next_event() -> None:
    log = filled(2)
    reader = log.reader(2)
    waiting = asyncio.ensure_future(reader.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    log.append(3, 3, 10)
    assert await waiting == [3]
    assert reader.position == 3


def test_a_reader_knows_whether_it_is_behind() -> None:
    log = filled(2)
    assert log.reader(1).behind
    reader = log.reader(2)
    before = reader.behind
    log.append(3, 3, 10)
    assert (before, reader.behind) == (False, True)


async def test_a_reader_that_stops_waiting_leaves_nothing_behind() -> None:
    log = filled(1)
    reader = log.reader(1)
    for _ in range(3):
        waiting = asyncio.ensure_future(reader.next())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert log.waiting == 0
    waiting = asyncio.ensure_future(reader.next())
    await asyncio.sleep(0)
    waiting.cancel()
    log.append(2, 2, 10)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await reader.next() == [2]


async def test_the_oldest_events_are_dropped_and_a_reader_is_told_of_the_gap() -> None:
    log = filled(10, keep=50)
    assert (log.after, log.bytes) == (5, 50)
    assert await log.reader(5).next() == [6, 7, 8, 9, 10]
    for position in (0, 4):
        assert not log.covers(position)
        with pytest.raises(Gap):
            await log.reader(position).next()


async def test_a_slow_reader_is_told_of_the_gap_when_it_reads_on() -> None:
    log = filled(3, keep=50)
    reader = log.reader(2)
    for position in range(4, 12):
        log.append(position, position, 10)
    with pytest.raises(Gap):
        await reader.next()
    reader = log.reader(log.last)
    log.append(12, 12, 10)
    assert (await reader.next(), reader.position) == ([12], 12)


async def test_a_position_that_was_never_issued_is_a_gap() -> None:
    log: EventLog[str] = EventLog(1000, after=100)
    log.append("a", 110, 1)
    log.append("b", 120, 1)
    for position in (0, 99, 101, 115, 121):
        assert not log.covers(position)
        with pytest.raises(Gap):
            await log.reader(position).next()
    assert all(log.covers(position) for position in (100, 110, 120))
    assert await log.reader(110).next() == ["b"]


async def test_what_is_pinned_is_kept_whatever_its_size() -> None:
    log: EventLog[int] = EventLog(50)
    log.pin(2)
    for position in range(1, 101):
        log.append(position, position, 10)
    assert log.after == 2
    assert len(await log.reader(2).next()) == 98
    log.pin(90)
    assert log.after == 90
    log.pin(None)
    assert (log.after, log.bytes) == (95, 50)


async def test_a_reader_takes_at_most_a_page_but_at_least_one_event() -> None:
    log: EventLog[int] = EventLog(10 * PAGE)
    log.append(1, 1, 2 * PAGE)
    log.append(2, 2, PAGE // 2)
    log.append(3, 3, PAGE // 2)
    log.append(4, 4, 1)
    reader = log.reader(0)
    assert await reader.next() == [1]
    assert await reader.next() == [2, 3]
    assert await reader.next() == [4]


async def test_a_closed_log_ends_its_readers_after_the_last_event() -> None:
    log = filled(2)
    early, late = log.reader(0), log.reader(2)
    waiting = asyncio.ensure_future(late.next())
    await asyncio.sleep(0)
    log.close()
    with pytest.raises(LogClosed):
        await waiting
    assert await early.next() == [1, 2]
    with pytest.raises(LogClosed):
        await early.next()
    assert log.append(3, 3, 10)  # nobody is to wait for a reader any more
    assert (log.end, log.last) == (2, 2)


async def test_positions_must_rise() -> None:
    log = filled(3)
    for position in (2, 3):
        with pytest.raises(ValueError, match="does not follow 3"):
            log.append(9, position, 1)


async def test_the_writer_waits_for_its_fastest_reader_only() -> None:
    log: EventLog[int] = EventLog(100 * WINDOW)
    fast, slow = log.reader(0), log.reader(0)
    assert not log.is_ahead()
    log.append(1, 1, WINDOW)
    assert log.is_ahead()
    waiting = asyncio.ensure_future(log.wanted())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert await fast.next() == [1]
    await waiting
    slow.close()
    assert not log.is_ahead()


async def test_the_writer_goes_on_within_the_window() -> None:
    log: EventLog[int] = EventLog(100 * WINDOW)
    reader = log.reader(0)
    assert log.append(1, 1, WINDOW - 1)
    assert not log.is_ahead()
    assert not log.append(2, 2, 1)
    assert log.is_ahead()
    assert await reader.next(1) == [1]
    assert log.is_ahead()
    assert await reader.next() == [2]
    assert not log.is_ahead()


async def test_a_writer_without_a_reader_waits_until_there_is_one_or_the_log_is_closed() -> None:
    log = filled(1)
    waiting = asyncio.ensure_future(log.wanted())
    await asyncio.sleep(0)
    assert not waiting.done()
    reader = log.reader(1)
    await waiting
    reader.close()
    waiting = asyncio.ensure_future(log.wanted())
    await asyncio.sleep(0)
    assert not waiting.done()
    log.close()
    await waiting


@pytest.mark.parametrize("seed", range(40))
async def test_no_reader_ever_misses_or_repeats_an_event(seed: int) -> None:
    random = Random(seed)
    log: EventLog[int] = EventLog(random.choice([30, 100, 1000]))
    written: list[int] = []
    readers = {number: (log.reader(0), list[int]()) for number in range(4)}
    for _ in range(400):
        choice = random.random()
        if choice < 0.5:
            position = log.last + random.randint(1, 3)
            written.append(position)
            log.append(position, position, random.randint(1, 20))
        elif choice < 0.6:
            log.pin(random.choice([None, log.last, log.after]))
        else:
            number = random.randrange(4)
            reader, got = readers[number]
            if not reader.behind:
                continue
            before = reader.position
            try:
                events = await reader.next(random.randint(1, 60))
            except Gap:
                assert before < log.after
                readers[number] = (log.reader(log.last), got)
                got.append(-1)
            else:
                start = written.index(before) + 1 if before else 0
                assert events == written[start : start + len(events)]
                got += events
    for _, got in readers.values():
        assert got


async def test_a_reader_that_does_not_pace_does_not_let_the_writer_go_on() -> None:
    log: EventLog[int] = EventLog(100 * WINDOW)
    reader = log.reader(0, paces=False)
    assert log.is_ahead()
    log.append(1, 1, WINDOW)
    assert await reader.next() == [1]
    assert log.is_ahead()
    waiting = asyncio.ensure_future(log.wanted())
    await asyncio.sleep(0)
    reader.pace()
    reader.pace()
    log.append(2, 2, 1)
    assert await reader.next() == [2]
    await waiting
    reader.close()
    assert log.is_ahead()


# Passing on


async def test_events_are_passed_on_as_they_are_appended() -> None:
    log = filled(2)
    reader, taken = log.reader(1), list[int]()

    def take(event: int) -> bool:
        taken.append(event)
        return True

    passing = asyncio.ensure_future(reader.pass_to(take))
    await asyncio.sleep(0)
    assert taken == [2]
    log.append(3, 3, WINDOW + 1)
    assert taken == [2, 3]
    assert (reader.position, log.is_ahead()) == (3, False)
    passing.cancel()
    await asyncio.wait([passing])
    log.append(4, 4, 10)
    assert taken == [2, 3]
    assert await reader.next() == [4]


async def test_passing_on_stops_and_goes_on_without_a_gap() -> None:
    log, random, taken = filled(3), Random(4), list[int]()
    reader = log.reader(0)

    def take(event: int) -> bool:
        taken.append(event)
        return random.random() < 0.6

    async def pass_on() -> None:
        while True:
            await reader.pass_to(take)
            await asyncio.sleep(0)

    passing = asyncio.ensure_future(pass_on())
    for position in range(4, 200):
        log.append(position, position, 1)
        if random.random() < 0.5:
            await asyncio.sleep(0)
    log.close()
    with pytest.raises(LogClosed):
        await passing
    assert taken == [*range(1, 200)]


async def test_what_the_taker_raises_comes_out_and_the_log_goes_on() -> None:
    log = filled(1)

    def take(event: int) -> bool:
        raise ValueError(event)

    passing = asyncio.ensure_future(log.reader(1).pass_to(take))
    other = asyncio.ensure_future(log.reader(1).next())
    await asyncio.sleep(0)
    log.append(2, 2, 10)
    with pytest.raises(ValueError, match="2"):
        await passing
    assert await other == [2]


async def test_passing_on_what_is_no_longer_kept_is_a_gap() -> None:
    log = filled(5, keep=20)
    with pytest.raises(Gap):
        await log.reader(1).pass_to(lambda event: True)


async def test_several_readers_have_events_passed_on_and_a_closed_one_has_not() -> None:
    log, taken = filled(0), list[tuple[str, int]]()
    readers = {name: log.reader(0) for name in "ab"}

    def take(name: str, event: int) -> bool:
        taken.append((name, event))
        return True

    tasks = [
        asyncio.ensure_future(reader.pass_to(partial(take, name)))
        for name, reader in readers.items()
    ]
    await asyncio.sleep(0)
    log.append(1, 1, 1)
    readers["a"].close()
    log.append(2, 2, 1)
    assert taken == [("a", 1), ("b", 1), ("b", 2)]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_log_that_is_closed_ends_what_passes_its_events_on() -> None:
    log = filled(1)
    passing = asyncio.ensure_future(log.reader(0).pass_to(lambda event: True))
    await asyncio.sleep(0)
    log.close()
    with pytest.raises(LogClosed):
        await passing
    with pytest.raises(LogClosed):
        await log.reader(1).pass_to(lambda event: True)


async def test_passing_on_lets_others_run_and_the_writer_go_on() -> None:
    log, taken, others = filled(2 * AT_ONCE, keep=1 << 20, size=WINDOW), list[int](), list[int]()
    reader = log.reader(0)
    assert not reader.holds_up()
    waiting = asyncio.ensure_future(log.wanted())
    await asyncio.sleep(0)
    assert reader.holds_up()

    def take(event: int) -> bool:
        taken.append(event)
        if len(taken) == 1:
            asyncio.get_running_loop().call_soon(lambda: others.append(len(taken)))
        return event < 2 * AT_ONCE

    await reader.pass_to(take)
    await waiting
    assert taken == [*range(1, 2 * AT_ONCE + 1)]
    assert others == [AT_ONCE]
    assert not reader.holds_up()


async def test_one_that_does_not_pace_takes_what_is_appended_and_does_not_count() -> None:
    log, taken = filled(0), list[int]()

    def take(event: int) -> bool:
        taken.append(event)
        return False

    passing = asyncio.ensure_future(log.reader(0, paces=False).pass_to(take))
    await asyncio.sleep(0)
    log.append(1, 1, 10)
    await passing
    assert (taken, log.unread) == ([1], 10)


@pytest.mark.parametrize("fails", [False, True])
async def test_an_event_in_the_turn_of_a_cancel_is_taken_and_changes_nothing(
    *, fails: bool
) -> None:
    log, taken = filled(0), list[int]()

    def take(event: int) -> bool:
        taken.append(event)
        if fails:
            raise ValueError
        return False

    reader = log.reader(0)
    passing = asyncio.ensure_future(reader.pass_to(take))
    await asyncio.sleep(0)
    passing.cancel()
    log.append(1, 1, 10)
    log.append(2, 2, 10)
    await asyncio.wait([passing])
    assert passing.cancelled()
    assert (taken, reader.position) == ([1], 1)
