"""Logs a line for each request at debug level, through an interceptor."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from actors import Call, Message, Registry


@asynccontextmanager
async def logged(call: Call[Message]) -> AsyncIterator[None]:
    """Log the request's type, code, number of answers and seconds, but none of its content."""
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
    """Log every request."""
    registry.intercept_all(logged)
