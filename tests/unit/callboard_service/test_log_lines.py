"""Log lines are written by a thread, bounded and aggregated, and can hold any value."""

import asyncio
import contextlib
import io
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from actors import Crashed
from actors.testing import ManualClock
from callboard_service.line_writer import LineWriter, descriptor_write
from callboard_service.log import EventLog, LibraryLog, log_libraries, make_log
from callboard_service.log_lines import MAX_LINE, LogLines
from callboard_service.log_repeats import LINES_PER_INTERVAL, Repeats
from callboard_service.log_values import ITEMS, TEXT, plain
from callboard_service.printed import printed_lines


class Kept:
    """An output that keeps its lines."""

    def __init__(self) -> None:
        self.data = b""

    def put(self, line: bytes) -> None:
        self.data += line

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.data.decode().splitlines()]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def lines(clock: ManualClock, kept: Kept) -> LogLines:
    """Return log lines in JSON, on a manual clock."""
    lines = LogLines(console=False, now=clock.now)
    lines.write_to(kept)
    return lines


# -- repeats -------------------------------------------------------------------------------------


async def test_25_seconds_of_refusals_are_four_lines(
    lines: LogLines, kept: Kept, clock: ManualClock
) -> None:
    log = lines.logger("info")
    for _ in range(100):
        for _ in range(250):
            log.warning("refused", status=403, reason="this page may not connect")
        await clock.advance(0.25)
    lines.flush(0.0)
    assert len(kept.lines) == 4
    assert sum(line.get("repeats", 1) for line in kept.lines) == 25_000
    assert {line["reason"] for line in kept.lines} == {"this page may not connect"}
    assert len(kept.data) < 1000


async def test_lines_of_one_event_that_differ_are_written_up_to_a_burst(
    lines: LogLines, kept: Kept
) -> None:
    log = lines.logger("info")
    for number in range(1000):
        log.info("connection closed", session=f"s{number}", code=1000)
    lines.flush(0.0)
    assert len(kept.lines) == LINES_PER_INTERVAL + 1
    last = kept.lines[-1]
    assert (last["event"], last["repeats"]) == ("connection closed", 1000 - LINES_PER_INTERVAL)


async def test_errors_that_differ_are_all_written(lines: LogLines, kept: Kept) -> None:
    log = EventLog(lines.logger("info"))
    for number in range(100):
        log(Crashed("callboard/sessions/s1/7", ValueError(number), "Text", None))
    lines.flush(0.0)
    assert len(kept.lines) == 100


async def test_one_error_of_many_requests_is_written_up_to_a_burst(
    lines: LogLines, kept: Kept
) -> None:
    log = EventLog(lines.logger("info"))
    for number in range(100):
        log(Crashed(f"callboard/sessions/s1/{number}", ValueError("same"), "Text", None))
    lines.flush(0.0)
    assert len(kept.lines) == LINES_PER_INTERVAL + 1
    assert (kept.lines[-1]["message"], kept.lines[-1]["repeats"]) == (
        "Text",
        100 - LINES_PER_INTERVAL,
    )
    assert "exception" not in kept.lines[-1]


async def test_a_repeat_after_the_interval_is_written_at_once(
    lines: LogLines, kept: Kept, clock: ManualClock
) -> None:
    log = lines.logger("info")
    log.warning("bad token")
    await clock.advance(10.0)
    log.warning("bad token")
    assert ["repeats" in line for line in kept.lines] == [False, False]


async def test_debug_lines_are_all_written(lines: LogLines, kept: Kept) -> None:
    log = lines.logger("debug")
    for _ in range(100):
        log.debug("request", type="Text")
    assert len(kept.lines) == 100


def test_what_is_remembered_of_repeats_is_bounded(clock: ManualClock) -> None:
    repeats = Repeats(clock.now)
    for number in range(5000):
        repeats.admit("error", f"event {number}", {})
        repeats.admit("error", f"event {number}", {})
    assert len(repeats._entries) <= 1000
    counted = repeats.take_due(everything=True)
    assert sum(int(str(fields["repeats"])) for fields in counted) == 5000


# -- rendering -----------------------------------------------------------------------------------


class Unprintable:
    def __repr__(self) -> str:
        raise SystemExit


class Rude(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


def circle() -> list[object]:
    items: list[object] = []
    items.append(items)
    return items


def nested() -> object:
    value: object = None
    for _ in range(5000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        Unprintable(), "\udc80", "a\x1b[2J\nb", "x" * 10_000_000, 10**10_000, float("nan"),
        circle(), nested(), {1: Unprintable(), None: 2}, {Unprintable(): 1}, list(range(100_000)),
        b"\xff", {3, 1}, object, Rude(), ValueError("x" * 1_000_000),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
@pytest.mark.parametrize("console", [False, True])
def test_whatever_a_field_is_it_is_one_line_of_bounded_length(
    kept: Kept, clock: ManualClock, value: object, console: bool
) -> None:
    lines = LogLines(console=console, now=clock.now)
    lines.write_to(kept)
    lines.logger("info").error("an event", value=value)
    assert 0 < len(kept.data) <= 2 * MAX_LINE
    if console:
        assert b"\x1b[2J" not in kept.data
    else:
        (line,) = kept.lines
        assert line["event"] == "an event"


def test_an_exception_whose_text_raises_is_a_line(lines: LogLines, kept: Kept) -> None:
    lines.logger("info").error("crashed", exc_info=Rude())
    (line,) = kept.lines
    assert (line["event"], line["level"]) == ("crashed", "error")
    assert "Rude" in line["exception"]


def test_a_line_of_many_long_fields_is_replaced_by_its_event(lines: LogLines, kept: Kept) -> None:
    fields = {f"f{number}": "x" * TEXT for number in range(100)}
    lines.logger("info").info("too much", **fields)
    (line,) = kept.lines
    assert line["event"] == "too much"
    assert len(kept.data) < 1000


def test_plain_values_keep_what_json_has() -> None:
    value = {"a": [1, 2.5, True, None, "b"]}
    assert plain(value) == value
    assert plain(tuple(range(1000))) == list(range(ITEMS))


# -- the writer ----------------------------------------------------------------------------------


class Gate:
    """A descriptor that blocks until it is opened, or fails until then if `error` is given."""

    def __init__(self, error: OSError | None = None) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.error = error
        self.written = b""

    def write(self, data: bytes) -> int:
        self.entered.set()
        if self.error is not None and not self.open.is_set():
            raise self.error
        self.open.wait(30)
        half = max(len(data) // 2, 1)  # a partial write, as a pipe may do
        self.written += data[:half]
        return half


def until(gate: Gate, line: bytes) -> None:
    """Wait until this line is written, for as long as the test's timeout allows."""
    while line not in gate.written:
        time.sleep(0.001)


def dropped(count: int) -> bytes:
    return b"dropped %d\n" % count


@pytest.mark.parametrize("error", [None, OSError(28, "No space left on device"), BrokenPipeError()])
def test_lines_beyond_the_bound_are_dropped_counted_and_reported(error: OSError | None) -> None:
    gate = Gate(error)
    writer = LineWriter(gate.write, dropped, max_lines=10, max_bytes=1000, retry=0.01)
    for number in range(100):
        writer.put(b"line %d\n" % number)
    assert gate.entered.wait(30)
    assert writer.flush(0.01) is False
    gate.open.set()
    until(gate, b"dropped 90\n")
    writer.put(b"after\n")
    until(gate, b"after\n")
    expected = b"".join(b"line %d\n" % number for number in range(10)) + b"after\n"
    assert gate.written.replace(b"dropped 90\n", b"") == expected


def test_bytes_that_wait_are_bounded() -> None:
    gate = Gate()
    writer = LineWriter(gate.write, dropped, max_lines=1000, max_bytes=100)
    writer.put(b"x" * 99 + b"\n")
    writer.put(b"y\n")
    writer.put(b"z" * 1000)
    gate.open.set()
    until(gate, b"dropped 2\n")
    assert b"y" not in gate.written
    assert b"z" not in gate.written


def test_a_flush_takes_no_longer_than_it_may() -> None:
    gate = Gate()
    writer = LineWriter(gate.write, dropped)
    writer.put(b"line\n")
    assert writer.flush(0.05) is False
    gate.open.set()
    assert writer.flush(30)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes there do not become non-blocking")
def test_a_descriptor_that_another_process_made_non_blocking_is_written_to() -> None:
    reader, end = os.pipe()
    os.set_blocking(end, False)
    writer = LineWriter(descriptor_write(end), dropped, max_bytes=10_000_000)
    line = b"x" * 9_999 + b"\n"
    for _ in range(100):
        writer.put(line)
    read = 0
    while read < 100 * len(line):
        read += len(os.read(reader, 65536))
    assert writer.flush(30)
    os.close(reader)
    os.close(end)


def test_the_counts_are_written_when_they_are_due_without_another_line() -> None:
    now = [0.0]
    lines = LogLines(console=False, now=lambda: now[0])
    seen = threading.Event()
    written: list[bytes] = []

    def write(data: bytes) -> int:
        written.append(data)
        if b"repeats" in data:
            seen.set()
        return len(data)

    writer = lines.write_from_thread(write)
    log = lines.logger("info")
    log.warning("refused")
    log.warning("refused")
    now[0] = 10.0
    writer.wake()
    assert seen.wait(30)
    assert json.loads(written[-1])["repeats"] == 1


# -- output of other code ------------------------------------------------------------------------


def print_a_trace() -> None:
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        sys.excepthook(*sys.exc_info())


def log_without_a_handler() -> None:
    assert logging.lastResort is not None
    logging.lastResort.emit(logging.makeLogRecord({"msg": "m"}))


def print_in_pieces() -> None:
    sys.stderr.write("half")
    sys.stderr.write(" a line\nand another\n")


def print_bytes() -> None:
    sys.stderr.buffer.write(b"bytes \xff\n")


@pytest.mark.parametrize(
    "write", [print_a_trace, log_without_a_handler, print_in_pieces, print_bytes]
)
def test_what_is_printed_to_standard_error_is_lines_of_json(
    lines: LogLines, kept: Kept, write: Callable[[], None]
) -> None:
    with contextlib.redirect_stderr(printed_lines(lines.put_text, 2)):
        write()
    assert kept.lines
    assert {line["event"] for line in kept.lines} == {"printed"}


def test_a_record_that_cannot_be_read_does_not_fail_the_library() -> None:
    stream = io.StringIO()
    record = logging.makeLogRecord({"name": "aiohttp.server", "msg": Unreadable()})
    LibraryLog(make_log("info", stream)).emit(record)
    assert "could not be read" in stream.getvalue()


class Unreadable:
    def __str__(self) -> str:
        raise ValueError


async def test_an_error_of_the_loop_is_a_line() -> None:
    stream = io.StringIO()
    handler = log_libraries(make_log("info", stream))
    try:
        asyncio.get_running_loop().call_exception_handler({"message": "odd", "exception": Rude()})
    finally:
        logging.getLogger().removeHandler(handler)
    assert json.loads(stream.getvalue().splitlines()[0])["error"] == "Rude"
