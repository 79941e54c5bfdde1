from collections.abc import Iterator
from unittest.mock import ANY

import pytest

from actors import Code, EndedBy, Failure, Notice
from actors.protocol.block import frames
from actors.protocol.effects import (
    CANCELLED,
    TOO_MANY,
    UNKNOWN,
    UNREAD,
    Close,
    Deliver,
    Effect,
    Limit,
    Refused,
    Stop,
    Wake,
    WakeMore,
)
from actors.protocol.encoding import Said
from actors.protocol.frames import (
    COMPLETED,
    Ack,
    Cancel,
    Credit,
    Frame,
    Inform,
    Input,
    Ping,
    Request,
    Violation,
)
from actors.protocol.limits import FLOOD, SessionLimits
from actors.protocol.machine import BEYOND, WOKEN, SessionMachine
from tests.support import machine_kit
from tests.support.machine_kit import Asker, Machine, Start, gone, stream
from tests.support.session_kit import Ask, Sent, Text, Unspeakable, decode, encode

ALL = 1 << 30


def machine(
    *,
    in_flight: int = 100,
    outbox_bytes: int = ALL,
    buffer_messages: int = 1000,
    buffer_bytes: int = ALL,
    initial_credit: int = 0,
    acknowledges: bool = False,
) -> Machine:
    limits = SessionLimits(
        max_requests_in_flight=in_flight,
        outbox_bytes=outbox_bytes,
        resume_buffer_messages=buffer_messages,
        resume_buffer_bytes=buffer_bytes,
    )
    session: Machine = SessionMachine(limits, encode)
    session.attach(initial_credit=initial_credit, acknowledges=acknowledges)
    return session


def receive(session: Machine, frame: Frame, size: int = 10) -> list[Effect | Start]:
    return machine_kit.receive(session, frame, size, 0.0)


def take(session: Machine) -> list[Sent]:
    return [decode(frame) for frame in frames(session.output.take(ALL))]


def opened(session: Machine, *request_ids: int) -> None:
    for request_id in request_ids:
        request = Request(request_id, 0, Text())
        assert receive(session, request) == [Start(request)]


# -- 1: ids --------------------------------------------------------------------------------------


def test_a_request_starts() -> None:
    session = machine()
    opened(session, 1, 2, 7)
    assert session.in_flight == 3
    assert session.last_request_id == 7
    assert take(session) == []


@pytest.mark.parametrize("request_id", [0, 4, 5])
def test_an_id_that_is_not_above_all_is_a_violation(request_id: int) -> None:
    session = machine()
    opened(session, 5)
    (effect,) = receive(session, Request(request_id, 0, Text()))
    assert isinstance(effect, Close)
    assert effect.code == 4500
    assert session.last_request_id == 5


def test_an_unknown_request_under_a_new_id_is_unimplemented() -> None:
    session = machine()
    frame = Request(1, 0, None)
    assert receive(session, frame) == [Refused(frame, UNKNOWN)]
    assert take(session) == [Sent(1, 1, True, "!UNIMPLEMENTED")]
    assert session.in_flight == 0


@pytest.mark.parametrize("request_id", [0, 1, 2])
def test_an_unknown_payload_under_another_id_is_ignored(request_id: int) -> None:
    session = machine()
    opened(session, 2)
    assert receive(session, Request(request_id, 0, None)) == []
    assert take(session) == []


def test_a_request_that_cannot_be_read_ends_with_what_is_wrong_with_it() -> None:
    session = machine()
    failure = Failure(Code.INVALID_ARGUMENT, "garbage")
    frame = Request(1, 0, failure)
    assert receive(session, frame) == [Refused(frame, failure)]
    assert take(session) == [Sent(1, 1, True, "!INVALID_ARGUMENT")]


def test_a_violation_of_the_wire_closes() -> None:
    assert receive(machine(), Violation(1003, "text")) == [Close(1003, "text")]


# -- 2: exactly one end --------------------------------------------------------------------------


def test_a_request_ends_once_and_nothing_comes_after() -> None:
    session = machine()
    opened(session, 1)
    assert stream(session, 1).answer(Text("a"))
    assert stream(session, 1).end(Text("z"))
    assert not stream(session, 1).end(Text("again"))
    assert not stream(session, 1).answer(Text("late"))
    assert receive(session, Cancel(1)) == []
    gone(session, 1)
    assert take(session) == [Sent(1, 1, False, "a"), Sent(1, 2, True, "z")]


@pytest.mark.parametrize(("frame", "said"), [(Cancel(1), "!CANCELLED"), (None, "!INTERNAL")])
def test_cancel_and_crash_are_ends(frame: Cancel | None, said: str) -> None:
    session = machine()
    opened(session, 1)
    if frame is None:
        gone(session, 1)
    else:
        assert receive(session, frame) == [Stop(1, CANCELLED, EndedBy.CLIENT)]
    assert not stream(session, 1).end(COMPLETED)
    assert take(session) == [Sent(1, 1, True, said)]


def test_failing_all_ends_each_that_is_open() -> None:
    session = machine()
    opened(session, 1, 2, 3)
    stream(session, 2).end(COMPLETED)
    failure = Failure(Code.UNAVAILABLE, "bye", retryable=True)
    assert session.fail_all(failure) == [Stop(1, failure), Stop(3, failure)]
    assert [frame.said for frame in take(session)] == [
        "completed", "!UNAVAILABLE retryable", "!UNAVAILABLE retryable"
    ]  # fmt: skip
    assert session.fail_all(failure) == []


def test_frames_about_a_request_that_never_was_are_ignored() -> None:
    session = machine()
    frames = (Cancel(9), Credit(9, 5), Inform(9, Text()), Ack(7))
    assert [receive(session, frame) for frame in frames] == [[], [], [], []]
    stream(session, 9).add_closing("k", Text())
    assert not stream(session, 9).block()
    gone(session, 9)
    assert not stream(session, 9).take_closing("k")
    assert not stream(session, 9).answer(Text())
    assert not stream(session, 9).has_room()
    assert take(session) == []


def test_a_message_for_a_request_is_delivered_until_it_ends() -> None:
    session = machine()
    opened(session, 1)
    assert receive(session, Inform(1, Text("yes"))) == [Deliver(1, Text("yes"))]
    stream(session, 1).end(COMPLETED)
    assert receive(session, Inform(1, Text("yes"))) == []


# -- 3: the sequence -----------------------------------------------------------------------------


def test_the_sequence_counts_answers_alone() -> None:
    session = machine()
    opened(session, 1, 2)
    stream(session, 1).answer(Text("a"))
    receive(session, Ping(42))
    stream(session, 2).notify(Notice("wait", discard=2))
    session.drain("update", 500)
    session.drain("again", 500)
    stream(session, 1).end(COMPLETED)
    assert take(session) == [
        Sent(0, 0, False, "pong 42"),
        Sent(0, 0, False, "going away update 500"),
        Sent(1, 1, False, "a"),
        Sent(2, 2, False, "(wait 2)"),
        Sent(1, 3, True, "completed"),
    ]


def test_what_cannot_be_encoded_leaves_no_gap() -> None:
    session = machine()
    opened(session, 1)
    stream(session, 1).add_closing("k", Text("closing"))
    for refused in (
        lambda: stream(session, 1).answer(Unspeakable()),
        lambda: stream(session, 1).end(Unspeakable()),
        lambda: stream(session, 1).add_closing("other", Unspeakable()),
    ):
        with pytest.raises(TypeError):
            refused()
    assert take(session) == []
    gone(session, 1)
    assert take(session) == [Sent(1, 1, False, "closing"), Sent(1, 2, True, "!INTERNAL")]


# -- 4: pending closings ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["end", "cancel", "gone", "fail_all"])
def test_pending_closings_are_sent_before_the_end(how: str) -> None:
    session = machine()
    opened(session, 1)
    for key in "abc":
        stream(session, 1).add_closing(key, Text(f"closing {key}"))
    assert stream(session, 1).take_closing("b")
    assert not stream(session, 1).take_closing("b")
    match how:
        case "end":
            stream(session, 1).end(COMPLETED)
        case "cancel":
            receive(session, Cancel(1))
        case "gone":
            gone(session, 1)
        case _:
            session.fail_all(CANCELLED)
    frames = take(session)
    assert [frame.said for frame in frames[:2]] == ["closing a", "closing c"]
    assert [frame.end for frame in frames] == [False, False, True]
    assert [frame.sequence for frame in frames] == [1, 2, 3]
    assert not stream(session, 1).take_closing("a")


# -- 5: room -------------------------------------------------------------------------------------


def test_an_answer_says_whether_there_is_room_for_the_next() -> None:
    session = machine(initial_credit=2)
    opened(session, 1)
    assert stream(session, 1).has_room()
    assert stream(session, 1).answer(Text())
    assert not stream(session, 1).answer(Text())
    assert not stream(session, 1).has_room()


def test_answers_that_are_there_already_are_pulled_while_there_is_room() -> None:
    session = machine(initial_credit=3)
    opened(session, 1, 2)
    pulled: list[int] = []

    def answers() -> Iterator[Text]:
        for number in range(6):
            pulled.append(number)
            yield Text(str(number))

    burst = answers()
    assert not stream(session, 1).answer_all(burst, 100)
    assert not stream(session, 1).answer_all(burst, 100), "no credit, and nothing is pulled"
    assert pulled == [0, 1, 2]
    receive(session, Credit(1, 100))
    assert not stream(session, 1).answer_all(burst, 2)
    assert stream(session, 1).answer_all(burst, 100)
    assert [frame.said for frame in take(session)] == ["0", "1", "2", "3", "4", "5"]
    stream(session, 2).end(COMPLETED)
    assert not stream(session, 2).answer_all(iter([Text("late")]), 100)
    assert [frame.said for frame in take(session)] == ["completed"]


def test_a_grant_of_inputs_needs_no_credit_and_ends_with_its_request() -> None:
    session = machine(initial_credit=1)
    opened(session, 1)
    stream(session, 1).answer(Text("a"))
    stream(session, 1).grant(24)
    stream(session, 1).end(COMPLETED)
    stream(session, 1).grant(32)
    assert [(frame.sequence, frame.said) for frame in take(session)] == [
        (1, "a"), (2, "grant 24"), (3, "completed")
    ]  # fmt: skip


def test_credit_is_cumulative_and_cannot_fall() -> None:
    session = machine(initial_credit=1)
    opened(session, 1)
    assert not stream(session, 1).answer(Text())
    assert receive(session, Credit(1, 1)) == []
    assert receive(session, Credit(1, 3)) == [Wake(1)]
    assert receive(session, Credit(1, 3)) == []
    assert receive(session, Credit(1, 2)) == []
    assert stream(session, 1).answer(Text())
    assert not stream(session, 1).answer(Text())


def test_credit_means_nothing_to_a_client_that_wants_no_flow_control() -> None:
    session = machine()
    opened(session, 1)
    assert receive(session, Credit(1, 1)) == []
    assert all(stream(session, 1).answer(Text()) for _ in range(100))


def test_a_notice_takes_credit_and_waits_for_it() -> None:
    session = machine(initial_credit=1)
    opened(session, 1)
    stream(session, 1).notify(Notice("first"))
    assert not stream(session, 1).has_room()
    stream(session, 1).notify(Notice("second", discard=2))
    stream(session, 1).notify(Notice("third", discard=3))
    stream(session, 9).notify(Notice("to nobody"))
    stream(session, 1).block()
    assert [frame.said for frame in take(session)] == ["(first 0)"]
    assert receive(session, Credit(1, 2)) == []  # the waiting notice uses it
    assert [frame.said for frame in take(session)] == ["(third 5)"]
    assert receive(session, Credit(1, 3)) == [Wake(1)]
    assert take(session) == []


def test_a_notice_that_voids_tokens_goes_out_with_the_end_and_another_does_not() -> None:
    session = machine(initial_credit=1)
    opened(session, 1, 2)
    for request_id in (1, 2):
        stream(session, request_id).answer(Text("a"))
        stream(session, request_id).notify(Notice("again", discard=request_id - 1))
        stream(session, request_id).end(COMPLETED)
    assert [(sent.request_id, sent.said) for sent in take(session)] == [
        (1, "a"), (1, "completed"), (2, "a"), (2, "(again 1)"), (2, "completed")
    ]  # fmt: skip


def test_the_end_needs_no_credit() -> None:
    session = machine(initial_credit=1)
    opened(session, 1)
    stream(session, 1).answer(Text())
    assert stream(session, 1).end(COMPLETED)


def test_a_full_outbox_leaves_no_room_until_half_of_it_has_gone() -> None:
    session = machine(outbox_bytes=400)
    opened(session, 1, 2)
    while stream(session, 1).answer(Text("x" * 50)):
        assert session.output.queue.size < 400
    assert not stream(session, 2).has_room()
    assert stream(session, 2).block()
    assert session.unblocked() == []
    sent = 0
    woken: list[Effect] = []
    while not woken:
        assert session.output.queue.size > 200 or sent == 0
        sent += sum(map(len, session.output.take(100)))
        woken = session.unblocked()
    assert session.output.queue.size <= 200
    assert sorted(effect.request_id for effect in woken if isinstance(effect, Wake)) == [1, 2]
    assert session.unblocked() == []


def test_credit_alone_does_not_wake_while_the_outbox_is_full() -> None:
    session = machine(outbox_bytes=10, initial_credit=1)
    opened(session, 1)
    stream(session, 1).answer(Text("x" * 50))
    assert receive(session, Credit(1, 2)) == []
    session.output.take(ALL)
    assert session.unblocked() == [Wake(1)]


def test_an_end_and_a_pong_find_room_in_a_full_outbox() -> None:
    session = machine(outbox_bytes=1)
    opened(session, 1)
    assert not stream(session, 1).answer(Text())
    receive(session, Ping(1))
    stream(session, 1).end(COMPLETED)
    assert len(take(session)) == 3


# -- limits and draining -------------------------------------------------------------------------


def test_a_request_that_has_ended_is_in_flight_until_its_actor_has_gone() -> None:
    session = machine(in_flight=1)
    opened(session, 1)
    receive(session, Cancel(1))
    assert session.in_flight == 0
    frame = Request(2, 0, Text())
    assert receive(session, frame) == [Refused(frame, TOO_MANY, Limit.IN_FLIGHT)]
    gone(session, 1)
    opened(session, 3)
    assert take(session) == [
        Sent(1, 1, True, "!CANCELLED"),
        Sent(2, 2, True, "!RESOURCE_EXHAUSTED retryable"),
    ]


def beyond(in_flight: int, rate: float = 0, burst: int = 1) -> Machine:
    """A session that is at its limit of requests in flight, from which Ask is exempt."""
    at_most = SessionLimits(
        max_requests_in_flight=in_flight, messages_per_second=rate, message_burst=burst
    )
    session: Machine = SessionMachine(at_most, encode, beyond_limit={Ask})
    session.attach(initial_credit=0, acknowledges=False)
    opened(session, *range(1, in_flight + 1))
    return session


def test_a_request_of_an_exempt_type_is_admitted_at_the_limit() -> None:
    """At the limit, one of an exempt type is run and one of another type is refused."""
    session = beyond(2)
    stop, other = Request(3, 0, Ask()), Request(4, 0, Text())
    assert receive(session, stop) == [Start(stop)]
    assert receive(session, other) == [Refused(other, TOO_MANY, Limit.IN_FLIGHT)]
    assert session.last_request_id == 4


def test_at_most_sixteen_requests_are_beyond_the_limit() -> None:
    """The seventeenth beyond the limit is refused, until one of them is gone."""
    session = beyond(2)
    for request_id in range(3, 3 + BEYOND):
        assert receive(session, Request(request_id, 0, Ask())) == [Start(ANY)]
    frame = Request(99, 0, Ask())
    assert receive(session, frame) == [Refused(frame, TOO_MANY, Limit.IN_FLIGHT)]
    stream(session, 1).end(COMPLETED)
    gone(session, 1)
    assert receive(session, Request(100, 0, Ask())) == [Start(ANY)]
    frame = Request(101, 0, Text())
    assert receive(session, frame) == [Refused(frame, TOO_MANY, Limit.IN_FLIGHT)]


def test_an_exempt_type_is_bound_to_every_other_limit() -> None:
    """Beyond the limit in flight, the rates, the ids and a drain still apply."""
    session = beyond(2, rate=1.0, burst=3)
    assert receive(session, Request(3, 0, Ask())) == [Start(ANY)]
    frame = Request(4, 0, Ask())
    (refused,) = receive(session, frame)
    assert isinstance(refused, Refused)
    assert refused.limit is Limit.MESSAGES
    assert refused.failure.retry_after_ms == 1000
    (violation,) = receive(session, Request(3, 0, Ask()))
    assert isinstance(violation, Close)
    session = beyond(2)
    session.drain("bye", 1000)
    (refused,) = receive(session, Request(3, 0, Ask()))
    assert isinstance(refused, Refused)
    assert refused.failure.code is Code.UNAVAILABLE


def test_a_draining_session_takes_no_requests_but_continues_those_it_has() -> None:
    session = machine()
    opened(session, 1)
    session.drain("bye", 1000)
    (refused,) = receive(session, Request(2, 0, Text()))
    assert isinstance(refused, Refused)
    assert refused.limit is None
    assert refused.failure.retry_after_ms == 1000
    assert stream(session, 1).answer(Text("on"))
    assert [frame.said for frame in take(session)] == [
        "going away bye 1000", "!UNAVAILABLE retryable", "on"
    ]  # fmt: skip


def test_a_refusal_by_rate_says_when_it_will_be_admitted() -> None:
    limits = SessionLimits(messages_per_second=4.0, message_burst=1)
    session: Machine = SessionMachine(limits, encode)
    session.attach(initial_credit=0, acknowledges=False)
    assert machine_kit.receive(session, Request(1, 0, Text()), 1, 10.0) == [
        Start(Request(1, 0, Text()))
    ]
    (refused,) = machine_kit.receive(session, Request(2, 0, Text()), 1, 10.125)
    assert isinstance(refused, Refused)
    assert refused.limit is Limit.MESSAGES
    assert refused.failure.retry_after_ms == 125
    later = Request(3, 0, Text())
    assert machine_kit.receive(session, later, 1, 10.25) == [Start(later)]
    for frame in (Cancel(1), Credit(3, 1), Ack(1), Ping(1), Inform(3, Text())):
        effects = machine_kit.receive(session, frame, 1, 10.25)
        assert not any(isinstance(effect, Refused | Close) for effect in effects)


def test_far_more_frames_of_other_kinds_than_requests_allowed_are_abuse() -> None:
    limits = SessionLimits(messages_per_second=1.0, message_burst=1)
    session: Machine = SessionMachine(limits, encode)
    for _ in range(FLOOD):
        assert session.receive(Ack(0), 1, 0.0) == []
    (close,) = session.receive(Ack(0), 1, 0.0)
    assert isinstance(close, Close)
    assert close.code == 4505
    assert session.admit(Request(1, 0, Text()), 1, 0.0) is None, "it has a bucket of its own"
    assert session.admit(Request(2, 0, Text()), 1, 0.0) == [close], "what is refused has not"


def test_inputs_within_their_credit_count_against_no_rate() -> None:
    """Each number is exempt once on each connection; all other frames are metered."""
    limits = SessionLimits(messages_per_second=1.0, message_burst=1)
    session: Machine = SessionMachine(limits, encode)
    assert session.admit(Request(1, 0, Text()), 1, 0.0) is None
    session.open(Asker(1, input_limit=3 * FLOOD))

    def send(number: int) -> list[Effect]:
        return session.receive(Inform(1, Input(number, Text("x"), last=False)), 1, 0.0)

    granted = range(1, 3 * FLOOD + 1)
    for _ in range(2):
        session.attach(initial_credit=0, acknowledges=True)
        assert {type(effect) for number in granted for effect in send(number)} == {Deliver}
    for number in [3 * FLOOD, 3 * FLOOD + 1] * (FLOOD // 2):  # repeated, and not granted
        assert [type(effect) for effect in send(number)] == [Deliver]
    assert [type(effect) for effect in send(1)] == [Close]
    assert session.gone(session.requests[1])
    assert [type(effect) for effect in send(1)] == [Close]


def test_twice_the_buffer_unread_refuses_requests_and_an_end_still_finds_room() -> None:
    session = machine(buffer_bytes=100)
    opened(session, 1, 2)
    stream(session, 1).end(Text("x" * 200))
    frame = Request(3, 0, Text())
    assert receive(session, frame) == [Refused(frame, UNREAD, Limit.UNREAD)]
    stream(session, 2).end(Text("y" * 200))
    assert [sent.said[0] for sent in take(session)] == ["x", "!", "y"]
    opened(session, 4)


@pytest.mark.parametrize("frame", [Ping(1), Request(9, 0, None)])
def test_a_client_that_sends_and_never_reads_is_a_slow_consumer(frame: Frame) -> None:
    session = machine(buffer_messages=2)
    for number in range(7):
        assert receive(session, Ping(number)) == []
    *_, close = receive(session, frame)
    assert isinstance(close, Close)
    assert close.code == 4002


# -- connections ---------------------------------------------------------------------------------


def test_a_resume_has_every_answer_and_the_stream_goes_on() -> None:
    session = machine()
    opened(session, 1)
    stream(session, 1).answer(Text("a"))
    stream(session, 1).answer(Text("b"))
    assert [sent.said for sent in take(session)] == ["a", "b"]
    session.detach()
    assert stream(session, 1).answer(Text("c"))
    assert stream(session, 1).end(COMPLETED)
    assert session.resume(1)
    assert session.attach(initial_credit=0, acknowledges=False) == []
    assert [(sent.sequence, sent.said) for sent in take(session)] == [
        (2, "b"), (3, "c"), (4, "completed")
    ]  # fmt: skip
    assert session.output.flow.size > 0
    assert session.resume(4)
    assert (session.output.flow.size, session.output.replay.acknowledged) == (0, 4)


def test_what_is_gone_cannot_be_resumed() -> None:
    session = machine()
    opened(session, 1)
    stream(session, 1).answer(Text("a"))
    take(session)
    receive(session, Ack(1))
    assert not session.resume(0)
    assert not session.resume(2)
    assert session.resume(1)


def test_while_nobody_is_there_streams_stop_at_the_buffer_and_go_on_after() -> None:
    session = machine(buffer_messages=3)
    opened(session, 1)
    stream(session, 1).answer(Text("a"))
    take(session)
    session.detach()
    assert stream(session, 1).answer(Text("b"))
    assert not stream(session, 1).answer(Text("c"))
    assert session.unblocked() == []
    assert session.resume(1)
    assert session.attach(initial_credit=0, acknowledges=False) == []
    assert [sent.said for sent in take(session)] == ["b", "c"]
    assert session.unblocked() == [Wake(1)]


def test_of_many_that_wait_a_few_are_woken_at_once_the_longest_waiting_first() -> None:
    session = machine(buffer_messages=3, acknowledges=True)
    waiting = range(1, 2 * WOKEN + 2)
    opened(session, *waiting)
    for text in "abc":
        stream(session, 1).answer(Text(text))
    take(session)
    for request_id in waiting:
        assert stream(session, request_id).block()
    first, second = [*map(Wake, waiting[:WOKEN])], [*map(Wake, waiting[WOKEN : 2 * WOKEN])]
    assert receive(session, Ack(3)) == [*first, WakeMore()]
    assert session.unblocked() == [*second, WakeMore()]
    assert session.unblocked() == [Wake(waiting[-1])]
    assert session.unblocked() == []


def test_a_client_that_acknowledges_is_waited_for() -> None:
    session = machine(buffer_messages=3, acknowledges=True)
    opened(session, 1)
    for text in "ab":
        assert stream(session, 1).answer(Text(text))
    assert not stream(session, 1).answer(Text("c"))
    take(session)
    assert [session.unacknowledged] == [True]
    assert session.unblocked() == []
    assert receive(session, Ack(2)) == [Wake(1)]
    assert [session.unacknowledged] == [False]
    assert session.resume(2)
    assert [sent.said for sent in take(session)] == ["c"]


def test_a_pong_for_one_connection_is_not_sent_on_the_next() -> None:
    session = machine()
    receive(session, Ping(1))
    session.drain("bye", 5)
    assert session.output.flow.unsent == 2
    session.attach(initial_credit=0, acknowledges=False)
    assert [sent.said for sent in take(session)] == ["going away bye 5"]


def test_a_resume_sets_the_credit_of_new_requests_anew() -> None:
    session = machine(initial_credit=1)
    opened(session, 1)
    session.attach(initial_credit=2, acknowledges=False)
    opened(session, 2)
    assert not stream(session, 1).answer(Text())
    assert stream(session, 2).answer(Text())
    assert not stream(session, 2).answer(Text())


def test_a_notice_waits_for_room_too() -> None:
    session = machine(outbox_bytes=40)
    opened(session, 1, 2)
    stream(session, 1).answer(Text("x" * 40))
    stream(session, 2).notify(Notice("wait"))
    stream(session, 2).block()
    assert [sent.said[:1] for sent in take(session)] == ["x"]
    assert session.unblocked() == [Wake(1), Wake(2)]
    assert [sent.said for sent in take(session)] == ["(wait 0)"]


# -- the send queue --------------------------------------------------------------------------------


def test_the_outbox_is_taken_in_order_by_bytes() -> None:
    session = machine()
    opened(session, 1)
    for number in range(10):
        stream(session, 1).answer(Text(str(number)))
    size = len(encode(1, 1, False, Text("0")))
    assert [decode(frame).said for frame in session.output.take(3 * size)] == ["0", "1", "2"]
    assert session.output.queue.size == 7 * size + 1  # the tenth has a longer sequence number
    assert [decode(frame).said for frame in session.output.take(2 * size - 1)] == ["3"]
    assert [decode(frame).said for frame in session.output.take(0)] == ["4"]
    assert len(session.output.take(ALL)) == 5
    assert session.output.queue.size == 0
    assert session.output.take(ALL) == []


def test_one_frame_longer_than_asked_for_is_taken_alone() -> None:
    session = machine()
    opened(session, 1)
    stream(session, 1).answer(Text("x" * 1000))
    stream(session, 1).answer(Text("y"))
    assert [decode(frame).said[0] for frame in session.output.take(10)] == ["x"]
    assert [decode(frame).said for frame in session.output.take(1000)] == ["y"]
    assert session.output.queue.size == 0


def test_a_notice_that_cannot_be_encoded_raises_with_or_without_room() -> None:
    def choosy(request_id: int, sequence: int, end: bool, said: Said) -> bytes:
        if isinstance(said, Notice) and said.message == "bad":
            raise UnicodeEncodeError("utf-8", "bad", 0, 1, "surrogates not allowed")
        return encode(request_id, sequence, end, said)

    session: Machine = SessionMachine(SessionLimits(), choosy)
    session.attach(initial_credit=1, acknowledges=True)
    opened(session, 1)
    for _ in range(2):  # first with credit, then without
        with pytest.raises(UnicodeEncodeError):
            stream(session, 1).notify(Notice("bad", discard=1))
        stream(session, 1).answer(Text("a"))
    assert receive(session, Credit(1, 5)) == [Wake(1)]
    assert stream(session, 1).end(Text("end"))
    assert not gone(session, 1)


def test_what_a_client_pipelines_is_admitted_however_small_its_replay_buffer_is() -> None:
    session = machine(buffer_messages=2)
    for number in range(1, 257):
        frame = Request(number, 0, Text())
        assert machine_kit.receive(session, frame, 10, 0.0, Text("at once")) == [Start(frame)]
