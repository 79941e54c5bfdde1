"""Runs an interactive chat between a person and a model."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Final, TypeVar

from actors.protocol.failure import Code
from callboard_service import __version__
from callboard_service.terminal.ask_dialog import Asking
from callboard_service.terminal.attaching import Tray
from callboard_service.terminal.commands import Commands
from callboard_service.terminal.connect import Link
from callboard_service.terminal.conversation import Conversation
from callboard_service.terminal.errors import BadCommand, InputEnded, Interrupted
from callboard_service.terminal.export import UNTITLED
from callboard_service.terminal.feed import Feed
from callboard_service.terminal.interrupts import Interrupts
from callboard_service.terminal.prompts import Prompts
from callboard_service.terminal.room import Room, check_comes_back
from callboard_service.terminal.slash import Message, read_line
from callboard_service.terminal.text import how_lost, one_line
from callboard_service.terminal.view import Screen
from transport.errors import ConnectionClosed, NotRunning, RequestFailed

T = TypeVar("T")

_KEYS: Final = "Ctrl-C stops a reply, Ctrl-D quits, /help lists the commands."
_GONE: Final = "the service no longer has this conversation; starting a new one"
_LEFT: Final = "the reply goes on; `callboard chat --continue` shows it"


class Chat:
    """The loop of lines and replies. It is the `Line` of the turns that it shows."""

    def __init__(
        self,
        link: Link,
        conversation: Conversation,
        screen: Screen,
        prompts: Prompts,
        interrupts: Interrupts,
    ) -> None:
        self._screen = screen
        self._prompts = prompts
        self._interrupts = interrupts
        self._tray = Tray()
        asking = Asking(screen, prompts)
        self._room = Room(link, conversation, screen, asking.ask, interrupts.leave, self)
        self._commands = Commands(self._room, screen, prompts, self._tray)
        self._give_up: Callable[[], object] | None = None
        """Ends the command, or the upload of files, that Ctrl-C is to end."""
        self._typing = False
        """Whether the person was typing when the line was closed for what comes in a reply."""

    async def run(self, *, take_up: bool) -> None:
        """Chat until the person ends it.

        take_up: continue the last conversation. Raises NoService, and ConnectionClosed if the
        client may not connect again.
        """
        client = await self._room.open()
        self._screen.line(f"callboard {__version__}, backend {one_line(client.welcome.backend)}.")
        self._screen.line(_KEYS)
        try:
            if take_up:
                await self._take_up()
            await self._talk()
        finally:
            await self._room.unfollow()

    async def _take_up(self) -> None:
        conversation, client = self._room.conversation, self._room.client
        try:
            info = await conversation.take_up(client)
            if info is None:
                self._screen.line("there is no conversation to continue; starting a new one")
                return
            self._screen.line(f"continuing: {one_line(info.title) or UNTITLED}")
            live = await self._room.followed()
            running = await live.joined()
            self._screen.recall(await conversation.recall(client, without=running))
            self._screen.gap()
        except RequestFailed as failed:
            self._screen.error(failed.error)

    async def _talk(self) -> None:
        while True:
            line = ""
            self._typing = False
            if self._room.live is None or not self._room.live.look():
                typed = await self._read()
                if typed is None:
                    return
                line = typed
            keyboard = self._prompts.keyboard.watched(self._interrupt, self._leave, self._type)
            with keyboard, self._interrupts.handled_by(self._interrupt):
                stays = await self._exchange(line)
            if not stays:
                self._screen.line(_LEFT)
                return
            self._screen.gap()

    async def _read(self) -> str | None:
        """Read the next line that is not blank.

        Returns "" once there is something to show, and None when the person ends the chat.
        """
        warned = False
        while True:
            try:
                text = await self._prompts.message(self._something())
            except InputEnded:
                return None
            except Interrupted:
                if warned and not self._prompts.discarded:
                    return None
                warned = not self._prompts.discarded
                if warned:
                    self._screen.line("press Ctrl-C again, or Ctrl-D, to quit")
                continue
            if text is None or text.strip():
                return text or ""

    async def _something(self) -> None:
        """Wait until there is something to show."""
        if self._room.live is None:
            await asyncio.Event().wait()
        else:
            await self._room.live.something()

    async def _exchange(self, line: str) -> bool:
        """Act on a line, if any, and show what runs; return False if the person leaves.

        Raises NoService, and ConnectionClosed if the client may not connect again.
        """
        try:
            if line:
                async with self._room.outages.watched(self._room.client):
                    await self._act(line)
            return await self._show()
        except RequestFailed as failed:
            self._screen.end()
            live = self._room.live
            if line or failed.code is not Code.NOT_FOUND:
                self._screen.error(failed.error)
            if failed.code is Code.NOT_FOUND:
                self._screen.line(_GONE)
                self._room.conversation.forget()
            if failed.code is Code.NOT_FOUND or (live is not None and live.feed.over):
                await self._room.unfollow()
        return True

    async def _show(self) -> bool:
        while (live := self._room.live) is not None:
            try:
                async with self._room.outages.watched(self._room.client):
                    return await live.show()
            except (ConnectionClosed, NotRunning) as lost:
                check_comes_back(lost)
                self._screen.failure(f"{how_lost(lost)}; reconnecting …")
                await self._room.followed()
        return True

    # -- lines -------------------------------------------------------------------------------

    async def _act(self, line: str) -> None:
        """Carry out a command, or send a message. Raises RequestFailed if that is refused."""
        meant = read_line(line)
        if isinstance(meant, Message):
            await self._say(meant.text)
            return
        try:
            sends = not await self._interruptibly(self._commands.run(meant), default=True)
        except BadCommand as error:
            self._screen.failure(str(error))
        except RequestFailed as failed:
            self._screen.error(failed.error)
        else:
            if sends:
                await self._say(line)

    async def _say(self, text: str) -> None:
        try:
            loading = self._room.over(partial(self._tray.load, text))
            attachments = await self._interruptibly(loading, default=None)
        except BadCommand as error:
            self._screen.failure(str(error))
            return
        if attachments is not None:
            await self._room.say(text, attachments)
            self._tray.items.clear()

    async def _interruptibly(self, work: Coroutine[None, None, T], *, default: T) -> T:
        """Return what `work` does; `default` if Ctrl-C ended it."""
        working = asyncio.ensure_future(work)
        self._give_up = working.cancel
        try:
            return await working
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._screen.line("cancelled")
            return default
        finally:
            self._give_up = None

    def waits(self) -> bool:
        """Return whether the person has typed something."""
        # What was left at the prompt comes back there, and holds up no reply.
        return (self._typing and self._prompts.drafted) or self._prompts.keyboard.waits()

    async def take(self, feed: Feed) -> bool:
        """Let the person type a line while a reply runs, and act on it; see `Line`."""
        self._screen.break_line()
        with self._prompts.keyboard.handed_over():
            try:
                with self._room.outages.unsaid():
                    line = await self._prompts.message(feed.pressing())
            except InputEnded:
                return False
            except Interrupted:
                self._typing = False
                if not self._prompts.discarded:
                    self._interrupt()
                return True
        self._typing = line is None
        if line is None or not line.strip():
            return True
        try:
            await self._act(line)
        except RequestFailed as failed:
            self._screen.error(failed.error)
        return True

    # -- keys --------------------------------------------------------------------------------

    def _interrupt(self) -> None:
        if self._give_up is not None:
            self._give_up()
        elif self._room.live is None:
            self._interrupts.leave()
        else:
            self._room.live.interrupt()

    def _leave(self) -> None:
        if self._room.live is None:
            self._interrupts.leave()
        else:
            self._room.live.feed.leave()

    def _type(self) -> None:
        if self._room.live is not None:
            self._room.live.feed.type()
