"""Repeat calls to the server that failed and may succeed the next time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from actors import Failure

T = TypeVar("T")

_TRIES: Final = 3
_PAUSE: Final = 0.3


async def retried(call: Callable[[], Awaitable[T]]) -> T:
    """Make an idempotent call, retrying retryable Failures. Raises Failure."""
    for _ in range(_TRIES - 1):
        try:
            return await call()
        except Failure as failure:
            if not failure.retryable:
                raise
        await asyncio.sleep(_PAUSE)
    return await call()
