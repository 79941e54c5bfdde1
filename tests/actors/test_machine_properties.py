"""The machine beside a plain model, under any order of events."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors import Code, Failure, Notice
from actors.frames import COMPLETED, Cancel, Credit, Inform, Ping, Request
from actors.machine import (
    CANCELLED,
    Close,
    Deliver,
    Effect,
    Refused,
    SessionLimits,
    SessionMachine,
    Start,
    Stop,
    Wake,
)
from tests.actors.session_kit import Sent, Text, decode, encode

WHICH = st.integers(0, 9)
"""Of the requests that are open, mostly; 8 and 9: one that has ended, or never was."""
IN_FLIGHT = 3
OUTBOX = 200


@dataclass
class Modelled:
    """A request, as the model has it."""

    limit: int
    said: list[str] = field(default_factory=list)
    owed: dict[str, str] = field(default_factory=dict)
    ended: bool = False
    gone: bool = False
    waits: bool = False
    held: tuple[str, int] | None = None


class MachineBesideModel(RuleBasedStateMachine):
    initial_credit = 2

    def __init__(self) -> None:
        super().__init__()
        limits = SessionLimits(max_requests_in_flight=IN_FLIGHT, outbox_bytes=OUTBOX)
        self.machine = SessionMachine(limits, encode, initial_credit=self.initial_credit)
        self.requests: dict[int, Modelled] = {}
        self.refused: dict[int, str] = {}
        self.outbox: list[bytes] = []
        self.log: list[Sent] = []
        self.next_sequence = 1
        self.last_id = 0
        self.draining = False
        self.streamed: dict[int, int] = {}

    # What the model says goes out.

    def expect(self, request_id: int, said: str, *, end: bool = False) -> None:
        sequence = self.next_sequence if request_id else 0
        self.next_sequence += request_id > 0
        sent = Sent(request_id, sequence, end, said)
        self.log.append(sent)
        if request_id in self.requests:
            self.requests[request_id].said.append(said)

    def expect_end(self, request_id: int, said: str) -> None:
        request = self.requests[request_id]
        if request.held is not None and request.held[1]:
            self.expect(request_id, "({} {})".format(*request.held))
        for closing in request.owed.values():
            self.expect(request_id, closing)
        self.expect(request_id, said, end=True)
        request.ended, request.waits = True, False

    def pick(self, which: int) -> int:
        open_now = [request_id for request_id in self.requests if self.is_open(request_id)]
        if open_now and which < 8:
            return open_now[which % len(open_now)]
        return max(self.last_id + which - 8, 0)

    def is_open(self, request_id: int) -> bool:
        return request_id in self.requests and not self.requests[request_id].ended

    def room(self, request_id: int) -> bool:
        return (
            self.is_open(request_id)
            and self.streamed[request_id] < self.requests[request_id].limit
            and self.machine.outbox_bytes < OUTBOX
        )

    # What the client does.

    @initialize()
    def some_requests(self) -> None:
        for _ in range(IN_FLIGHT):
            self.request(1, True)

    @rule(step=st.sampled_from([1, 1, 1, 2, 0, -1]), known=st.sampled_from([True] * 4 + [False]))
    def request(self, step: int, known: bool) -> None:
        request_id = max(self.last_id + step, 0)
        in_flight = sum(not request.gone for request in self.requests.values())
        frame = Request(request_id, 0, Text() if known else None)
        effects = self.machine.receive(frame)
        if request_id <= self.last_id:
            assert [type(effect) for effect in effects] == ([Close] if known else [])
            return
        self.last_id = request_id
        self.streamed[request_id] = 0
        if not known:
            refusal = "!UNIMPLEMENTED"
        elif self.draining:
            refusal = "!UNAVAILABLE retryable"
        elif in_flight >= IN_FLIGHT:
            refusal = "!RESOURCE_EXHAUSTED retryable"
        else:
            assert effects == [Start(frame)]
            self.requests[request_id] = Modelled(self.initial_credit or 2**64)
            return
        (effect,) = effects
        assert isinstance(effect, Refused)
        assert effect.request is frame
        assert refusal.startswith(f"!{effect.failure.code.value}")
        self.expect(request_id, refusal, end=True)

    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        request_id = self.pick(which)
        expected: list[Effect] = []
        if self.is_open(request_id):
            self.expect_end(request_id, "!CANCELLED")
            expected = [Stop(request_id, CANCELLED)]
        assert self.machine.receive(Cancel(request_id)) == expected

    @rule(which=WHICH, more=st.sampled_from([-1, 0, 1, 4]))
    def credit(self, which: int, more: int) -> None:
        request_id = self.pick(which)
        known = self.requests.get(request_id)
        limit = max((known.limit if known and self.initial_credit else 0) + more, 0)
        effects = self.machine.receive(Credit(request_id, limit))
        if not self.is_open(request_id) or not self.initial_credit:
            assert effects == []
            return
        request = self.requests[request_id]
        raised = limit > request.limit
        request.limit = max(request.limit, limit)
        if raised and request.held is not None:
            self.expect(request_id, "({} {})".format(*request.held))
            self.streamed[request_id] += 1
            request.held = None
        if raised and request.waits and self.room(request_id):
            assert effects == [Wake(request_id)]
            request.waits = False
        else:
            assert effects == []

    @rule(which=WHICH)
    def inform(self, which: int) -> None:
        request_id = self.pick(which)
        payload = Text("x")
        expected = [Deliver(request_id, payload)] if self.is_open(request_id) else []
        assert self.machine.receive(Inform(request_id, payload)) == expected

    @rule(nonce=st.integers(0, 9))
    def ping(self, nonce: int) -> None:
        assert self.machine.receive(Ping(nonce)) == []
        self.expect(0, f"pong {nonce}")

    # What the requests do. A stream asks for room first, as `StreamActor` does.

    @rule(which=WHICH, text=st.sampled_from(["", "a", "bb" * 20]), times=st.sampled_from([1, 2, 4]))
    def answer(self, which: int, text: str, times: int) -> None:
        request_id = self.pick(which)
        for _ in range(times):
            self.answer_once(request_id, text)

    def answer_once(self, request_id: int, text: str) -> None:
        assert self.machine.has_room(request_id) == self.room(request_id)
        if not self.room(request_id):
            assert self.machine.block(request_id) == self.is_open(request_id)
            if self.is_open(request_id):
                self.requests[request_id].waits = True
            return
        self.streamed[request_id] += 1
        self.expect(request_id, text)
        room = self.machine.answer(request_id, Text(text))
        assert room == self.room(request_id)
        if not room:
            self.requests[request_id].waits = True

    @rule(which=WHICH, text=st.sampled_from("ab"), discard=st.integers(0, 3))
    def notify(self, which: int, text: str, discard: int) -> None:
        request_id = self.pick(which)
        if self.is_open(request_id):
            request = self.requests[request_id]
            if self.streamed[request_id] < request.limit:
                self.expect(request_id, f"({text} {discard})")
                self.streamed[request_id] += 1
            else:
                request.held = (text, discard + (request.held[1] if request.held else 0))
        self.machine.notify(request_id, Notice(text, discard))

    @rule(which=WHICH)
    def answer_too_late(self, which: int) -> None:
        request_id = self.pick(which)
        if not self.is_open(request_id):
            assert self.machine.answer(request_id, Text("late")) is False

    @rule(which=WHICH, key=st.sampled_from("ab"))
    def owe(self, which: int, key: str) -> None:
        request_id = self.pick(which)
        self.machine.owe(request_id, key, Text(f"closing {key}"))
        if self.is_open(request_id):
            self.requests[request_id].owed[key] = f"closing {key}"

    @rule(which=WHICH, key=st.sampled_from("ab"))
    def pay(self, which: int, key: str) -> None:
        request_id = self.pick(which)
        due = self.is_open(request_id) and key in self.requests[request_id].owed
        assert self.machine.pay(request_id, key) == due
        if due:
            del self.requests[request_id].owed[key]

    @rule(which=WHICH, failed=st.booleans())
    def end(self, which: int, failed: bool) -> None:
        request_id = self.pick(which)
        is_open = self.is_open(request_id)
        if is_open:
            self.expect_end(request_id, "!CANCELLED" if failed else "completed")
        assert self.machine.end(request_id, CANCEL if failed else COMPLETED) == is_open

    @rule(which=WHICH)
    def actor_gone(self, which: int) -> None:
        request_id = self.pick(which)
        if self.is_open(request_id):
            self.expect_end(request_id, "!INTERNAL")
        if request_id in self.requests:
            self.requests[request_id].gone = True
        self.machine.gone(request_id)

    # What the connection and the service do.

    @rule(at_most=st.sampled_from([0, 30, 60, 100, 400]))
    def take(self, at_most: int) -> None:
        before = self.machine.outbox_bytes
        frames = self.machine.take(at_most)
        size = sum(map(len, frames))
        assert self.machine.outbox_bytes == before - size
        assert size <= at_most or len(frames) == 1
        assert frames or not before
        self.outbox += frames

    @rule()
    def unblock(self) -> None:
        expected = set[int]()
        if self.machine.outbox_bytes <= OUTBOX // 2:
            expected = {key for key, it in self.requests.items() if it.waits and self.room(key)}
        woken = self.machine.unblocked()
        assert {effect.request_id for effect in woken if isinstance(effect, Wake)} == expected
        assert len(woken) == len(expected)
        for request_id in expected:
            self.requests[request_id].waits = False

    @precondition(lambda self: not self.draining)
    @rule(chance=st.integers(0, 30))
    def drain(self, chance: int) -> None:
        if chance == 13:
            self.draining = True
            self.expect(0, "going away x 1")
            self.machine.drain("x", 1)

    # What holds at all times.

    @invariant()
    def the_books_agree(self) -> None:
        assert self.machine.last_request_id == self.last_id
        assert self.machine.sequence == self.next_sequence - 1
        assert self.machine.in_flight == sum(map(self.is_open, self.requests))

    @invariant()
    def nothing_is_kept_of_a_request_that_has_ended(self) -> None:
        assert self.machine._blocked <= {key for key in self.requests if self.is_open(key)}

    @invariant()
    def no_stream_is_over_its_credit(self) -> None:
        for request_id, request in self.requests.items():
            assert self.streamed[request_id] <= request.limit

    def teardown(self) -> None:
        self.machine.fail_all(CANCEL)
        for request_id in [key for key in self.requests if self.is_open(key)]:
            self.expect_end(request_id, "!CANCELLED")
        while frames := self.machine.take(1000):
            self.outbox += frames
        sent = [decode(frame) for frame in self.outbox]
        assert sent == self.log
        answers = [frame for frame in sent if frame.request_id]
        assert [frame.sequence for frame in answers] == [*range(1, len(answers) + 1)]
        ended = [frame.request_id for frame in answers if frame.end]
        assert sorted(ended) == sorted(self.streamed)
        for frame in answers:
            last = max(it.sequence for it in answers if it.request_id == frame.request_id)
            assert frame.end == (frame.sequence == last)
        assert self.machine.outbox_bytes == 0


class WithoutFlowControl(MachineBesideModel):
    initial_credit = 0


CANCEL = Failure(Code.CANCELLED, "x")

MachineBesideModel.TestCase.settings = settings(
    max_examples=80, stateful_step_count=60, deadline=None, derandomize=True
)
WithoutFlowControl.TestCase.settings = settings(
    max_examples=20, stateful_step_count=40, deadline=None, derandomize=True
)
TestMachine = MachineBesideModel.TestCase
TestMachineWithoutFlowControl = WithoutFlowControl.TestCase
