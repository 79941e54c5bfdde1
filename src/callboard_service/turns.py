"""One message at a time: a conversation's replies wait for each other.

    Turns ── a Line for each conversation in which a reply runs or waits

A turn belongs to a request actor and ends with it at the latest, however that ends.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from actors import (
    Actor,
    ActorRef,
    AskFailed,
    Code,
    Down,
    Failure,
    Lifecycle,
    MailboxFull,
    Order,
    Reply,
    RequestContext,
    Restart,
    Supervision,
    Undelivered,
)

MAX_WAITING: Final = 16
"""Messages that may wait for their turn in one conversation."""

MAX_WAIT: Final = 600.0
"""Seconds that a message waits for its turn at most."""

DELETED: Final = Failure(Code.CANCELLED, "the conversation was deleted")
_BUSY: Final = Failure(
    Code.RESOURCE_EXHAUSTED, "too many messages wait in this conversation", retryable=True
)
_LINE: Final = Lifecycle(restart=Restart.TEMPORARY)


@dataclass(slots=True)
class Take:
    """Ask for the turn. The reply says how many are before this one."""

    conversation_id: str
    owner: ActorRef[object]
    abort: Callable[[Failure], None]
    reply: Reply[int]


@dataclass(slots=True)
class Await:
    """Be told when the turn has come."""

    conversation_id: str
    owner: ActorRef[object]
    reply: Reply[None]


@dataclass(slots=True)
class Release:
    """The turn is over."""

    conversation_id: str
    owner: ActorRef[object]


@dataclass(slots=True)
class Clear:
    """End all replies of the conversation; reply when none runs any more."""

    conversation_id: str
    reply: Reply[None]


@dataclass(slots=True)
class Idle:
    """A line tells that nobody stands in it; `taken` is how many turns it was asked for."""

    conversation_id: str
    taken: int


TurnMessage: TypeAlias = Take | Await | Release | Clear | Idle
LineMessage: TypeAlias = Take | Await | Release | Clear


class Line(Actor[LineMessage]):
    """Who answers in one conversation, and who waits."""

    def __init__(self, conversation_id: str, turns: ActorRef[TurnMessage]) -> None:
        self._conversation_id = conversation_id
        self._turns = turns
        self._taken = 0
        self._line: deque[Take] = deque()
        self._awaiting: dict[ActorRef[object], Reply[None]] = {}
        self._clearing: list[Reply[None]] = []

    def receive(self, message: LineMessage) -> None:
        """Keep the line."""
        match message:
            case Take():
                self._taken += 1
                if len(self._line) > MAX_WAITING:
                    message.reply.fail(_BUSY)
                    return
                self._line.append(message)
                self.context.watch(message.owner)
                message.reply.send(len(self._line) - 1)
            case Await(_, owner, reply):
                self._awaiting[owner] = reply
                self._advance()
            case Release(_, owner):
                self._leave(owner.path)
            case Clear(_, reply):
                self._clearing.append(reply)
                for take in list(self._line):
                    take.abort(DELETED)
                self._advance()

    def down(self, down: Down) -> None:
        """A request is no more, and its turn with it."""
        self._leave(down.path)

    def stopped(self) -> None:
        """Nobody waits for what will not come."""
        for reply in self._clearing:
            reply.send(None)

    def _leave(self, path: str) -> None:
        for take in list(self._line):
            if take.owner.path == path:
                self._line.remove(take)
                self._awaiting.pop(take.owner, None)
        self._advance()

    def _advance(self) -> None:
        if self._line:
            reply = self._awaiting.pop(self._line[0].owner, None)
            if reply is not None:
                reply.send(None)
            return
        for cleared in self._clearing:
            cleared.send(None)
        self._clearing.clear()
        with suppress(MailboxFull):  # the next one who leaves this line tells it
            self._turns.tell(Idle(self._conversation_id, self._taken))


class Turns(Actor[TurnMessage]):
    """The lines of all conversations; each is there while someone stands in it."""

    supervision = Supervision(order=Order.TOGETHER)

    def __init__(self) -> None:
        self._lines: dict[str, ActorRef[LineMessage]] = {}
        self._taken: dict[str, int] = {}

    def receive(self, message: TurnMessage) -> None:
        """Pass on to the line; end one that is idle and was asked for nothing since."""
        name = message.conversation_id
        if isinstance(message, Idle):
            if self._taken.get(name) == message.taken:
                del self._taken[name]
                self._lines.pop(name).stop()
            return
        line = self._lines.get(name)
        if line is None or not line.alive:
            if isinstance(message, Release):
                return
            me: ActorRef[TurnMessage] = self.context.ref
            line = self._lines[name] = self.context.spawn(lambda: Line(name, me), lifecycle=_LINE)
            self._taken[name] = 0
        if isinstance(message, Take):
            self._taken[name] += 1
        try:
            line.tell(message)
        except MailboxFull:
            # A Release is not missed: the end of its request is a Down, which is never refused.
            if not isinstance(message, Release):
                message.reply.fail(_BUSY)


@asynccontextmanager
async def turn(
    turns: ActorRef[TurnMessage], conversation_id: str, context: RequestContext
) -> AsyncIterator[None]:
    """Hold the conversation's turn. Says so in a notice if it has to be waited for.

    Raises Failure: RESOURCE_EXHAUSTED if too many wait, UNAVAILABLE if it takes too long.
    """
    owner = context.ref
    try:
        before: int = await turns.ask(
            lambda reply: Take(conversation_id, owner, context.abort, reply), timeout=5.0
        )
        if before:
            context.notice("Another reply of this conversation runs; this one waits its turn.")
            await turns.ask(lambda reply: Await(conversation_id, owner, reply), timeout=MAX_WAIT)
    except (AskFailed, Undelivered) as error:
        raise Failure(
            Code.UNAVAILABLE, "the conversation does not answer", retryable=True
        ) from error
    try:
        yield
    finally:
        with suppress(MailboxFull):  # then the end of this request gives the turn back
            turns.tell(Release(conversation_id, owner))
