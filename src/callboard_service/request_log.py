"""A line for each request, at the level debug: the first interceptor."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from actors import Call, Message, Registry


@asynccontextmanager
async def logged(call: Call[Message]) -> AsyncIterator[None]:
    """Say what was asked, how it ended and how long that took; nothing of what was said."""
    clock = call.context.clock
    began = clock.now()
    try:
        yield
    finally:
        call.context.log.debug(
            "request",
            type=type(call.request).__name__,
            code=call.ending_code,
            answers=call.answers,
            seconds=round(clock.now() - began, 3),
        )


def register(registry: Registry) -> None:
    """Have every request logged."""
    registry.intercept_all(logged)
