"""The log lines written for events of the runtime."""

import io
import json
import re
import time
from typing import Any

import pytest

from actors import (
    Actor,
    ActorSystem,
    Blocked,
    ChildGivenUp,
    Crashed,
    DeadLetter,
    Event,
    Exit,
    Started,
    Stopped,
    Stuck,
)
from actors.testing import settle
from callboard_service.errors import ServiceError
from callboard_service.log import EventLog, make_log


def lines_of(*events: Event, level: str = "debug") -> list[dict[str, Any]]:
    """Return the lines logged for these events, without their timestamps."""
    stream = io.StringIO()
    log = EventLog(make_log(level, stream))
    for event in events:
        log(event)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    for line in lines:
        assert line.pop("timestamp").endswith("Z")
    return lines


def test_an_actor_that_blocks_the_event_loop_is_logged() -> None:
    assert lines_of(Blocked("callboard/sessions/s1/7", "Text", 0.5, "mine.py:12 in receive")) == [
        {
            "level": "error", "event": "event loop held up", "actor": "callboard/sessions/s1/7",
            "session": "s1", "request": 7, "message": "Text", "seconds": 0.5,
            "where": "mine.py:12 in receive",
        }
    ]  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_times_are_in_seconds_on_a_terminal_and_in_microseconds_elsewhere() -> None:
    person, program = Terminal(), io.StringIO()
    make_log("info", person).info("ready")
    make_log("info", program).info("ready")
    assert re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\x1b", person.getvalue())
    assert re.search(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"', program.getvalue())


async def test_a_service_that_is_held_up_says_so_while_it_is() -> None:
    stream = io.StringIO()

    class Holding(Actor[float]):
        def receive(self, message: float) -> None:
            until = time.monotonic() + 10.0  # a bound: it ends as soon as the line is there
            while not stream.getvalue().endswith("\n") and time.monotonic() < until:
                pass

    system = ActorSystem(observer=EventLog(make_log("error", stream)), blocked_after=0.02)
    ref = system.spawn(Holding, name="holding")
    ref.tell(1.0)
    await settle()
    await system.stop()
    line = json.loads(stream.getvalue().splitlines()[0])
    assert (line["event"], line["actor"]) == ("event loop held up", "system/holding")
    assert line["message"] == "float"
    assert "test_log.py" in line["where"]


def test_a_crash_is_written_with_its_trace_and_a_service_error_with_its_reason() -> None:
    crash, reason, first = lines_of(
        Crashed("callboard/x", ZeroDivisionError("none"), "Text", 0.5),
        Crashed("callboard/x", ServiceError("no model"), "", 1.0),
        Crashed("callboard/x", ServiceError("no model"), "", None),
    )
    assert (crash["event"], crash["message"], crash["restart_in"]) == ("actor crashed", "Text", 0.5)
    assert "ZeroDivisionError: none" in crash["exception"]
    assert (reason["level"], reason["reason"]) == ("error", "no model")
    assert "exception" not in reason
    assert first["level"] == "debug"


@pytest.mark.parametrize(
    ("event", "level", "said"),
    [
        (ChildGivenUp("callboard/x", ValueError(), escalated=True), "error", "actor given up"),
        (Stuck("callboard/x", "Text", 5.0), "error", "actor stuck"),
        (DeadLetter("callboard/sessions/s1", "Text"), "debug", "dead letter"),
    ],
)
def test_each_event_has_its_level_and_name(event: Event, level: str, said: str) -> None:
    (line,) = lines_of(event)
    assert (line["level"], line["event"]) == (level, said)


def test_the_normal_course_of_things_is_not_written_down() -> None:
    assert lines_of(Started("callboard/x"), Stopped("callboard/x", Exit.NORMAL)) == []
