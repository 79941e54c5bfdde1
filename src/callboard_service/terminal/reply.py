"""Follows one reply to its end: shows it, gets its asks answered, and cancels it on Ctrl-C."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatError,
    ChatNotice,
    ChatToken,
    ReasoningToken,
    ToolCallEvent,
    ToolResultEvent,
)
from callboard_service.terminal.conversation import Answer
from callboard_service.terminal.errors import Interrupted
from callboard_service.terminal.interrupts import Interrupts
from callboard_service.terminal.text import why_stopped
from callboard_service.terminal.view import View
from transport.client.stream import Stream
from transport.errors import ConnectionClosed, RequestFailed, SessionLost, TransportError

if TYPE_CHECKING:
    from callboard_service.terminal.ask_answers import Answered

PATIENCE: Final = 2.0
"""Seconds after which a line says that a cancelled reply has not ended yet."""


class AnswersAndInterrupts:
    """The answers in order, with a look ahead to see whether an ask is already settled.

    Looking ahead loses no answer. An error is raised only after the answers before it were taken.
    """

    def __init__(self, answers: Stream[Answer]) -> None:
        self._answers = answers
        self._ahead: deque[Answer] = deque()
        self._over = False
        self._error: TransportError | None = None

    async def next(self) -> Answer | None:
        """Return the next answer; None after the last. Raises RequestFailed, ConnectionClosed."""
        if not self._ahead:
            await self._look_ahead()
        if self._ahead:
            return self._ahead.popleft()
        if self._error is not None:
            raise self._error
        return None

    async def settled(self, ask_id: str) -> None:
        """Wait until the ask is closed or the reply is over. Cancelling this loses no answer."""
        seen = 0
        while True:
            while seen < len(self._ahead):
                if _closes(self._ahead[seen], ask_id):
                    return
                seen += 1
            if self._over:
                return
            await self._look_ahead()

    def is_settled(self, ask_id: str) -> bool:
        """Return whether the ask is closed in the answers that were read ahead."""
        return any(_closes(answer, ask_id) for answer in self._ahead)

    async def _look_ahead(self) -> None:
        if self._over:
            return
        try:
            self._ahead.append(await self._answers.next())
        except StopAsyncIteration:
            self._over = True
        except TransportError as error:
            self._error = error
            self._over = True


def _closes(answer: Answer, ask_id: str) -> bool:
    return isinstance(answer, AskClosed) and answer.ask_id == ask_id


Asker = Callable[[AskEvent, AnswersAndInterrupts], Awaitable["Answered | None"]]
"""Shows an ask and returns its answers; None if it was settled in the meantime. Raises Interrupted
if the reply is to be cancelled."""


class ReplyView:
    """A running reply. Call `follow` once."""

    def __init__(
        self, answers: Stream[Answer], view: View, asker: Asker, interrupts: Interrupts
    ) -> None:
        self.cancelled = False
        self.why_stopped = ""
        """Why the reply ended, for a person; empty if it is complete."""
        self._answers = answers
        self._inbox = AnswersAndInterrupts(answers)
        self._view = view
        self._asker = asker
        self._interrupts = interrupts
        self._answered: dict[str, list[str]] = {}
        self._impatience: asyncio.TimerHandle | None = None

    async def follow(self) -> ChatError | None:
        """Show the reply to its end; return the error that it ended with, or None.

        Ctrl-C cancels the reply and waits for its end; a second Ctrl-C leaves the program. Raises
        SessionLost and ConnectionClosed, and any error of the view, after cancelling the reply.
        """
        with self._interrupts.handled_by(self._interrupt):
            try:
                await self._show()
            except (SessionLost, ConnectionClosed):
                raise
            except RequestFailed as failed:
                self._answers.close()  # it still runs if our own answer was too long to send
                return failed.error
            except Exception:
                self._cancel()
                raise
            finally:
                if self._impatience is not None:
                    self._impatience.cancel()
        return None

    async def _show(self) -> None:
        while (answer := await self._inbox.next()) is not None:
            if not self.cancelled:
                await self._show_one(answer)

    async def _show_one(self, answer: Answer) -> None:
        view = self._view
        match answer:
            case ChatToken():
                view.token(answer.text)
            case ReasoningToken():
                view.reasoning(answer.text)
            case ToolCallEvent():
                view.tool_call(answer)
            case ToolResultEvent():
                view.tool_result(answer)
            case ChatNotice():
                view.notice(answer)
            case AskEvent():
                await self._ask(answer)
            case ChatCompleted():
                self.why_stopped = why_stopped(answer)
            case AskClosed():
                if self._answered.get(answer.ask_id) != list(answer.answers):
                    view.ask_closed(answer)

    async def _ask(self, ask: AskEvent) -> None:
        if self._inbox.is_settled(ask.ask_id):
            self._view.ask(ask)
            return
        try:
            answered = await self._asker(ask, self._inbox)
        except Interrupted:
            self._cancel()
            return
        if answered is not None:
            self._answered[ask.ask_id] = answered.answers
            self._answers.answer(ask.ask_id, answered.answers, answered.message)

    def _interrupt(self) -> None:
        if self.cancelled:
            self._interrupts.leave()
        else:
            self._cancel()

    def _cancel(self) -> None:
        if not self.cancelled:
            self.cancelled = True
            self._answers.cancel()
            loop = asyncio.get_running_loop()
            self._impatience = loop.call_later(PATIENCE, self._still_waiting)

    def _still_waiting(self) -> None:
        self._view.line("the reply has not ended yet; press Ctrl-C again to quit")
