"""The client's state machine against a model of the service, over connections that lose frames.

Each direction is a queue that a cut empties, so any frame may be the last that arrives.
"""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import AnswerRequest, SendMessageRequest
from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from tests.support.model_service import ModelService, ModelSession
from transport.client.calls import ClientCall, ClientSettings, Endpoint
from transport.client.effects import Connect, Deliver, Effect, Failed, Find
from transport.client.phase import Phase
from transport.client.protocol import ClientProtocol
from transport.errors import ConnectionClosed, RequestFailed, SessionLost, TransportError

WINDOW = 3
HERE = Endpoint("ws://model", "the token", 1.0)


class Asked:
    """One call, as its user sees it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.answers: list[ServerMessage] = []
        self.consumed = 0
        self.error: TransportError | None = None
        self.cancelled = False
        self.abandoned = False

    @property
    def ended(self) -> bool:
        return self.error is not None or bool(self.answers and self.answers[-1].end)


class Lossy(RuleBasedStateMachine):
    """A user, the client's protocol, a lossy connection and the model of the service."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol = ClientProtocol(ClientSettings(window=WINDOW, give_up=1e9), lambda: 0.5)
        self.service = ModelService()
        self.session: ModelSession | None = None
        self.up: deque[ClientMessage] = deque()
        self.down: deque[ServerMessage] = deque()
        self.asked: dict[ClientCall, Asked] = {}
        self.restarts = 0
        self.number = 0
        self.do(self.protocol.start())
        self.arrive_at_the_service(1)
        self.arrive_at_the_client(1)

    def do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Find():
                    self.do(self.protocol.found(HERE, 0.0))
                case Connect():
                    self.do(self.protocol.connected(0.0))
                case Deliver(call, message):
                    assert not self.asked[call].ended, "something came after the end"
                    assert not self.asked[call].abandoned
                    self.asked[call].answers.append(message)
                case Failed(call, error):
                    assert not self.asked[call].ended, "it ended twice"
                    self.asked[call].error = error
                case _:
                    pass
        self.up.extend(ClientMessage.FromString(data) for data in self.protocol.take())

    @property
    def open_calls(self) -> list[ClientCall]:
        return [call for call, asked in self.asked.items() if not asked.ended]

    # -- the user ----------------------------------------------------------------------------

    @rule(text=st.sampled_from(["0", "1", "5", "40", "ask", "never"]))
    def ask(self, text: str) -> None:
        self.number += 1
        request = SendMessageRequest(text=text, session_id=str(self.number))
        call = self.protocol.open(request, None, 0.0)
        self.asked[call] = Asked(text)
        self.do([])

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), most=st.integers(1, 10))
    def consume(self, data: st.DataObject, most: int) -> None:
        call = data.draw(st.sampled_from(list(self.asked)))
        asked = self.asked[call]
        while most and asked.consumed < len(asked.answers):
            asked.consumed += 1
            most -= 1
            self.protocol.consumed(call)
        self.do([])

    @precondition(lambda self: self.open_calls)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.open_calls))
        self.asked[call].cancelled = True
        self.do(self.protocol.cancel(call))

    @precondition(lambda self: self.open_calls)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.open_calls))
        self.asked[call].abandoned = True
        self.do(self.protocol.abandon(call))

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(list(self.asked)))
        if any(message.HasField("ask") for message in self.asked[call].answers):
            self.protocol.answer(call, AnswerRequest(ask_id="a", answers=["yes"]))
            self.do([])

    # -- the connection and the service ------------------------------------------------------

    @precondition(lambda self: self.up)
    @rule(most=st.integers(1, 6))
    def arrive_at_the_service(self, most: int) -> None:
        while most and self.up:
            most -= 1
            message = self.up.popleft()
            if self.session is None:
                self.session, said = self.service.greet(message)
                self.down.extend(said)
            else:
                self.down.extend(self.session.receive(message))

    @precondition(lambda self: self.down)
    @rule(most=st.integers(1, 20))
    def arrive_at_the_client(self, most: int) -> None:
        while most and self.down:
            most -= 1
            self.do(self.protocol.receive(self.down.popleft().SerializeToString(), 0.0))

    @precondition(lambda self: any(s.running for s in self.service.sessions.values()))
    @rule(data=st.data(), most=st.integers(1, 20))
    def work(self, data: st.DataObject, most: int) -> None:
        """A request continues, whether its client is connected or not."""
        sessions = [s for s in self.service.sessions.values() if s.running]
        session = data.draw(st.sampled_from(sessions))
        request_id = data.draw(st.sampled_from(list(session.running)))
        while most and request_id in session.running:
            most -= 1
            said = session.work(request_id)
            if said is None:
                return
            if session is self.session:
                self.down.append(said)

    @precondition(lambda self: self.protocol.phase in (Phase.OPEN, Phase.GREETING))
    @rule(code=st.sampled_from([1006, 1001, 4002]))
    def cut(self, code: int) -> None:
        self.up.clear()
        self.down.clear()
        self.session = None
        self.do(self.protocol.disconnected(ConnectionClosed(code), 0.0))

    @rule()
    def forget(self) -> None:
        """The service loses its sessions, because it restarts or the client was away too long."""
        if self.restarts < 2:
            self.restarts += 1
            self.service.sessions.clear()
            self.cut(1012)

    # -- invariants --------------------------------------------------------------------------

    @invariant()
    def no_answer_is_lost_or_comes_twice(self) -> None:
        for asked in self.asked.values():
            tokens = [m.token.text for m in asked.answers if m.HasField("token")]
            assert tokens == [f"{n} " for n in range(len(tokens))]
            if asked.answers and asked.answers[-1].HasField("completed") and asked.text.isdecimal():
                assert len(tokens) == int(asked.text)

    @invariant()
    def no_more_waits_than_the_window(self) -> None:
        for asked in self.asked.values():
            waiting = [m for m in asked.answers[asked.consumed :] if m.HasField("token")]
            assert len(waiting) <= WINDOW

    @invariant()
    def no_request_runs_twice(self) -> None:
        assert len(self.service.started) == len(set(self.service.started))

    def teardown(self) -> None:
        """Without further cuts, every call that was not abandoned ends, exactly once."""
        for call in [c for c, asked in self.asked.items() if asked.text == "never"]:
            self.asked[call].cancelled = True
            self.do(self.protocol.cancel(call))
        for _ in range(200):
            for call, asked in self.asked.items():
                while asked.consumed < len(asked.answers):
                    asked.consumed += 1
                    self.protocol.consumed(call)
                if asked.text == "ask" and asked.answers and not asked.ended:
                    self.protocol.answer(call, AnswerRequest(ask_id="a", answers=["yes"]))
            self.do([])
            self.arrive_at_the_service(1000)
            if self.session is not None:
                for request_id in list(self.session.running):
                    said = self.session.work(request_id)
                    if said is not None:
                        self.down.append(said)
            self.arrive_at_the_client(1000)
        assert not self.protocol.in_flight
        for asked in self.asked.values():
            assert asked.ended or asked.abandoned
            if isinstance(asked.error, SessionLost):
                assert self.restarts
            elif asked.error is not None:
                assert isinstance(asked.error, RequestFailed)
                assert asked.error.code is Code.CANCELLED
                assert asked.cancelled
        self.no_answer_is_lost_or_comes_twice()


TestLossy = Lossy.TestCase
TestLossy.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
