"""The backend `acp`: conversations with an agent that speaks the Agent Client Protocol.

Callboard keeps the conversations; the agent keeps what it knows of each in a session of its own.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from actors import ChildSpec, Code, Failure, Lifecycle, Log
from callboard.v1.chat_pb2 import Attachment, ChatCompleted, CommandList, OptionList, SessionInfo
from callboard_service.backends.acp.agent import Agent
from callboard_service.backends.acp.agent_process import AgentProcess, FirstStart
from callboard_service.backends.acp.agents import AgentKeeper, Agents
from callboard_service.backends.acp.choosing import Choosing
from callboard_service.backends.acp.client_files import ClientFiles
from callboard_service.backends.acp.client_terminals import ClientTerminals
from callboard_service.backends.acp.command import AgentCommand
from callboard_service.backends.acp.connection import Process, StartProcess
from callboard_service.backends.acp.deleting import Deleting
from callboard_service.backends.acp.kept import KeptAgent, KeptAgents, check_directory
from callboard_service.backends.acp.listener import Listener
from callboard_service.backends.acp.news import News
from callboard_service.backends.acp.options import Options
from callboard_service.backends.acp.prompts import blocks_of, check
from callboard_service.backends.acp.sessions import check_choice
from callboard_service.backends.acp.timeouts import DEFAULT_TIMEOUTS, AcpTimeouts
from callboard_service.backends.acp.transcript import COPIED, MAX_BYTES, transcript
from callboard_service.backends.base import Health, Prompt, ReplyEvent, TellChange
from callboard_service.backends.fair import FairPlaces
from callboard_service.backends.fields import Table
from callboard_service.backends.guarded.process import GuardedProcess
from callboard_service.backends.stored import DATABASE, StoredConversations

MAX_WAITING: Final = 64
"""Maximum replies of one client session that wait for an agent."""

MAX_SHARED: Final = 64
"""Replies that run at once in one process."""

LOOK: Final = 10.0
"""Seconds that the options are waited for if no agent has told any yet."""

SHUTDOWN: Final = 3.5
"""Seconds that all agents have to end when the service stops, which has four seconds for all."""


class AcpBackend(StoredConversations):
    """Conversations with one kind of agent.

    max_processes: agents that run at once. start: starts a process; None: runs the command.
    """

    name = "acp"
    features: Collection[str] = ("commands", "fork", "images", "options", "search", "uploads")

    def __init__(
        self,
        command: AgentCommand,
        data_folder: Path,
        log: Log,
        report: Callable[[str], None],
        *,
        max_processes: int = 8,
        timeouts: AcpTimeouts = DEFAULT_TIMEOUTS,
        start: StartProcess | None = None,
    ) -> None:
        super().__init__(data_folder / DATABASE, report)
        self._command = command
        self._log = log
        self._timeouts = timeouts
        self._start = start
        self._first_start = FirstStart()
        self._agents = Agents(max_processes, shared=command.shared)
        turns = MAX_SHARED if command.shared else max_processes
        self._turns = FairPlaces(turns, max_waiting=MAX_WAITING)
        self._deleting = Deleting(self._agents, self._turns, self._process, self._make)
        self._trouble = ""
        self._commands = CommandList()
        """Those that an agent told last; agents of one command have much the same."""
        self._choosing = Choosing(self, command.shown)
        self._kept = KeptAgents(self, command)
        self._news = News(self, self._choosing, self.options)
        self._images = True
        """Whether the agent takes images; until one has started, that is taken for granted."""
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Held while a conversation's agent starts, or takes an option."""
        self._looking: asyncio.Task[None] | None = None

    def spec(self) -> ChildSpec:
        """Return the actor that ends the agents."""
        lifecycle = Lifecycle(shutdown=SHUTDOWN)
        return ChildSpec("agents", lambda: AgentKeeper(self._agents), lifecycle)

    def health(self) -> Health:
        """Return ready while the conversations can be used; agents start when they are needed."""
        state = self._trouble or f"{len(self._agents)} running"
        return Health(self.is_open, f"{self._command.shown}: {state}")

    def watch(self, changed: TellChange) -> None:
        """Call `changed` with each conversation whose title or options its agent changes."""
        self._news.tell = changed

    async def create(self, title: str, create_id: str = "", directory: str = "") -> SessionInfo:
        """Create a conversation, whose agent works in a directory; see `ChatBackend`."""
        check_directory(directory)
        return await self.create_with(title, create_id, KeptAgents.chosen(directory))

    async def fork(
        self, conversation_id: str, before: str, title: str, create_id: str
    ) -> SessionInfo:
        """Copy a conversation; see `ChatBackend`.

        The agent copies its session if all is copied and it is idle. Otherwise the copy begins a
        new session, which is given the text of the earlier messages.
        """
        lock = self._lock(conversation_id)
        if before or lock.locked():
            return await super().fork(conversation_id, before, title, create_id)
        async with lock:
            copy = await super().fork(conversation_id, before, title, create_id)
            agent = self._agents.idle(conversation_id)
            if agent is None or agent.busy or not agent.usable:
                return copy
            kept, own = await self._kept.of(conversation_id), await self._kept.of(copy.id)
            session = "" if own.session else await agent.fork(kept.directory)
            if session:
                await self._kept.keep(copy.id, replace(kept, session=session))
        return copy

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
        """Have the conversation's agent reply; start it if it does not run."""
        name = prompt.conversation_id
        ticket = self._turns.enter(prompt.session)
        try:
            async with aclosing(ticket.turn()) as waiting:
                async for notice in waiting:
                    yield notice
            async with self._lock(name):
                agent = await self._settled(name)
                try:
                    await self._choosing.apply(name, agent)
                    if prompt.model:
                        await self._choosing.lend(name, agent, prompt.model)
                    read = self.attachments.read
                    blocks = await blocks_of(prompt.text, prompt.attachments, agent.accepts, read)
                    untold = await self._untold(name, agent)
                except BaseException:
                    self._agents.release(name, agent)
                    raise
            try:
                async with aclosing(agent.reply(prompt, [*blocks, *untold])) as events:
                    async for event in events:
                        if untold and isinstance(event, ChatCompleted):
                            await self._told(name, agent)
                        yield event
            finally:
                self._commands = agent.commands or self._commands
                self._agents.release(name, agent)
        finally:
            ticket.leave()

    async def commands(self, conversation_id: str) -> CommandList:
        """Return the commands of the conversation's agent; of another one if it does not run."""
        await self.get(conversation_id)
        agent = self._agents.find(conversation_id)
        return (agent and agent.commands) or self._commands

    def check_attachments(self, attachments: Sequence[Attachment]) -> None:
        """Raise Failure, INVALID_ARGUMENT, for what the agent does not take, as far as known.

        Before an agent has started, images are admitted; the reply fails if it does not take them.
        """
        check(attachments, images=self._images)

    async def options(self, conversation_id: str) -> OptionList:
        """Return the options of the conversation's agent; of a new session if it does not run.

        An agent is started only if none has told any since the service began. Raises Failure:
        NOT_FOUND.
        """
        if conversation_id:
            await self.get(conversation_id)
        options = await self._options(conversation_id)
        chosen = await self._choosing.chosen(conversation_id) if conversation_id else {}
        return options.listed(chosen)

    async def set_option(self, conversation_id: str, option_id: str, value: str) -> OptionList:
        """Choose, and return what can be chosen then.

        An idle agent takes it at once; otherwise it is kept for the next message. Raises Failure:
        NOT_FOUND, INVALID_ARGUMENT, and FAILED_PRECONDITION if the agent does not take it.
        """
        await self.get(conversation_id)
        options = await self._options(conversation_id)
        if self._choosing.offered is None:
            message = self._trouble or "the agent has not started yet"
            raise Failure(Code.UNAVAILABLE, message, retryable=True)
        check_choice(options, option_id, value)
        agent, lock = self._running(conversation_id), self._lock(conversation_id)
        if agent is not None and not agent.busy and not lock.locked():
            async with lock:
                try:
                    await agent.choose(option_id, value)
                except Failure:
                    if agent.usable:
                        raise
        await self._choosing.keep(conversation_id, option_id, value)
        return await self.options(conversation_id)

    async def delete(self, conversation_id: str) -> None:
        """Delete a conversation, end its agent, and have that delete its session.

        Raises Failure: NOT_FOUND.
        """
        kept = await self._kept.of(conversation_id)
        await super().delete(conversation_id)
        self._deleting.forget(conversation_id, kept)

    def _lock(self, conversation_id: str) -> asyncio.Lock:
        return self._locks.setdefault(conversation_id, asyncio.Lock())

    def _running(self, conversation_id: str) -> Agent | None:
        """Return the conversation's agent, if it has begun and can be used."""
        agent = self._agents.find(conversation_id)
        return agent if agent is not None and agent.usable and agent.session_id else None

    async def _options(self, conversation_id: str) -> Options:
        """Return what the conversation's agent offers, or would offer. Raises Failure."""
        if conversation_id and self._choosing.offered is None and not self._trouble:
            if self._looking is None:
                self._looking = asyncio.create_task(self._look(conversation_id))
            await asyncio.wait([self._looking], timeout=LOOK)
        agent = self._running(conversation_id)
        return (self._choosing.offered or Options()) if agent is None else agent.options

    async def _look(self, conversation_id: str) -> None:
        """Start the conversation's agent, to see what it offers."""
        try:
            ticket = self._turns.enter("")
            try:
                async with aclosing(ticket.turn()) as waiting:
                    async for _ in waiting:
                        pass
                async with self._lock(conversation_id):
                    agent = await self._take(conversation_id)
                    self._agents.release(conversation_id, agent)
            finally:
                ticket.leave()
        except Failure as failure:
            self._report(f"acp: {failure.message}")
        finally:
            self._looking = None

    async def _settled(self, name: str) -> Agent:
        """Return the agent of a conversation once it is free. Raises Failure.

        If a stop that it did not heed ends its process, another one is started then.
        """
        agent = await self._take(name)
        try:
            await agent.settle()
        except BaseException:
            self._agents.release(name, agent)
            raise
        return agent if agent.usable else await self._take(name)

    async def _take(self, name: str) -> Agent:
        """Return the agent of a conversation; start it if it does not run. Raises Failure."""
        kept = await self._kept.of(name)

        return await self._agents.take(
            name,
            lambda: self._process(kept.directory),
            lambda process: self._make(process, kept.directory, self._news.of(name)),
            lambda agent: self._begin(name, agent, kept),
        )

    def _process(self, directory: Path) -> AgentProcess:
        """Make a process that is going to work in a folder, unless it serves several."""
        command = self._command
        start = self._start or self._starter(command.directory if command.shared else directory)
        return AgentProcess(start, command.identify, self._log, self._timeouts, self._first_start)

    def _make(
        self, process: AgentProcess, directory: Path, listener: Listener | None = None
    ) -> Agent:
        """Make an agent that is going to work in a folder."""
        command, terminals = self._command, None
        files = None if command.files is None else ClientFiles(command.files)
        if command.terminals:
            terminals = ClientTerminals(directory, command.variables(), self._report)
        return Agent(process, listener, files, terminals)

    def _starter(self, directory: Path) -> StartProcess:
        """Return what starts a process of the agent, which works in a directory."""
        command = self._command

        async def start(received: Callable[[bytes], None], ended: Callable[[str], None]) -> Process:
            return await GuardedProcess.start(
                command.arguments,
                directory,
                command.variables(),
                received=received,
                ended=ended,
                report=self._report,
            )

        return start

    async def _untold(self, name: str, agent: Agent) -> list[Table]:
        """Return the earlier messages as a block, if the agent is to be given them. Raises Failure.

        That is so for a copy of a conversation, until a prompt with them is completed.
        """
        if not agent.untold:
            return []
        turns = await self.read(lambda store: store.turns(name, MAX_BYTES))
        block = transcript(turns, embeds=agent.accepts.get("embeddedContext") is True)
        if block is None:
            await self._told(name, agent)
            return []
        agent.notices.append(COPIED)
        return [block]

    async def _told(self, name: str, agent: Agent) -> None:
        """Note that the agent has been given the earlier messages, or that there are none."""
        agent.untold = False
        with suppress(Failure):  # then its next process is given them once more
            kept = await self._kept.of(name)
            await self._kept.keep(name, replace(kept, untold=False))

    async def _begin(self, conversation_id: str, agent: Agent, kept: KeptAgent) -> None:
        """Start an agent for a conversation, and note its session. Raises Failure."""
        entries = await self.history(conversation_id, 2, "")
        begun = entries.more or len(entries.entries) > 1
        try:
            known = begun and not kept.untold
            await agent.open(kept.directory, self._command.mode, kept.session, begun=known)
            if self._agents.uses(agent.session_id, agent):
                message = "the agent has one conversation for this folder, and it is in use"
                raise Failure(Code.FAILED_PRECONDITION, message)
        except Failure as failure:
            self._trouble = failure.message
            raise
        self._trouble = ""
        agent.untold = kept.untold
        self._choosing.learn(agent)
        self._images = agent.accepts.get("image") is True
        self._news.of(conversation_id).changed({})
        if agent.session_id != kept.session:
            kept = replace(kept, session=agent.session_id, deletes=agent.can_delete)
            await self._kept.keep(conversation_id, kept)
