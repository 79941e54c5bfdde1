"""An attached server is checked, listened to and detached."""

import asyncio
from pathlib import Path
from typing import Self

import pytest
from aiohttp import web

from actors import ActorSystem, Down, Exit
from callboard_service.backends.opencode.api import Address
from callboard_service.backends.opencode.child import Child, ServerDied
from callboard_service.backends.opencode.hub import Hub
from callboard_service.backends.opencode.server import Server
from tests.unit.callboard_service.backends.opencode.odd_server import answering, stream


class Notes:
    """A log that keeps its warnings."""

    def __init__(self) -> None:
        self.warnings: list[tuple[str, dict[str, object]]] = []

    def bind(self, **fields: object) -> Self:
        return self

    def debug(self, event: str, **fields: object) -> None: ...

    def info(self, event: str, **fields: object) -> None: ...

    def error(self, event: str, **fields: object) -> None: ...

    def warning(self, event: str, **fields: object) -> None:
        self.warnings.append((event, fields))


async def test_another_version_is_warned_of_and_used() -> None:
    async def newer(request: web.Request) -> web.StreamResponse:
        if request.path != "/event":
            return web.json_response({"healthy": True, "version": "2.0.1", "directory": "/its/own"})
        response = await stream(request)
        await response.write(b'data: {"type":"server.connected"}\n\n')
        await asyncio.Event().wait()
        return response

    notes, hub, system = Notes(), Hub(lambda name: None), ActorSystem()
    async with answering(newer) as url:
        try:
            await system.start(lambda: Server(Address(url), "", hub, notes, lambda aborts: None))
            async with asyncio.timeout(10):
                await hub.streaming.wait()
            assert hub.directory == "/its/own"
        finally:
            await system.stop()
    assert not hub.attached
    assert not hub.streaming.is_set()
    assert [fields["version"] for _, fields in notes.warnings] == ["2.0.1"]


def test_a_server_whose_actor_is_given_up_is_started_again_as_a_whole() -> None:
    def never(address: Address) -> Server:
        raise AssertionError("not started here")

    child = Child("opencode", Path(), Notes(), never)
    with pytest.raises(ServerDied):
        child.child_ended(Down("callboard/backend/server", "server", Exit.CRASHED))
    child.child_ended(Down("callboard/backend/server", "server", Exit.SHUTDOWN))
