"""The process of an agent, and the conversations that it serves: one, or several if it is shared.

What it sends goes to the conversation whose session it names.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

from actors import Code, Failure, Log
from callboard_service.backends.acp.connection import Connection, StartProcess
from callboard_service.backends.acp.ending import Ending
from callboard_service.backends.acp.jsonrpc import INVALID_PARAMS, Notification, Request
from callboard_service.backends.acp.known import KnownAgent, Quirk
from callboard_service.backends.acp.quirks import quirks_of
from callboard_service.backends.acp.sessions import (
    AgentInfo,
    AgentSession,
    begin_session,
    introduce,
)
from callboard_service.backends.acp.timeouts import AcpTimeouts
from callboard_service.backends.fields import Table, text

GONE: Final = Failure(Code.UNAVAILABLE, "the agent is being ended", retryable=True)
BROKEN_OFF: Final = (
    "The agent's process is ended, because a reply in another conversation did not stop."
)


class Served(Protocol):
    """A conversation that a process serves."""

    @property
    def session_id(self) -> str:
        """The id of its session; empty: it has not begun."""

    @property
    def busy(self) -> bool:
        """Whether a reply runs."""

    def requested(self, request: Request) -> bool:
        """Take a request; False: it is none that is known."""

    def notified(self, notification: Notification) -> None:
        """Take a notification."""

    def ended(self) -> None:
        """Take note that the process has ended; the prompt has been answered with that."""

    def warn(self, notice: str) -> None:
        """Tell a person, in the reply that runs."""

    async def farewell(self, *, forget: bool) -> None:
        """Cancel a prompt before the process ends. forget: delete the session."""


class FirstStart:
    """Has the first process of an agent start alone, because it may set up what all of them use.

    OpenCode 1.18.33 makes its database then, and another one that starts meanwhile may end with
    "database is locked".
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._done = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Start in the block: alone as long as none has started, and then beside others."""
        if not self._done:
            async with self._lock:
                if not self._done:
                    yield
                    self._done = True
                    return
        yield


class AgentProcess:
    """A process. start: starts it. identify: what is known about an agent with a name."""

    def __init__(
        self,
        start: StartProcess,
        identify: Callable[[str], KnownAgent | None],
        log: Log,
        timeouts: AcpTimeouts,
        first: FirstStart,
    ) -> None:
        self.connection = Connection(self)
        self.identify = identify
        self.info = AgentInfo("", "", {}, [])
        self.log = log
        self.quirks: frozenset[Quirk] = frozenset()
        self.timeouts = timeouts
        self._start = start
        self._first = first
        self._ending = Ending(self.connection, timeouts, self._farewell)
        self._conversations: list[Served] = []
        self._order = asyncio.Lock()
        """Held while it starts, and while a session begins: updates may come before its id."""
        self._introduced = False
        self._live: dict[str, Table] = {}
        """The sessions that it has begun or loaded, which it must not load again, and their state
        at that time."""

    @property
    def usable(self) -> bool:
        """Whether it runs, or can be started, and is not being ended."""
        return self.connection.lost is None and not self._ending.begun

    @property
    def hurried(self) -> bool:
        """Whether the service is stopping."""
        return self._ending.hurried

    def join(self, conversation: Served) -> None:
        """Serve a conversation from now on."""
        self._conversations.append(conversation)

    def leave(self, conversation: Served) -> None:
        """Serve a conversation no more; a process without any ends."""
        self._conversations.remove(conversation)
        if not self._conversations:
            self.close_soon()

    def serves_others(self, than: Served) -> bool:
        """Return whether it can be used, and by other conversations than this one."""
        return self.usable and any(one is not than for one in self._conversations)

    async def introduce(self, served: Collection[str]) -> None:
        """Start it, and ask what it is, once. served: see `sessions.client`. Raises Failure."""
        async with self._order:
            if self._introduced:
                return
            try:
                async with self._first.turn():
                    if not self.usable:
                        raise GONE.alone()
                    await self.connection.open(self._start)
                    self.info = await introduce(self.connection, self.timeouts.start, served)
            except BaseException:
                self.close_soon()
                raise
            self.quirks = quirks_of(self.identify(self.info.name))
            self._introduced = True

    async def begin(self, directory: Path, known: str) -> AgentSession:
        """Begin a session, or continue the one that is known. Raises Failure.

        If the caller is cancelled it begins all the same: a session that may be live is not loaded.
        """
        beginning = asyncio.create_task(self._begin(directory, known))
        beginning.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(beginning)

    async def _begin(self, directory: Path, known: str) -> AgentSession:
        async with self._order:
            if known in self._live:
                return AgentSession(known, continued=True, state=self._live[known])
            seconds = self.timeouts.start
            session = await begin_session(self.connection, self.info, directory, known, seconds)
            self._live[session.id] = session.state
            return session

    async def delete_session(self, session_id: str) -> None:
        """Have the agent delete a session. Raises Failure and Refused."""
        params = {"sessionId": session_id}
        await self.connection.call("session/delete", params, self.timeouts.choose)
        self._live.pop(session_id, None)

    # -- what it sends -----------------------------------------------------------------------

    def requested(self, request: Request) -> bool:
        """Hand a request to the conversation that it is about."""
        conversation = self._of(text(request.params, "sessionId"))
        if conversation is None:
            self.connection.refuse(request.id, INVALID_PARAMS, "there is no such session")
            return True
        return conversation.requested(request)

    def notified(self, notification: Notification) -> None:
        """Hand a notification to the conversation that it is about; a withdrawal to all."""
        if notification.method == "$/cancel_request":
            for each in self._conversations:
                each.notified(notification)
            return
        conversation = self._of(text(notification.params, "sessionId"))
        if conversation is not None:
            conversation.notified(notification)

    def ended(self, failure: Failure) -> None:
        """Take note that the process has ended, after all prompts were answered with that."""
        self.log.info("agent ended", agent=self.info.name, reason=failure.message)
        for each in self._conversations:
            each.ended()

    def _of(self, session_id: str) -> Served | None:
        """Return the conversation with a session; None if nobody can tell which it is.

        What names no session of ours is about the one that begins, or the only one that there is.
        """
        ours = self._conversations
        found = [one for one in ours if session_id and one.session_id == session_id]
        if found or session_id in self._live:
            return found[0] if found else None
        beginning = [one for one in ours if session_id and not one.session_id]
        busy = [one for one in ours if not session_id and one.busy]
        for some in (ours, beginning, busy):
            if len(some) == 1:
                return some[0]
        return None

    # -- the end -----------------------------------------------------------------------------

    async def break_off(self, because_of: Served) -> None:
        """End it, because a reply does not stop; tell the others whose replies that ends."""
        for each in self._conversations:
            if each is not because_of:
                each.warn(BROKEN_OFF)
        await self.close()

    def close_soon(self, *, forget: bool = False) -> None:
        """Begin to end it. forget: the sessions of its conversations are to be deleted."""
        self._ending.begin(forget=forget)

    async def close(self) -> None:
        """End it, and all that it has started. If the caller is cancelled, the end goes on."""
        await self._ending.wait()

    def hurry(self) -> None:
        """Leave it less time to end, also if that has begun: the service is stopping."""
        self._ending.hurry()

    async def _farewell(self, forget: bool) -> None:
        for each in list(self._conversations):
            await each.farewell(forget=forget)
