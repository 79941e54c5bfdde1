"""A simple model of a service that follows the contract, independent of the real one.

The text of a `SendMessageRequest` says what happens: a number N gives N tokens and `completed`;
`ask` asks once and repeats the answer; `never` does nothing until it is cancelled. A list request
gets its one answer at once. The model keeps all answers forever, so a replay lacks nothing.
"""

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatError,
    ChatToken,
    SessionList,
)
from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from callboard.v1.session_pb2 import Limits, Pong, Welcome

if TYPE_CHECKING:
    from collections.abc import Iterator

ARMS = {
    entry.message_type.full_name: entry.name
    for entry in ServerMessage.DESCRIPTOR.oneofs_by_name["payload"].fields
    if entry.message_type is not None
}
LIMITS = Limits(
    max_message_bytes=1024,
    heartbeat_interval_ms=1000,
    resume_buffer_messages=8,
    resume_buffer_bytes=1024,
)


def served(
    payload: Message | None, *, request_id: int = 0, sequence: int = 0, end: bool = False
) -> ServerMessage:
    """Make a ServerMessage with this payload in its own field, or else in `reply`."""
    message = ServerMessage(request_id=request_id, sequence=sequence, end=end)
    if payload is not None:
        arm = ARMS.get(payload.DESCRIPTOR.full_name)
        if arm is None:
            message.reply.Pack(payload)
        else:
            getattr(message, arm).CopyFrom(payload)
            getattr(message, arm).SetInParent()
    return message


@dataclass
class Running:
    """A request that has not ended."""

    text: str
    limit: int
    sent: int = 0
    answer: str | None = None


@dataclass
class ModelSession:
    """What the service knows about one client."""

    token: bytes
    initial_credit: int
    last_request_id: int = 0
    answers: list[ServerMessage] = field(default_factory=list)
    running: dict[int, Running] = field(default_factory=dict)
    acked: int = 0
    started: list[str] = field(default_factory=list)
    """The conversation of each SendMessageRequest that arrived."""

    def receive(self, message: ClientMessage) -> list[ServerMessage]:
        """Handle a frame and return the immediate answers."""
        arm, request_id = message.WhichOneof("payload"), message.request_id
        match arm:
            case "ack":
                assert self.acked < message.ack.sequence <= len(self.answers)
                self.acked = message.ack.sequence
            case "credit":
                running = self.running.get(request_id)
                if running is not None:
                    running.limit = max(running.limit, message.credit.limit)
            case "ping":
                return [served(Pong())]
            case "cancel":
                if request_id in self.running:
                    return [self.say(request_id, ChatError(code="CANCELLED"), end=True)]
            case "answer":
                if request_id in self.running and self.running[request_id].answer is None:
                    self.running[request_id].answer = message.answer.answers[0]
            case "send_message":
                self.open(request_id, message.send_message.text)
                self.started.append(message.send_message.session_id)
            case _:
                assert arm == "list_sessions", arm
                self.open(request_id, "")
                return [self.say(request_id, SessionList(), end=True)]
        return []

    def open(self, request_id: int, text: str) -> None:
        assert request_id > self.last_request_id, "4500"
        self.last_request_id = request_id
        self.running[request_id] = Running(text, self.initial_credit)

    def say(self, request_id: int, payload: Message, *, end: bool = False) -> ServerMessage:
        """Add the next answer to a request, and return it."""
        message = served(payload, request_id=request_id, sequence=len(self.answers) + 1, end=end)
        self.answers.append(message)
        if end:
            del self.running[request_id]
        else:
            self.running[request_id].sent += 1
        return message

    def work(self, request_id: int) -> ServerMessage | None:
        """Return the next answer of a request; None: it has to wait."""
        running = self.running[request_id]
        if running.text == "never":
            return None
        if running.text == "ask":
            return self._ask(request_id, running)
        if running.sent == int(running.text):
            return self.say(request_id, ChatCompleted(), end=True)
        if running.sent == running.limit:
            return None
        return self.say(request_id, ChatToken(text=f"{running.sent} "))

    def _ask(self, request_id: int, running: Running) -> ServerMessage | None:
        if running.sent == 0:
            return self.say(request_id, AskEvent(ask_id="a"))
        if running.answer is None:
            return None
        if running.sent == 1:
            return self.say(request_id, AskClosed(ask_id="a", answers=[running.answer]))
        return self.say(request_id, ChatCompleted(), end=True)


class ModelService:
    """Sessions by their resume token."""

    def __init__(self, token: str = "the token", limits: Limits = LIMITS) -> None:
        self.token = token
        self.limits = limits
        self.sessions: dict[bytes, ModelSession] = {}
        self.started: list[str] = []
        self._numbers: Iterator[int] = count(1)

    def greet(self, message: ClientMessage) -> tuple[ModelSession, list[ServerMessage]]:
        """Answer a Hello with a Welcome and all answers that the client missed."""
        hello = message.hello
        assert message.WhichOneof("payload") == "hello"
        assert hello.token == self.token
        assert hello.acknowledges
        session = self.sessions.get(hello.resume.resume_token)
        if session is None:
            token = f"session {next(self._numbers)}".encode()
            session = ModelSession(token, hello.initial_credit, started=self.started)
            self.sessions[token] = session
            return session, [self.welcome(session, resumed=False)]
        missed = session.answers[hello.resume.last_sequence :]
        assert hello.resume.last_sequence >= session.acked
        return session, [self.welcome(session, resumed=True), *missed]

    def welcome(self, session: ModelSession, *, resumed: bool) -> ServerMessage:
        """Make the first frame of a connection."""
        return served(
            Welcome(
                session=session.token.decode(),
                resume_token=session.token,
                resumed=resumed,
                last_request_id=session.last_request_id,
                limits=self.limits,
                backend="model",
            )
        )
