"""The board through a real socket: actors come and go, crash and are slow, while somebody looks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from actors import Actor, Question, RequestActor
from callboard.board.v1.board_pb2 import (
    ActorReport,
    ActorState,
    BoardActor,
    BoardEventKind,
    BoardSnapshot,
    WatchActorRequest,
    WatchBoardRequest,
)
from callboard.v1.chat_pb2 import (
    ConversationEvent,
    CreateSessionRequest,
    FollowSessionRequest,
    SessionInfo,
    TurnState,
)
from callboard_service.load_settings import load
from callboard_service.log import make_log
from callboard_service.service import Service
from transport.client import Client, by_url
from transport.client.calls import ClientSettings
from transport.client.stream import Stream
from transport.errors import RequestFailed

WORDS = "the words of a person"


class Idler(Actor[str]):
    def receive(self, message: str) -> None:
        """Do nothing."""


@dataclass
class Resize(Question[int]):
    """Start so many children, or never end."""

    size: int


class Crowd(Actor[Resize]):
    async def receive(self, message: Resize) -> None:
        if message.size < 0:
            await asyncio.Event().wait()
        for down in range(message.size):
            self.context.spawn(Idler, name=f"{down}")
        message.reply.send(message.size)


class Enlarge(RequestActor[Int32Value, Int32Value]):
    """Adds so many actors; with -1, the crowd's handler never ends."""

    async def handle(self, request: Int32Value) -> Int32Value:
        size = await self.context.actor(Crowd).ask(Resize(request.value), timeout=3600)
        return Int32Value(value=size)


class Crashing(RequestActor[StringValue, StringValue]):
    async def handle(self, request: StringValue) -> StringValue:
        await asyncio.sleep(0)
        raise ValueError(request.value)


@asynccontextmanager
async def serving(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[AsyncExitStack], Awaitable[Client]]]:
    """Run a service in this process; yield a function that connects a client to it."""
    monkeypatch.chdir(folder)
    settings = {"runtime_dir": folder, "drain_ms": 0, "backend": "echo"}
    service = Service(load(settings), make_log("error"))
    service.registry.supervise("crowd", Crowd)
    service.registry.register(Int32Value, Enlarge)
    service.registry.register(StringValue, Crashing)
    ready = await service.start()

    async def connect(stack: AsyncExitStack) -> Client:
        client = Client(by_url(ready.url, service.token), ClientSettings(features=("follow",)))
        return await stack.enter_async_context(client)

    try:
        yield connect
    finally:
        await service.stop()


def below(actor: BoardActor, *names: str) -> BoardActor:
    """Return the actor with these names below this one; an empty one if there is none."""
    for name in names:
        actor = next((one for one in actor.children if one.name == name), BoardActor())
    return actor


async def until(
    snapshots: Stream[BoardSnapshot], right: Callable[[BoardSnapshot], object]
) -> BoardSnapshot:
    """Return the first snapshot that is right; only the test's timeout bounds the wait."""
    while not right(snapshot := await snapshots.next()):
        pass
    return snapshot


async def test_the_board_shows_what_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as connect, AsyncExitStack() as stack:
        client, other = await connect(stack), await connect(stack)
        request = WatchBoardRequest(interval_ms=500)
        snapshots = await stack.enter_async_context(client.stream(request, BoardSnapshot))
        snapshot = await until(snapshots, lambda found: True)
        assert snapshot.totals.ready
        assert (snapshot.totals.backend, snapshot.totals.connections) == ("echo", 2)
        assert below(snapshot.root, "extensions", "crowd").children_now == 0

        await other.call(Int32Value(value=1000), Int32Value)

        def grown(found: BoardSnapshot) -> bool:
            return below(found.root, "extensions", "crowd").children_now == 1000

        crowd = below((await until(snapshots, grown)).root, "extensions", "crowd")
        (group,) = crowd.others
        assert (group.type, group.actors) == ("Idler", 1000)
        assert group.state == ActorState.ACTOR_STATE_WAITING

        stuck = asyncio.ensure_future(other.call(Int32Value(value=-1), Int32Value))
        snapshot = await until(snapshots, lambda found: len(found.slow))
        (slow,) = snapshot.slow
        assert (slow.path, slow.message) == ("callboard/extensions/crowd", "Resize")
        assert slow.seconds >= 1
        stuck.cancel()
        with suppress(asyncio.CancelledError):
            await stuck

        with pytest.raises(RequestFailed):
            await other.call(StringValue(value=WORDS), StringValue)
        snapshot = await until(snapshots, lambda found: len(found.events))
        event = snapshot.events[-1]
        assert event.kind == BoardEventKind.BOARD_EVENT_KIND_CRASHED
        assert (event.error, event.message) == ("ValueError", "")
        assert snapshot.totals.crashes == 1
        assert WORDS.encode() not in snapshot.SerializeToString()


async def test_the_board_shows_conversations_and_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, monkeypatch) as connect, AsyncExitStack() as stack:
        client, other = await connect(stack), await connect(stack)
        name = (await other.call(CreateSessionRequest(), SessionInfo)).id
        follow = FollowSessionRequest(session_id=name)
        following = await stack.enter_async_context(other.stream(follow, ConversationEvent))
        await following.next()
        reply = other.send(name, f"{WORDS}[[delay:3600000]]never")
        await stack.enter_async_context(reply)
        request = WatchBoardRequest(interval_ms=500)
        snapshots = await stack.enter_async_context(client.stream(request, BoardSnapshot))

        def running(found: BoardSnapshot) -> bool:
            return any(
                one.state == TurnState.TURN_STATE_RUNNING and one.events > 1
                for one in found.conversations
            )

        snapshot = await until(snapshots, running)
        (conversation,) = snapshot.conversations
        assert (conversation.id, conversation.followers, conversation.senders) == (name, 1, 1)
        assert {session.connected for session in snapshot.sessions} == {True}
        assert sorted(session.requests for session in snapshot.sessions) == [1, 2]
        assert WORDS.encode() not in snapshot.SerializeToString()

        watch = WatchActorRequest(path=conversation.path)
        async with client.stream(watch, ActorReport) as reports:
            report = await reports.next()
        assert report.actor.type == "Conversation"
        assert report.conversation.followers == 1
