"""Shows the turns of a followed conversation as they run, whoever started them.

All turns are shown from the follow stream, so that a turn of one's own, one of another client and
one that goes on after a lost session or a restart of the service are shown in the same way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final, TypeVar

from google.protobuf.message import Message

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import (
    AnswerAskRequest,
    AnswerRequest,
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatError,
    StopTurnRequest,
    TurnInfo,
    TurnState,
)
from callboard_service.terminal.ask_answers import Answered
from callboard_service.terminal.errors import Interrupted
from callboard_service.terminal.feed import (
    Again,
    Feed,
    Item,
    Left,
    Over,
    Shown,
    TurnEvent,
    events_of,
)
from callboard_service.terminal.outages import Outages
from callboard_service.terminal.pages import turn_entries
from callboard_service.terminal.turn_view import TurnView
from callboard_service.terminal.view import Screen
from transport.client.conversation_state import ENDED
from transport.errors import RequestFailed, SessionLost, TransportError

M = TypeVar("M", bound=Message)
T = TypeVar("T")

PATIENCE: Final = 2.0
"""Seconds after which a line says that a cancelled reply has not ended yet."""

Asker = Callable[[AskEvent, Feed], Awaitable[Answered | None]]
"""Shows an ask and returns its answers; None if it was settled in the meantime. Raises Interrupted
if the reply is to be cancelled."""

REFUSAL: Final = 0.3
"""Seconds in which an answer that an ask does not allow is refused."""


class LiveTurns:
    """The turns of one conversation on a screen.

    leave: called for a second Ctrl-C, to end the program.
    """

    def __init__(
        self,
        conversation_id: str,
        feed: Feed,
        screen: Screen,
        asker: Asker,
        outages: Outages,
        leave: Callable[[], None],
    ) -> None:
        self.feed: Feed = feed
        self._id = conversation_id
        self._screen = screen
        self._outages = outages
        self._asker = asker
        self._leave = leave
        self._shown: tuple[str, TurnView] | None = None
        """The turn on the screen, and its id."""
        self._sending: set[asyncio.Future[bool]] = set()
        """Answers whose asks are not settled yet."""
        self._awaited: list[str] = []
        """Turns of one's own messages that have not ended."""
        self._texts: dict[str, str] = {}
        """The messages of turns that are queued."""
        self._stop = Stop(screen)

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
            self._texts.pop(turn_id, None)
        elif info.text:
            self._texts[turn_id] = info.text

    # -- showing -----------------------------------------------------------------------------

    async def expect(self, info: TurnInfo) -> None:
        """Note that a message of this client was admitted as this turn.

        Raises as `show` does.
        """
        self._awaited.append(info.id)
        self.look()  # a snapshot from before the turn must not be taken for its end
        if info.state in ENDED and not self.feed.has(info.id):
            # The session was lost after the message was sent, and the turn ended meanwhile.
            await self._resolve(info.id, self._begin(info.id))
            return
        if info.state == TurnState.TURN_STATE_QUEUED and info.place:
            self._screen.line("another reply of this conversation runs; this one waits its turn")
        if self._stop.wanted:
            self._stop.begin(self._request_stop(info.id))

    async def show(self) -> bool:
        """Show turns until none is on the screen and none is awaited.

        Returns False if the person leaves. Raises RequestFailed if the conversation cannot be
        followed any more, and ConnectionClosed, NotRunning if the connection is lost for good; then
        `rejoin` makes it possible to go on.
        """
        while self._shown is not None or self._awaited or self.look():
            item = await self.feed.next()
            match item:
                case Left():
                    return False
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

    def give_up(self) -> None:
        """Note that a message of this client was not admitted."""
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
        for turn_id in [name for name in self._awaited if name not in again.turns]:
            await self._resolve(turn_id, self._begin(turn_id))

    async def _take_state(self, turn_id: str, info: TurnInfo) -> None:
        self._note_message(turn_id, info)
        if self._shown is not None and self._shown[0] == turn_id:
            return
        if info.state == TurnState.TURN_STATE_QUEUED:
            return
        if info.state in ENDED and (turn_id not in self._awaited or self._shown is not None):
            if turn_id in self._awaited:
                self._awaited.remove(turn_id)
                self._screen.line("the message that waited its turn was withdrawn")
            return
        if self._shown is not None:  # its end was missed
            await self._resolve(*self._shown)
        self._begin(turn_id)

    def _begin(self, turn_id: str) -> TurnView:
        text = self._texts.pop(turn_id, "")
        if turn_id not in self._awaited:
            self._screen.message(text)
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
            await self._ask(view, event)
        else:
            view.show(event)

    async def _resolve(self, turn_id: str, view: TurnView) -> None:
        """Show the rest of a turn that has ended, from the history."""
        view.begin_again()
        entries = await self._retry(lambda: turn_entries(self.feed.client, self._id, turn_id))
        for entry in entries:
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
            if stopped and view.error.code == "CANCELLED":
                self._screen.line("cancelled")
            else:
                self._screen.error(view.error)
        if self._shown is not None and self._shown[0] in self._awaited:
            self._awaited.remove(self._shown[0])
        self._shown = None
        self._stop.over()

    # -- requests ----------------------------------------------------------------------------

    async def _ask(self, view: TurnView, ask: AskEvent) -> None:
        """Put an ask to the person until it is settled."""
        if self.feed.is_settled(ask.ask_id):
            view.show(ask)
            return
        if not view.first_time("ask", ask.ask_id):
            return
        try:
            while (answered := await self._put(ask)) is not None:
                view.answered[ask.ask_id] = answered.answers
                if await self._answer(ask.ask_id, answered):
                    return
        except Interrupted:
            self.interrupt()

    async def _put(self, ask: AskEvent) -> Answered | None:
        with self._outages.unsaid():
            return await self._asker(ask, self.feed)

    async def _answer(self, ask_id: str, answered: Answered) -> bool:
        """Send an answer; return whether the ask need not be put again.

        Waits a moment for a refusal, but not for the ask to be settled if there is more to show:
        questions that were asked together are settled together, once the last one is answered.
        """
        sending = asyncio.ensure_future(self._send_answer(ask_id, answered))
        await asyncio.wait({sending}, timeout=REFUSAL)
        if not sending.done() and self.feed.head() is None:
            more = asyncio.ensure_future(self.feed.more())
            try:
                await asyncio.wait({sending, more}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                more.cancel()
        if sending.done():
            return sending.result()
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        return True

    async def _send_answer(self, ask_id: str, answered: Answered) -> bool:
        answer = AnswerRequest(ask_id=ask_id, answers=answered.answers, message=answered.message)
        request = AnswerAskRequest(session_id=self._id, answer=answer)
        try:
            await self._call(request, AskClosed)
        except RequestFailed as failed:
            if failed.code is Code.NOT_FOUND:
                return True  # the turn has ended, as the feed will report
            self._screen.error(failed.error)
            return failed.code is not Code.INVALID_ARGUMENT
        except TransportError:
            pass  # the feed reports it
        return True

    async def _request_stop(self, turn_id: str) -> None:
        try:
            await self._call(StopTurnRequest(session_id=self._id, turn_id=turn_id), TurnInfo)
        except RequestFailed as failed:
            self._screen.error(failed.error)
        except TransportError:
            pass  # the feed reports it

    async def _call(self, request: Message, answer: type[M]) -> M:
        return await self._retry(lambda: self.feed.client.call(request, answer))

    async def _retry(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call that may be repeated, again in each new session until it is answered."""
        while True:
            try:
                return await call()
            except SessionLost:
                await self.feed.client.ready()


class Stop:
    """Whether the turn on the screen is to be stopped."""

    def __init__(self, screen: Screen) -> None:
        self.wanted: bool = False
        self._screen = screen
        self._request: asyncio.Task[None] | None = None
        self._impatience: asyncio.TimerHandle | None = None

    def want(self) -> None:
        """Note that the person wants the turn stopped."""
        self.wanted = True
        loop = asyncio.get_running_loop()
        self._impatience = loop.call_later(PATIENCE, self._still_waiting)

    def begin(self, request: Coroutine[None, None, None]) -> None:
        """Send the request to stop it."""
        self._request = asyncio.ensure_future(request)

    def over(self) -> None:
        """Note that the turn has ended."""
        self.wanted = False
        if self._impatience is not None:
            self._impatience.cancel()
        if self._request is not None:
            self._request.cancel()

    def _still_waiting(self) -> None:
        self._screen.line("the reply has not ended yet; press Ctrl-C again to quit")
