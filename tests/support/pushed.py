"""The events of a source that pushes them, pulled one at a time."""

from collections.abc import AsyncGenerator, Collection
from typing import TypeVar

from actors import Burst, Message, PushSource, Shared

E = TypeVar("E", bound=Message)


async def pulled(
    source: PushSource[E], until: Collection[type] = ()
) -> AsyncGenerator[E | Burst[E], None]:
    """Yield what the source passes on, and what it returns; it waits while nobody pulls."""
    passed: list[E] = []

    def take(answer: E | Shared[E]) -> bool:
        passed.append(answer.message if isinstance(answer, Shared) else answer)
        return False

    while True:
        try:
            item = await source.push(take, until)
        except StopAsyncIteration:
            return
        for answer in passed:
            yield answer
        passed.clear()
        if item is not None:
            yield item
