"""The backend `opencode`: it attaches to a running server or starts its own."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from actors import ActorRef, AskFailed, ChildSpec, Code, Failure, Log, Undelivered
from callboard.v1.chat_pb2 import (
    Attachment,
    CommandList,
    History,
    HistoryEntry,
    OptionList,
    SessionInfo,
    SessionList,
    SteerEvent,
)
from callboard_service.backends.base import PAGE_BYTES, Health, Prompt, ReplyEvent, TellChange
from callboard_service.backends.fields import Table
from callboard_service.backends.opencode.aborts import AbortMessage, AbortReply, Quiet, remove
from callboard_service.backends.opencode.api import Address, known
from callboard_service.backends.opencode.begun import look_for, messages_of
from callboard_service.backends.opencode.child import Child
from callboard_service.backends.opencode.choosing import Choosing
from callboard_service.backends.opencode.commands import command_list
from callboard_service.backends.opencode.forks import Forks
from callboard_service.backends.opencode.handed import Handed
from callboard_service.backends.opencode.history import (
    HistoryReader,
    States,
    changes_of,
    positions,
    session_info,
)
from callboard_service.backends.opencode.hub import Hub
from callboard_service.backends.opencode.marks import mark_of, message_id_of, parent_of
from callboard_service.backends.opencode.parts import check
from callboard_service.backends.opencode.reply import DEFAULT_TIMEOUTS, Conductor, OpenCodeTimeouts
from callboard_service.backends.opencode.run import DELETED, Run
from callboard_service.backends.opencode.server import Server
from callboard_service.backends.opencode.sharing import Shared
from callboard_service.backends.opencode.steering import Steering
from callboard_service.backends.opencode.turns import OpenCodeTurns
from callboard_service.backends.opencode.usage import cost_before
from callboard_service.backends.opencode.where import Attached, Supervised
from callboard_service.backends.stored import StoredConversations
from callboard_service.backends.without_extras import WithoutExtras, lacks
from callboard_service.pages import DEFAULT_PAGE, LARGEST_PAGE, decode_position, page_of

if TYPE_CHECKING:
    from callboard_service.backends.journal import TurnJournal

STREAM_WAIT: Final = 10.0
"""Seconds that a reply waits for the event stream before it starts."""

HISTORIES: Final = 2
"""Histories read concurrently; each takes the memory of one answer of the server."""

_QUIET_WAIT: Final = 40.0


class OpenCodeBackend(WithoutExtras):
    """Conversations kept by the OpenCode server, and the replies that it makes.

    turns: the file in which the service keeps the turns.
    """

    name = "opencode"
    features: Collection[str] = ("commands", "fork", "images", "options", "steer", "uploads")
    resumes = True

    def __init__(
        self,
        where: Attached | Supervised,
        log: Log,
        patience: OpenCodeTimeouts = DEFAULT_TIMEOUTS,
        turns: Path | Literal[":memory:"] = ":memory:",
    ) -> None:
        self._where = where
        self._log = log
        self._patience = patience
        self._hub = Hub(lambda name: self._abort(name, underway=True))
        self._aborts: ActorRef[AbortMessage] | None = None
        self._sessions = Shared(self._list)
        self._reading = asyncio.Semaphore(HISTORIES)

        def report(line: str) -> None:
            log.warning(line)

        self._turns = StoredConversations(turns, report)
        self._journal = OpenCodeTurns(self._turns, self._session, self._newest, self._forget)
        self.journal: TurnJournal = self._journal
        self._choosing = Choosing(self._turns)
        self._forks = Forks(self._turns, self._journal.kept_entries)
        self._steerings: dict[str, Steering] = {}
        """For each running turn, how messages are handed to its reply."""

    @property
    def data_folder(self) -> Path | None:
        """The folder of the file with the turns."""
        return self._turns.data_folder

    def store_spec(self) -> ChildSpec:
        """Return the actor that owns the turns; the server keeps the conversations."""
        return self._turns.store_spec()

    def store_health(self) -> Health:
        """Return whether turns can be read and written, as last known."""
        return self._turns.store_health()

    def watch(self, changed: TellChange) -> None:
        """Call `changed` with each conversation that the server changes between two replies."""
        self._hub.changed = changed

    def hurry(self, seconds: float) -> None:
        """Let writes wait for another process for at most `seconds` from now on."""
        self._turns.hurry(seconds)

    def spec(self) -> ChildSpec:
        """Return the actor for the server, with the actors that use it as its children."""
        where = self._where
        if isinstance(where, Attached):
            return ChildSpec("opencode", lambda: self._server(where.address, where.directory))
        program, project = where.program, where.directory

        def serve(address: Address) -> Server:
            return self._server(address, str(project))

        start = self._patience.start
        return ChildSpec("opencode", lambda: Child(program, project, self._log, serve, start))

    def _server(self, address: Address, directory: str) -> Server:
        call = self._patience.call
        return Server(address, directory, self._hub, self._log, self._listen, call)

    def _listen(self, aborts: ActorRef[AbortMessage]) -> None:
        self._aborts = aborts

    def health(self) -> Health:
        """Return ready while the server is attached and its events arrive."""
        if not self._hub.attached:
            return Health(ready=False, detail="the OpenCode server is not connected")
        if not self._hub.streaming.is_set():
            return Health(ready=False, detail="no events arrive from the OpenCode server")
        return Health(ready=True, detail=f"OpenCode, in {self._hub.directory}")

    async def conversations(
        self,
        limit: int = 0,
        page: str = "",
        at_most_bytes: int = PAGE_BYTES,
        *,
        search: str = "",
        archived: bool = False,
    ) -> SessionList:
        """Return a page of the project's conversations, the most recently changed first."""
        after = decode_position(page) if page else None
        sessions = await self._sessions.get()
        found = positions(sessions, after, await self._states(), archived=archived)
        return page_of(found, limit, at_most_bytes)

    async def _list(self) -> list[Table]:
        return await (await self._hub.api()).sessions()

    async def create(self, title: str, create_id: str = "", directory: str = "") -> SessionInfo:
        """Create a conversation. Without a title, OpenCode will give it one.

        create_id: kept here, as the server does not know it. If this process dies between the
        server's answer and the store's, a repeated request creates another conversation. directory:
        none, as all conversations are of one project. Raises Failure: UNIMPLEMENTED for another.
        """
        if directory:
            raise lacks("directory")
        if made := await self._created_by(create_id):
            return await self.get(made)
        info = session_info(await (await self._hub.api()).create(title), {})
        if create_id:
            await self._turns.write(lambda store: store.ensure(info.id, create_id))
        return info

    async def _created_by(self, create_id: str) -> str:
        if not create_id:
            return ""
        return await self._turns.read(lambda store: store.created_by(create_id))

    async def update(
        self, conversation_id: str, title: str | None, archived: bool | None
    ) -> SessionInfo:
        """Change what is not None, and return the conversation. Raises Failure: NOT_FOUND.

        The server keeps both. If the title is blank, the model will give one with the first reply.
        """
        api = await self._hub.api()
        session = await api.session(conversation_id)
        changes = changes_of(title, archived)
        if changes:
            session = await api.update(conversation_id, changes)
        return session_info(session, await self._states())

    async def fork(
        self, conversation_id: str, before: str, title: str, create_id: str
    ) -> SessionInfo:
        """Copy a conversation up to, but not including, an entry; see `ChatBackend`.

        Without a title, OpenCode numbers the copies. create_id: as in `create`.
        """
        made = await self._created_by(create_id)
        if not made:
            api = await self._hub.api()
            async with self._reading:
                made = await self._forks.fork(api, conversation_id, before, title, create_id)
        return await self.get(made)

    async def options(self, conversation_id: str) -> OptionList:
        """Return the model, the agent and the model's effort; see `ChatBackend`."""
        return await self._choosing.options(await self._hub.api(), conversation_id)

    async def set_option(self, conversation_id: str, option_id: str, value: str) -> OptionList:
        """Choose, and return what can be chosen then; see `ChatBackend`."""
        api = await self._hub.api()
        return await self._choosing.set_option(api, conversation_id, option_id, value)

    async def commands(self, conversation_id: str) -> CommandList:
        """Return the project's commands. Raises Failure: NOT_FOUND."""
        api = await self._hub.api()
        if conversation_id:
            await api.session(conversation_id)
        return command_list(await api.commands())

    def check_attachments(self, attachments: Sequence[Attachment]) -> None:
        """Raise Failure, INVALID_ARGUMENT, for anything but text, images and PDF, or too much."""
        check(attachments)

    async def steer(self, conversation_id: str, turn_id: str, message: SteerEvent) -> None:
        """Hand a message to the running reply; see `ChatBackend`."""
        steering = self._steerings.get(turn_id)
        if steering is None or steering.handed.closed:
            raise Failure(Code.FAILED_PRECONDITION, "the reply takes no messages now")
        await steering.hand(message)

    async def get(self, conversation_id: str) -> SessionInfo:
        """Return one conversation of the project. Raises Failure: NOT_FOUND."""
        return session_info(await self._session(conversation_id), await self._states())

    async def _session(self, conversation_id: str) -> Table:
        return await (await self._hub.api()).session(conversation_id)

    async def _states(self) -> States:
        return await self._turns.read(lambda store: store.open_states())

    async def delete(self, conversation_id: str) -> None:
        """Delete a conversation after stopping its reply. Raises Failure: NOT_FOUND."""
        api = await self._hub.api()
        await api.session(conversation_id)
        await self._quiet(conversation_id)
        # This also stops a reply that another client started: it would go on without its data.
        await api.abort(conversation_id)
        await api.delete(conversation_id)
        with suppress(Failure):  # its turns are of no use any more
            await self._turns.delete(conversation_id)

    async def history(
        self, conversation_id: str, limit: int, before: str, at_most_bytes: int = PAGE_BYTES
    ) -> History:
        """Return a page of entries, oldest first; see `ChatBackend`."""
        size = min(limit or DEFAULT_PAGE, LARGEST_PAGE)
        return await self._page(conversation_id, size, before, at_most_bytes)

    async def _newest(self, conversation_id: str, without: Collection[str]) -> str:
        page = await self._page(conversation_id, 1, "", PAGE_BYTES, without)
        return page.entries[-1].id if page.entries else ""

    async def _forget(self, conversation_id: str, turn_id: str) -> None:
        """Delete a turn's messages and the replies to them; what cannot be deleted stays there."""
        try:
            api = await self._hub.api()
            await self._quiet(conversation_id)
            copied = bool(parent_of(await api.session(conversation_id)))
            names = await messages_of(api, conversation_id, turn_id, copied=copied)
            await remove(api, conversation_id, names)
        except Failure as failure:
            self._log.warning("a replaced message stays in OpenCode", reason=str(failure))

    async def _page(
        self,
        conversation_id: str,
        size: int,
        before: str,
        at_most_bytes: int,
        without: Collection[str] = (),
    ) -> History:
        """Return a page of entries of all turns but those in `without`. Raises Failure."""

        async def kept(turn_id: str) -> Sequence[HistoryEntry] | None:
            if turn_id in without:
                return ()
            return await self._journal.kept_entries(conversation_id, turn_id)

        api = await self._hub.api()

        async def turn_of(message_id: str) -> str:
            return mark_of(await api.message(conversation_id, message_id) or {}).turn_id

        copied = parent_of(await api.session(conversation_id))
        async with self._reading:
            named = turn_of if copied else None
            reader = HistoryReader(size, before, at_most_bytes, kept, named)
            earlier: str | None = ""
            while earlier is not None:
                page = await api.page(conversation_id, earlier)
                await reader.take(page.messages)
                earlier = page.earlier if page.earlier and not reader.full else None
            return reader.history()

    async def reply(self, prompt: Prompt) -> AsyncGenerator[ReplyEvent, None]:
        """Yield the reply as it is made. Closing the generator stops the model.

        The message is posted only if the server does not have it. Of a reply that went on without
        the service, what OpenCode has stored comes at once; it stores each text when that is
        complete.
        """
        name, turn_id = known(prompt.conversation_id), prompt.turn_id
        api = await self._hub.api()
        try:
            session = await api.session(name)
            asked = None if prompt.resumed else await self._choosing.message(api, session, prompt)
            await self._quiet(name)
            await self._streaming()
            children = await api.children(name)
        except BaseException:
            if prompt.resumed:  # it may go on, and nobody would hear it
                self._abort(name, underway=True)
            raise
        handed = Handed(turn_id)
        steering = Steering(api, name, handed, self._log, self._turns.attachments.read)
        with self._hub.listening(name, children) as inbox:
            begun = await look_for(api, name, message_id_of(turn_id), far=prompt.resumed)
            handed.restore(begun.since)
            sizes, cost = self._choosing.context_sizes, cost_before(session, begun.since)
            run = Run(name, begun.before, children, sizes, handed, cost)
            conductor = Conductor(api, run, inbox, prompt, self._patience)
            self._steerings[turn_id] = steering
            try:
                for event in await conductor.begin(asked, begun):
                    yield event
                async for event in conductor.events():
                    yield event
                await steering.take_back()
            finally:
                handed.closed = True
                self._steerings.pop(turn_id, None)
                if run.end is None or (isinstance(run.end, Failure) and run.end.message == DELETED):
                    self._abort(name, underway=run.underway, leftovers=handed.unused())
                await conductor.close()
        if isinstance(run.end, Failure):
            raise run.end
        assert run.end is not None
        yield run.end

    async def _streaming(self) -> None:
        """Wait for the event stream, because earlier events would be missed. Raises Failure."""
        try:
            async with asyncio.timeout(STREAM_WAIT):
                await self._hub.streaming.wait()
        except TimeoutError:
            message = "no events arrive from the OpenCode server"
            raise Failure(Code.UNAVAILABLE, message, retryable=True) from None

    def _abort(self, name: str, *, underway: bool, leftovers: tuple[str, ...] = ()) -> None:
        """Have the reply stopped, without waiting: the caller may be ending.

        leftovers: ids of messages to delete then.
        """
        if self._aborts is not None:
            self._aborts.tell(AbortReply(name, underway, leftovers))

    async def _quiet(self, name: str) -> None:
        """Wait until no reply is being stopped there: an abort would stop the next reply too.

        Raises Failure.
        """
        aborts = self._aborts
        try:
            if aborts is not None:
                await aborts.ask(lambda reply: Quiet(name, reply), timeout=_QUIET_WAIT)
        except (AskFailed, Undelivered) as error:
            message = "the previous reply has not stopped yet"
            raise Failure(Code.UNAVAILABLE, message, retryable=True) from error
