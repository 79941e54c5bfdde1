"""Runs an interactive chat between a person and a model."""

import contextlib
import sys
from typing import Final

from callboard.v1.chat_pb2 import ChatError
from callboard_service import __version__
from callboard_service.terminal.ask_dialog import Asking
from callboard_service.terminal.connect import Link
from callboard_service.terminal.conversation import Conversation
from callboard_service.terminal.errors import InputEnded, Interrupted
from callboard_service.terminal.export import UNTITLED
from callboard_service.terminal.interrupts import Interrupts
from callboard_service.terminal.keyboard import unseen
from callboard_service.terminal.prompts import Prompts
from callboard_service.terminal.reply import ReplyView
from callboard_service.terminal.text import how_lost, one_line
from callboard_service.terminal.view import Screen
from transport.client import Client
from transport.client.comeback import comes_back
from transport.errors import ConnectionClosed, RequestFailed, SessionLost

_KEYS: Final = "Ctrl-C cancels a reply, Ctrl-D quits."
_GONE: Final = "the service no longer has this conversation; starting a new one"


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
        self._session = ""

    async def run(self, *, take_up: bool) -> None:
        """Chat until the person ends it.

        take_up: continue the last conversation. Raises NoService, and ConnectionClosed if the
        client may not connect again.
        """
        client = await self._link.open()
        self._session = client.welcome.session
        self._screen.line(
            f"callboard {__version__}, backend {one_line(client.welcome.backend)}. {_KEYS}"
        )
        if take_up:
            await self._take_up(client)
        while (text := await self._message()) is not None:
            with unseen(sys.stdin):
                await self._exchange(text)
            self._screen.gap()

    async def _take_up(self, client: Client) -> None:
        try:
            info = await self._conversation.take_up(client)
            if info is None:
                self._screen.line("there is no conversation to continue; starting a new one")
                return
            self._screen.line(f"continuing: {one_line(info.title) or UNTITLED}")
            self._screen.recall(await self._conversation.recall(client))
            self._screen.gap()
        except RequestFailed as failed:
            self._screen.error(failed.error)

    async def _message(self) -> str | None:
        """Read the next message that is not blank; return None when the person ends the chat."""
        warned = False
        while True:
            try:
                text = await self._prompts.message()
            except InputEnded:
                return None
            except Interrupted:
                if warned and not self._prompts.discarded:
                    return None
                warned = not self._prompts.discarded
                if warned:
                    self._screen.line("press Ctrl-C again, or Ctrl-D, to quit")
                continue
            if text.strip():
                return text

    async def _exchange(self, text: str) -> None:
        """Send a message and show its reply, or why there is none.

        Raises NoService, and ConnectionClosed if the client may not connect again.
        """
        try:
            client = await self._connected()
            answers = await self._conversation.say(client, text)
            reply = ReplyView(answers, self._screen, self._asking.ask, self._interrupts)
            error = await reply.follow()
            self._screen.end()
            if reply.why_stopped:
                self._screen.failure(reply.why_stopped)
            if error is not None:
                await self._failed(client, error, reply.cancelled)
        except (SessionLost, ConnectionClosed) as lost:
            if isinstance(lost, ConnectionClosed) and not comes_back(lost.code):
                raise
            self._screen.failure(f"{how_lost(lost)}: the reply is lost; reconnecting …")
            await self._connected()
        except RequestFailed as failed:
            self._screen.error(failed.error)

    async def _failed(self, client: Client, error: ChatError, cancelled: bool) -> None:
        if cancelled and error.code == "CANCELLED":
            self._screen.line("cancelled")
            return
        self._screen.error(error)
        if error.code == "NOT_FOUND":
            await self._check(client)

    async def _connected(self) -> Client:
        """Return the client, connected; print a line if its session is a new one."""
        client = await self._link.open()
        if client.welcome.session != self._session:
            self._session = client.welcome.session
            self._screen.line(f"reconnected, backend {one_line(client.welcome.backend)}")
            await self._check(client)
        return client

    async def _check(self, client: Client) -> None:
        # If even this fails, the next message will report it.
        with contextlib.suppress(RequestFailed, ConnectionClosed):
            if await self._conversation.is_gone(client):
                self._screen.line(_GONE)
