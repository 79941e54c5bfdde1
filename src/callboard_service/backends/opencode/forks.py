"""Copy conversations: OpenCode copies the messages, and the store the turns that it keeps."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from actors import Code, Failure
from callboard.v1.chat_pb2 import HistoryEntry
from callboard_service.backends.fields import Table, table, text
from callboard_service.backends.opencode.api import Api
from callboard_service.backends.opencode.history import KeptEntries, entries_of, is_by_user
from callboard_service.backends.opencode.marks import (
    Mark,
    fork_metadata,
    mark_of,
    part_mark_of,
)
from callboard_service.backends.stored import StoredConversations


@dataclass(slots=True)
class ForkPoint:
    """Where a copy ends.

    message_id: of the first message that is not copied; empty: all are. entry_id: of the first
    entry in the store that is not copied; empty: all of ended turns are. unmarked: for the id of
    each message of a turn that a copy would not be known by: its mark.
    """

    message_id: str = ""
    entry_id: str = ""
    unmarked: dict[str, Mark] = field(default_factory=dict)


class Forks:
    """Makes copies. kept: returns the entries of a turn of a conversation; None: it is unknown."""

    def __init__(
        self,
        turns: StoredConversations,
        kept: Callable[[str, str], Awaitable[Sequence[HistoryEntry] | None]],
    ) -> None:
        self._turns = turns
        self._kept = kept

    async def fork(self, api: Api, source_id: str, before: str, title: str, create_id: str) -> str:
        """Copy a conversation and return the id of the copy; see `ChatBackend.fork`."""
        source = await api.session(source_id)
        await self._turns.write(lambda store: store.ensure(source_id))
        opened = await self._turns.read(lambda store: store.open_turns(source_id))

        async def kept(turn_id: str) -> Sequence[HistoryEntry] | None:
            return await self._kept(source_id, turn_id)

        busy = bool(await api.status(source_id))
        point = await _find(api, source_id, before, kept, {turn.id for turn in opened}, busy=busy)
        for message_id, mark in point.unmarked.items():
            await api.mark(source_id, message_id, mark.metadata())
        copy = await api.fork(source_id, point.message_id)
        copy_id, made = text(copy, "id"), ""
        try:
            changes: dict[str, object] = {"metadata": fork_metadata(copy, source)}
            if title.strip():
                changes["title"] = title
            await api.update(copy_id, changes)
            made = await self._copy_turns(source_id, copy_id, point.entry_id, create_id)
        finally:
            if made != copy_id:  # it failed, or an equal request was faster
                with suppress(Failure):
                    await api.delete(copy_id)
        return made

    async def _copy_turns(self, source_id: str, copy_id: str, before: str, create_id: str) -> str:
        made = await self._turns.write(
            lambda store: store.fork(source_id, before, "", create_id, copy_id)
        )
        return made.id


async def _find(
    api: Api,
    conversation_id: str,
    before: str,
    kept: KeptEntries,
    opened: Collection[str],
    *,
    busy: bool,
) -> ForkPoint:
    """Return where a copy up to the entry `before` ends; empty: one of all that has ended.

    opened: the turns that have not ended. busy: a reply runs, perhaps of another client. Raises
    Failure, INVALID_ARGUMENT, if `before` does not begin a turn.
    """
    point = ForkPoint()
    newest_by_user = entry_id = earlier = ""
    while True:
        page = await api.page(conversation_id, earlier)
        for message in reversed(page.messages):
            if not is_by_user(message):
                continue
            message_id, mark = text(table(message, "info"), "id"), mark_of(message)
            if mark.turn_id and not part_mark_of(message).turn_id:
                point.unmarked[message_id] = mark
            if mark.handed:
                continue
            newest_by_user = newest_by_user or message_id
            if not before and mark.turn_id in opened:
                point.message_id = message_id
            if before and not point.message_id:
                first, is_kept = await _first_entry(message, mark, kept)
                entry_id = first if is_kept else entry_id
                if first == before:
                    point.message_id, point.entry_id = message_id, entry_id
        if not page.earlier:
            break
        earlier = page.earlier
    if before and not point.message_id:
        said = f"no turn begins with the entry {before[:80]!r}"
        raise Failure(Code.INVALID_ARGUMENT, said)
    if busy and not point.message_id:
        point.message_id = newest_by_user
    return point


async def _first_entry(message: Table, mark: Mark, kept: KeptEntries) -> tuple[str, bool]:
    """Return the id of the entry that begins a turn, and whether the store has it."""
    of_turn = await kept(mark.turn_id) if mark.turn_id else None
    entries = entries_of([message]) if of_turn is None else of_turn
    first = next(iter(entries), None)
    if first is None or first.WhichOneof("entry") != "user_text":
        return "", False
    return first.id, of_turn is not None
