"""The list of conversations, as it changes."""

from collections.abc import Callable
from typing import Final
from uuid import uuid4

from actors.runtime.clock import Clock
from callboard.v1.chat_pb2 import (
    CreateSessionRequest,
    DeleteSessionRequest,
    ForkSessionRequest,
    ListSessionsRequest,
    SessionChanged,
    SessionDeleted,
    SessionInfo,
    SessionList,
    UpdateSessionRequest,
    WatchSessionsRequest,
)
from callboard_page.notes import Notes
from callboard_page.tasks import Tasks, Work
from transport.client import Client
from transport.errors import RequestFailed

DELETED_AFTER: Final = 10.0
"""Seconds in which deleting a conversation can be undone; it is archived meanwhile."""

WATCHED: Final = 200
"""Conversations that are shown at first."""


class Conversations:
    """All conversations that are not archived, or all; newest first.

    found: the ids that match the search; None while nothing is searched for.
    """

    def __init__(
        self, client: Client, notes: Notes, tasks: Tasks, clock: Clock, changed: Callable[[], None]
    ) -> None:
        self.loaded: bool = False
        self.archived: bool = False
        self.search: str = ""
        self.found: list[SessionInfo] | None = None
        self.deleted: set[str] = set()
        """Conversations that are about to be deleted."""
        self._known: dict[str, SessionInfo] = {}
        self._client = client
        self._notes = notes
        self._tasks = tasks
        self._clock = clock
        self._changed = changed
        self._watching: Work | None = None

    @property
    def shown(self) -> list[SessionInfo]:
        """The conversations to show, newest first."""
        known = self._known
        if self.found is not None:
            infos = [known.get(info.id, info) for info in self.found]
        else:
            infos = sorted(known.values(), key=_age, reverse=True)
        return [
            info
            for info in infos
            if info.id not in self.deleted and (self.archived or not info.archived)
        ]

    def get(self, conversation_id: str) -> SessionInfo | None:
        """Return what is known of a conversation."""
        return self._known.get(conversation_id)

    # -- watching ----------------------------------------------------------------------------

    def watch(self) -> None:
        """Watch the list from now on, from its beginning."""
        if self._watching is not None:
            self._watching.cancel()
        self._watching = self._tasks.start(self._watch())

    async def _watch(self) -> None:
        while True:
            await self._client.ready()
            request = WatchSessionsRequest(limit=WATCHED, archived=self.archived)
            seen: dict[str, SessionInfo] = {}
            try:
                async with self._client.stream(request, SessionChanged) as changes:
                    async for change in changes:
                        self._apply(change, seen)
            except RequestFailed as failed:
                await self._client.until_retry(failed)

    def _apply(self, change: SessionChanged, seen: dict[str, SessionInfo]) -> None:
        """Apply a change. seen: what this watch has reported until `listed`."""
        match change.WhichOneof("change"):
            case "info":
                seen[change.info.id] = self._known[change.info.id] = change.info
            case "deleted":
                seen.pop(change.deleted, None)
                self._forget(change.deleted)
            case "listed":
                self._known = dict(seen)
                self.loaded = True
            case _:
                pass
        self._changed()

    def show_archived(self, archived: bool) -> None:
        """Show archived conversations too, or no longer."""
        self.archived = archived
        self.watch()
        if self.search:
            self.look_for(self.search)
        self._changed()

    def look_for(self, search: str) -> None:
        """Show what matches this; nothing: all conversations."""
        self.search = search
        if not search.strip():
            self.found = None
        else:
            self._tasks.start(self._look_for(search))
        self._changed()

    async def _look_for(self, search: str) -> None:
        if "search" in self._client.welcome.features:
            request = ListSessionsRequest(search=search.strip(), archived=self.archived)
            found = list((await self._client.call(request, SessionList)).sessions)
        else:
            wanted = search.strip().casefold()
            infos = sorted(self._known.values(), key=_age, reverse=True)
            found = [info for info in infos if wanted in info.title.casefold()]
        if search == self.search:  # what a person has typed since counts
            self.found = found
            self._changed()

    # -- changing ----------------------------------------------------------------------------

    async def create(self) -> SessionInfo:
        """Create a conversation and return it."""
        request = CreateSessionRequest(create_id=str(uuid4()))
        return self._learn(await self._client.call(request, SessionInfo))

    async def rename(self, conversation_id: str, title: str) -> None:
        """Give a conversation another title."""
        request = UpdateSessionRequest(session_id=conversation_id, title=title.strip())
        self._learn(await self._client.call(request, SessionInfo))

    async def archive(self, conversation_id: str, *, archived: bool) -> None:
        """Archive a conversation, or take it back."""
        request = UpdateSessionRequest(session_id=conversation_id, archived=archived)
        self._learn(await self._client.call(request, SessionInfo))

    async def fork(self, conversation_id: str, before: str = "") -> SessionInfo:
        """Copy a conversation up to an entry of its history, and return the copy."""
        request = ForkSessionRequest(
            session_id=conversation_id, before=before, create_id=str(uuid4())
        )
        return self._learn(await self._client.call(request, SessionInfo))

    async def delete(self, conversation_id: str) -> None:
        """Archive a conversation now and delete it in ten seconds, unless that is undone.

        If the page is closed meanwhile, the conversation stays archived.
        """
        info = self._known.get(conversation_id)
        was_archived = info.archived if info is not None else False
        title = (info.title if info is not None else "") or "Untitled"
        self.deleted.add(conversation_id)
        self._changed()
        try:
            await self.archive(conversation_id, archived=True)
        except RequestFailed:
            self.deleted.discard(conversation_id)
            raise

        def delete() -> None:
            self._tasks.start(self._delete(conversation_id))

        timer = self._clock.call_later(DELETED_AFTER, delete)

        def undo() -> None:
            timer.cancel()
            self.deleted.discard(conversation_id)
            self._tasks.start(self.archive(conversation_id, archived=was_archived))

        self._notes.offer(f"“{title}” will be deleted.", "Undo", undo)

    async def _delete(self, conversation_id: str) -> None:
        try:
            request = DeleteSessionRequest(session_id=conversation_id)
            await self._client.call(request, SessionDeleted)
            self._forget(conversation_id)
        finally:
            self.deleted.discard(conversation_id)
            self._changed()

    def _learn(self, info: SessionInfo) -> SessionInfo:
        self._known[info.id] = info
        self._changed()
        return info

    def _forget(self, conversation_id: str) -> None:
        self._known.pop(conversation_id, None)
        if self.found is not None:
            self.found = [info for info in self.found if info.id != conversation_id]


def _age(info: SessionInfo) -> tuple[int, int, str]:
    return info.updated_at.seconds, info.updated_at.nanos, info.id
