"""Shows the turns of a followed conversation as they run, whoever started them.

All turns are shown from the follow stream, so that a turn of one's own, one of another client and
one that goes on after a lost session or a restart of the service are shown in the same way.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, Protocol

from callboard.v1.chat_pb2 import (
    AskEvent,
    ChatCompleted,
    ChatError,
    StopTurnRequest,
    TurnInfo,
    TurnState,
)
from callboard_service.terminal.asks import Asker, Asks, repeated
from callboard_service.terminal.errors import Interrupted
from callboard_service.terminal.feed import (
    Again,
    Feed,
    Item,
    Left,
    Over,
    Shown,
    TurnEvent,
    Typed,
    events_of,
)
from callboard_service.terminal.outages import Outages
from callboard_service.terminal.pages import turn_entries
from callboard_service.terminal.stopping import Stop
from callboard_service.terminal.turn_view import TurnView
from callboard_service.terminal.view import Screen
from transport.client.followed_turn import ENDED, FollowedTurn
from transport.errors import RequestFailed, TransportError

CATCHING_UP: Final = 2.0
"""Seconds that the followed events may lag behind an answer."""


class Line(Protocol):
    """The input line while a turn is on the screen."""

    def waits(self) -> bool:
        """Return whether the person has typed something."""

    async def take(self, feed: Feed) -> bool:
        """Let the person type, and act on the line; return False if the person leaves.

        Returns early, with what was typed kept, if something presses in the feed.
        """


class LiveTurns:
    """The turns of one conversation on a screen.

    leave: called for a second Ctrl-C, to end the program. line: what a person types while a turn is
    on the screen; None: nothing can be typed then.
    """

    def __init__(
        self,
        conversation_id: str,
        feed: Feed,
        screen: Screen,
        asker: Asker,
        outages: Outages,
        leave: Callable[[], None],
        line: Line | None = None,
    ) -> None:
        self.feed: Feed = feed
        self._id = conversation_id
        self._screen = screen
        self._outages = outages
        self._asks = Asks(conversation_id, screen, asker, outages)
        self._leave = leave
        self._line = line
        self._shown: tuple[str, TurnView] | None = None
        """The turn on the screen, and its id."""
        self._awaited: dict[str, int] = {}
        """Turns of one's own messages that have not ended, and the snapshots from before them."""
        self._missed: list[str] = []
        """Turns of one's own messages that ended unseen, while another one was on the screen."""
        self._queued: set[str] = set()
        """Turns of one's own messages that had to wait."""
        self._interrupted: str = ""
        """The turn that is to end for the message that follows it."""
        self._messages: dict[str, TurnInfo] = {}
        """The messages of turns that have not started."""
        self._spaced = True
        """Whether nothing on the screen has to be set off from the next turn."""
        self._stop = Stop(screen)

    @property
    def running(self) -> str:
        """The id of the turn on the screen; empty if there is none."""
        return self._shown[0] if self._shown else ""

    async def queue(self) -> list[FollowedTurn]:
        """Return the queued turns in their order, those of this client's messages included."""
        turns = self.feed.state.turns
        await self.caught_up(lambda: all(name in turns for name in self._awaited))
        queued = [t for t in turns.values() if t.info.state == TurnState.TURN_STATE_QUEUED]
        return sorted(queued, key=lambda turn: turn.info.place)

    async def caught_up(self, reached: Callable[[], bool]) -> None:
        """Wait, CATCHING_UP seconds at most, until the followed events have reached a state."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CATCHING_UP):
                while not reached():
                    await self.feed.more()

    def withdraw(self, turn_id: str) -> None:
        """Note that a queued turn is to be dropped: its end is no news."""
        self._awaited.pop(turn_id, None)

    def cut_short(self, turn_id: str) -> None:
        """Note that the running turn is to end for a message of this client."""
        self._interrupted = turn_id

    # -- at the prompt -----------------------------------------------------------------------

    def look(self) -> bool:
        """Return whether there is something to show now."""
        while (item := self.feed.head()) is not None:
            if self._matters(item):
                return True
            if isinstance(item, Over):
                return False  # the next message connects again
            self._note(self.feed.take())
        return False

    async def something(self) -> None:
        """Wait until there is something to show."""
        while not self.look():
            await self.feed.more()

    async def joined(self) -> frozenset[str]:
        """Wait for the first snapshot; return the open turns in it, if it was not taken yet."""
        await self.feed.begun.wait()
        item = self.feed.head()
        return item.turns if isinstance(item, Again) else frozenset()

    def _matters(self, item: Item) -> bool:
        match item:
            case TurnEvent(_, TurnInfo() as info):
                if info.state in ENDED:
                    return item.turn_id in self._awaited
                return info.state != TurnState.TURN_STATE_QUEUED
            case Over(error):
                return isinstance(error, RequestFailed)
            case _:
                return False

    def _note(self, item: Item) -> None:
        if isinstance(item, TurnEvent) and isinstance(item.event, TurnInfo):
            self._note_message(item.turn_id, item.event)

    def _note_message(self, turn_id: str, info: TurnInfo) -> None:
        if info.state in ENDED:
            self._messages.pop(turn_id, None)
        elif info.text or info.attachments:
            known = self._messages.setdefault(turn_id, TurnInfo())
            known.text = info.text or known.text
            if info.attachments:
                known.ClearField("attachments")
                known.attachments.extend(info.attachments)

    # -- showing -----------------------------------------------------------------------------

    async def expect(self, info: TurnInfo) -> None:
        """Note that a message of this client was admitted as this turn.

        Raises as `show` does.
        """
        ended = info.state in ENDED and not self.feed.has(info.id)
        if ended and self._shown is not None:
            self._missed.append(info.id)
            return
        self._awaited[info.id] = self.feed.snapshots
        if self._shown is None:
            self.look()  # a snapshot from before the turn must not be taken for its end
        if ended:
            # The session was lost after the message was sent, and the turn ended meanwhile.
            await self._resolve(info.id, self._begin(info.id))
            return
        if info.state == TurnState.TURN_STATE_QUEUED and info.place:
            self._queued.add(info.id)
            if not self._interrupted or self._interrupted != self.running:
                self._screen.line(f"queued, place {info.place}; /queue shows the queue")
        if self._stop.wanted and self._shown is None:
            self._stop.begin(self._request_stop(info.id))

    async def show(self) -> bool:
        """Show turns until none is on the screen and none is awaited.

        Returns False if the person leaves. Raises RequestFailed if the conversation cannot be
        followed any more, and ConnectionClosed, NotRunning if the connection is lost for good; then
        `rejoin` makes it possible to go on.
        """
        self._spaced = True
        while self._shown is not None or self._awaited or self._missed or self.look():
            if self._missed and self._shown is None:
                turn_id = self._missed.pop(0)
                await self._resolve(turn_id, self._begin(turn_id))
                continue
            if self._line is not None and self._line.waits() and not self.feed.is_pressing():
                if not await self._line.take(self.feed):
                    return False
                continue
            item = await self.feed.next()
            match item:
                case Left():
                    return False
                case Typed():
                    pass  # the line was looked at above, or waits for what presses
                case Over(error):
                    raise error
                case Again():
                    await self._again(item)
                case TurnEvent(turn_id, TurnInfo() as info):
                    await self._take_state(turn_id, info)
                case TurnEvent(turn_id, event):
                    if self._shown is not None and self._shown[0] == turn_id:
                        await self._take(self._shown[1], event)
        return True

    async def rejoin(self, feed: Feed) -> None:
        """Go on with a new feed."""
        await self.feed.close()
        self.feed = feed
        self._awaited = dict.fromkeys(self._awaited, 0)

    def give_up(self) -> None:
        """Note that a message of this client was not admitted."""
        if self._shown is None:
            self._stop.over()

    def interrupt(self) -> None:
        """Stop the turn on the screen, or the awaited one; the second time, leave the program."""
        if self._stop.wanted:
            self._leave()
            return
        self._stop.want()
        turn_id = self._shown[0] if self._shown else next(iter(self._awaited), "")
        if turn_id:
            self._stop.begin(self._request_stop(turn_id))

    async def close(self) -> None:
        """Stop following."""
        self._stop.over()
        await self.feed.close()

    async def _again(self, again: Again) -> None:
        self._outages.check(self.feed.client)
        if self._shown is not None:
            if self._shown[0] in again.turns:
                self._shown[1].begin_again()
            else:
                await self._resolve(*self._shown)
        for turn_id, before in list(self._awaited.items()):
            if turn_id in again.turns or again.number <= before:
                continue
            if self._shown is None:
                await self._resolve(turn_id, self._begin(turn_id))
            else:
                self._awaited.pop(turn_id)
                self._missed.append(turn_id)

    async def _take_state(self, turn_id: str, info: TurnInfo) -> None:
        self._note_message(turn_id, info)
        if self._shown is not None and self._shown[0] == turn_id:
            return
        if info.state == TurnState.TURN_STATE_QUEUED:
            return
        if info.state in ENDED and (turn_id not in self._awaited or self._shown is not None):
            if turn_id in self._awaited:
                self._awaited.pop(turn_id)
                self._screen.line("the message that waited its turn was withdrawn")
            return
        if self._shown is not None:  # its end was missed
            await self._resolve(*self._shown)
        self._begin(turn_id)

    def _begin(self, turn_id: str) -> TurnView:
        message = self._messages.pop(turn_id, TurnInfo())
        if not self._spaced:
            self._screen.gap()
        self._spaced = False
        if turn_id not in self._awaited or turn_id in self._queued:
            self._queued.discard(turn_id)
            self._screen.message(message.text, message.attachments)
        view = TurnView(self._screen)
        self._shown = turn_id, view
        return view

    async def _take(self, view: TurnView, event: Shown) -> None:
        if isinstance(event, ChatCompleted | ChatError):
            view.show(event)
            self._end(view)
        elif self._stop.wanted:
            pass
        elif isinstance(event, AskEvent):
            try:
                await self._asks.put(view, event, self.feed)
            except Interrupted:
                self.interrupt()
        else:
            view.show(event)

    async def _resolve(self, turn_id: str, view: TurnView) -> None:
        """Show the rest of a turn that has ended, from the history."""
        view.begin_again()
        client = self.feed.client
        entries = await repeated(client, lambda: turn_entries(client, self._id, turn_id))
        for number, entry in enumerate(entries):
            if number == 0 and entry.HasField("user_text"):
                continue  # the message that started the turn
            for event in events_of(entry):
                if not self._stop.wanted or isinstance(event, ChatCompleted | ChatError):
                    view.show(event)
        if not entries:
            self._screen.failure("the service has not kept this reply")
        self._end(view)

    def _end(self, view: TurnView) -> None:
        stopped = self._stop.wanted
        view.end(compare=not stopped)
        if view.why_stopped:
            self._screen.failure(view.why_stopped)
        if view.error is not None:
            by_us = stopped or (self._interrupted and self._interrupted == self.running)
            if by_us and view.error.code == "CANCELLED":
                self._screen.line("cancelled")
            else:
                self._screen.error(view.error)
        self._awaited.pop(self.running, None)
        self._shown = None
        self._stop.over()

    async def _request_stop(self, turn_id: str) -> None:
        request = StopTurnRequest(session_id=self._id, turn_id=turn_id)
        try:
            await repeated(self.feed.client, lambda: self.feed.client.call(request, TurnInfo))
        except RequestFailed as failed:
            self._screen.error(failed.error)
        except TransportError:
            pass  # the feed reports it
