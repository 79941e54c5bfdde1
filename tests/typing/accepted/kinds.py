"""Code as authors of extensions write it, and the types that checkers infer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import assert_never, assert_type

from actors import (
    Actor,
    ActorRef,
    ActorSystem,
    Call,
    Code,
    DuplexActor,
    Failure,
    Last,
    Message,
    Question,
    Registry,
    Rejected,
    Reply,
    RequestActor,
    StreamActor,
    Yielded,
)
from actors.testing import Answers, Calls, LogLines, serving
from callboard.v1.chat_pb2 import ChatToken, CreateSessionRequest, GetHistoryRequest, SessionInfo
from callboard.v1.envelope_pb2 import ServerMessage


@dataclass
class Get(Question[int]):
    key: str


@dataclass
class Count:
    reply: Reply[int]


@dataclass
class Put:
    key: str
    value: int


class Cache(Actor[Get | Put | Count]):
    def __init__(self, size: int = 10) -> None:
        self._values: dict[str, int] = {}
        self._size = size

    def receive(self, message: Get | Put | Count) -> None:
        match message:
            case Get(key):
                message.reply.send(self._values.get(key, 0))
            case Count(reply):
                reply.send(len(self._values))
            case Put(key, value):
                self._values[key] = value
            case _:
                assert_never(message)


class Create(RequestActor[CreateSessionRequest, SessionInfo]):
    deadline = 5.0

    async def handle(self, request: CreateSessionRequest) -> SessionInfo:
        cache = self.context.actor(Cache)
        assert_type(cache, ActorRef[Get | Put | Count])
        cache.tell(Put(request.title, 1))
        count = await cache.ask(Get(request.title), timeout=1.0)
        assert_type(count, int)
        if count > await cache.ask(Count, timeout=1.0):
            raise Failure(Code.NOT_FOUND, "nothing of that title")
        return SessionInfo(title=request.title)


class CreatePlainly(RequestActor[CreateSessionRequest, SessionInfo]):
    def handle(self, request: CreateSessionRequest) -> SessionInfo:
        return SessionInfo(title=request.title)


class Read(StreamActor[GetHistoryRequest, ChatToken]):
    async def handle(self, request: GetHistoryRequest) -> AsyncIterator[Yielded[ChatToken]]:
        yield ChatToken(text="a")
        yield Last(ChatToken(text="b"))


class ReadPlainly(StreamActor[GetHistoryRequest, ChatToken]):
    async def handle(self, request: GetHistoryRequest) -> AsyncIterator[ChatToken]:
        yield ChatToken(text="a")


class Talk(DuplexActor[GetHistoryRequest, ChatToken, SessionInfo]):
    async def handle(
        self, request: GetHistoryRequest, inputs: AsyncIterator[ChatToken]
    ) -> AsyncIterator[SessionInfo]:
        async for token in inputs:
            assert_type(token, ChatToken)
            yield SessionInfo(title=token.text)


class Shelf(Actor[Get]):
    def __init__(self, key: str) -> None:
        self._key = key

    def started(self) -> None:
        if not self._key:
            raise Rejected(Failure(Code.NOT_FOUND, "no such shelf"))

    def receive(self, message: Get) -> None:
        release = self.context.hold()
        message.reply.send(len(self._key))
        release()


@asynccontextmanager
async def timed(call: Call[Message]) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def titled(call: Call[CreateSessionRequest]) -> AsyncIterator[None]:
    assert_type(call.request, CreateSessionRequest)
    yield


def register(registry: Registry) -> None:
    registry.supervise("cache", Cache)
    registry.supervise("large cache", lambda: Cache(1000))
    registry.register(CreateSessionRequest, Create)
    registry.register(GetHistoryRequest, lambda: Read())
    registry.register_duplex(GetHistoryRequest, ChatToken, Talk)
    registry.intercept_all(timed)
    registry.intercept(CreateSessionRequest, titled)
    registry.intercept(GetHistoryRequest, timed)
    registry.named(Shelf, Shelf, at_most=10, idle=60.0)
    assert_type(registry.actor(Cache), ActorRef[Get | Put | Count])
    assert_type(registry.actor(Shelf, "key"), ActorRef[Get])


def arm(envelope: ServerMessage) -> str:
    """Each arm of the envelope has its case."""
    match envelope.WhichOneof("payload"):
        case "welcome" | "going_away" | "pong" | "credit":
            return "the session's"
        case "session_list" | "session_info" | "session_deleted" | "history" | "session_changed":
            return "an answer"
        case "option_list" | "command_list" | "turn" | "usage" | "event":
            return "a conversation's"
        case "uploaded" | "chunk":
            return "an attachment's"
        case "token" | "completed" | "error" | "notice" | "reasoning" | "plan":
            return "a reply's"
        case "tool_call" | "tool_result" | "tool_progress" | "ask" | "ask_closed" | "reply":
            return "what is left"
        case None:
            return "nothing"
        case never:
            assert_never(never)


async def test_create(actor_system: ActorSystem) -> None:
    async with serving(actor_system, lambda registry: None) as calls:
        assert_type(calls, Calls)
        assert_type(calls.log, LogLines)
        answers = calls.stream(CreateSessionRequest(), ChatToken)
        assert_type(answers, Answers[ChatToken])
