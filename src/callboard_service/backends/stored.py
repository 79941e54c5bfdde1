"""Conversations in SQLite, for the backends that keep their own: one actor owns the store."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Literal, Never, TypeVar

from actors import Actor, ChildSpec, Code, Failure
from callboard.v1.chat_pb2 import ChatError, History, HistoryEntry, SessionInfo, SessionList
from callboard_service.errors import BackendFailed
from callboard_service.pages import PAGE_BYTES, TURNS_BYTES
from callboard_service.store import (
    ConversationStore,
    RecentTurns,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreRefused,
    UnknownConversation,
    UnknownEntry,
)

R = TypeVar("R")

CUT_OFF: Final = (GeneratorExit, asyncio.CancelledError)
"""How a reply ends that is not left to end: by a cancel, a deadline, the end of its session."""


class StoreKeeper(Actor[Never]):
    """Opens the store when it starts and closes it when it stops; a restart opens it anew."""

    def __init__(self, owner: "StoredConversations") -> None:
        self._owner = owner

    async def started(self) -> None:
        """Open the store."""
        await self._owner.open()

    def receive(self, message: Never) -> None:
        """Nothing: the store is asked by plain calls, it has its own thread."""

    async def stopped(self) -> None:
        """Close the store."""
        await self._owner.close()


class StoredConversations:
    """The part of a ChatBackend that keeps conversations."""

    def __init__(self, path: Path | Literal[":memory:"], report: Callable[[str], None]) -> None:
        self._path = path
        self._report = report
        self._store: ConversationStore | None = None

    def store_spec(self) -> ChildSpec:
        """Return the actor that owns the store."""
        return ChildSpec("store", lambda: StoreKeeper(self))

    async def open(self) -> None:
        """Open the store. Raises BackendFailed with one line for a person."""
        try:
            self._store = await ConversationStore.open(self._path, report=self._report)
        except StoreRefused as error:
            raise BackendFailed(str(error)) from error

    async def close(self) -> None:
        """Close the store."""
        store, self._store = self._store, None
        if store is not None:
            await store.close()

    @property
    def is_open(self) -> bool:
        """The conversations can be read and written."""
        return self._store is not None

    async def conversations(
        self, limit: int = 0, page: str = "", at_most_bytes: int = PAGE_BYTES
    ) -> SessionList:
        """Return a page of them, the most recently changed first; see `ChatBackend`."""
        return await _translated(self._opened().conversations(limit, page, at_most_bytes))

    async def create(self, title: str) -> SessionInfo:
        """A new conversation."""
        return await _translated(self._opened().create(title))

    async def get(self, conversation_id: str) -> SessionInfo:
        """One conversation; NOT_FOUND."""
        return await _translated(self._opened().get(conversation_id))

    async def delete(self, conversation_id: str) -> None:
        """Delete it; NOT_FOUND."""
        await _translated(self._opened().delete(conversation_id))

    async def history(
        self, conversation_id: str, limit: int, before: str, at_most_bytes: int = PAGE_BYTES
    ) -> History:
        """Return a page of entries, oldest first; see `ChatBackend`."""
        store = self._opened()
        return await _translated(
            store.history(conversation_id, limit=limit, before=before, at_most_bytes=at_most_bytes)
        )

    async def turns(self, conversation_id: str, at_most_bytes: int = TURNS_BYTES) -> RecentTurns:
        """Return what a model is given: the newest turns that fit, oldest first.

        Raises Failure: NOT_FOUND.
        """
        return await _translated(self._opened().turns(conversation_id, at_most_bytes))

    async def keep(self, conversation_id: str, *entries: HistoryEntry) -> None:
        """Add entries, all or none; NOT_FOUND."""
        if entries:
            await _translated(self._opened().append(conversation_id, *entries))

    def _opened(self) -> ConversationStore:
        if self._store is None:
            raise Failure(Code.UNAVAILABLE, "the conversations are not open", retryable=True)
        return self._store


def cut_off() -> HistoryEntry:
    """What is kept at the end of such a reply, so that its text is not taken for the whole."""
    message = "the reply was ended before it was complete"
    return HistoryEntry(error=ChatError(code=Code.CANCELLED.value, message=message))


async def _translated(work: Awaitable[R]) -> R:
    """What the store says, in the contract's codes."""
    try:
        return await work
    except UnknownConversation as error:
        raise Failure(Code.NOT_FOUND, str(error)) from error
    except UnknownEntry as error:
        raise Failure(Code.INVALID_ARGUMENT, str(error)) from error
    except StoreBusy as error:
        raise Failure(Code.UNAVAILABLE, str(error), retryable=True) from error
    except StoreFull as error:
        raise Failure(Code.RESOURCE_EXHAUSTED, str(error), retryable=True) from error
    except StoreError as error:
        raise Failure(Code.UNAVAILABLE, str(error)) from error
