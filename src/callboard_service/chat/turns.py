"""One message at a time: a conversation's replies wait for each other.

A turn belongs to a request actor and ends with it at the latest, however that ends.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from actors import (
    Actor,
    ActorRef,
    AskFailed,
    AskTimeout,
    Code,
    Down,
    Failure,
    MailboxFull,
    Reply,
    RequestContext,
    Undelivered,
)

MAX_WAITING: Final = 16
"""Messages that may wait for their turn in one conversation."""

MAX_WAIT: Final = 600.0
"""Seconds that a message waits for its turn at most, once it has said that it waits."""

UNSAID: Final = 0.2
"""Seconds that it waits before it says so: a cancelled reply takes a moment to let go."""

DELETED: Final = Failure(Code.CANCELLED, "the conversation was deleted")


@dataclass(slots=True)
class Take:
    """Ask for the turn. The reply says how many are before this one."""

    conversation_id: str
    owner: ActorRef[object]
    abort: Callable[[Failure], None]
    reply: Reply[int]


@dataclass(slots=True)
class Await:
    """Be told when the turn has come for which the owner, by its path, has asked."""

    owner: str
    reply: Reply[None]


@dataclass(slots=True)
class Release:
    """The owner's turn is over."""

    owner: str


@dataclass(slots=True)
class Clear:
    """End all replies of the conversation; reply when none runs any more."""

    conversation_id: str
    reply: Reply[None]


TurnMessage: TypeAlias = Take | Await | Release | Clear


@dataclass(slots=True, eq=False)
class TurnPlace:
    """Where one stands in the line of a conversation. calls: tells it that its turn has come."""

    take: Take
    unwatch: Callable[[], None]
    calls: Reply[None] | None = None


class ConversationTurns(Actor[TurnMessage]):
    """The lines of all conversations: first who answers, then who waits. None is kept empty."""

    def __init__(self) -> None:
        self._lines: dict[str, list[TurnPlace]] = {}
        self._places: dict[str, TurnPlace] = {}
        self._clearing: dict[str, list[Reply[None]]] = {}

    def receive(self, message: TurnMessage) -> None:
        """Keep the lines."""
        match message:
            case Take():
                self._enter(message)
            case Await(owner, reply):
                place = self._places.get(owner)
                if place is None:  # another incarnation had it
                    reply.fail(_silent())
                    return
                place.calls = reply
                self._call_first(place.take.conversation_id)
            case Release(owner):
                self._leave(owner)
            case Clear(name, reply):
                self._clearing.setdefault(name, []).append(reply)
                for place in list(self._lines.get(name, ())):
                    place.take.abort(DELETED)
                self._call_first(name)

    def down(self, down: Down) -> None:
        """A request is no more, and its turn with it."""
        self._leave(down.path)

    def stopped(self) -> None:
        """Nobody waits for what will not come."""
        for replies in self._clearing.values():
            for reply in replies:
                reply.send(None)

    def _enter(self, take: Take) -> None:
        line = self._lines.setdefault(take.conversation_id, [])
        if len(line) > MAX_WAITING:
            take.reply.fail(_busy())
            return
        place = TurnPlace(take, self.context.watch(take.owner))
        line.append(place)
        self._places[take.owner.path] = place
        take.reply.send(len(line) - 1)

    def _leave(self, owner: str) -> None:
        place = self._places.pop(owner, None)
        if place is None:
            return
        place.unwatch()
        name = place.take.conversation_id
        self._lines[name].remove(place)
        self._call_first(name)

    def _call_first(self, name: str) -> None:
        line = self._lines.get(name)
        if line:
            first = line[0]
            if first.calls is not None:
                first.calls.send(None)
                first.calls = None
            return
        self._lines.pop(name, None)
        for cleared in self._clearing.pop(name, ()):
            cleared.send(None)


@asynccontextmanager
async def turn(
    turns: ActorRef[TurnMessage], conversation_id: str, context: RequestContext
) -> AsyncIterator[None]:
    """Hold the conversation's turn. Says so in a notice if it has to be waited for a while.

    Raises Failure: RESOURCE_EXHAUSTED if too many wait, UNAVAILABLE if it takes too long.
    """
    owner = context.ref
    path = owner.path
    try:
        before: int = await turns.ask(
            lambda reply: Take(conversation_id, owner, context.abort, reply), timeout=5.0
        )
        if before:
            await _wait(turns, path, context)
    except (AskFailed, Undelivered) as error:
        raise _silent() from error
    try:
        yield
    finally:
        with suppress(MailboxFull):  # then the end of this request gives the turn back
            turns.tell(Release(path))


async def _wait(turns: ActorRef[TurnMessage], owner: str, context: RequestContext) -> None:
    try:
        await turns.ask(lambda reply: Await(owner, reply), timeout=UNSAID)
    except AskTimeout:
        context.notice("Another reply of this conversation runs; this one waits its turn.")
        await turns.ask(lambda reply: Await(owner, reply), timeout=MAX_WAIT)


def _busy() -> Failure:
    message = "too many messages wait in this conversation"
    return Failure(Code.RESOURCE_EXHAUSTED, message, retryable=True)


def _silent() -> Failure:
    return Failure(Code.UNAVAILABLE, "the conversation does not answer", retryable=True)
