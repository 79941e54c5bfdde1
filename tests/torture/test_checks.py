"""Each check of `make torture` passes a good recording and fails a bad one."""

from pathlib import Path

import pytest

from tests.torture import trace
from tests.torture.checks import (
    MIB,
    Exit,
    Sample,
    check_alive,
    check_exit,
    check_lockouts,
    check_memory,
    check_requests,
    lockouts,
    memory_bound,
)
from tests.torture.trace import NEWCOMER, SESSION, Event


def attempt(at: float, lane: str = SESSION) -> Event:
    return Event("try", at, lane)


def answer(at: float, lane: str = SESSION) -> Event:
    return Event("answer", at, lane)


def late(at: float, until: float) -> Event:
    return Event("late", at, until=until)


def sent(at: float, request: int, session: int = 1) -> Event:
    return Event("sent", at, session=session, request=request, detail="chat")


def frame(at: float, request: int, sequence: int, end: bool = False, session: int = 1) -> Event:
    return Event(
        "frame", at, session=session, request=request, sequence=sequence, end=end,
        detail="OK" if end else "",
    )  # fmt: skip


def going(at: float) -> Event:
    return Event("going", at, session=1)


def closed(at: float, code: str) -> Event:
    return Event("closed", at, session=1, detail=code)


def lost(at: float) -> Event:
    return Event("lost", at, session=1, detail="not resumed")


def wrong_lockouts(*events: Event, until: float = 100.0) -> list[str]:
    return check_lockouts(lockouts(events, until), 0.0)


def wrong_requests(*events: Event, quiet_from: float = 0.0, over: float = 25.0) -> list[str]:
    return check_requests(events, quiet_from, over)


# -- lockouts ------------------------------------------------------------------------------------


def test_a_client_that_is_answered_within_two_seconds_is_not_locked_out() -> None:
    events = [attempt(1.0), attempt(1.5), answer(2.9), attempt(3.0), frame(4.9, 1, 1)]
    assert wrong_lockouts(*events) == []


def test_a_client_that_does_not_try_is_not_locked_out() -> None:
    assert wrong_lockouts(attempt(1.0), answer(1.1), attempt(50.0), answer(50.1)) == []


def test_a_lockout_counts_from_the_first_attempt_without_an_answer() -> None:
    (line,) = wrong_lockouts(attempt(1.0), attempt(2.5), answer(3.5))
    assert line == "session: no answer of any kind for 2.5 s, from 1.0 s"


def test_newcomers_are_locked_out_though_the_session_is_answered() -> None:
    (line,) = wrong_lockouts(
        attempt(1.0, NEWCOMER), attempt(1.0), answer(2.0), attempt(3.0), answer(3.1),
        answer(3.5, NEWCOMER),
    )  # fmt: skip
    assert line.startswith("newcomer: no answer of any kind for 2.5 s")


def test_a_lockout_that_lasts_to_the_end_is_one() -> None:
    assert wrong_lockouts(attempt(1.0), until=3.0) == []
    assert len(wrong_lockouts(attempt(1.0), until=4.0)) == 1


def test_what_comes_after_the_signal_is_no_lockout() -> None:
    assert wrong_lockouts(attempt(1.0), answer(9.0), until=2.0) == []


def test_time_in_which_the_client_was_not_scheduled_is_excused() -> None:
    assert wrong_lockouts(attempt(1.0), late(1.5, 3.0), answer(4.0)) == []


def test_only_the_time_in_which_the_client_was_not_scheduled_is_excused() -> None:
    (line,) = wrong_lockouts(late(0.0, 1.5), attempt(1.0), late(3.0, 3.5), answer(5.0))
    assert line.startswith("session: no answer of any kind for 3.0 s")


# -- requests ------------------------------------------------------------------------------------


def test_requests_that_end_once_in_time_are_right() -> None:
    events = [sent(1, 1), sent(1, 2), frame(1, 2, 1), frame(2, 1, 2, True), frame(3, 2, 3, True)]
    assert wrong_requests(*events) == []


def test_a_second_end_is_wrong() -> None:
    (line,) = wrong_requests(sent(1, 1), frame(2, 1, 1, True), frame(3, 1, 2, True))
    assert line == "request 1 of session 1 got a second end"


def test_an_answer_after_the_end_is_wrong() -> None:
    (line,) = wrong_requests(sent(1, 1), frame(2, 1, 1, True), frame(3, 1, 2))
    assert line == "request 1 of session 1 got an answer after the end"


def test_an_answer_to_nothing_is_wrong() -> None:
    (line,) = wrong_requests(sent(1, 1), frame(2, 1, 1, True), frame(2, 7, 2))
    assert line == "request 7 of session 1 was answered and never sent"


@pytest.mark.parametrize("next_sequence", [1, 3])
def test_a_sequence_with_a_gap_or_a_repetition_is_wrong(next_sequence: int) -> None:
    (line,) = wrong_requests(sent(1, 1), frame(2, 1, 1), frame(3, 1, next_sequence, True))
    assert line == f"request 1 of session 1: sequence {next_sequence} after 1"


def test_sequences_begin_anew_in_each_session() -> None:
    first = [sent(1, 1), frame(2, 1, 1, True), lost(3)]
    assert wrong_requests(*first, sent(4, 1, 2), frame(5, 1, 1, True, 2)) == []


def test_a_request_that_ends_late_is_wrong() -> None:
    (line,) = wrong_requests(sent(1, 1), frame(32, 1, 1, True), over=40)
    assert line == "request 1 (chat) of session 1 took 31 s"


def test_a_request_that_never_ends_is_wrong() -> None:
    (line,) = wrong_requests(sent(1, 1), over=40)
    assert line == "request 1 (chat) of session 1 had no end after 39 s"


def test_a_request_may_wait_until_the_conditions_have_ended() -> None:
    assert wrong_requests(sent(1, 1), frame(40, 1, 1, True), quiet_from=20, over=45) == []


def test_a_request_ends_with_its_session() -> None:
    assert wrong_requests(sent(1, 1), lost(5), over=100) == []


def test_a_session_that_is_lost_late_does_not_excuse_a_request() -> None:
    (line,) = wrong_requests(sent(1, 1), lost(50), over=100)
    assert line == "request 1 (chat) of session 1 had no end after 49 s"


def test_a_shutdown_that_closes_before_a_request_has_ended_is_wrong() -> None:
    (line,) = wrong_requests(sent(1, 1), going(2), closed(4, "4001"))
    assert line == (
        "request 1 (chat) of session 1 ended with its connection at the shutdown, without end"
    )


def test_a_request_that_was_sent_into_a_shutdown_may_not_have_arrived() -> None:
    assert wrong_requests(sent(1.9, 1), going(2), closed(4, "4001")) == []


def test_a_connection_that_is_lost_in_the_shutdown_is_no_clean_end() -> None:
    assert wrong_requests(sent(1, 1), going(2), closed(4, "1006")) == []


@pytest.mark.parametrize("code", ["4500", "4501", "4504", "4505", "1002", "1009"])
def test_a_good_client_is_not_thrown_out(code: str) -> None:
    assert wrong_requests(closed(4, code)) == [f"the good client was thrown out with {code}"]


@pytest.mark.parametrize("code", ["1006", "4001", "4002", "4003", "4004", "silent"])
def test_a_connection_may_be_lost(code: str) -> None:
    assert wrong_requests(closed(4, code)) == []


# -- memory, end ---------------------------------------------------------------------------------


def test_memory_under_the_bound_is_right() -> None:
    samples = [Sample(0, 60 * MIB, 600 * MIB), Sample(1, 200 * MIB, 700 * MIB)]
    assert check_memory(samples, 200 * MIB) == []


def test_memory_over_the_bound_is_wrong_though_it_was_given_back() -> None:
    samples = [Sample(0, 60 * MIB, 0), Sample(1, 201 * MIB, 0), Sample(2, 60 * MIB, 0)]
    assert check_memory(samples, 200 * MIB) == ["memory: 201 MiB, and the bound is 200 MiB"]


def test_the_bound_grows_with_the_hostile_sessions_up_to_the_budget() -> None:
    base, budget = 60 * MIB, 128 * MIB
    bounds = [memory_bound(base, sessions, budget) // MIB for sessions in (0, 1, 2, 9)]
    assert bounds == [188, 284, 316, 316]


def test_an_end_in_time_is_right() -> None:
    assert check_exit(Exit((15,), 7.9, 0), 3.0) == []


def test_an_end_that_takes_longer_than_the_drain_time_and_slack_is_wrong() -> None:
    (line,) = check_exit(Exit((15,), 8.1, 0), 3.0)
    assert line == "exit: it took 8.1 s, and the limit is 8.0 s"


def test_a_process_that_does_not_end_is_wrong() -> None:
    (line,) = check_exit(Exit((15,), None, None), 3.0)
    assert line.startswith("exit: still there long after the signal")


@pytest.mark.parametrize("code", [1, -1, -6, 143])
def test_one_signal_ends_with_zero(code: int) -> None:
    (line,) = check_exit(Exit((15,), 1.0, code), 3.0)
    assert line == f"exit: code {code}, expected one of [0]"


def test_a_second_signal_may_end_it_at_once() -> None:
    assert check_exit(Exit((15, 2), 1.0, 130, second_at=0.9), 60.0) == []
    assert check_exit(Exit((15, 2), 1.0, 0, second_at=0.9), 60.0) == []


def test_a_second_signal_that_does_not_end_it_is_wrong() -> None:
    (line,) = check_exit(Exit((15, 2), 20.0, 130, second_at=1.0), 60.0)
    assert line == "exit: it took 20.0 s, and the limit is 6.0 s"


def test_a_runtime_file_that_is_left_is_wrong() -> None:
    (line,) = check_exit(Exit((15,), 1.0, 0, runtime_file_left=True), 3.0)
    assert line == "exit: the runtime file is still there"


def test_a_child_that_is_left_is_wrong() -> None:
    (line,) = check_exit(Exit((15,), 1.0, 0, children=("7 python",)), 3.0)
    assert line == "exit: a process is left: 7 python"


def test_a_service_that_ends_by_itself_is_wrong() -> None:
    assert check_alive(None, None) == []
    assert check_alive(3.0, -11) == ["the service ended by itself after 3.0 s, with code -11"]


# -- recordings ----------------------------------------------------------------------------------


def test_a_trace_is_read_as_it_was_written_without_the_line_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    events = [attempt(1.0), sent(2.0, 1), late(2.5, 2.6), frame(3.0, 1, 1, True), lost(4.0)]
    trace.write(path, events[:2])
    trace.write(path, events[2:])
    with path.open("a") as file:
        file.write('{"kind": "answ')
    assert trace.read(path) == events


def test_a_client_that_recorded_nothing_has_an_empty_trace(tmp_path: Path) -> None:
    assert trace.read(tmp_path / "none.jsonl") == []
