"""The session machine agrees with a plain model under any order of events."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors import Code, EndedBy, Failure, Notice
from actors.protocol.block import frames
from actors.protocol.effects import CANCELLED, Close, Deliver, Effect, Refused, Stop, Wake, WakeMore
from actors.protocol.frames import (
    COMPLETED,
    Ack,
    Cancel,
    Completed,
    Credit,
    Frame,
    Inform,
    Ping,
    Request,
    Violation,
)
from actors.protocol.limits import SessionLimits
from actors.protocol.machine import BEYOND, WOKEN, SessionMachine
from tests.support.machine_kit import Machine, Start, gone, receive, stream
from tests.support.session_kit import Ask, Sent, Text, decode, encode, said_as_text

WHICH = st.integers(0, 9)
"""Picks an open request, if any; 8 picks the last id that was used, and 9 an unused one."""
IN_FLIGHT = 3
OUTBOX = 200
KEPT = 8
KEPT_BYTES = 400
LIMITS = SessionLimits(
    max_requests_in_flight=IN_FLIGHT,
    messages_per_second=0,
    bytes_per_second=0,
    outbox_bytes=OUTBOX,
    resume_buffer_messages=KEPT,
    resume_buffer_bytes=KEPT_BYTES,
)
CANCEL = Failure(Code.CANCELLED, "x")


@dataclass
class Modelled:
    """A request in the model."""

    limit: int
    endless: bool = False
    sent: int = 0
    owed: dict[str, str] = field(default_factory=dict)
    ended: bool = False
    gone: bool = False
    held: tuple[str, int] | None = None


@dataclass(frozen=True)
class Answer:
    """An answer and the size of its frame in bytes. endless: of an endless stream."""

    sent: Sent
    size: int
    endless: bool


def size(answers: Iterable[Answer]) -> int:
    return sum(answer.size for answer in answers)


class MachineBesideModel(RuleBasedStateMachine):
    acknowledges = False
    initial_credit = 2

    def __init__(self) -> None:
        super().__init__()
        self.machine: Machine = SessionMachine(LIMITS, encode, beyond_limit={Ask})
        self.requests: dict[int, Modelled] = {}
        self.waits: list[int] = []
        """Requests that wait for room, in the order in which they asked for it."""
        self.answers: list[Answer] = []
        """All answers so far, in the order of their sequence numbers."""
        self.taken = self.gone = self.seen = 0
        """Sequence numbers of the last answer that a connection took, the last one dropped, and the
        last that any connection took before the newest resume."""
        self.aside: list[Sent] = []
        self.handled: list[Sent] = []
        """The answers that the client has received, over all of its connections."""
        self.connected = self.draining = False
        self.last_id = 0

    # Expectations of the model.

    def expect(self, request_id: int, said: str, *, end: bool = False) -> None:
        if request_id:
            sent = Sent(request_id, len(self.answers) + 1, end, said)
            frame = encode(request_id, sent.sequence, end, Text(said))
            request = self.requests.get(request_id)
            endless = request is not None and request.endless and not end
            self.answers.append(Answer(sent, len(frame), endless))
        elif self.connected:
            self.aside.append(Sent(0, 0, False, said))

    def expect_end(self, request_id: int, said: str) -> None:
        request = self.requests[request_id]
        if request.held is not None and request.held[1]:
            self.expect(request_id, "({} {})".format(*request.held))
        for closing in request.owed.values():
            self.expect(request_id, closing)
        self.expect(request_id, said, end=True)
        request.ended = True
        if request_id in self.waits:
            self.waits.remove(request_id)

    def expect_notice(self, request_id: int, text: str, discard: int) -> None:
        request = self.requests[request_id]
        if self.room(request_id):
            self.expect(request_id, f"({text} {discard})")
            request.sent += 1
        else:
            request.held = (text, discard + (request.held[1] if request.held else 0))
            self.wait(request_id)

    def expect_woken(self, effects: Sequence[Effect | Start], which: list[int]) -> None:
        """Expect a wake for those of these requests that have room once a held notice is sent."""
        woken: list[Effect] = []
        for request_id in which:
            request = self.requests[request_id]
            if request.held is not None and self.room(request_id):
                held, request.held = request.held, None
                self.expect_notice(request_id, *held)
            if self.room(request_id):
                if len(woken) == WOKEN:
                    woken.append(WakeMore())
                    break
                woken.append(Wake(request_id))
                self.waits.remove(request_id)
        assert effects == woken

    def wait(self, request_id: int) -> None:
        if request_id not in self.waits:
            self.waits.append(request_id)

    def pick(self, which: int) -> int:
        open_now = [request_id for request_id in self.requests if self.is_open(request_id)]
        if open_now and which < 8:
            return open_now[which % len(open_now)]
        return max(self.last_id + which - 8, 0)

    def is_open(self, request_id: int) -> bool:
        return request_id in self.requests and not self.requests[request_id].ended

    @property
    def waiting(self) -> list[Answer]:
        return self.answers[self.taken :]

    @property
    def kept(self) -> list[Answer]:
        return self.answers[self.gone :]

    def full(self) -> bool:
        if self.flooded():
            return True
        if self.connected and (size(self.waiting) >= OUTBOX or len(self.waiting) >= KEPT):
            return True
        if self.connected and not self.acknowledges:
            return False
        return len(self.kept) >= KEPT or size(self.kept) >= KEPT_BYTES

    def may_go_on(self) -> list[int]:
        low = size(self.waiting) <= OUTBOX // 2 and len(self.waiting) <= KEPT // 2
        return list(self.waits) if not self.full() and (low or not self.connected) else []

    def room(self, request_id: int) -> bool:
        request = self.requests.get(request_id)
        return (
            request is not None
            and not request.ended
            and request.sent < request.limit
            and not self.full()
            and (not request.endless or self.quarter_has_room())
        )

    def quarter_has_room(self) -> bool:
        uncounted = max(self.taken, self.seen)
        counted = [answer for answer in self.answers[uncounted:] if answer.endless]
        return self.connected and len(counted) < KEPT // 4 and size(counted) < KEPT_BYTES // 4

    def unread(self) -> int:
        return size(self.kept if self.acknowledges else self.waiting)

    def flooded(self) -> bool:
        return len(self.waiting) + len(self.aside) >= 4 * KEPT

    def receive(self, frame: Frame) -> list[Effect | Start]:
        return receive(self.machine, frame, 10, 0.0)

    # Actions of the client.

    @initialize()
    def some_requests(self) -> None:
        self.connect(0)
        for number in range(IN_FLIGHT):
            self.request(1, True, False, number > 0)

    @precondition(lambda self: self.connected)
    @rule(
        step=st.sampled_from([1, 1, 1, 2, 0, -1]),
        known=st.sampled_from([True] * 4 + [False]),
        at_once=st.booleans(),
        endless=st.booleans(),
        exempt=st.booleans(),
    )
    def request(
        self, step: int, known: bool, at_once: bool, endless: bool, exempt: bool = False
    ) -> None:
        request_id = max(self.last_id + step, 0)
        in_flight = sum(not request.gone for request in self.requests.values())
        frame = Request(request_id, 0, (Ask() if exempt else Text()) if known else None)
        answer = Text("at once") if at_once else None
        effects = receive(self.machine, frame, 10, 0.0, answer, endless=endless)
        if request_id <= self.last_id:
            assert [type(effect) for effect in effects] == ([Close] if known else [])
            return
        self.last_id = request_id
        if not known:
            refusal = "!UNIMPLEMENTED"
        elif self.draining:
            refusal = "!UNAVAILABLE retryable"
        elif in_flight >= IN_FLIGHT + BEYOND * exempt or self.unread() >= 2 * KEPT_BYTES:
            refusal = "!RESOURCE_EXHAUSTED retryable"
        else:
            assert effects == [Start(frame)]
            if at_once:
                self.expect(request_id, "at once", end=True)
                assert self.machine.output.flow.filled == self.full()
            else:
                self.requests[request_id] = Modelled(self.initial_credit or 2**64, endless)
            return
        refused, *closed = effects
        assert isinstance(refused, Refused)
        assert refused.request is frame
        assert said_as_text(refused.failure) == refusal
        self.expect(request_id, refusal, end=True)
        assert [type(effect) for effect in closed] == ([Close] if self.flooded() else [])

    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        request_id = self.pick(which)
        expected: list[Effect] = []
        if self.is_open(request_id):
            self.expect_end(request_id, "!CANCELLED")
            expected = [Stop(request_id, CANCELLED, EndedBy.CLIENT)]
        assert self.receive(Cancel(request_id)) == expected

    @rule(which=WHICH, more=st.sampled_from([-1, 0, 1, 4]))
    def credit(self, which: int, more: int) -> None:
        request_id = self.pick(which)
        known = self.requests.get(request_id)
        limit = max((known.limit if known and self.initial_credit else 0) + more, 0)
        effects = self.receive(Credit(request_id, limit))
        if not self.is_open(request_id) or not self.initial_credit:
            assert effects == []
            return
        request = self.requests[request_id]
        raised = limit > request.limit
        request.limit = max(request.limit, limit)
        self.expect_woken(effects, [request_id] if raised and request_id in self.waits else [])

    @rule(which=WHICH)
    def inform(self, which: int) -> None:
        request_id = self.pick(which)
        payload = Text("x")
        expected = [Deliver(request_id, payload)] if self.is_open(request_id) else []
        assert self.receive(Inform(request_id, payload)) == expected

    @rule(nonce=st.integers(0, 9), times=st.sampled_from([1, 1, 30]))
    def ping(self, nonce: int, times: int) -> None:
        for _ in range(times):
            effects = self.receive(Ping(nonce))
            self.expect(0, f"pong {nonce}")
            assert [type(effect) for effect in effects] == ([Close] if self.flooded() else [])

    @rule(back=st.sampled_from([-1, 0, 0, 0, 1, 3]))
    def acknowledge(self, back: int) -> None:
        sequence = max(self.taken - back, 0)
        effects = self.receive(Ack(sequence))
        if sequence <= self.taken:
            self.gone = max(self.gone, sequence)
        self.expect_woken(effects, self.may_go_on())

    # Connections come and go.

    @rule(behind=st.sampled_from([0, 0, 1, 2, 5, -1]))
    def connect(self, behind: int) -> None:
        """The client resumes; it has handled all answers that were sent but the last `behind`."""
        after = max(self.taken - behind, 0)
        possible = self.gone <= after <= self.taken
        output = self.machine.output
        before = output.queue.sequence, output.flow.size, output.queue.size
        if self.machine._share is not None:
            self.machine._share._forget()
        assert self.machine.resume(after) == possible
        if not possible:
            assert before == (output.queue.sequence, output.flow.size, output.queue.size)
            return
        del self.handled[after:]
        self.seen = max(self.seen, self.taken)
        self.taken = self.gone = after
        self.connected, self.aside = True, []
        effects = self.machine.attach(
            initial_credit=self.initial_credit, acknowledges=self.acknowledges
        )
        if self.draining:
            self.expect(0, "going away x 1")
        self.expect_woken(effects, self.may_go_on())

    @precondition(lambda self: self.connected)
    @rule()
    def lose_connection(self) -> None:
        self.machine.detach()
        self.connected, self.aside = False, []

    # Actions of the requests. A stream asks for room first, as `StreamActor` does.

    @rule(which=WHICH, text=st.sampled_from(["", "a", "bb" * 20]), times=st.sampled_from([1, 2, 4]))
    def answer(self, which: int, text: str, times: int) -> None:
        request_id = self.pick(which)
        for _ in range(times):
            self.answer_once(request_id, text)

    def answer_once(self, request_id: int, text: str) -> None:
        assert stream(self.machine, request_id).has_room() == self.room(request_id)
        if not self.room(request_id):
            assert stream(self.machine, request_id).block() == self.is_open(request_id)
            if self.is_open(request_id):
                self.wait(request_id)
            return
        self.requests[request_id].sent += 1
        self.expect(request_id, text)
        room = stream(self.machine, request_id).answer(Text(text))
        assert room == self.room(request_id)
        if not room:
            self.wait(request_id)

    @rule(which=WHICH, text=st.sampled_from("ab"), discard=st.integers(0, 3))
    def notify(self, which: int, text: str, discard: int) -> None:
        request_id = self.pick(which)
        if self.is_open(request_id):
            self.expect_notice(request_id, text, discard)
        stream(self.machine, request_id).notify(Notice(text, discard))

    @rule(which=WHICH)
    def answer_too_late(self, which: int) -> None:
        request_id = self.pick(which)
        if not self.is_open(request_id):
            assert stream(self.machine, request_id).answer(Text("late")) is False

    @rule(which=WHICH, key=st.sampled_from("ab"))
    def add_closing(self, which: int, key: str) -> None:
        request_id = self.pick(which)
        stream(self.machine, request_id).add_closing(key, Text(f"closing {key}"))
        if self.is_open(request_id):
            self.requests[request_id].owed[key] = f"closing {key}"

    @rule(which=WHICH, key=st.sampled_from("ab"))
    def take_closing(self, which: int, key: str) -> None:
        request_id = self.pick(which)
        due = self.is_open(request_id) and key in self.requests[request_id].owed
        assert stream(self.machine, request_id).take_closing(key) == due
        if due:
            del self.requests[request_id].owed[key]

    @rule(which=WHICH, how=st.sampled_from(["completed", "!CANCELLED", "long " * 100]))
    def end(self, which: int, how: str) -> None:
        request_id = self.pick(which)
        is_open = self.is_open(request_id)
        if is_open:
            self.expect_end(request_id, how)
        ends: dict[str, Failure | Completed] = {"completed": COMPLETED, "!CANCELLED": CANCEL}
        said = ends.get(how) or Text(how)
        assert stream(self.machine, request_id).end(said) == is_open

    @rule(which=WHICH)
    def actor_gone(self, which: int) -> None:
        request_id = self.pick(which)
        if self.is_open(request_id):
            self.expect_end(request_id, "!INTERNAL")
        if request_id in self.requests:
            self.requests[request_id].gone = True
        gone(self.machine, request_id)

    # Actions of the connection and the service.

    @precondition(lambda self: self.connected)
    @rule(at_most=st.sampled_from([0, 30, 60, 100, 400]))
    def take(self, at_most: int) -> None:
        before = self.machine.output.queue.size
        taken = list(frames(self.machine.output.take(at_most)))
        sent = [decode(frame) for frame in taken]
        assert sum(map(len, taken)) <= at_most or len(taken) == 1
        assert taken or not before
        aside = [frame for frame in sent if not frame.sequence]
        assert aside == self.aside[: len(aside)]
        del self.aside[: len(aside)]
        assert not self.aside or len(aside) == len(sent)
        expected = [answer.sent for answer in self.waiting[: len(sent) - len(aside)]]
        assert sent[len(aside) :] == expected
        self.taken += len(expected)
        self.handled += expected
        assert self.machine.output.queue.size == size(self.waiting)
        if not self.acknowledges:
            while self.gone < self.taken and (
                len(self.kept) > KEPT or size(self.kept) > KEPT_BYTES
            ):
                self.gone += 1

    @rule()
    def unblock(self) -> None:
        self.expect_woken(self.machine.unblocked(), self.may_go_on())

    @precondition(lambda self: not self.draining)
    @rule(chance=st.integers(0, 30))
    def drain(self, chance: int) -> None:
        if chance == 13:
            self.draining = True
            self.expect(0, "going away x 1")
            ended = [key for key, one in self.requests.items() if one.endless and not one.ended]
            for request_id in ended:
                self.expect_end(request_id, "!UNAVAILABLE retryable")
            stops = self.machine.drain("x", 1)
            assert [stop.request_id for stop in stops if isinstance(stop, Stop)] == ended

    # Invariants.

    @invariant()
    def the_machine_agrees_with_the_model(self) -> None:
        assert self.machine.last_request_id == self.last_id
        assert self.machine.output.queue.sequence == len(self.answers)
        assert self.machine.output.replay.acknowledged == self.gone
        assert self.machine.output.flow.size == size(self.kept)
        assert self.machine.output.flow.unsent == len(self.waiting) + len(self.aside)
        assert self.machine.in_flight == sum(map(self.is_open, self.requests))
        stuck = len(self.kept) >= KEPT or size(self.kept) >= KEPT_BYTES
        assert self.machine.unacknowledged == (self.connected and self.acknowledges and stuck)

    @invariant()
    def nothing_is_kept_of_a_request_that_has_ended(self) -> None:
        assert list(self.machine.output.flow.blocked) == self.waits
        assert all(map(self.is_open, self.waits))

    @invariant()
    def no_stream_is_over_its_credit(self) -> None:
        assert all(request.sent <= request.limit for request in self.requests.values())

    def teardown(self) -> None:
        self.machine.fail_all(CANCEL)
        for request_id in [key for key in self.requests if self.is_open(key)]:
            self.expect_end(request_id, "!CANCELLED")
        self.connect(0)
        while self.waiting or self.aside:
            self.take(1000)
        assert self.handled == [answer.sent for answer in self.answers]
        ended = [frame.request_id for frame in self.handled if frame.end]
        assert len(ended) == len(set(ended))
        assert set(ended) == {frame.request_id for frame in self.handled}
        last = {frame.request_id: frame.end for frame in self.handled}
        assert all(last.values())
        assert set(self.requests) <= set(ended)


class WithoutFlowControl(MachineBesideModel):
    initial_credit = 0


class WithAcknowledgement(MachineBesideModel):
    acknowledges = True


MachineBesideModel.TestCase.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, derandomize=True
)
WithAcknowledgement.TestCase.settings = MachineBesideModel.TestCase.settings
WithoutFlowControl.TestCase.settings = settings(
    max_examples=20, stateful_step_count=40, deadline=None, derandomize=True
)
TestMachine = MachineBesideModel.TestCase
TestMachineWithAcknowledgement = WithAcknowledgement.TestCase
TestMachineWithoutFlowControl = WithoutFlowControl.TestCase


IDS = st.one_of(st.integers(0, 6), st.integers(0, 2**64 - 1))
FRAMES = st.one_of(
    st.builds(Request, IDS, st.just(0), st.sampled_from([Text(), None, CANCEL])),
    st.builds(Cancel, IDS),
    st.builds(Credit, IDS, IDS),
    st.builds(Inform, IDS, st.just(Text())),
    st.builds(Ack, IDS),
    st.builds(Ping, IDS),
    st.builds(Violation, st.just(1003), st.just("text")),
)


@given(st.lists(st.tuples(FRAMES, st.integers(0, 2**20), st.floats(0, 1)), max_size=60))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_no_series_of_frames_makes_it_raise(frames: list[tuple[Frame, int, float]]) -> None:
    limits = SessionLimits(
        max_requests_in_flight=2, messages_per_second=3.0, message_burst=2, byte_burst=2**20
    )
    machine: Machine = SessionMachine(limits, encode)
    machine.attach(initial_credit=1, acknowledges=True)
    now, highest, started = 0.0, 0, set[int]()
    for frame, length, later in frames:
        now += later
        for effect in receive(machine, frame, length, now):
            if isinstance(effect, Start):
                started.add(effect.request.request_id)
        highest = max(highest, machine.last_request_id)
        assert machine.last_request_id == highest
    machine.fail_all(CANCEL)
    ends = [sent.request_id for sent in map(decode, machine.output.take(2**30)) if sent.end]
    assert len(ends) == len(set(ends))
    assert started <= set(ends)
