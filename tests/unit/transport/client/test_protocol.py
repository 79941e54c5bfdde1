"""The client's state machine, rule by rule: {protocol,comeback,calls,effects}.py."""

from dataclasses import replace

import pytest
from google.protobuf.message import Message

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import (
    AnswerRequest,
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatError,
    ChatToken,
    ListSessionsRequest,
    SendMessageRequest,
)
from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from callboard.v1.session_pb2 import GoingAway, Limits, Pong, Welcome
from callboard.v1.system_pb2 import ServiceStatusRequest
from tests.support.model_service import LIMITS, served
from transport.client.calls import Acknowledger, ClientCall, ClientSettings, Endpoint
from transport.client.comeback import comes_back
from transport.client.effects import (
    AbortConnection,
    Close,
    Connect,
    Deliver,
    Effect,
    Failed,
    Find,
    Over,
    Ready,
)
from transport.client.phase import Phase
from transport.client.protocol import ClientProtocol
from transport.errors import ConnectionClosed, RequestFailed, SessionLost

HERE = Endpoint("ws://here", "the token", 1.0)
THERE = Endpoint("ws://there", "another token", 2.0)
SETTINGS = ClientSettings(
    name="test", window=4, handshake=10.0, backoff_initial=1.0, backoff_maximum=8.0, give_up=100.0
)


class Peer:
    """A client's protocol, driven by a test, which advances the time `now`."""

    def __init__(self, settings: ClientSettings = SETTINGS) -> None:
        self.protocol = ClientProtocol(settings, lambda: 1.0)
        self.now = 0.0

    def connect(
        self, *, resumed: bool = False, last: int = 0, endpoint: Endpoint = HERE
    ) -> list[Effect]:
        """Find a service if needed and connect to it; return the effects of its Welcome."""
        if self.protocol.phase is Phase.FINDING:
            self.protocol.found(endpoint, self.now)
        self.protocol.connected(self.now)
        (self.hello,) = self.sent()
        return self.welcome(resumed=resumed, last=last)

    def welcome(
        self, *, resumed: bool = False, last: int = 0, limits: Limits = LIMITS
    ) -> list[Effect]:
        return self.hear(
            Welcome(
                session="s", resume_token=b"r", resumed=resumed, last_request_id=last, limits=limits
            )
        )

    def hear(
        self, payload: Message | None, request_id: int = 0, sequence: int = 0, *, end: bool = False
    ) -> list[Effect]:
        message = served(payload, request_id=request_id, sequence=sequence, end=end)
        return self.protocol.receive(message.SerializeToString(), self.now)

    def cut(self, code: int = 1006) -> list[Effect]:
        return self.protocol.disconnected(ConnectionClosed(code), self.now)

    def open(self, text: str = "hi", timeout: float | None = None) -> ClientCall:
        return self.protocol.open(SendMessageRequest(text=text), timeout, self.now)

    def sent(self) -> list[ClientMessage]:
        return [ClientMessage.FromString(data) for data in self.protocol.take()]

    def tick(self, seconds: float) -> list[Effect]:
        self.now += seconds
        return self.protocol.tick(self.now)


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
def open_peer(peer: Peer) -> Peer:
    peer.connect()
    return peer


def kinds(messages: list[ClientMessage]) -> list[tuple[int, str | None]]:
    return [(message.request_id, message.WhichOneof("payload")) for message in messages]


def failed(effects: list[Effect]) -> list[tuple[ClientCall, Exception]]:
    return [(effect.call, effect.error) for effect in effects if isinstance(effect, Failed)]


# -- the first connection --------------------------------------------------------------------


def test_it_looks_connects_greets_and_is_open(peer: Peer) -> None:
    protocol = peer.protocol
    assert protocol.start() == [Find()]
    assert protocol.url == ""
    assert protocol.found(HERE, 0.0) == [Connect(HERE, 0.0)]
    phases = [protocol.phase]
    assert protocol.connected(0.0) == []
    phases.append(protocol.phase)
    (greeting,) = peer.sent()
    hello = greeting.hello
    assert (hello.token, hello.protocol_version, hello.client_name) == ("the token", 1, "test")
    assert (hello.initial_credit, hello.acknowledges) == (4, True)
    assert not hello.HasField("resume")
    (ready,) = peer.welcome()
    assert isinstance(ready, Ready)
    phases.append(protocol.phase)
    assert phases == [Phase.CONNECTING, Phase.GREETING, Phase.OPEN]
    assert protocol.url == HERE.url
    assert protocol.welcome.session == "s"
    assert not protocol.has_output


def test_without_a_service_the_first_look_is_final(peer: Peer) -> None:
    (over,) = peer.protocol.found(None, 0.0)
    assert isinstance(over, Over)
    assert peer.protocol.phase is Phase.OVER


def test_a_service_that_refuses_at_first_is_looked_for_once_more(peer: Peer) -> None:
    peer.protocol.found(HERE, 0.0)
    assert peer.cut() == [Find()]
    assert peer.protocol.found(THERE, 0.0) == [Connect(THERE, 0.0)]
    assert peer.cut() == [Find()]
    (over,) = peer.protocol.found(THERE, 0.0)
    assert isinstance(over, Over)
    assert over.closed.code == 1006


@pytest.mark.parametrize("code", [1001, 4505])
def test_a_first_connection_that_ends_before_welcome_is_final(peer: Peer, code: int) -> None:
    peer.protocol.found(HERE, 0.0)
    peer.protocol.connected(0.0)
    (over,) = peer.cut(code)
    assert isinstance(over, Over)
    assert over.closed.code == code


FULL = ConnectionClosed(1006, status=503)


def busy_until_final(peer: Peer, closed: ConnectionClosed, *, greets: bool = False) -> list[float]:
    """Refuse each attempt as a busy service does; return the delays before the next ones."""
    delays: list[float] = []
    while True:
        if greets:
            peer.protocol.connected(peer.now)
        effects = peer.protocol.disconnected(closed, peer.now)
        if effects == [Find()]:
            effects = peer.protocol.found(HERE, peer.now)
        (effect,) = effects
        if not isinstance(effect, Connect):
            return delays
        delays.append(effect.delay)
        peer.now += effect.delay


@pytest.mark.parametrize(
    ("closed", "greets"), [(FULL, False), (ConnectionClosed(4001, "too many sessions"), True)]
)
def test_a_service_that_is_full_is_tried_again_for_a_while(
    closed: ConnectionClosed, greets: bool
) -> None:
    peer = Peer(replace(SETTINGS, busy_wait=10.0))
    peer.protocol.found(HERE, 0.0)
    assert busy_until_final(peer, closed, greets=greets) == [1.0, 2.0, 4.0, 3.0]
    assert peer.protocol.closed is closed
    assert peer.protocol.phase is Phase.OVER


def test_a_service_that_has_room_again_is_connected_to(peer: Peer) -> None:
    peer.protocol.found(HERE, 0.0)
    assert peer.protocol.disconnected(FULL, 0.0) == [Find()]
    peer.protocol.found(HERE, 0.0)
    peer.connect()
    assert peer.protocol.phase is Phase.OPEN


def test_a_full_service_that_is_gone_afterwards_is_final(peer: Peer) -> None:
    peer.protocol.found(HERE, 0.0)
    peer.protocol.disconnected(FULL, 0.0)
    assert peer.protocol.found(None, 0.0) == [Over(FULL)]


def test_a_full_service_is_not_given_up_before_its_time() -> None:
    peer = Peer(replace(SETTINGS, busy_wait=1000.0))
    peer.connect()
    peer.cut()
    assert sum(busy_until_final(peer, FULL)) >= 1000.0


def test_a_service_that_was_full_is_given_up_when_it_is_gone_for_long() -> None:
    peer = Peer(replace(SETTINGS, busy_wait=1000.0))
    peer.connect()
    peer.cut()
    peer.protocol.disconnected(FULL, 0.0)
    peer.protocol.found(HERE, 0.0)
    for peer.now, step in ((500.0, Connect), (550.0, Connect), (600.0, Over)):
        assert peer.cut() == [Find()]
        assert isinstance(peer.protocol.found(HERE, peer.now)[-1], step)


def test_a_token_that_is_refused_is_not_shown_twice(peer: Peer) -> None:
    peer.protocol.found(HERE, 0.0)
    peer.protocol.connected(0.0)
    assert peer.cut(4501) == [Find()]
    assert peer.protocol.found(THERE, 0.0) == [Connect(THERE, 0.0)]
    peer.protocol.connected(0.0)
    assert peer.sent()[0].hello.token == "another token"
    assert peer.cut(4501) == [Find()]
    (over,) = peer.protocol.found(HERE, 0.0)
    assert isinstance(over, Over)
    assert over.closed.code == 4501


# -- coming back -----------------------------------------------------------------------------


def test_which_close_codes_are_final() -> None:
    back = {code for code in range(1000, 5000) if comes_back(code)}
    assert back == {1001, 1006, 1012, *range(4000, 4500)}


def test_a_lost_connection_comes_back_after_a_growing_pause(open_peer: Peer) -> None:
    delays = []
    for _ in range(6):
        (connect,) = open_peer.cut(4003)
        assert isinstance(connect, Connect)
        delays.append(connect.delay)
        open_peer.connect(resumed=True)
        assert open_peer.hello.hello.resume.resume_token == b"r"
    assert delays == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    open_peer.hear(Pong())
    assert open_peer.cut() == [Connect(HERE, 1.0)]
    assert open_peer.protocol.resumes == 6


def test_the_pause_has_jitter_over_its_upper_half() -> None:
    peer = Peer()
    peer.protocol = ClientProtocol(SETTINGS, lambda: 0.0)
    peer.connect()
    assert peer.cut() == [Connect(HERE, 0.5)]


def test_jitter_is_random_by_default() -> None:
    peer = Peer()
    peer.protocol = ClientProtocol(SETTINGS)
    peer.connect()
    (connect,) = peer.cut()
    assert isinstance(connect, Connect)
    assert 0.5 <= connect.delay <= 1.0


def test_it_does_not_come_back_before_the_advised_time(open_peer: Peer) -> None:
    assert open_peer.hear(GoingAway(reconnect_after_ms=5000)) == []
    assert open_peer.cut(4001) == [Connect(HERE, 6.0)]
    open_peer.connect(resumed=True)
    assert open_peer.cut() == [Connect(HERE, 2.0)]


def test_a_close_code_from_4500_on_is_final(open_peer: Peer) -> None:
    call = open_peer.open()
    effects = open_peer.cut(4504)
    assert [(c, type(e)) for c, e in failed(effects)] == [(call, ConnectionClosed)]
    assert isinstance(effects[-1], Over)
    with pytest.raises(ConnectionClosed, match="4504"):
        open_peer.open()
    assert open_peer.cut() == []
    assert open_peer.protocol.found(HERE, 0.0) == []
    assert open_peer.protocol.close() == []
    assert open_peer.hear(None) == []
    assert open_peer.protocol.due() is None


def test_a_service_that_refuses_is_looked_for_and_tried_again(open_peer: Peer) -> None:
    open_peer.cut()
    assert open_peer.cut() == [Find()]
    assert open_peer.protocol.found(HERE, 0.0) == [Connect(HERE, 2.0)]
    assert open_peer.cut() == [Find()]
    assert open_peer.protocol.found(THERE, 0.0) == [Connect(THERE, 0.0)]


def test_it_gives_up_in_the_end(open_peer: Peer) -> None:
    open_peer.now = 50.0
    open_peer.cut()
    open_peer.now = 149.9
    open_peer.cut()
    assert isinstance(open_peer.protocol.found(HERE, open_peer.now)[0], Connect)
    open_peer.now = 150.0
    open_peer.cut()
    assert isinstance(open_peer.protocol.found(HERE, open_peer.now)[0], Over)


def test_a_connection_that_never_gets_its_welcome_is_tried_again(open_peer: Peer) -> None:
    open_peer.cut()
    open_peer.protocol.connected(0.0)
    assert open_peer.cut(4002) == [Connect(HERE, 2.0)]


# -- the session after a cut -----------------------------------------------------------------


def test_what_was_not_received_is_sent_again_and_nothing_else(open_peer: Peer) -> None:
    for text in "abc":
        open_peer.open(text)
    assert kinds(open_peer.sent()) == [
        (1, "send_message"),
        (2, "send_message"),
        (3, "send_message"),
    ]
    open_peer.cut()
    open_peer.connect(resumed=True, last=1)
    assert [(m.request_id, m.send_message.text) for m in open_peer.sent()] == [(2, "b"), (3, "c")]


def test_credit_answers_and_cancels_are_said_again(open_peer: Peer) -> None:
    protocol = open_peer.protocol
    call, other = open_peer.open(), open_peer.open()
    for sequence in (1, 2):
        open_peer.hear(ChatToken(), 1, sequence)
        protocol.consumed(call)
    open_peer.hear(AskEvent(ask_id="x"), 1, 3)
    open_peer.hear(AskEvent(ask_id="y"), 1, 4)
    for ask_id in "xy":
        protocol.answer(call, AnswerRequest(ask_id=ask_id, answers=["yes"]))
    open_peer.hear(AskClosed(ask_id="x"), 1, 5)
    protocol.cancel(other)
    open_peer.sent()
    open_peer.cut()
    open_peer.connect(resumed=True, last=2)
    assert open_peer.hello.hello.resume.last_sequence == 5
    again = open_peer.sent()
    assert kinds(again) == [(1, "credit"), (1, "answer"), (2, "cancel")]
    assert again[0].credit.limit == 6
    assert again[1].answer.ask_id == "y"


def test_what_is_done_while_away_is_said_afterwards(open_peer: Peer) -> None:
    protocol = open_peer.protocol
    call = open_peer.open()
    open_peer.hear(AskEvent(ask_id="x"), 1, 1)
    open_peer.hear(ChatToken(), 1, 2)
    open_peer.sent()
    open_peer.cut()
    protocol.consumed(call)
    protocol.consumed(call)
    protocol.answer(call, AnswerRequest(ask_id="x"))
    new = open_peer.open("new")
    assert protocol.cancel(call) == []
    assert open_peer.sent() == []
    open_peer.connect(resumed=True, last=1)
    assert kinds(open_peer.sent()) == [
        (1, "credit"), (1, "answer"), (1, "cancel"), (2, "send_message"),
    ]  # fmt: skip
    assert new.request_id == 2


def test_what_was_cancelled_and_never_received_does_not_run(open_peer: Peer) -> None:
    call, gone = open_peer.open("a"), open_peer.open("b")
    open_peer.cut()
    open_peer.protocol.cancel(call)
    open_peer.protocol.abandon(gone)
    effects = open_peer.connect(resumed=True)
    ((ended, error),) = failed(effects)
    assert ended is call
    assert isinstance(error, RequestFailed)
    assert error.code is Code.CANCELLED
    assert open_peer.sent() == []
    assert open_peer.protocol.in_flight == 0
    assert open_peer.open("c").request_id == 3


def test_what_was_never_sent_is_cancelled_at_once(open_peer: Peer) -> None:
    open_peer.cut()
    call, gone = open_peer.open(), open_peer.open()
    ((ended, error),) = failed(open_peer.protocol.cancel(call))
    assert ended is call
    assert "CANCELLED" in str(error)
    assert open_peer.protocol.abandon(gone) == []
    assert open_peer.protocol.cancel(call) == []
    assert open_peer.protocol.in_flight == 0


def test_a_session_that_is_gone_takes_what_was_sent_with_it(open_peer: Peer) -> None:
    sent, abandoned = open_peer.open("sent"), open_peer.open("abandoned")
    open_peer.hear(ChatToken(), 1, 1)
    open_peer.protocol.abandon(abandoned)
    open_peer.cut()
    open_peer.open("new")
    effects = open_peer.connect(resumed=False)
    ((lost, error),) = failed(effects)
    assert lost is sent
    assert isinstance(error, SessionLost)
    assert (error.code, error.retryable) == (Code.UNAVAILABLE, True)
    assert [(m.request_id, m.send_message.text) for m in open_peer.sent()] == [(1, "new")]
    assert open_peer.hear(ChatToken(), 1, 1) != []


def test_where_no_service_runs_the_session_is_lost_at_once(open_peer: Peer) -> None:
    call = open_peer.open()
    open_peer.cut()
    open_peer.cut()
    waiting = open_peer.open()
    effects = open_peer.protocol.found(None, 0.0)
    assert [c for c, _ in failed(effects)] == [call]
    assert effects[-1] == Connect(HERE, 2.0)
    open_peer.connect()
    assert not open_peer.hello.hello.HasField("resume")
    assert waiting.request_id == 1


# -- answers ---------------------------------------------------------------------------------


def test_answers_are_delivered_once_and_in_order(open_peer: Peer) -> None:
    call, other = open_peer.open(), open_peer.open()
    (first,) = open_peer.hear(ChatToken(text="a"), 1, 1)
    assert isinstance(first, Deliver)
    assert (first.call, first.message.token.text) == (call, "a")
    assert open_peer.hear(ChatToken(text="a"), 1, 1) == []
    (second,) = open_peer.hear(ChatCompleted(), 2, 2, end=True)
    assert isinstance(second, Deliver)
    assert second.call is other
    assert open_peer.hear(ChatToken(), 2, 3) == []
    assert open_peer.hear(ChatToken(), 77, 4) == []
    assert open_peer.protocol.sequence == 4
    assert open_peer.protocol.in_flight == 1


def test_a_gap_cuts_the_connection_so_that_the_rest_comes_again(open_peer: Peer) -> None:
    open_peer.open()
    assert open_peer.hear(ChatToken(), 1, 2) == [AbortConnection()]
    assert open_peer.protocol.sequence == 0


def test_an_abandoned_call_is_cancelled_and_delivers_nothing(open_peer: Peer) -> None:
    protocol = open_peer.protocol
    call = open_peer.open()
    open_peer.sent()
    protocol.abandon(call)
    assert kinds(open_peer.sent()) == [(1, "cancel")]
    assert open_peer.hear(ChatToken(), 1, 1) == []
    assert open_peer.hear(ChatError(), 1, 2, end=True) == []
    assert protocol.in_flight == 0
    protocol.answer(call, AnswerRequest())
    protocol.consumed(call)
    assert open_peer.sent() == []


def test_a_call_is_cancelled_once_and_its_end_still_comes(open_peer: Peer) -> None:
    call = open_peer.open()
    open_peer.sent()
    open_peer.protocol.cancel(call)
    open_peer.protocol.cancel(call)
    assert kinds(open_peer.sent()) == [(1, "cancel")]
    (end,) = open_peer.hear(ChatError(code="CANCELLED"), 1, 1, end=True)
    assert isinstance(end, Deliver)


def test_credit_is_granted_by_halves_of_the_window(open_peer: Peer) -> None:
    call = open_peer.open()
    open_peer.sent()
    granted = []
    for _ in range(6):
        open_peer.protocol.consumed(call)
        granted.append([message.credit.limit for message in open_peer.sent()])
    assert granted == [[], [6], [], [8], [], [10]]
    open_peer.protocol.cancel(call)
    open_peer.sent()
    for _ in range(4):
        open_peer.protocol.consumed(call)
    assert open_peer.sent() == []


def test_a_window_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="window"):
        ClientSettings(window=0)


def test_an_ack_goes_out_every_half_of_the_buffer(open_peer: Peer) -> None:
    open_peer.open()
    open_peer.sent()
    acked = []
    for sequence in range(1, 10):
        open_peer.hear(ChatToken(), 1, sequence)
        acked += [message.ack.sequence for message in open_peer.sent()]
    assert acked == [4, 8]
    open_peer.hear(ChatToken(text="x" * 600), 1, 10)
    assert [message.ack.sequence for message in open_peer.sent()] == [10]


def test_where_nothing_is_kept_nothing_is_acknowledged() -> None:
    acks = Acknowledger()
    last = ServerMessage(end=True)
    assert not any(acks.count(last, 10**9, Limits()) for _ in range(10_000))


def test_an_ack_goes_out_when_a_long_reply_has_ended() -> None:
    acks, limits = Acknowledger(), Limits(resume_buffer_messages=1000)
    due = [acks.count(ServerMessage(end=n % 10 == 9), 1, limits) for n in range(40)]
    assert [n for n, ack in enumerate(due) if ack] == [19, 39]


def test_a_message_without_an_arm_goes_in_call(open_peer: Peer) -> None:
    open_peer.protocol.open(ServiceStatusRequest(max_children=3), None, 0.0)
    open_peer.protocol.open(ListSessionsRequest(), None, 0.0)
    packed, empty = open_peer.sent()
    status = ServiceStatusRequest()
    assert packed.call.Unpack(status)
    assert status.max_children == 3
    assert empty.WhichOneof("payload") == "list_sessions"


def test_what_is_larger_than_the_service_takes_is_refused_here(open_peer: Peer) -> None:
    with pytest.raises(
        RequestFailed, match=r"too long: \d+ bytes, but the service accepts at most 1024"
    ):
        open_peer.open("x" * 1024)
    call = open_peer.open()
    with pytest.raises(RequestFailed, match="too long"):
        open_peer.protocol.answer(call, AnswerRequest(message="x" * 1024))
    assert open_peer.protocol.in_flight == 1


def test_what_is_larger_than_the_next_service_takes_fails_alone(open_peer: Peer) -> None:
    open_peer.cut()
    big, small = open_peer.open("x" * 500), open_peer.open("small")
    open_peer.protocol.connected(0.0)
    open_peer.sent()
    effects = open_peer.welcome(limits=Limits(max_message_bytes=500))
    ((call, error),) = failed(effects)
    assert call is big
    assert "INVALID_ARGUMENT" in str(error)
    assert [message.send_message.text for message in open_peer.sent()] == ["small"]
    assert small.request_id == 1


def test_an_input_that_is_larger_than_the_next_service_takes_fails_its_request(
    open_peer: Peer,
) -> None:
    open_peer.cut()
    open_peer.protocol.connected(0.0)
    open_peer.welcome(limits=Limits(max_message_bytes=5000, input_window=4))
    open_peer.cut()
    call = open_peer.open("small")
    assert open_peer.protocol.input(call, ChatToken(text="x" * 500), last=False)
    open_peer.protocol.connected(0.0)
    open_peer.sent()
    effects = open_peer.welcome(limits=Limits(max_message_bytes=500))
    assert [failure[0] for failure in failed(effects)] == [call]
    assert open_peer.sent() == []


# -- what a service must not do --------------------------------------------------------------


@pytest.mark.parametrize("payload", [ChatToken(), Pong(), None])
def test_the_first_frame_must_be_a_welcome(peer: Peer, payload: Message | None) -> None:
    peer.protocol.found(HERE, 0.0)
    peer.protocol.connected(0.0)
    close, over = peer.hear(payload)
    assert isinstance(close, Close)
    assert close.code == 1002
    assert isinstance(over, Over)


def test_a_second_welcome_is_refused(open_peer: Peer) -> None:
    assert isinstance(open_peer.welcome()[0], Close)


def test_a_resume_of_a_session_that_never_was_is_refused(peer: Peer) -> None:
    assert isinstance(peer.connect(resumed=True)[0], Close)


def test_bytes_that_are_no_message_are_refused(open_peer: Peer) -> None:
    call = open_peer.open()
    effects = open_peer.protocol.receive(b"\xff", 0.0)
    assert effects[0] == Close(1007, "not a ServerMessage")
    assert [c for c, _ in failed(effects)] == [call]


def test_going_away_before_welcome_is_heard(open_peer: Peer) -> None:
    open_peer.cut()
    open_peer.protocol.connected(0.0)
    assert open_peer.hear(GoingAway(reconnect_after_ms=3000)) == []
    assert open_peer.cut(4001) == [Find()]
    assert open_peer.protocol.found(HERE, 0.0) == [Connect(HERE, 5.0)]


# -- time ------------------------------------------------------------------------------------


def test_a_silent_service_is_pinged_then_cut(open_peer: Peer) -> None:
    protocol = open_peer.protocol
    assert protocol.due() == 1.0
    assert open_peer.tick(0.5) == []
    assert open_peer.tick(0.5) == []
    assert kinds(open_peer.sent()) == [(0, "ping")]
    assert protocol.due() == 2.0
    open_peer.hear(Pong())
    assert protocol.due() == 2.0
    open_peer.tick(1.0)
    protocol.heard(2.5)
    assert protocol.due() == 3.5
    open_peer.tick(1.5)
    assert open_peer.tick(1.0) == [AbortConnection()]
    assert protocol.due() == 6.5


def test_a_service_without_heartbeat_is_not_pinged(peer: Peer) -> None:
    peer.protocol.found(HERE, 0.0)
    peer.protocol.connected(0.0)
    peer.welcome(limits=Limits())
    assert peer.protocol.due() is None
    assert peer.tick(1000.0) == []


def test_connecting_and_the_welcome_have_a_time_limit(peer: Peer) -> None:
    assert peer.protocol.due() is None
    peer.protocol.found(HERE, 0.0)
    assert peer.tick(9.9) == []
    assert peer.tick(0.1) == [AbortConnection()]
    peer.protocol.connected(peer.now)
    assert peer.tick(9.9) == []
    assert peer.tick(0.1) == [AbortConnection()]


def test_a_deadline_is_sent_as_the_time_that_is_left(open_peer: Peer) -> None:
    open_peer.open(timeout=2.0)
    assert open_peer.sent()[0].timeout_ms == 2000
    open_peer.cut()
    open_peer.now = 1.5
    open_peer.connect(resumed=True)
    assert open_peer.sent()[0].timeout_ms == 500


def test_a_deadline_holds_while_the_service_is_away(open_peer: Peer) -> None:
    protocol = open_peer.protocol
    known = open_peer.open(timeout=2.0)
    open_peer.cut()
    unsent = open_peer.open(timeout=3.0)
    open_peer.open()
    ((first, error),) = failed(open_peer.tick(2.0))
    assert first is known
    assert isinstance(error, RequestFailed)
    assert error.code is Code.DEADLINE_EXCEEDED
    ((second, _),) = failed(open_peer.tick(1.0))
    assert second is unsent
    assert failed(open_peer.tick(1.0)) == []
    open_peer.sent()
    open_peer.connect(resumed=True, last=1)
    assert kinds(open_peer.sent()) == [(1, "cancel"), (2, "send_message")]
    assert open_peer.hear(ChatError(), 1, 1, end=True) == []
    assert protocol.in_flight == 1


def test_the_longest_deadline_fits_its_field(open_peer: Peer) -> None:
    open_peer.open(timeout=1e9)
    open_peer.open(timeout=0.0)
    assert [message.timeout_ms for message in open_peer.sent()] == [2**32 - 1, 1]


# -- the end ---------------------------------------------------------------------------------


def test_closing_ends_what_is_in_flight(open_peer: Peer) -> None:
    call, abandoned = open_peer.open(), open_peer.open()
    open_peer.protocol.abandon(abandoned)
    effects = open_peer.protocol.close()
    assert effects[0] == Close(1000, "")
    assert [c for c, _ in failed(effects)] == [call]
    assert isinstance(effects[-1], Over)
    assert kinds(open_peer.sent())[-1] == (2, "cancel")


def test_no_token_is_in_a_repr() -> None:
    assert "token" not in repr(HERE).replace("the token", "")
    assert "the token" not in repr(Connect(HERE, 0.0))


def test_an_answer_of_the_service_is_a_server_message() -> None:
    assert served(None) == ServerMessage()
