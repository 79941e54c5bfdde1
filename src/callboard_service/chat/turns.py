"""Makes sure that a conversation answers one message at a time, in order.

A request actor takes a turn before it replies. The turn ends at the latest when the actor does,
however that ends.
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
"""The most seconds that a message waits for its turn after the notice that it waits."""

UNSAID: Final = 0.2
"""Seconds before that notice is sent: a cancelled reply takes a moment to release its turn."""

DELETED: Final = Failure(Code.CANCELLED, "the conversation was deleted")


@dataclass(slots=True)
class Take:
    """Request a turn. The reply is the number of requests ahead in the queue.

    abort: ends the owner's request, if the conversation is deleted.
    """

    conversation_id: str
    owner: ActorRef[object]
    abort: Callable[[Failure], None]
    reply: Reply[int]


@dataclass(slots=True)
class Await:
    """Request a reply once it is the turn of the owner with this path, which has sent Take."""

    owner: str
    reply: Reply[None]


@dataclass(slots=True)
class Release:
    """End the turn of the owner with this path, or its place in the queue."""

    owner: str


@dataclass(slots=True)
class Clear:
    """End all replies of the conversation; the reply is sent when none is left."""

    conversation_id: str
    reply: Reply[None]


TurnMessage: TypeAlias = Take | Await | Release | Clear


@dataclass(slots=True, eq=False)
class TurnPlace:
    """A request's place in a conversation's queue. calls: the pending reply to its Await."""

    take: Take
    unwatch: Callable[[], None]
    calls: Reply[None] | None = None


class ConversationTurns(Actor[TurnMessage]):
    """Holds a queue for each conversation with requests: the first has the turn, the rest wait."""

    def __init__(self) -> None:
        self._lines: dict[str, list[TurnPlace]] = {}
        self._places: dict[str, TurnPlace] = {}
        self._clearing: dict[str, list[Reply[None]]] = {}

    def receive(self, message: TurnMessage) -> None:
        """Handle one message."""
        match message:
            case Take():
                self._enter(message)
            case Await(owner, reply):
                place = self._places.get(owner)
                if place is None:  # a restart of this actor has lost it
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
        """Remove the place of a request actor that has ended."""
        self._leave(down.path)

    def stopped(self) -> None:
        """Answer the pending Clear messages, which no later incarnation would answer."""
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
    """Hold the conversation's turn within the block, after waiting for it.

    A longer wait is announced to the client in a notice. Raises Failure: RESOURCE_EXHAUSTED if too
    many messages wait, UNAVAILABLE if the turn does not come in time.
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
        with suppress(MailboxFull):  # then the turn ends with this request's actor
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
