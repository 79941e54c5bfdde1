"""Runs an interactive chat between a person and a model."""

import asyncio
from typing import Final
from uuid import uuid4

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import SendMessageRequest, TurnInfo
from callboard_service import __version__
from callboard_service.terminal.ask_dialog import Asking
from callboard_service.terminal.connect import Link
from callboard_service.terminal.conversation import Conversation
from callboard_service.terminal.errors import InputEnded, Interrupted
from callboard_service.terminal.export import UNTITLED
from callboard_service.terminal.feed import Feed
from callboard_service.terminal.interrupts import Interrupts
from callboard_service.terminal.live import LiveTurns
from callboard_service.terminal.outages import Outages
from callboard_service.terminal.prompts import Prompts
from callboard_service.terminal.text import how_lost, one_line
from callboard_service.terminal.view import Screen
from transport.client import Client
from transport.client.comeback import comes_back
from transport.errors import ConnectionClosed, NotRunning, RequestFailed, SessionLost

_KEYS: Final = "Ctrl-C stops a reply, Ctrl-D quits."
_GONE: Final = "the service no longer has this conversation; starting a new one"
_LEFT: Final = "the reply goes on; `callboard chat --continue` shows it"


class Chat:
    """The loop of messages and replies."""

    def __init__(
        self,
        link: Link,
        conversation: Conversation,
        screen: Screen,
        prompts: Prompts,
        interrupts: Interrupts,
    ) -> None:
        self._link = link
        self._conversation = conversation
        self._screen = screen
        self._prompts = prompts
        self._interrupts = interrupts
        self._asking = Asking(screen, prompts)
        self._outages = Outages(screen)
        self._client: Client
        self._live: LiveTurns | None = None

    async def run(self, *, take_up: bool) -> None:
        """Chat until the person ends it.

        take_up: continue the last conversation. Raises NoService, and ConnectionClosed if the
        client may not connect again.
        """
        self._client = client = await self._link.open()
        self._screen.line(
            f"callboard {__version__}, backend {one_line(client.welcome.backend)}. {_KEYS}"
        )
        try:
            if take_up:
                await self._take_up(client)
            await self._talk()
        finally:
            await self._unfollow()

    async def _take_up(self, client: Client) -> None:
        try:
            info = await self._conversation.take_up(client)
            if info is None:
                self._screen.line("there is no conversation to continue; starting a new one")
                return
            self._screen.line(f"continuing: {one_line(info.title) or UNTITLED}")
            live = await self._followed()
            running = await live.joined()
            self._screen.recall(await self._conversation.recall(client, without=running))
            self._screen.gap()
        except RequestFailed as failed:
            self._screen.error(failed.error)

    async def _talk(self) -> None:
        while True:
            text = ""
            if self._live is None or not self._live.look():
                typed = await self._message()
                if typed is None:
                    return
                text = typed
            keyboard = self._prompts.keyboard.watched(self._interrupt, self._leave)
            with keyboard, self._interrupts.handled_by(self._interrupt):
                stays = await self._exchange(text)
            if not stays:
                self._screen.line(_LEFT)
                return
            self._screen.gap()

    async def _message(self) -> str | None:
        """Read the next message that is not blank.

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
        if self._live is None:
            await asyncio.Event().wait()
        else:
            await self._live.something()

    async def _exchange(self, text: str) -> bool:
        """Send a message, if any, and show what runs; return False if the person leaves.

        Raises NoService, and ConnectionClosed if the client may not connect again.
        """
        try:
            if text:
                async with self._outages.watched(self._client):
                    await self._say(text)
            return await self._show()
        except RequestFailed as failed:
            self._screen.end()
            if text or failed.code is not Code.NOT_FOUND:
                self._screen.error(failed.error)
            if failed.code is Code.NOT_FOUND:
                self._screen.line(_GONE)
                self._conversation.forget()
            if failed.code is Code.NOT_FOUND or (self._live is not None and self._live.feed.over):
                await self._unfollow()
        return True

    async def _say(self, text: str) -> None:
        """Have a message admitted, in whichever session. Raises as `_exchange`, RequestFailed."""
        message_id = str(uuid4())
        while True:
            try:
                live = await self._followed()
                await live.joined()
                request = SendMessageRequest(
                    session_id=self._conversation.id,
                    text=text,
                    message_id=message_id,
                    admit_only=True,
                )
                await live.expect(await live.feed.client.call(request, TurnInfo))
            except SessionLost:
                pass
            except RequestFailed:
                if self._live is not None:
                    self._live.give_up()
                raise
            except (ConnectionClosed, NotRunning) as lost:
                self._check_comes_back(lost)
            else:
                return

    async def _show(self) -> bool:
        while self._live is not None:
            try:
                async with self._outages.watched(self._client):
                    return await self._live.show()
            except (ConnectionClosed, NotRunning) as lost:
                self._check_comes_back(lost)
                self._screen.failure(f"{how_lost(lost)}; reconnecting …")
                await self._followed()
        return True

    def _check_comes_back(self, lost: ConnectionClosed | NotRunning) -> None:
        if isinstance(lost, ConnectionClosed) and not comes_back(lost.code):
            raise lost

    async def _followed(self) -> LiveTurns:
        """Return the turns of the conversation, followed over a connected client."""
        self._client = client = await self._link.open()
        name = await self._conversation.ensure(client)
        if self._live is None:
            self._live = LiveTurns(
                name,
                Feed(client, name),
                self._screen,
                self._asking.ask,
                self._outages,
                self._interrupts.leave,
            )
        elif self._live.feed.over or self._live.feed.client is not client:
            await self._live.rejoin(Feed(client, name))
        return self._live

    async def _unfollow(self) -> None:
        if self._live is not None:
            await self._live.close()
            self._live = None

    def _interrupt(self) -> None:
        if self._live is None:
            self._interrupts.leave()
        else:
            self._live.interrupt()

    def _leave(self) -> None:
        if self._live is None:
            self._interrupts.leave()
        else:
            self._live.feed.leave()
