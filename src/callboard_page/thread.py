"""One conversation as it is read: its history in pages, and its turns as they happen."""

import asyncio
from collections.abc import Callable
from typing import Final

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import (
    ConversationEvent,
    GetHistoryRequest,
    History,
    HistoryEntry,
    OptionList,
    SetOptionRequest,
    TurnState,
)
from callboard_page.tasks import Tasks, Work
from transport.client import Client
from transport.client.conversation_state import ConversationState
from transport.client.followed_turn import ENDED, FollowedTurn, turns_of
from transport.errors import RequestFailed

PAGE: Final = 100
"""Entries of a history that are loaded at once."""

_UNFINISHED: Final = ENDED - {TurnState.TURN_STATE_COMPLETED}


class Thread:
    """A conversation that is open on the page.

    gone: it has been deleted. earlier: there are older turns than those that are loaded.
    loading: a page of the history is on its way.
    """

    def __init__(
        self, client: Client, conversation_id: str, tasks: Tasks, changed: Callable[[], None]
    ) -> None:
        self.id: str = conversation_id
        self.gone: bool = False
        self.loaded: bool = False
        self.loading: bool = False
        self.earlier: bool = False
        self.state: ConversationState = ConversationState()
        self._client = client
        self._tasks = tasks
        self._changed = changed
        self._past: list[FollowedTurn] = []
        self._entries: list[HistoryEntry] = []
        self._seen: dict[str, FollowedTurn] = {}
        self._waited: set[str] = set()
        """Turns that were seen waiting and have not begun since."""
        self._following: Work | None = None
        self._settled = asyncio.Event()

    # -- what is shown -----------------------------------------------------------------------

    @property
    def turns(self) -> list[FollowedTurn]:
        """The turns that have begun, oldest first. One removed from the queue never did."""
        past = [turn for turn in self._past if turn.info.id not in self._seen]
        return past + [turn for turn in self._seen.values() if turn.info.id not in self._waited]

    @property
    def queue(self) -> list[FollowedTurn]:
        """The turns that wait, the next one first."""
        return [turn for turn in self.state.open_turns if _is_queued(turn)]

    @property
    def running(self) -> FollowedTurn | None:
        """The turn that runs, if one does."""
        return next((turn for turn in self.state.open_turns if not _is_queued(turn)), None)

    @property
    def options(self) -> OptionList:
        """What can be chosen: the model, the mode, ..."""
        return self.state.options

    def can(self, feature: str) -> bool:
        """Return whether the conversation has one of Welcome.features."""
        features = self.state.info.features or self._client.welcome.features
        return feature in features

    def can_retry(self, turn: FollowedTurn) -> bool:
        """Return whether this turn may be replaced: it is the last one, and did not complete."""
        turns = self.turns
        return bool(
            turns
            and turns[-1] is turn
            and (turn.text or turn.attachments)
            and turn.info.state in _UNFINISHED
            and self.running is None
        )

    # -- following ---------------------------------------------------------------------------

    def open(self) -> None:
        """Load the newest page of the history and follow what happens."""
        self._following = self._tasks.start(self._follow())

    def close(self) -> None:
        """Follow no longer."""
        if self._following is not None:
            self._following.cancel()

    async def followed(self) -> None:
        """Wait until what happens from now on is seen, or following has failed."""
        await self._settled.wait()

    async def _follow(self) -> None:
        try:
            await self._follow_until_gone()
        finally:
            self._settled.set()

    async def _follow_until_gone(self) -> None:
        following = self._client.follow(self.id)
        self.state = following.state
        try:
            async for event in following:
                await self._happened(event)
        except RequestFailed as failed:
            if failed.code is not Code.NOT_FOUND:
                raise
            self.gone = True
            self._changed()

    async def _happened(self, event: ConversationEvent) -> None:
        kind = event.WhichOneof("event")
        if kind == "snapshot":
            if not event.snapshot.more:
                await self._begin_again()
        elif kind == "turn":
            self._see()
        self._changed()

    def _see(self) -> None:
        for turn_id, turn in self.state.turns.items():
            self._seen.setdefault(turn_id, turn)
            if _is_queued(turn):
                self._waited.add(turn_id)
            elif not turn.ended and turn_id in self._waited:
                self._waited.remove(turn_id)
                self._seen[turn_id] = self._seen.pop(turn_id)  # they are in the order of starts

    async def _begin_again(self) -> None:
        """Take what a snapshot says for what is; what has ended is in the history."""
        await self._load_newest()
        self._seen = {}
        self._see()
        self.loaded = True
        self._settled.set()

    # -- the history -------------------------------------------------------------------------

    async def _load_newest(self) -> None:
        newest = self._entries[-1].id if self._entries else ""
        entries, earlier = self._entries, self.earlier
        if not self.loaded or newest != self.state.last_entry:
            page = await self._newest()
            first = page.entries[0].id if page.entries else ""
            ids = [entry.id for entry in entries]
            if first in ids:
                entries = [*entries[: ids.index(first)], *page.entries]
            else:
                entries, earlier = list(page.entries), page.more
        self._show(entries, earlier=earlier)

    async def _newest(self) -> History:
        """Return the newest page of the history, however often the connection is lost."""
        request = GetHistoryRequest(session_id=self.id, limit=PAGE)
        while True:
            try:
                await self._client.ready()
                return await self._client.call(request, History)
            except RequestFailed as failed:
                await self._client.until_retry(failed)

    def _show(self, entries: list[HistoryEntry], *, earlier: bool) -> None:
        """Show the turns in these entries; one that was seen whole stays what it was.

        It has more than the history, such as a plan, and its view need not be drawn again.
        """
        past = self._past
        if self.earlier:
            past = past[1:]  # the first one may lack its beginning: a page cuts a turn in two
        whole = {turn.info.id: turn for turn in past if turn.ended and turn.info.id}
        whole |= {turn_id: turn for turn_id, turn in self._seen.items() if turn.ended}
        self._entries, self.earlier = entries, earlier
        self._past = [whole.get(turn.info.id, turn) for turn in turns_of(entries)]

    def load_earlier(self) -> None:
        """Load one more page of the history, if there is one."""
        if self.earlier and not self.loading:
            self.loading = True
            self._tasks.start(self._load_earlier())
            self._changed()

    async def _load_earlier(self) -> None:
        first = self._entries[0].id
        try:
            request = GetHistoryRequest(session_id=self.id, limit=PAGE, before=first)
            page = await self._client.call(request, History)
            if self._entries and self._entries[0].id == first:  # else a snapshot came meanwhile
                self._show([*page.entries, *self._entries], earlier=page.more)
        finally:
            self.loading = False
            self._changed()

    async def entry_of(self, turn: FollowedTurn) -> str:
        """Return the id of the history's entry with the turn's message.

        Raises RequestFailed, NOT_FOUND if there is none any more.
        """
        if turn.entry:
            return turn.entry
        before = ""
        while True:
            request = GetHistoryRequest(session_id=self.id, limit=PAGE, before=before)
            page = await self._client.call(request, History)
            for entry in page.entries:
                if entry.turn_id == turn.info.id and entry.WhichOneof("entry") == "user_text":
                    return entry.id
            if not page.more:
                raise RequestFailed(Code.NOT_FOUND, "this message is not in the conversation")
            before = page.entries[0].id

    def forget(self, turn: FollowedTurn) -> None:
        """Show a turn no longer: another one has replaced it."""
        self._seen.pop(turn.info.id, None)
        self._entries = [entry for entry in self._entries if entry.turn_id != turn.info.id]
        self._past = [one for one in self._past if one.info.id != turn.info.id]
        self._changed()

    async def choose(self, option_id: str, value: str) -> None:
        """Choose another model, mode, ..."""
        request = SetOptionRequest(session_id=self.id, option_id=option_id, value=value)
        self.state.options.CopyFrom(await self._client.call(request, OptionList))
        self._changed()


def _is_queued(turn: FollowedTurn) -> bool:
    return turn.info.state == TurnState.TURN_STATE_QUEUED
