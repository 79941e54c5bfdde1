"""Reads lists and histories of any length page by page, without holding them as a whole."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import (
    GetHistoryRequest,
    History,
    HistoryEntry,
    ListSessionsRequest,
    SessionInfo,
    SessionList,
)
from transport.client import Client
from transport.errors import RequestFailed

CALL_TIMEOUT: Final = 30.0
"""Seconds that a command waits for an answer."""

LISTED: Final = 500
"""Conversations requested per page; the service may send fewer."""

ENTRIES: Final = 200
"""Entries of a history requested per page; the service may send fewer."""


async def conversations(
    client: Client, *, search: str = "", archived: bool = False
) -> AsyncGenerator[SessionInfo, None]:
    """Yield every conversation once, newest first. Raises RequestFailed, ConnectionClosed.

    search: only those whose title or text contains this. archived: also archived ones.
    """
    seen: set[str] = set()
    page = ""
    while True:
        request = ListSessionsRequest(limit=LISTED, page=page, search=search, archived=archived)
        listed = await client.call(request, SessionList, timeout=CALL_TIMEOUT)
        for info in listed.sessions:
            if info.id not in seen:  # one that changed in the meantime may come again
                seen.add(info.id)
                yield info
        if not listed.next_page:
            return
        if listed.next_page == page:
            raise _broken("the same page of conversations twice")
        page = listed.next_page


async def newest_entries(client: Client, conversation_id: str, count: int) -> list[HistoryEntry]:
    """Return the last entries of a conversation, at most `count`, oldest first."""
    entries: list[HistoryEntry] = []
    before, more = "", True
    while more and len(entries) < count:
        page = await _page(client, conversation_id, before, count - len(entries))
        entries[:0] = page.entries
        before, more = _first(page), page.more
    return entries


async def turn_entries(client: Client, conversation_id: str, turn_id: str) -> list[HistoryEntry]:
    """Return the entries of a turn that has ended, oldest first; none if it has none.

    The history is searched from its end. Raises RequestFailed, ConnectionClosed.
    """
    entries: list[HistoryEntry] = []
    before, more = "", True
    while more:
        page = await _page(client, conversation_id, before)
        found = [entry for entry in page.entries if entry.turn_id == turn_id]
        entries[:0] = found
        before = _first(page)
        more = page.more and (not entries or page.entries[0].turn_id == turn_id)
    return entries


@dataclass(frozen=True, slots=True)
class Sent:
    """A message of the user in the history. failed: whether its turn ended with an error."""

    entry: HistoryEntry
    failed: bool


async def sent_messages(client: Client, conversation_id: str) -> AsyncGenerator[Sent, None]:
    """Yield the messages that started turns, newest first. Raises RequestFailed, ConnectionClosed.

    Messages that were handed to a running turn are left out.
    """
    first: HistoryEntry | None = None
    failed = False
    async with aclosing(_backwards(client, conversation_id)) as entries:
        async for entry in entries:
            if first is not None and not (entry.turn_id and entry.turn_id == first.turn_id):
                yield Sent(first, failed)
                first, failed = None, False
            if entry.HasField("user_text"):
                first = entry
            failed = failed or entry.HasField("error")
    if first is not None:
        yield Sent(first, failed)


async def _backwards(client: Client, conversation_id: str) -> AsyncGenerator[HistoryEntry, None]:
    before, more = "", True
    while more:
        page = await _page(client, conversation_id, before)
        for entry in reversed(page.entries):
            yield entry
        before, more = _first(page), page.more


async def history(client: Client, conversation_id: str) -> AsyncGenerator[HistoryEntry, None]:
    """Yield the entries of a conversation as it is now, oldest first.

    The service pages from the newest entry backwards. So the pages are read twice: first to find
    where each begins, then from the oldest on. At most three pages are held at a time. Raises
    RequestFailed, also if entries are removed in the meantime, and ConnectionClosed.
    """
    newest = page = await _page(client, conversation_id, "")
    begins = [_first(page)]
    while page.more:
        page = await _page(client, conversation_id, begins[-1])
        begins.append(_first(page))
    if len(begins) > 1:
        for entry in page.entries:
            yield entry
    for begin, end in zip(begins[-2:0:-1], begins[-3::-1], strict=True):
        async for entry in _between(client, conversation_id, begin, end):
            yield entry
    for entry in newest.entries:
        yield entry


async def _between(
    client: Client, conversation_id: str, begin: str, end: str
) -> AsyncGenerator[HistoryEntry, None]:
    """Yield the entries from `begin` up to but not including `end`, usually one page."""
    pages: list[list[HistoryEntry]] = []
    before = end
    while not (pages and pages[-1][0].id == begin):
        page = await _page(client, conversation_id, before)
        entries = list(page.entries)
        at = next((n for n, entry in enumerate(entries) if entry.id == begin), None)
        if at is None and not page.more:
            raise RequestFailed(Code.ABORTED, "the conversation changed while it was being read")
        pages.append(entries[at:])
        before = _first(page)
    while pages:
        for entry in pages.pop():
            yield entry


async def _page(client: Client, conversation_id: str, before: str, limit: int = ENTRIES) -> History:
    request = GetHistoryRequest(session_id=conversation_id, limit=limit, before=before)
    page = await client.call(request, History, timeout=CALL_TIMEOUT)
    if page.more and (not page.entries or _first(page) in ("", before)):
        raise _broken("a page of history without a position for the next page")
    return page


def _first(page: History) -> str:
    return page.entries[0].id if page.entries else ""


def _broken(what: str) -> RequestFailed:
    return RequestFailed(Code.INTERNAL, f"the service sent {what}")
