"""Who hears of an actor's start and of its end (Erlang's monitors, seen from who is watched)."""

import asyncio
from collections.abc import Callable, Iterator
from typing import TypeAlias

from actors.ref import Down

Callback: TypeAlias = Callable[[Down], None]


class Watchers:
    """Callbacks that are called once, in the order in which they came; and who waits for the start.

    starters: get None when the actor is ready, or why it is no more.
    """

    __slots__ = ("_callbacks", "starters")

    def __init__(self) -> None:
        self.starters: list[asyncio.Future[Down | None]] = []
        self._callbacks: dict[object, Callback] = {}

    def __len__(self) -> int:
        return len(self._callbacks)

    def add(self, callback: Callback) -> Callable[[], None]:
        """Enter a callback; the result strikes it out, at constant cost."""
        key = object()
        self._callbacks[key] = callback

        def unwatch() -> None:
            self._callbacks.pop(key, None)

        return unwatch

    def started(self, down: Down | None) -> None:
        """The actor is ready, or (`down`) did not get there."""
        starters, self.starters = self.starters, []
        for starter in starters:
            if not starter.done():
                starter.set_result(down)

    def take(self) -> Iterator[Callback]:
        """Strike out each and yield it. One may strike out others meanwhile."""
        while self._callbacks:
            yield self._callbacks.pop(next(iter(self._callbacks)))
