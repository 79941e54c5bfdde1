"""The actor that owns the store of conversations: it opens, closes and repairs it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from actors import Actor
from callboard_service.store.store import ConversationStore, StoreBroken

if TYPE_CHECKING:
    from callboard_service.backends.stored import StoredConversations

PROBE_AFTER: Final = 1.0
PROBE_AT_LATEST: Final = 30.0
"""Seconds between probes of a database in trouble: the first pause, and the longest."""

INDEX_AFTER: Final = 60.0
"""Seconds from the first unindexed text until new texts are indexed."""


@dataclass(frozen=True, slots=True)
class Reopen:
    """The open database has become unreliable and must be reopened."""

    store: ConversationStore
    reason: StoreBroken


@dataclass(frozen=True, slots=True)
class Trouble:
    """The database cannot be used at present."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Check whether the database works again, `pause` seconds after the previous check."""

    pause: float


@dataclass(frozen=True, slots=True)
class IndexLater:
    """There are texts that the search index does not know."""


@dataclass(frozen=True, slots=True)
class Index:
    """Add them to the search index."""


KeeperMessage: TypeAlias = Reopen | Trouble | Probe | IndexLater | Index


class StoreKeeper(Actor[KeeperMessage]):
    """Opens the store when it starts, closes it when it stops, and repairs it in between.

    Callers use the store directly, not through this actor; the store has its own threads.
    """

    def __init__(self, owner: "StoredConversations") -> None:
        self._owner = owner
        self._probing = False

    async def started(self) -> None:
        """Open the store. Raises BackendFailed."""
        await self._owner.open()
        self._owner.keeper = self.context.ref
        await self._look(PROBE_AFTER)

    async def receive(self, message: KeeperMessage) -> None:
        """Reopen the store, or check whether it works again. Raises BackendFailed."""
        match message:
            case Reopen(store, reason):
                await self._owner.reopen(store, reason)
                await self._look(PROBE_AFTER)
            case Trouble():
                self._look_in(PROBE_AFTER)
            case Probe(pause):
                self._probing = False
                await self._look(min(2 * pause, PROBE_AT_LATEST))
            case IndexLater():
                self.context.after(INDEX_AFTER, Index())
            case Index():
                await self._owner.index()

    async def _look(self, pause: float) -> None:
        """Check whether the store works; if not, check again in `pause` seconds."""
        if not await self._owner.probe():
            self._look_in(pause)

    def _look_in(self, pause: float) -> None:
        if not self._probing:
            self._probing = True
            self.context.after(pause, Probe(pause))

    async def stopped(self) -> None:
        """Close the store."""
        await self._owner.close()
