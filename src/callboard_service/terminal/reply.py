"""One reply, from the first answer to the end: shown, its asks answered, cancelled by Ctrl-C."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from callboard.v1.chat_pb2 import AskEvent, ChatError
from callboard.v1.envelope_pb2 import ServerMessage
from callboard_service.terminal.asks import Answered
from callboard_service.terminal.errors import Interrupted
from callboard_service.terminal.interrupts import Interrupts
from callboard_service.terminal.view import View
from transport.client import Answers
from transport.errors import ConnectionClosed

PATIENCE: Final = 2.0
"""Seconds after which a cancelled reply that does not end is spoken of."""


class Inbox:
    """The answers in order, with a look ahead: whether an ask is settled already.

    What was looked at is not lost. A connection that is lost shows where it was lost.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._ahead: deque[ServerMessage] = deque()
        self._over = False
        self._lost: ConnectionClosed | None = None

    async def next(self) -> ServerMessage | None:
        """The next answer; None after the last. Raises ConnectionClosed."""
        if not self._ahead:
            await self._look_ahead()
        if self._ahead:
            return self._ahead.popleft()
        if self._lost is not None:
            raise self._lost
        return None

    async def settled(self, ask_id: str) -> None:
        """Return when the ask is closed, or nothing more comes. Cancelling it loses nothing."""
        seen = 0
        while True:
            while seen < len(self._ahead):
                if self._ahead[seen].ask_closed.ask_id == ask_id:
                    return
                seen += 1
            if self._over:
                return
            await self._look_ahead()

    def is_settled(self, ask_id: str) -> bool:
        """It is closed in what has been looked at."""
        return any(message.ask_closed.ask_id == ask_id for message in self._ahead)

    async def _look_ahead(self) -> None:
        if self._over:
            return
        try:
            message = await anext(self._answers, None)
        except ConnectionClosed as lost:
            self._lost = lost
            message = None
        if message is None:
            self._over = True
        else:
            self._ahead.append(message)


Asker = Callable[[AskEvent, Inbox], Awaitable["Answered | None"]]
"""Find the answers to an ask. None: it was settled meanwhile. May raise
Interrupted: the reply is not wanted any more."""


class Reply:
    """A reply that runs. `follow` it once."""

    def __init__(self, answers: Answers, view: View, asker: Asker, interrupts: Interrupts) -> None:
        self.cancelled = False
        self._answers = answers
        self._inbox = Inbox(answers)
        self._view = view
        self._asker = asker
        self._interrupts = interrupts
        self._answered: dict[str, list[str]] = {}
        self._cancelling: asyncio.Task[None] | None = None
        self._impatience: asyncio.TimerHandle | None = None

    async def follow(self) -> ChatError | None:
        """Show the reply to its end; the error that it ended with, if it did.

        Ctrl-C cancels it, and its end is waited for; a second Ctrl-C leaves the program. Raises
        ConnectionClosed, and what the view raises: then it is cancelled too.
        """
        with self._interrupts.handled_by(self._interrupt):
            try:
                return await self._show()
            except ConnectionClosed:
                raise
            except Exception:
                self._cancel()
                raise
            finally:
                if self._impatience is not None:
                    self._impatience.cancel()
                if self._cancelling is not None:
                    await asyncio.gather(self._cancelling, return_exceptions=True)

    async def _show(self) -> ChatError | None:
        while (message := await self._inbox.next()) is not None:
            if message.end:
                return message.error if message.WhichOneof("payload") == "error" else None
            if self._cancelling is None:
                await self._show_one(message)
        return None

    async def _show_one(self, message: ServerMessage) -> None:
        view = self._view
        match message.WhichOneof("payload"):
            case "token":
                view.token(message.token.text)
            case "reasoning":
                view.reasoning(message.reasoning.text)
            case "tool_call":
                view.tool_call(message.tool_call)
            case "tool_result":
                view.tool_result(message.tool_result)
            case "notice":
                view.notice(message.notice)
            case "ask":
                await self._ask(message.ask)
            case "ask_closed":
                closed = message.ask_closed
                if self._answered.get(closed.ask_id) != list(closed.answers):
                    view.ask_closed(closed)
            case _:
                pass  # a later version's

    async def _ask(self, ask: AskEvent) -> None:
        self._view.ask(ask)
        if self._inbox.is_settled(ask.ask_id):
            return
        try:
            answered = await self._asker(ask, self._inbox)
        except Interrupted:
            self._cancel()
            return
        if answered is not None:
            self._answered[ask.ask_id] = answered.answers
            await self._answers.answer(ask.ask_id, answered.answers, answered.message)

    def _interrupt(self) -> None:
        if self._cancelling is not None:
            self._interrupts.leave()
        else:
            self._cancel()

    def _cancel(self) -> None:
        if self._cancelling is None:
            self.cancelled = True
            self._cancelling = asyncio.ensure_future(self._answers.cancel())
            loop = asyncio.get_running_loop()
            self._impatience = loop.call_later(PATIENCE, self._still_waiting)

    def _still_waiting(self) -> None:
        self._view.line("the reply has not ended yet; Ctrl-C again leaves")
