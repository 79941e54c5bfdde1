"""Who hears of an actor's start and of its end (Erlang's monitors, seen from who is watched)."""

import asyncio
from collections.abc import Callable, Iterator
from typing import TypeAlias

from actors.runtime.supervision import Down

Callback: TypeAlias = Callable[[Down], None]


class _Watch:
    """A callback in the list of who watches; called, it strikes itself out.

    Not a closure, with a key beside it: 216 bytes of every connection, which watches its session.
    """

    __slots__ = ("_all", "tell")

    def __init__(self, tell: Callback, all_of_them: "dict[_Watch, None]") -> None:
        self.tell: Callback = tell
        self._all = all_of_them

    def __call__(self) -> None:
        self._all.pop(self, None)


class Watchers:
    """Callbacks that are called once, in the order in which they came; and who waits for the start.

    starters: get None when the actor is ready, or why it is no more.
    """

    __slots__ = ("_watches", "starters")

    def __init__(self) -> None:
        self.starters: list[asyncio.Future[Down | None]] = []
        self._watches: dict[_Watch, None] = {}

    def __len__(self) -> int:
        return len(self._watches)

    def add(self, callback: Callback) -> Callable[[], None]:
        """Enter a callback; the result strikes it out, at constant cost."""
        watch = _Watch(callback, self._watches)
        self._watches[watch] = None
        return watch

    def started(self, down: Down | None) -> None:
        """The actor is ready, or (`down`) did not get there."""
        starters, self.starters = self.starters, []
        for starter in starters:
            if not starter.done():
                starter.set_result(down)

    def take(self) -> Iterator[Callback]:
        """Strike out each and yield it. One may strike out others meanwhile."""
        while self._watches:
            watch = next(iter(self._watches))
            watch()
            yield watch.tell
