"""The watchers of an actor, which are told of its start and its end (Erlang's monitors)."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from actors.runtime.supervision import Down

if TYPE_CHECKING:
    import asyncio

Callback: TypeAlias = Callable[[Down], None]


class _Watch:
    """A registered callback. Calling this object removes it.

    A closure with a separate key would take 216 bytes more for each connection, which watches its
    session.
    """

    __slots__ = ("_all", "tell")

    def __init__(self, tell: Callback, all_of_them: "dict[_Watch, None]") -> None:
        self.tell: Callback = tell
        self._all = all_of_them

    def __call__(self) -> None:
        self._all.pop(self, None)


class Watchers:
    """The callbacks for an actor's end, in order of registration, and the waiters for its start.

    starters: resolved with None when the actor is ready, or with its Down if it ends before that.
    """

    __slots__ = ("_watches", "starters")

    def __init__(self) -> None:
        self.starters: list[asyncio.Future[Down | None]] = []
        self._watches: dict[_Watch, None] = {}

    def __len__(self) -> int:
        return len(self._watches)

    def add(self, callback: Callback) -> Callable[[], None]:
        """Add a callback; return a function that removes it, in constant time."""
        watch = _Watch(callback, self._watches)
        self._watches[watch] = None
        return watch

    def started(self, down: Down | None) -> None:
        """Tell the starters that the actor is ready, or (`down`) that it ended first."""
        starters, self.starters = self.starters, []
        for starter in starters:
            if not starter.done():
                starter.set_result(down)

    def take(self) -> Iterator[Callback]:
        """Remove and yield each callback. A callback may remove others meanwhile."""
        while self._watches:
            watch = next(iter(self._watches))
            watch()
            yield watch.tell
