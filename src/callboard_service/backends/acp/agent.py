"""One conversation with an agent: its session in a process, from its beginning to its end.

The agent is told of one prompt at a time. What it sends is taken in the order in which it comes;
what it sends outside of a turn is no answer.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from actors import Failure
from callboard.v1.chat_pb2 import ChatNotice, CommandList, SessionOption, UsageEvent
from callboard_service.backends.acp.agent_process import GONE, AgentProcess
from callboard_service.backends.acp.client_files import ClientFiles
from callboard_service.backends.acp.client_terminals import ClientTerminals
from callboard_service.backends.acp.commands import commands_of
from callboard_service.backends.acp.connection import Answer, Refused
from callboard_service.backends.acp.jsonrpc import REQUEST_CANCELLED, Notification, Request
from callboard_service.backends.acp.known import Quirk
from callboard_service.backends.acp.listener import Listener
from callboard_service.backends.acp.options import Options
from callboard_service.backends.acp.permissions import Settlement
from callboard_service.backends.acp.running import RunningTurn
from callboard_service.backends.acp.serving import Serving
from callboard_service.backends.acp.sessions import (
    AgentSession,
    fork_session,
    set_mode,
    set_option,
)
from callboard_service.backends.acp.titles import title_of
from callboard_service.backends.acp.turn import CANCELLATIONS, Turn, late_usage
from callboard_service.backends.base import Prompt, ReplyEvent
from callboard_service.backends.fields import Table, table, text

NEVER_ASKS: Final = "This agent runs commands without asking."
FORGOTTEN: Final = "The agent no longer knows the earlier messages of this conversation."
TOOL_LEFT: Final = "A tool of the stopped reply may still be running."

NO_SESSION: Final = AgentSession("", continued=False, state={})


class Agent:
    """An agent. It serves turns one after the other from `open` to `close`.

    process: what it runs in. listener: is told of changes; None: nobody is. files, terminals: those
    that it uses through the service; None: it uses its own.
    """

    def __init__(
        self,
        process: AgentProcess,
        listener: Listener | None = None,
        files: ClientFiles | None = None,
        terminals: ClientTerminals | None = None,
    ) -> None:
        self.process = process
        self.options = Options()
        """Those of its session."""
        self.notices: list[str] = []
        """What the next reply begins with, for a person."""
        self.lent = False
        """Whether the model is that of one message; other options may differ then."""
        self.untold = False
        """Whether it is to be given the text of the earlier messages."""
        self.commands: CommandList | None = None
        """The commands that it offers, once it has told."""
        self._timeouts = process.timeouts
        self._listener = listener
        self._connection = process.connection
        self._serving = Serving(
            self._connection, files, terminals, lambda: self.session_id, lambda: self._turn
        )
        self._session = NO_SESSION
        self._turn: RunningTurn | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._usage: UsageEvent | None = None
        process.join(self)

    @property
    def usable(self) -> bool:
        """Whether it can take a prompt, now or after what it is stopping."""
        return self.process.usable and self._leaving is None

    @property
    def session_id(self) -> str:
        """The id of its session; empty: it has not begun."""
        return self._session.id

    @property
    def continued(self) -> bool:
        """Whether its session is one that another process began."""
        return self._session.continued

    @property
    def busy(self) -> bool:
        """Whether a reply runs, or one that was stopped has not ended."""
        return self._turn is not None

    @property
    def accepts(self) -> Table:
        """What it takes in a prompt besides text: its promptCapabilities."""
        return table(self.process.info.capabilities, "promptCapabilities")

    @property
    def can_delete(self) -> bool:
        """Whether it can delete a session, which is that of one conversation only."""
        return self.process.info.has("delete") and Quirk.ONE_CONVERSATION not in self.process.quirks

    @property
    def can_load(self) -> bool:
        """Whether another process can continue its session."""
        return bool(self.process.info.loading)

    async def open(self, directory: Path, mode: str, known: str, *, begun: bool) -> None:
        """Start the process and its session. Raises Failure; then the process is ending.

        mode: to be set; empty: the agent's own. known: the session to continue; empty: none. begun:
        whether the conversation has messages, which the agent should know.
        """
        try:
            await self.introduce()
            session = self._session = await self.process.begin(directory, known)
            self.options.take_state(session.state)
            if mode:
                await self.set_mode(mode)
        except BaseException:
            self.close_soon()
            raise
        info = self.process.info
        self._usage = None  # of the history
        known_agent = self.process.identify(info.name)
        if known_agent is not None and known_agent.asks == "no":
            self.notices.append(NEVER_ASKS)
        if begun and not session.continued:
            self.notices.append(FORGOTTEN)
        self.process.log.info("agent started", agent=info.name, version=info.version)

    async def introduce(self) -> None:
        """Start the process, if it does not run, and ask what it is. Raises Failure."""
        await self.process.introduce(self._serving.methods)

    async def set_mode(self, mode: str) -> None:
        """Set the mode of the session. Raises Failure if the agent has none like that."""
        seconds = self._timeouts.choose
        await set_mode(self._connection, self._session, self.options, mode, seconds)

    async def choose(self, option_id: str, value: str) -> None:
        """Set an option of the session. Raises Failure, INVALID_ARGUMENT for an unknown choice."""
        seconds = self._timeouts.choose
        await set_option(self._connection, self.session_id, self.options, option_id, value, seconds)

    async def fork(self, directory: Path) -> str:
        """Copy its session; return the id of the copy, or an empty one if it cannot do that."""
        seconds = self._timeouts.choose
        try:
            return await fork_session(
                self._connection, self.process.info, self.session_id, directory, seconds
            )
        except Failure:
            return ""

    async def delete_session(self, session_id: str) -> None:
        """Have the agent delete a session, if it can."""
        if self.can_delete:
            with suppress(Refused, Failure):
                await self.process.delete_session(session_id)

    async def settle(self) -> None:
        """Wait until a reply that was stopped has ended."""
        if self._stopping is not None:
            await asyncio.shield(self._stopping)

    async def reply(
        self, prompt: Prompt, blocks: Sequence[Table]
    ) -> AsyncGenerator[ReplyEvent, None]:
        """Send the prompt as `blocks` and yield the reply. Raises Failure.

        Closing the generator stops the reply.
        """
        await self.settle()
        if not self.usable:
            raise GONE.alone()
        notices, self.notices = self.notices, []
        for notice in notices:
            yield ChatNotice(message=notice)
        if self._usage is not None:
            yield self._usage
        printed = self._serving.printed
        running = self._turn = RunningTurn(Turn(prompt.turn_id, self.process.quirks, printed))
        answers: asyncio.Task[None] | None = None
        try:
            params = {"sessionId": self.session_id, "prompt": blocks}
            self._connection.request("session/prompt", params, self._finished(running))
            await self._connection.drained()
            while not running.over:
                yield await running.next(self._timeouts.silence)
                if answers is None and running.turn.waiting:
                    answers = asyncio.create_task(self._listen(prompt, running))
        finally:
            if answers is not None:
                answers.cancel()
            if not running.answered.is_set():
                self._stop_soon(running)

    def _finished(self, running: RunningTurn) -> Callable[[Answer], None]:
        """Return what takes the answer to the prompt."""

        def finished(answer: Answer) -> None:
            turn = running.turn
            self._settle(turn.close_asks(), running)
            running.tool_left = turn.tool_left
            running.put(turn.finish(answer))
            assert turn.end is not None
            running.inbox.end(turn.end)
            running.answered.set()
            if self._turn is running:
                self._turn = None

        return finished

    async def _listen(self, prompt: Prompt, running: RunningTurn) -> None:
        """Pass on what people answer, until the reply ends."""
        while True:
            settled = running.turn.answer(await prompt.answered())
            if settled is not None:
                self._settle([settled], running)

    def _settle(self, settled: list[Settlement], running: RunningTurn) -> None:
        """Answer requests of the agent, and tell the clients what becomes of their asks."""
        for one in settled:
            if one.outcome is not None:
                self._connection.answer(one.request_id, one.outcome)
            running.put(list(one.events))

    # -- what the agent sends ----------------------------------------------------------------

    def requested(self, request: Request) -> bool:
        """Take a permission, another question, or what the service does for the agent."""
        cancelled = CANCELLATIONS.get(request.method)
        if cancelled is None:
            return self._serving.take(request)
        running = self._turn
        if running is None or running.stopped:
            self._connection.answer(request.id, cancelled)
            return True
        try:
            events, is_open = running.turn.ask(request)
        except Failure as failure:
            running.inbox.end(failure)
            events, is_open = [], False
        if not is_open:
            self._connection.answer(request.id, cancelled)
        running.put(events)
        return True

    def notified(self, notification: Notification) -> None:
        """Take an update; other notifications are of no use, but for two."""
        running = self._turn
        match notification.method:
            case "session/update":
                self._updated(notification.params)
            case "_session/retrying" if running is not None:
                running.put(running.turn.retrying())
            case "$/cancel_request":
                self._withdraw(notification.params.get("requestId"))
            case _:
                pass

    def _withdraw(self, request_id: object) -> None:
        """Take note that the agent has withdrawn a request."""
        self._serving.withdraw(request_id)
        running = self._turn
        if running is not None:
            for one in running.turn.withdraw(request_id):
                if one.outcome is not None:
                    self._connection.refuse(one.request_id, REQUEST_CANCELLED, "Cancelled")
                running.put(list(one.events))

    def _updated(self, params: Table) -> None:
        """Take an update of the turn, or one that comes between turns."""
        self.commands = commands_of(params) or self.commands
        running = self._turn
        ours = text(params, "sessionId") in (self.session_id, "")
        if ours and self.session_id:
            self._tell(params)
        if running is None or not ours:
            if ours or not self.session_id:
                self._usage = late_usage(params) or self._usage
            return
        if not running.stopped:
            self._usage = None
        try:
            events = running.turn.update(params)
        except Failure as failure:
            running.inbox.end(failure)
            return
        if running.turn.begun:
            running.begun.set()
        running.put(events)

    def _tell(self, params: Table) -> None:
        """Tell the listener of a title, and of options that the agent has changed."""
        changes = self.options.take_update(params)
        title = title_of(params)
        if self._listener is not None and changes is not None:
            mode = self.options.of(SessionOption.CATEGORY_MODE)
            kept = (mode.id,) if self.lent and mode is not None else changes
            self._listener.changed({one: changes[one] for one in changes if one in kept})
        if self._listener is not None and title:
            self._listener.titled(title)

    def ended(self) -> None:
        """Take note that the process has ended; the prompt has been answered with that."""
        self._serving.stop()

    def warn(self, notice: str) -> None:
        """Tell a person, in the reply that runs."""
        if self._turn is not None:
            self._turn.put([ChatNotice(message=notice)])

    # -- the ends ----------------------------------------------------------------------------

    def _stop_soon(self, running: RunningTurn) -> None:
        """Stop a reply that nobody wants any more; the next one waits for that."""
        running.stopped = True
        self._serving.stop()
        self._stopping = asyncio.create_task(self._stop(running))

    async def _stop(self, running: RunningTurn) -> None:
        """Cancel the prompt, and end the process if that has no effect in time."""
        if Quirk.ENDS_TO_CANCEL in self.process.quirks:
            await self.process.break_off(self)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeouts.underway):
                await running.begun.wait()
        if not running.answered.is_set():
            self._connection.notify("session/cancel", {"sessionId": self.session_id})
            self._settle(running.turn.close_asks(), running)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timeouts.cancel):
                    await running.answered.wait()
        if not running.answered.is_set():
            await self.process.break_off(self)
        elif running.tool_left:
            self.notices.append(TOOL_LEFT)
        await self._serving.settle()
        self._stopping = None

    async def close(self) -> None:
        """End it: the process, unless that serves other conversations. May be called again.

        A caller that is cancelled leaves it to end by itself.
        """
        self.close_soon()
        if self._leaving is not None:
            await asyncio.shield(self._leaving)
        else:
            await self.process.close()
        await self._serving.close()

    def close_soon(self, *, forget: bool = False) -> None:
        """Begin to end it. forget: it is to delete its session first, if it can."""
        if self._leaving is None and self.process.serves_others(self):
            self._leaving = asyncio.create_task(self._leave(forget=forget))
        elif self._leaving is None:
            self.process.close_soon(forget=forget)

    async def _leave(self, *, forget: bool) -> None:
        """Leave the process to other conversations."""
        if self._turn is not None and not self._turn.stopped:
            self._stop_soon(self._turn)
        await self.settle()
        if forget and self.process.usable:
            await self.delete_session(self.session_id)
        self.process.leave(self)
        if not self.process.usable:
            await self.process.close()

    async def farewell(self, *, forget: bool) -> None:
        """Cancel a prompt, and forget the session, before the process is ended."""
        self._serving.stop()
        running = self._turn
        if running is not None and Quirk.ENDS_TO_CANCEL not in self.process.quirks:
            self._connection.notify("session/cancel", {"sessionId": self.session_id})
            self._settle(running.turn.close_asks(), running)
            if forget:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._timeouts.cancel):
                        await running.answered.wait()
        if forget and not self.process.hurried:
            await self.delete_session(self.session_id)
