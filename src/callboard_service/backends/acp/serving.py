"""What the service does for an agent: files and terminals, as far as the settings allow it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from callboard_service.backends.acp.client_files import ClientFiles, content_of
from callboard_service.backends.acp.client_terminals import ClientTerminals
from callboard_service.backends.acp.connection import Connection
from callboard_service.backends.acp.consents import Wish
from callboard_service.backends.acp.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    REQUEST_CANCELLED,
    Request,
    Unserved,
)
from callboard_service.backends.acp.methods import (
    CREATE,
    KILL,
    OUTPUT,
    READ,
    RELEASE,
    WAIT,
    WRITE,
)
from callboard_service.backends.acp.patches import patch_of
from callboard_service.backends.acp.running import RunningTurn
from callboard_service.backends.fields import Table, text

ALL_WRITES: Final = "Allow everything of this kind until the reply ends"
THIS_COMMAND: Final = "Allow exactly this command until the reply ends"

MAX_SERVED: Final = 32
"""Requests of one agent that are served at the same time."""

Serve: TypeAlias = Callable[[Request], Awaitable[Table]]


class Serving:
    """Serves the requests of one agent.

    files, terminals: what it may use; None: it does without. session: returns the id of its
    session. turn: returns the turn that runs; None: none does.
    """

    def __init__(
        self,
        connection: Connection,
        files: ClientFiles | None,
        terminals: ClientTerminals | None,
        session: Callable[[], str],
        turn: Callable[[], RunningTurn | None],
    ) -> None:
        self._connection = connection
        self._terminals = terminals
        self._session = session
        self._turn = turn
        self._served: dict[str, Serve] = {}
        if files is not None:
            self._served |= _serving_files(self, files)
        if terminals is not None:
            self._served |= _serving_terminals(self, terminals)
        self._tasks: dict[asyncio.Task[None], Request] = {}

    @property
    def methods(self) -> frozenset[str]:
        """The methods that the agent may call."""
        return frozenset(self._served)

    def take(self, request: Request) -> bool:
        """Take a request, to be answered later; False if it is none that is served."""
        serve = self._served.get(request.method)
        if serve is None:
            return False
        if len(self._tasks) >= MAX_SERVED:
            self._connection.refuse(request.id, INTERNAL_ERROR, "too many requests at once")
            return True
        task = asyncio.create_task(self._answer(request, serve))
        self._tasks[task] = request
        task.add_done_callback(self._tasks.pop)
        return True

    def withdraw(self, request_id: object) -> None:
        """Wait no more for the end of a command, as the agent has withdrawn that request."""
        for task, request in self._tasks.items():
            if request.method == WAIT and request.id == request_id and not task.cancelling():
                task.cancel()
                self._connection.refuse(request.id, REQUEST_CANCELLED, "Cancelled")

    def printed(self, terminal_id: str) -> str:
        """Return the output of a terminal so far; empty if there is no such terminal."""
        return "" if self._terminals is None else self._terminals.printed(terminal_id)

    def stop(self) -> None:
        """Begin to end all commands: the reply is stopped, or the agent has ended."""
        if self._terminals is not None:
            self._terminals.kill()

    async def settle(self) -> None:
        """Wait until the commands that were stopped have ended."""
        if self._terminals is not None:
            await self._terminals.settle()

    async def close(self) -> None:
        """End all commands, and wait until none is left; serve nothing more."""
        self._served = {}
        if self._terminals is None:
            return
        creating = [task for task, request in self._tasks.items() if request.method == CREATE]
        for task in creating:
            task.cancel()
        await asyncio.gather(*creating, return_exceptions=True)
        await self._terminals.close()

    async def _answer(self, request: Request, serve: Serve) -> None:
        try:
            answer = await serve(request)
        except Unserved as error:
            self._connection.refuse(request.id, error.code, error.message)
        else:
            self._connection.answer(request.id, answer)

    # -- what both kinds need ----------------------------------------------------------------

    def running(self) -> RunningTurn:
        """Return the turn that runs. Raises Unserved: nobody could be asked."""
        running = self._turn()
        if running is None or running.stopped or running.turn.end is not None:
            raise Unserved(REQUEST_CANCELLED, "no prompt is running")
        return running

    def check_session(self, params: Table) -> None:
        """Raise Unserved if a request is not about the agent's session."""
        if text(params, "sessionId") != self._session():
            raise Unserved(INVALID_PARAMS, "there is no such session")

    def show(self, terminal_id: str) -> None:
        """Show what a terminal has printed in the call that it belongs to."""
        running = self._turn()
        if running is not None:
            running.put(running.turn.printed(terminal_id))

    async def consent(self, running: RunningTurn, request: Request, wish: Wish) -> None:
        """Return once a person has allowed it. Raises Unserved if nobody does."""
        consents = running.turn.consents
        if consents.allows_all(wish.kind):
            return
        decision: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()

        def decided(allowed: bool | None) -> None:
            if not decision.cancelled():
                decision.set_result(allowed)

        event = consents.ask(request.id, wish, decided)
        if event is None:
            raise Unserved(INVALID_PARAMS, "that is too large to be shown to a person")
        running.put([event])
        allowed = await decision
        if allowed is None:
            raise Unserved(REQUEST_CANCELLED, "the prompt has ended")
        if not allowed:
            raise Unserved(INTERNAL_ERROR, "the user refused that")


def _serving_files(serving: Serving, files: ClientFiles) -> dict[str, Serve]:
    """Return what serves files, by method. Each raises Unserved."""

    async def read(request: Request) -> Table:
        return await asyncio.to_thread(files.read, request.params)

    async def write(request: Request) -> Table:
        """Write a file, once a person has allowed it."""
        params, content = request.params, content_of(request.params)
        place = await asyncio.to_thread(files.place, params)
        old = await asyncio.to_thread(files.text, place)
        running = serving.running()
        if not running.turn.has_shown(WRITE, params.get("path"), content):
            detail = patch_of(str(place), old or "", content, created=old is None)
            wish = Wish(WRITE, f"Write {place}", detail, ALL_WRITES)
            await serving.consent(running, request, wish)
        await asyncio.to_thread(files.replace, params, place, old, content)
        return {}

    return {READ: read, WRITE: write}


def _serving_terminals(serving: Serving, terminals: ClientTerminals) -> dict[str, Serve]:
    """Return what serves terminals, by method. Each raises Unserved."""

    def checked(serve: Serve) -> Serve:
        async def check(request: Request) -> Table:
            serving.check_session(request.params)
            return await serve(request)

        return check

    async def create(request: Request) -> Table:
        """Run a command, once a person has allowed it."""
        found = command, line = await asyncio.to_thread(terminals.command, request.params)
        running = serving.running()
        if line is None or not running.turn.has_shown(CREATE, line):
            title, shown = f"Run a command in {command.directory}", command.shown
            wish = Wish(f"{title}\n{shown}", title, shown, THIS_COMMAND)
            await serving.consent(running, request, wish)
        if await asyncio.to_thread(terminals.command, request.params) != found:
            raise Unserved(INTERNAL_ERROR, "the folder has changed meanwhile")
        serving.running()  # it may have been stopped
        return await terminals.create(command, serving.show)

    async def output(request: Request) -> Table:
        return terminals.find(request.params).output()

    async def wait(request: Request) -> Table:
        return await terminals.find(request.params).wait()

    async def kill(request: Request) -> Table:
        terminals.find(request.params).kill()
        return {}

    async def release(request: Request) -> Table:
        serving.show(text(request.params, "terminalId"))
        return terminals.release(request.params)

    serves = {CREATE: create, OUTPUT: output, WAIT: wait, KILL: kill, RELEASE: release}
    return {method: checked(serve) for method, serve in serves.items()}
