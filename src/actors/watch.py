"""Who hears of an actor's end (Erlang's monitors, seen from the actor that is watched)."""

from collections.abc import Callable, Iterator
from typing import TypeAlias

from actors.ref import Down

Callback: TypeAlias = Callable[[Down], None]


class Watchers:
    """Callbacks that are called once, in the order in which they came."""

    __slots__ = ("_callbacks",)

    def __init__(self) -> None:
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

    def take(self) -> Iterator[Callback]:
        """Strike out each and yield it. One may strike out others meanwhile."""
        while self._callbacks:
            yield self._callbacks.pop(next(iter(self._callbacks)))
