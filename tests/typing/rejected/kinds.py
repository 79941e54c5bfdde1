"""Code with type errors. Each wrong line names the code of mypy's error; pyright has one too."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from actors import Call, DuplexActor, Message, Question, Registry, RequestActor, StreamActor
from callboard.v1.chat_pb2 import ChatToken, CreateSessionRequest, GetHistoryRequest, SessionInfo
from callboard.v1.envelope_pb2 import ServerMessage
from tests.typing.accepted.kinds import Cache, Count, Create, Get, Put, Read, Talk, timed, titled


@dataclass
class Foreign(Question[int]):
    key: str


Infos: TypeAlias = AsyncIterator[SessionInfo]


class WrongRequest(RequestActor[CreateSessionRequest, SessionInfo]):
    async def handle(self, request: GetHistoryRequest) -> SessionInfo:  # error: override
        return SessionInfo()


class WrongReply(RequestActor[CreateSessionRequest, SessionInfo]):
    async def handle(self, request: CreateSessionRequest) -> ChatToken:  # error: override
        return ChatToken()


class WrongReturn(RequestActor[CreateSessionRequest, SessionInfo]):
    async def handle(self, request: CreateSessionRequest) -> SessionInfo:
        return ChatToken(text=request.title)  # error: return-value


class WrongField(RequestActor[CreateSessionRequest, SessionInfo]):
    async def handle(self, request: CreateSessionRequest) -> SessionInfo:
        return SessionInfo(title=request.titel)  # error: attr-defined


class WrongPlain(RequestActor[CreateSessionRequest, SessionInfo]):
    def handle(self, request: CreateSessionRequest) -> ChatToken:  # error: override
        return ChatToken()


class WrongYield(StreamActor[GetHistoryRequest, ChatToken]):
    async def handle(self, request: GetHistoryRequest) -> AsyncIterator[ChatToken]:
        yield SessionInfo()  # error: misc


class NotAStream(StreamActor[GetHistoryRequest, ChatToken]):
    async def handle(self, request: GetHistoryRequest) -> ChatToken:  # error: override
        return ChatToken()


class WrongInput(DuplexActor[GetHistoryRequest, ChatToken, SessionInfo]):
    async def handle(self, request: GetHistoryRequest, inputs: Infos) -> Infos:  # error: override
        async for item in inputs:
            yield item


class NoMessage(RequestActor[int, SessionInfo]):  # error: type-var
    async def handle(self, request: int) -> SessionInfo:
        return SessionInfo()


class WrongTell(RequestActor[CreateSessionRequest, SessionInfo]):
    async def handle(self, request: CreateSessionRequest) -> SessionInfo:
        cache = self.context.actor(Cache)
        cache.tell(request)  # error: arg-type
        cache.tell(Put(request.title, "one"))  # error: arg-type
        key = request.title
        name: str = await cache.ask(Get(key), timeout=1.0)  # error: arg-type
        await cache.ask(Get(1), timeout=1.0)  # error: arg-type
        await cache.ask(Foreign(key), timeout=1.0)  # error: arg-type
        await cache.ask(Put(key, 1), timeout=1.0)  # error: call-overload
        late = await cache.ask(Get(key))  # error: call-overload
        return SessionInfo(title=f"{name} {late}")


class Answering(Cache):
    def receive(self, message: Get | Put | Count) -> None:
        if isinstance(message, Get):
            message.reply.send("one")  # error: arg-type


@asynccontextmanager
async def no_call(request: CreateSessionRequest) -> AsyncIterator[None]:
    yield


async def no_context(call: Call[Message]) -> None: ...


class Unmade:
    def __init__(self, size: int) -> None:
        self.size = size


def register(registry: Registry) -> None:
    registry.register(GetHistoryRequest, Create)  # error: arg-type
    registry.register(int, Create)  # error: type-var
    registry.register(CreateSessionRequest, Create())  # error: arg-type
    registry.register(CreateSessionRequest, SessionInfo)  # error: arg-type
    registry.register(GetHistoryRequest, Talk)  # error: arg-type
    registry.register_duplex(GetHistoryRequest, ChatToken, Read)  # error: arg-type
    registry.register_duplex(GetHistoryRequest, SessionInfo, Talk)  # error: arg-type
    registry.register_duplex(CreateSessionRequest, ChatToken, Talk)  # error: arg-type
    registry.supervise("cache", Unmade)  # error: arg-type
    registry.supervise("cache", Cache())  # error: arg-type
    registry.intercept_all(titled)  # error: arg-type
    registry.intercept(GetHistoryRequest, titled)  # error: arg-type
    registry.intercept_all(no_call)  # error: arg-type
    registry.intercept_all(no_context)  # error: arg-type
    registry.intercept_all(timed())  # error: call-arg
    registry.actor(Cache).tell("a word")  # error: arg-type
    registry.actor(Create).kil()  # error: attr-defined


def arm(envelope: ServerMessage) -> str:
    match envelope.WhichOneof("payload"):
        case "welcome" | "going_away" | "pong" | "credit":
            return "the session's"
        case "session_list" | "session_info" | "session_deleted" | "history":
            return "an answer"
        case "token" | "completed" | "error" | "notice" | "reasoning":
            return "a reply's"
        case "tool_call" | "tool_result" | "ask" | "reply":
            return "what is left, but ask_closed"
        case None:
            return "nothing"
        case never:
            assert_never(never)  # error: arg-type
