"""The backend `opencode`: attached to a running server, or with one of its own."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from actors import ActorRef, AskFailed, ChildSpec, Code, Failure, Log, Undelivered
from callboard.v1.chat_pb2 import History, HistoryEntry, SessionInfo
from callboard_service.backends.base import Health, Prompt, ReplyEvent
from callboard_service.backends.opencode.aborts import Abort, AbortMessage, Quiet
from callboard_service.backends.opencode.api import Address, Api, known
from callboard_service.backends.opencode.child import Child
from callboard_service.backends.opencode.history import entries_of, session_info
from callboard_service.backends.opencode.hub import Hub
from callboard_service.backends.opencode.reply import DEFAULT_PATIENCE, Conductor, Patience
from callboard_service.backends.opencode.run import DELETED, Baseline, Run
from callboard_service.backends.opencode.server import Server
from callboard_service.backends.opencode.where import Attached, Supervised

DEFAULT_PAGE: Final = 200
LARGEST_PAGE: Final = 1000

STREAM_WAIT: Final = 10.0
"""Seconds that a reply waits for the event stream before it begins."""

_QUIET_WAIT: Final = 40.0
_MESSAGES: Final = 50


class OpenCodeBackend:
    """Conversations that the OpenCode server keeps, and the replies that it makes."""

    name = "opencode"

    def __init__(
        self, where: Attached | Supervised, log: Log, patience: Patience = DEFAULT_PATIENCE
    ) -> None:
        self._where = where
        self._log = log
        self._patience = patience
        self._hub = Hub(lambda name: self._abort(name, underway=True))
        self._aborts: ActorRef[AbortMessage] | None = None

    def spec(self) -> ChildSpec:
        """The server, and with it all that listens to it."""
        where = self._where
        if isinstance(where, Attached):
            return ChildSpec("opencode", lambda: self._server(where.address, where.directory))
        program, project = where.program, where.directory

        def serve(address: Address) -> Server:
            return self._server(address, str(project))

        return ChildSpec("opencode", lambda: Child(program, project, self._log, serve))

    def _server(self, address: Address, directory: str) -> Server:
        return Server(address, directory, self._hub, self._log, self._listen)

    def _listen(self, aborts: ActorRef[AbortMessage]) -> None:
        self._aborts = aborts

    def health(self) -> Health:
        """Ready while the server is there and its events come."""
        if not self._hub.attached:
            return Health(ready=False, detail="the OpenCode server is not there")
        if not self._hub.streaming.is_set():
            return Health(ready=False, detail="the OpenCode server's events do not come")
        return Health(ready=True, detail=f"OpenCode, in {self._hub.directory}")

    async def conversations(self) -> list[SessionInfo]:
        """Those of the project, the most recently changed first."""
        return [session_info(session) for session in await (await self._hub.api()).sessions()]

    async def create(self, title: str) -> SessionInfo:
        """A new conversation. Without a title OpenCode gives it one in time."""
        return session_info(await (await self._hub.api()).create(title))

    async def get(self, conversation_id: str) -> SessionInfo:
        """One conversation of the project; NOT_FOUND."""
        return session_info(await (await self._hub.api()).session(conversation_id))

    async def delete(self, conversation_id: str) -> None:
        """Delete it; what runs in it is stopped first. NOT_FOUND."""
        api = await self._hub.api()
        await api.session(conversation_id)
        await self._quiet(conversation_id)
        # Also what another client of the server has started: it would go on without its data.
        await api.abort(conversation_id)
        await api.delete(conversation_id)

    async def history(self, conversation_id: str, limit: int, before: str) -> History:
        """A page of its entries; NOT_FOUND, INVALID_ARGUMENT for an unknown `before`."""
        api, size = await self._hub.api(), min(limit or DEFAULT_PAGE, LARGEST_PAGE)
        await api.session(conversation_id)
        entries: list[HistoryEntry] = []
        found, earlier = not before, ""
        while True:
            page = await api.messages(conversation_id, _MESSAGES, earlier)
            new = entries_of(page.messages)
            if not found:
                ids = [entry.id for entry in new]
                found = before in ids
                new = new[: ids.index(before)] if found else []
            entries = new + entries
            if len(entries) > size or not page.earlier:
                break
            earlier = page.earlier
        if not found:
            raise Failure(Code.INVALID_ARGUMENT, f"there is no entry {before[:80]!r}")
        return History(entries=entries[-size:], more=len(entries) > size)

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
        """The reply as it is made. Closing it stops the model."""
        name = known(prompt.conversation_id)
        api = await self._hub.api()
        await api.session(name)
        model = await _chosen(api, prompt.model)
        await self._quiet(name)
        await self._streaming()
        with self._hub.listening(name) as inbox:
            run = Run(name, Baseline.of((await api.messages(name, _MESSAGES)).messages))
            conductor = Conductor(api, run, inbox, prompt, self._patience)
            try:
                await api.prompt(name, prompt.text, model)
                async for event in conductor.events():
                    yield event
            finally:
                if run.end is None or (isinstance(run.end, Failure) and run.end.message == DELETED):
                    self._abort(name, underway=run.underway)
                await conductor.close()
        if isinstance(run.end, Failure):
            raise run.end
        assert run.end is not None
        yield run.end

    async def _streaming(self) -> None:
        """Wait until events come: what is said before that is missed."""
        try:
            async with asyncio.timeout(STREAM_WAIT):
                await self._hub.streaming.wait()
        except TimeoutError:
            message = "the OpenCode server's events do not come"
            raise Failure(Code.UNAVAILABLE, message, retryable=True) from None

    def _abort(self, name: str, *, underway: bool) -> None:
        """Have the reply stopped. Nothing is waited for: who asks may be ending."""
        if self._aborts is not None:
            self._aborts.tell(Abort(name, underway))

    async def _quiet(self, name: str) -> None:
        """Wait until nothing is being stopped there: it would stop what comes next."""
        aborts = self._aborts
        try:
            if aborts is not None:
                await aborts.ask(lambda reply: Quiet(name, reply), timeout=_QUIET_WAIT)
        except (AskFailed, Undelivered) as error:
            message = "the reply before this one does not end"
            raise Failure(Code.UNAVAILABLE, message, retryable=True) from error


async def _chosen(api: Api, model: str) -> tuple[str, str] | None:
    """The model by its provider and its own name. One that is not there would stay chosen."""
    if not model:
        return None
    provider, _, own = model.partition("/")
    if (provider, own) not in await api.models():
        raise Failure(Code.INVALID_ARGUMENT, f"OpenCode has no model {model[:80]!r}")
    return provider, own
