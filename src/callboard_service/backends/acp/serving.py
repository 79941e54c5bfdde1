"""What the service does for an agent: it reads and writes files, if a folder is set for that."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from callboard_service.backends.acp.client_files import ClientFiles, Unserved, content_of
from callboard_service.backends.acp.connection import Connection
from callboard_service.backends.acp.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    REQUEST_CANCELLED,
    Request,
)
from callboard_service.backends.acp.patches import patch_of
from callboard_service.backends.acp.running import RunningTurn
from callboard_service.backends.fields import Table

READ: Final = "fs/read_text_file"
WRITE: Final = "fs/write_text_file"

MAX_SERVED: Final = 32
"""Requests of one agent that are served at the same time."""


class Serving:
    """Serves the requests of one agent. turn: returns the turn that runs; None: none does."""

    def __init__(
        self,
        connection: Connection,
        files: ClientFiles | None,
        turn: Callable[[], RunningTurn | None],
    ) -> None:
        self._connection = connection
        self._files = files
        self._turn = turn
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def offered(self) -> bool:
        """Whether the agent may use files through the service."""
        return self._files is not None

    def take(self, request: Request) -> bool:
        """Take a request, to be answered later; False if it is none that is served."""
        files = self._files
        if files is None or request.method not in (READ, WRITE):
            return False
        if len(self._tasks) >= MAX_SERVED:
            self._connection.refuse(request.id, INTERNAL_ERROR, "too many requests at once")
            return True
        task = asyncio.create_task(self._serve(request, files))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _serve(self, request: Request, files: ClientFiles) -> None:
        try:
            if request.method == READ:
                answer = await asyncio.to_thread(files.read, request.params)
            else:
                answer = await self._write(request, files)
        except Unserved as error:
            self._connection.refuse(request.id, error.code, error.message)
        else:
            self._connection.answer(request.id, answer)

    async def _write(self, request: Request, files: ClientFiles) -> Table:
        """Write a file, once a person has allowed it. Raises Unserved."""
        running, params, content = self._turn(), request.params, content_of(request.params)
        place = await asyncio.to_thread(files.place, params)
        old = await asyncio.to_thread(files.text, place)
        if running is None or running.stopped or running.turn.end is not None:
            raise Unserved(REQUEST_CANCELLED, "no prompt is running")
        if not running.turn.has_shown(params.get("path"), content):
            await self._consent(running, request, place, old, content)
        await asyncio.to_thread(files.replace, params, place, old, content)
        return {}

    async def _consent(
        self, running: RunningTurn, request: Request, place: Path, old: str | None, content: str
    ) -> None:
        """Return once a person has allowed to write. Raises Unserved if nobody does."""
        consents = running.turn.consents
        if consents.allows_all(WRITE):
            return
        decision: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        detail = patch_of(str(place), old or "", content, created=old is None)
        event = consents.ask(request.id, WRITE, f"Write {place}", detail, decision.set_result)
        if event is None:
            raise Unserved(INVALID_PARAMS, "the change is too large to be shown to a person")
        running.put([event])
        allowed = await decision
        if allowed is None:
            raise Unserved(REQUEST_CANCELLED, "the prompt has ended")
        if not allowed:
            raise Unserved(INTERNAL_ERROR, "the user refused to have this file written")
