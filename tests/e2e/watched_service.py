"""A service in the test's own process, whose buffers can be measured; its sockets are real."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from actors.sessions import session_supervisor
from actors.sessions.session import SessionActor
from callboard_service.load_settings import load
from callboard_service.log import make_log
from callboard_service.service import Service
from tests.e2e.contract_client import Contract
from tests.e2e.raw_client import RawClient
from transport.server.connection import ServerConnection


class Watched:
    """A service in this process, and its sessions."""

    def __init__(self, service: Service, url: str, actors: list[SessionActor]) -> None:
        self.service = service
        self.url = url
        self.port = int(url.rsplit(":", 1)[1].split("/")[0])
        self.actors = actors

    def connect(self, **hello: Any) -> Contract:
        return Contract(self.url, self.service.token, **hello)

    def raw(self, **hello: Any) -> RawClient:
        return RawClient(self.port, self.service.token, **hello)

    def session(self, name: str) -> SessionActor:
        (found,) = [actor for actor in self.actors if actor.name == name]
        return found

    def held(self, name: str) -> int:
        return self.session(name).machine.output.flow.size

    def in_transport(self, name: str) -> int:
        channel = self.session(name).connection
        assert isinstance(channel, ServerConnection)
        return 0 if channel._transport is None else channel._transport.get_write_buffer_size()


@contextlib.asynccontextmanager
async def watching(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: object
) -> AsyncIterator[Watched]:
    """Run a service, and record its session actors as they are created."""
    actors: list[SessionActor] = []

    class Recorded(SessionActor):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            actors.append(self)

    monkeypatch.setattr(session_supervisor, "SessionActor", Recorded)
    monkeypatch.chdir(folder)
    defaults = {"runtime_dir": folder, "data_dir": folder, "drain_ms": 0}
    service = Service(load({**defaults, **settings}), make_log("error"))
    ready = await service.start()
    try:
        yield Watched(service, ready.url, actors)
    finally:
        await service.stop()
