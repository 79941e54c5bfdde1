"""The actor of one conversation: it owns the turns, their queue and their log.

A message is admitted once, in the transaction that writes it, before the backend receives it. The
running turn has an actor of its own (`chat.runner`), so that its crash costs that turn only.
Senders and followers read the log; they hold no part of a turn.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from actors import Actor, ActorRef, Code, Down, Failure, Log, Question, Rejected
from actors.protocol.effects import DEADLINE
from callboard.v1.chat_pb2 import ConversationEvent, SessionInfo, UsageEvent
from callboard_service.backends.base import ChatBackend
from callboard_service.backends.journal import TurnJournal
from callboard_service.chat import admission, asks, ending, queueing, starting
from callboard_service.chat.attaching import Attachments
from callboard_service.chat.changes import Changes
from callboard_service.chat.details import describe
from callboard_service.chat.listing import Listing
from callboard_service.chat.log import ConversationLog, Positions
from callboard_service.chat.messages import (
    Admit,
    Answer,
    Changed,
    Choose,
    ConversationMessage,
    ConversationQuestion,
    Delete,
    Expire,
    Follow,
    Offer,
    Recover,
    Sender,
    Stop,
    StoreEnds,
    Update,
    UpdateQueued,
    Where,
)
from callboard_service.chat.output import TurnOutput, UnstoredOutput
from callboard_service.chat.snapshot import snapshot
from callboard_service.chat.turn import OpenTurn
from callboard_service.store.kept_turns import KeptTurn
from callboard_service.store.turns import STARTED

UNSENT: Final = Failure(
    Code.CANCELLED, "the service was restarted, and the message was not sent again in time"
)
MAX_READ: Final = 16 * 1024 * 1024
"""Bytes of events up to which a turn that has ended is kept for senders that still read it."""

RETRY: Final = 5.0
"""Seconds after which the end of a turn that the store could not write is written again."""


@dataclass(frozen=True, slots=True)
class ChatEnvironment:
    """What all conversations of a service share.

    available: returns once the backend can be asked for a reply, or raises Failure. resume_window:
    seconds that a queued turn which is not detached waits, after a restart, for its message to be
    sent again. alive: the conversations whose actors run.
    """

    backend: ChatBackend
    listing: Listing
    journal: TurnJournal
    positions: Positions
    log: Log
    unstored_output: UnstoredOutput
    changes: Changes
    attachments: Attachments
    available: Callable[[], Awaitable[None]] | None = None
    resume_window: float = 120.0
    alive: set[str] = field(default_factory=set)


class Conversation(Actor[ConversationMessage]):
    """One conversation. Its followers read `log` and call `snapshot` directly."""

    describe = describe

    def __init__(self, conversation_id: str, environment: ChatEnvironment) -> None:
        self.id: str = conversation_id
        self.environment: ChatEnvironment = environment
        self.journal: TurnJournal = environment.journal
        self.log: ConversationLog = ConversationLog(environment.positions)
        self.turns: dict[str, OpenTurn] = {}
        """The open turns: the running one first, then the queue in order."""
        self.choices: Mapping[str, str] = {}
        """What was chosen, as of the newest message."""
        self.usage: UsageEvent | None = None
        """The latest usage that a turn of this incarnation reported."""
        self.ended: int = 0
        """How many turns have ended in this incarnation."""
        self.deletion: Delete | None = None
        """Set once the conversation is to be deleted."""
        self.deleted: bool = False
        self.unstored: list[Callable[[], Awaitable[None]]] = []
        """What stores the ends of turns that the store could not write, in their order."""
        self._read: set[OpenTurn] = set()
        """Turns that have ended and whose senders still read."""
        self._watched: dict[str, Sender | None] = {}
        """For the path of each sender's and follower's actor: the sender, or None."""
        self._release: Callable[[], None] | None = None

    # -- hooks -------------------------------------------------------------------------------

    async def started(self) -> None:
        """Take up what is open. Raises Rejected if there is no such conversation."""
        self.context.at_end(self.log.events.close)
        self.environment.alive.add(self.id)
        self.context.at_end(lambda: self.environment.alive.discard(self.id))
        try:
            kept = await self.journal.open_turns(self.id)
            if not self.environment.backend.resumes:
                for turn in kept:
                    if turn.state in STARTED:
                        await self.journal.interrupt(self.id, turn.id)
                kept = [turn for turn in kept if turn.state not in STARTED]
            if kept:
                self.choices = await self.journal.choices(self.id)
            runs = bool(kept) and kept[0].state in STARTED
            used = await self.journal.handed_to(self.id, kept[0].id) if runs else []
        except Failure as failure:
            raise Rejected(failure) from failure
        if runs:
            kept = queueing.take_up(self._take_up(kept[0]), used, kept[1:])
        for turn in kept:
            self._take_up(turn)

    async def main(self) -> None:
        """Start the first queued turn that may run."""
        await self.start_next()

    async def receive(self, message: ConversationMessage) -> None:
        """Handle one message. A Failure is the answer to its question."""
        try:
            if isinstance(message, Question):
                await self._reply_to(message)
            else:
                await self._note(message)
        except Failure as failure:
            if isinstance(message, Question):
                message.reply.fail(failure.alone())
        self.hold()

    async def _reply_to(self, message: ConversationQuestion) -> None:
        match message:
            case Admit():
                message.reply.send(await admission.admit(self, message))
                if self.environment.changes.watched:
                    await self.note_change()
            case Follow(follower):
                self._watch(follower, None)
                message.reply.send(self)
            case Where():
                begun = [turn.begun for turn in self.turns.values()]
                message.reply.send(min(begun, default=self.log.last))
            case Stop():
                await ending.stop_for(self, message)
            case Answer():
                await asks.take_answer(self, message)
            case Offer():
                asks.offer(self, message.answer)
                message.reply.send(None)
            case UpdateQueued(turn_id, text, place):
                message.reply.send(await queueing.update_queued(self, turn_id, text, place))
            case Update(title, archived):
                message.reply.send(await self._update(title, archived))
            case Choose(option_id, value):
                options = await self.environment.backend.set_option(self.id, option_id, value)
                self.choices = await self.journal.choices(self.id)
                self.log.add("", options)
                message.reply.send(options)
            case Delete():
                await ending.delete(self, message)

    async def _update(self, title: str | None, archived: bool | None) -> SessionInfo:
        if self.deletion is not None:
            raise Failure(Code.NOT_FOUND, "the conversation is being deleted")
        info = await self.environment.listing.update(self.id, title, archived)
        self.environment.changes.changed(info)
        self.log.add("", info)
        return info

    async def _note(self, message: Expire | StoreEnds | Recover | Changed) -> None:
        match message:
            case Expire(turn_id, failure, unsent):
                await ending.expire(self, turn_id, failure, unsent=unsent)
            case StoreEnds():
                try:
                    await self.store_ends()
                except Failure:
                    self.retry_later()
                else:
                    await self.start_next()
            case Recover():
                pass  # `started` has done it
            case Changed(options):
                await self.note_change()
                if self.followers and options is not None:
                    self.log.add("", options)

    async def down(self, down: Down) -> None:
        """Note the end of the actor that ran a turn, or of a sender's or follower's request."""
        if down.path in self._watched:
            sender = self._watched.pop(down.path)
            if sender is not None:
                self._let_go(sender)
                await ending.leave(self, sender)
        elif (turn := self.turns.get(down.name)) is not None:
            await ending.end(self, turn, down)
        self.hold()

    async def stopped(self) -> None:
        """Keep the output of the turn that ran: it is INTERRUPTED."""
        turn = self.running
        if turn is not None and not self.deleted:
            with suppress(Failure):  # then the next incarnation ends it, with what was stored
                await ending.interrupt(self, turn)

    # -- for the functions of this package ---------------------------------------------------

    @property
    def running(self) -> OpenTurn | None:
        """The turn that runs; None if there is none."""
        return next((turn for turn in self.turns.values() if not turn.queued), None)

    @property
    def queue(self) -> list[OpenTurn]:
        """The turns that wait, in order."""
        return [turn for turn in self.turns.values() if turn.queued]

    @property
    def followers(self) -> int:
        """How many requests follow the conversation."""
        return list(self._watched.values()).count(None)

    def add_turn(self, kept: KeptTurn, *, place: int = 0) -> OpenTurn:
        """Add a turn that was admitted; it is not in the log yet.

        place: in the queue, from 1; 0: the last one.
        """

        async def asks_changed() -> None:  # with the turn itself it would be a reference cycle
            if kept.id in self.turns:
                await asks.changed(self, self.turns[kept.id])

        unstored = self.environment.unstored_output
        output = TurnOutput(
            self.id, kept.id, self.log, self.journal, unstored, asks_changed, detached=kept.detached
        )
        turn = OpenTurn(kept, self.log.last, output, kept.state)
        self.turns[kept.id] = turn
        if place:
            self.move(turn, place)
        self.pin()
        self.number_queue()
        return turn

    def remove_turn(self, turn: OpenTurn) -> None:
        """Forget a turn that has ended, once its senders have read its end."""
        del self.turns[turn.id]
        self.ended += 1
        for cancel in turn.timers:
            cancel()
        if turn.senders:
            self._read.add(turn)
        self.pin()

    def expire_after(
        self, turn: OpenTurn, seconds: float, failure: Failure, *, unsent: bool = False
    ) -> None:
        """End the turn with this failure in `seconds`; see `Expire`."""
        turn.timers.append(self.context.after(seconds, Expire(turn.id, failure, unsent)))

    async def store_ends(self) -> None:
        """Store the ends of turns that could not be stored when they ended. Raises Failure."""
        while self.unstored:
            try:
                await self.unstored[0]()
            except Failure as failure:
                if failure.code not in (Code.NOT_FOUND, Code.FAILED_PRECONDITION):
                    raise
            del self.unstored[0]

    def add_sender(self, turn: OpenTurn, sender: Sender) -> None:
        """Note that this request streams the turn, until its actor ends."""
        sender.turn_id = turn.id
        turn.senders.add(sender)
        self._watch(sender.ref, sender)

    def pin(self) -> None:
        """Keep the events of all turns that are open or still read by their senders.

        Beyond MAX_READ bytes, only those of open turns: a sender that does not read its turn to the
        end would otherwise keep the events of all turns after it.
        """
        kept = [*self.turns.values()]
        if self.log.events.bytes < MAX_READ:
            kept += self._read
        begun = [turn.begun for turn in kept]
        self.log.pin(min(begun) if begun else None)

    def move(self, turn: OpenTurn, place: int) -> None:
        """Put a queued turn at this place of the queue, from 1."""
        queue = [other for other in self.queue if other is not turn]
        queue.insert(place - 1, turn)
        started = [other for other in self.turns.values() if not other.queued]
        self.turns = {other.id: other for other in (*started, *queue)}

    def number_queue(self) -> list[OpenTurn]:
        """Give each queued turn its place; return those whose place has changed."""
        changed = []
        for place, turn in enumerate(self.queue, start=1):
            if turn.place != place:
                turn.place = place
                changed.append(turn)
        return changed

    async def start_next(self) -> None:
        """Start the first queued turn, if none runs and it may run.

        A turn that is not detached may run once a request streams it.
        """
        first = next(iter(self.turns.values()), None)
        if first is None or not first.queued or self.deletion is not None:
            return
        if first.kept.detached or first.senders:
            await self.journal.start(self.id, first.id)
            starting.run(self, first)
            self.log.add(first.id, first.info())
            for turn in self.number_queue():
                self.log.add(turn.id, turn.info())

    def retry_later(self) -> None:
        """Try to store the ends of turns again after a while."""
        self.context.after(RETRY, StoreEnds())

    def hold(self) -> None:
        """Stay alive while a turn is open or anybody reads; see `ActorContext.hold`."""
        needed = bool(self.turns or self._watched)
        if needed and self._release is None:
            self._release = self.context.hold()
        elif not needed and self._release is not None:
            self._release()
            self._release = None

    async def snapshot(self) -> list[ConversationEvent]:
        """Return the parts of a snapshot of the open turns. Raises Failure."""
        return await snapshot(self)

    async def note_change(self) -> None:
        """Tell followers and watchers of the list that the conversation's info has changed."""
        changes = self.environment.changes
        if self.deletion is None and (self.followers or changes.watched):
            try:
                info = await self.environment.listing.get(self.id)
            except Failure:
                return  # the next change reports it
            changes.changed(info)
            if self.followers:
                self.log.add("", info)

    # -- inside ------------------------------------------------------------------------------

    def _take_up(self, kept: KeptTurn) -> OpenTurn:
        """Add a turn that was open when the service, or this actor, last ended, and return it."""
        turn = self.add_turn(kept)
        if kept.state in STARTED:
            turn.resumed = turn.output.resumed = True
            starting.run(self, turn)
        self.log.add(turn.id, turn.announced(), kept.text)
        if kept.deadline_at is not None:
            seconds = (kept.deadline_at - datetime.now(UTC)).total_seconds()
            self.expire_after(turn, max(seconds, 0.0), DEADLINE)
        if not kept.detached:
            self.expire_after(turn, self.environment.resume_window, UNSENT, unsent=True)
        return turn

    def _let_go(self, sender: Sender) -> None:
        """Forget the ended turn that only this sender still read."""
        for turn in self._read:
            turn.senders.discard(sender)
            if not turn.senders:
                self._read.discard(turn)
                self.pin()
                return

    def _watch(self, ref: ActorRef[object], sender: Sender | None) -> None:
        self._watched[ref.path] = sender
        self.context.watch(ref)
