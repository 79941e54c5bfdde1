"""The client's half of the protocol as a state machine without I/O: no asyncio, no socket.

Events go in with the time, effects come out, and bytes to send wait in an outbox. The rules:

1. A call ends exactly once: by its last answer, or by a `Failed` that says why none will come.
2. Answers are delivered once, in order; an answer seen before a cut is not delivered again.
3. What was never sent is sent once there is a connection. What was sent is sent again only if the
   service says that it never arrived: no request runs twice.
4. A call that was sent is lost only if its session is lost.
"""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final

from google.protobuf.message import DecodeError, Message

from actors.protocol.failure import Code
from callboard.v1 import chat_pb2, session_pb2
from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from transport.client.calls import (
    Acknowledger,
    ClientCall,
    ClientSettings,
    Endpoint,
    envelope,
    too_large,
)
from transport.client.comeback import Comeback
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
    Room,
)
from transport.client.phase import Phase
from transport.codes import PROTOCOL_VERSION, CloseCode
from transport.errors import ConnectionClosed, RequestFailed, SessionLost

CANCELLED: Final = (Code.CANCELLED, "the request was cancelled")
DEADLINE: Final = (Code.DEADLINE_EXCEEDED, "the request exceeded its deadline")


class ClientProtocol:
    """The complete state of a client's session."""

    def __init__(self, settings: ClientSettings, random: Callable[[], float] | None = None) -> None:
        self.settings = settings
        self.phase: Phase = Phase.FINDING
        self.welcome: session_pb2.Welcome = session_pb2.Welcome()
        self.sequence: int = 0
        self.resumes: int = 0
        self.closed: ConnectionClosed = ConnectionClosed(CloseCode.ABNORMAL)
        self._comeback = Comeback(settings, random or Random().random)
        self._calls: dict[ClientCall, None] = {}
        self._by_id: dict[int, ClientCall] = {}
        self._last_id = 0
        self._outbox: deque[bytes] = deque()
        self._acks = Acknowledger()
        self._heard = 0.0
        self._pinged = False

    @property
    def url(self) -> str:
        """The URL of the last connection or attempt; empty if there was none."""
        return self._comeback.endpoint.url

    # -- the connection ----------------------------------------------------------------------

    def start(self) -> list[Effect]:
        """Start looking for the service."""
        return [Find()]

    def found(self, endpoint: Endpoint | None, now: float) -> list[Effect]:
        """Handle where the service is now; None: none is running, so calls in flight are lost."""
        if self.phase is Phase.OVER:
            return []
        lost = self._forget_session() if endpoint is None else []
        return lost + self._go(self._comeback.found(endpoint, now), now)

    def _go(self, step: Find | Connect | None, now: float) -> list[Effect]:
        if step is None:
            return self._give_up()
        if isinstance(step, Connect):
            self.phase = Phase.CONNECTING
            self.heard(now + step.delay)
        else:
            self.phase = Phase.FINDING
        return [step]

    def connected(self, now: float) -> list[Effect]:
        """Queue the Hello: the WebSocket is open."""
        self.phase = Phase.GREETING
        self.heard(now)
        hello = session_pb2.Hello(
            token=self._comeback.endpoint.token,
            protocol_version=PROTOCOL_VERSION,
            client_name=self.settings.name,
            client_version=self.settings.version,
            initial_credit=self.settings.window,
            acknowledges=True,
            features=self.settings.features,
        )
        if self.welcome.resume_token:
            hello.resume.resume_token = self.welcome.resume_token
            hello.resume.last_sequence = self.sequence
        self._outbox.clear()
        self._put(ClientMessage(hello=hello))
        return []

    def disconnected(self, closed: ConnectionClosed, now: float) -> list[Effect]:
        """Handle that the connection has ended, or that none could be made (1006)."""
        if self.phase is Phase.OVER:
            return []
        self._outbox.clear()
        self.closed = closed
        refused = self.phase is Phase.CONNECTING
        busy = closed.busy and self.phase is not Phase.OPEN
        return self._go(self._comeback.lost(closed.code, now, refused=refused, busy=busy), now)

    def close(self) -> list[Effect]:
        """Leave: the session ends, and its calls in flight are cancelled."""
        if self.phase is Phase.OVER:
            return []
        self.closed = ConnectionClosed(CloseCode.NORMAL, "closed by this client")
        return [Close(CloseCode.NORMAL, ""), *self._give_up()]

    def _give_up(self) -> list[Effect]:
        self.phase = Phase.OVER
        calls, self._calls = self._calls, {}
        self._by_id.clear()
        failed = (Failed(call, self.closed) for call in calls if not call.abandoned)
        return [*failed, Over(self.closed)]

    # -- time --------------------------------------------------------------------------------

    def due(self) -> float | None:
        """Return when `tick` must be called; None: not before something else happens."""
        times = [] if self._silence is None else [self._heard + self._silence]
        if self.phase is not Phase.OPEN:
            times += [call.deadline for call in self._calls if call.deadline is not None]
        return min(times, default=None)

    @property
    def _silence(self) -> float | None:
        """Return the seconds without anything from the service after which `tick` must act."""
        match self.phase:
            case Phase.CONNECTING | Phase.GREETING:
                return self.settings.handshake
            case Phase.OPEN if self.welcome.limits.heartbeat_interval_ms:
                interval = self.welcome.limits.heartbeat_interval_ms / 1000
                return interval * (2 if self._pinged else 1)
            case _:
                return None

    def tick(self, now: float) -> list[Effect]:
        """Handle deadlines and silence: time has passed."""
        effects: list[Effect] = []
        if self.phase is not Phase.OPEN:
            late = [c for c in self._calls if c.deadline is not None and c.deadline <= now]
            effects += [
                effect for call in late for effect in self._end_here(call, RequestFailed(*DEADLINE))
            ]
        if self._silence is not None and now >= self._heard + self._silence:
            if self.phase is Phase.OPEN and not self._pinged:
                self._pinged = True
                self._put(ClientMessage(ping=session_pb2.Ping()))
            else:
                self._heard = now  # leaves time to carry it out
                effects.append(AbortConnection())
        return effects

    def heard(self, now: float) -> None:
        """Note a sign of life from the service, such as a WebSocket ping."""
        self._heard = now
        self._pinged = False

    # -- calls -------------------------------------------------------------------------------

    def open(self, message: Message, timeout: float | None, now: float) -> ClientCall:
        """Open a request; it is sent now, or once there is a connection.

        timeout: seconds after which it ends with DEADLINE_EXCEEDED. Raises ConnectionClosed, and
        RequestFailed if the request is larger than the service accepts.
        """
        if self.phase is Phase.OVER:
            raise self.closed
        call = ClientCall(
            envelope(message), None if timeout is None else now + timeout, self.settings
        )
        if excess := self._excess(call.envelope):
            raise excess
        self._calls[call] = None
        if self.phase is Phase.OPEN:
            self._send(call, now)
        return call

    def _excess(self, about: ClientMessage) -> RequestFailed | None:
        return too_large(about, self.welcome.limits)

    def _send(self, call: ClientCall, now: float) -> None:
        if not call.request_id:
            self._last_id += 1
            call.request_id = self._last_id
            self._by_id[call.request_id] = call
        self._put(*call.opening(now))

    def _send_unsent(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for call in [call for call in self._calls if not call.request_id]:
            # It may be another service than at `open`, with a lower limit.
            if excess := next(filter(None, map(self._excess, call.opening(now))), None):
                effects += self._end_here(call, excess)
            else:
                self._send(call, now)
        return effects

    def cancel(self, call: ClientCall) -> list[Effect]:
        """Cancel the call; its last answer still comes. Does nothing if ended or cancelled."""
        if call not in self._calls or call.cancelled:
            return []
        call.cancelled = True
        if not call.request_id:
            return self._end_here(call, RequestFailed(*CANCELLED))
        if self.phase is Phase.OPEN:
            self._put(call.about(chat_pb2.CancelRequest()))
        return []

    def abandon(self, call: ClientCall) -> list[Effect]:
        """Cancel the call, and deliver nothing more of it."""
        call.abandoned = True
        return self.cancel(call)

    def _end_here(self, call: ClientCall, error: RequestFailed) -> list[Effect]:
        """End a call for its user; the service, if it knows the call, still has to end it."""
        failed: list[Effect] = [] if call.abandoned else [Failed(call, error)]
        if call.request_id:
            call.deadline = None
            call.abandoned = call.cancelled = True
        else:
            del self._calls[call]
        return failed

    def answer(self, call: ClientCall, answer: chat_pb2.AnswerRequest) -> None:
        """Answer an ask of the call. Kept until the ask is closed, and sent again after a cut.

        Raises RequestFailed if the answer is larger than the service accepts.
        """
        if call not in self._calls:
            return
        if excess := self._excess(envelope(answer)):
            raise excess
        call.unsettled[answer.ask_id] = answer
        if self.phase is Phase.OPEN:
            self._put(call.about(answer))

    def takes_input(self, call: ClientCall) -> bool:
        """Return whether one more input of the call may be sent now, or the call has ended."""
        if call not in self._calls or call.cancelled:
            return True
        return call.inputs.has_room(self.welcome.limits.input_window)

    def input(self, call: ClientCall, message: Message | None, *, last: bool) -> bool:
        """Send a further message of the call, or, for None, only that nothing follows.

        Kept until the service has taken it, and sent again after a cut. Returns False if the call
        has ended. Raises RequestFailed if the message is larger than the service accepts.
        """
        if call not in self._calls or call.cancelled:
            return False
        made = call.inputs.make(message, last=last)
        if excess := self._excess(envelope(made)):
            raise excess
        call.inputs.keep(made)
        if self.phase is Phase.OPEN and call.request_id:
            self._put(call.about(made))
        return True

    def consumed(self, call: ClientCall) -> None:
        """Note that the consumer has handled one answer, which makes room for another."""
        if call.consume() and call in self._calls and self.phase is Phase.OPEN:
            self._put(call.about(session_pb2.Credit(limit=call.granted)))

    # -- what the service says ---------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> list[Effect]:
        """Handle a binary frame from the service."""
        if self.phase is Phase.OVER:
            return []
        try:
            message = ServerMessage.FromString(data)
        except DecodeError:
            return self._broken(CloseCode.INVALID_TEXT, "not a ServerMessage")
        self.heard(now)
        kind = message.WhichOneof("payload")
        if kind == "going_away":
            self._comeback.advised(message.going_away.reconnect_after_ms / 1000)
            return []
        if kind == "welcome" and self.phase is Phase.GREETING:
            return self._welcomed(message.welcome, now)
        if kind == "welcome" or self.phase is Phase.GREETING:
            return self._broken(
                CloseCode.PROTOCOL_ERROR, "the first frame, and only the first, must be a Welcome"
            )
        self._comeback.proved()
        return self._take(message, len(data)) if message.request_id else []

    def _broken(self, code: int, reason: str) -> list[Effect]:
        self.closed = ConnectionClosed(code, reason)
        return [Close(code, reason), *self._give_up()]

    def _welcomed(self, welcome: session_pb2.Welcome, now: float) -> list[Effect]:
        if welcome.resumed and not self.welcome.resume_token:
            return self._broken(CloseCode.PROTOCOL_ERROR, "the service resumed an unknown session")
        lost = [] if welcome.resumed else self._forget_session()
        self.welcome = welcome
        self.phase = Phase.OPEN
        self._comeback.opened()
        if welcome.resumed:
            self.resumes += 1
            lost += self._send_again(welcome.last_request_id, now)
        return [*lost, *self._send_unsent(now), Ready(welcome)]

    def _forget_session(self) -> list[Effect]:
        """Forget the session, which has ended, and fail the calls that were lost with it."""
        lost = [call for call in self._calls if call.request_id]
        for call in lost:
            del self._calls[call]
        self._by_id.clear()
        self.welcome.resume_token = b""
        self._last_id = self.sequence = 0
        self._acks = Acknowledger()
        return [Failed(call, SessionLost()) for call in lost if not call.abandoned]

    def _send_again(self, last_received: int, now: float) -> list[Effect]:
        """Send again what the cut may have lost."""
        effects: list[Effect] = []
        for call in [call for call in self._calls if call.request_id]:
            if call.request_id > last_received:
                if call.cancelled:  # it never ran
                    del self._by_id[call.request_id]
                    call.request_id = 0
                    effects += self._end_here(call, RequestFailed(*CANCELLED))
                    continue
                self._send(call, now)
            self._put(*call.standing())
            if call.request_id <= last_received:
                self._put(*map(call.about, call.inputs))
            if call.cancelled:
                self._put(call.about(chat_pb2.CancelRequest()))
        return effects

    def _take(self, message: ServerMessage, size: int) -> list[Effect]:
        if message.sequence <= self.sequence:
            return []
        if message.sequence != self.sequence + 1:
            return [AbortConnection()]  # the missing answers are sent again after the resume
        self.sequence = message.sequence
        if self._acks.count(message, size, self.welcome.limits):
            self._put(ClientMessage(ack=session_pb2.Ack(sequence=self.sequence)))
        call = self._by_id.get(message.request_id)
        if call is None:
            return []
        if message.end:
            del self._by_id[message.request_id]
            del self._calls[call]
        elif message.HasField("credit"):
            call.inputs.grant(message.credit.limit, self.welcome.limits.input_window)
            return [Room(call)]
        elif message.HasField("ask_closed"):
            call.unsettled.pop(message.ask_closed.ask_id, None)
        return [] if call.abandoned else [Deliver(call, message)]

    # -- what goes out -----------------------------------------------------------------------

    def _put(self, *messages: ClientMessage) -> None:
        self._outbox.extend(message.SerializeToString() for message in messages)

    def take(self) -> list[bytes]:
        """Remove and return everything to be sent on this connection, in order."""
        taken = list(self._outbox)
        self._outbox.clear()
        return taken

    @property
    def has_output(self) -> bool:
        """Return whether there is something to send."""
        return bool(self._outbox)

    @property
    def in_flight(self) -> int:
        """The number of calls that have not ended."""
        return len(self._calls)
