"""A server that answers as a test tells it to, on the test's own event loop."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from aiohttp import web

from callboard_service.backends.opencode.api import Address, Api
from callboard_service.backends.opencode.backend import OpenCodeBackend
from callboard_service.backends.opencode.where import Attached
from callboard_service.log import make_log

Answer: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    """Run a server that gives this answer; yield its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def backend_at(answer: Answer) -> AsyncIterator[OpenCodeBackend]:
    """Run a server that gives this answer; yield a backend that is attached to it, with no feed."""
    async with answering(answer) as url:
        address = Address(url)
        backend = OpenCodeBackend(Attached(address, ""), make_log("error"))
        api = Api(address)
        backend._hub.attach(api)
        await backend._turns.open()
        try:
            yield backend
        finally:
            await backend._turns.close()
            await api.close()


async def stream(request: web.Request) -> web.StreamResponse:
    """Send the head of an event stream; return the response to write events to."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


def fixed(status: int, body: str = "", kind: str = "application/json", **headers: str) -> Answer:
    """Return an Answer that is always the same."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=body, content_type=kind, headers=headers)

    return answer
