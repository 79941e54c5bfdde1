"""Sends one message and prints only its reply to standard output, for scripts and pipes."""

from callboard.v1.chat_pb2 import AskEvent
from callboard_service.terminal.ask_answers import Answered
from callboard_service.terminal.connect import Link
from callboard_service.terminal.conversation import Conversation
from callboard_service.terminal.exits import Exit
from callboard_service.terminal.interrupts import Interrupts
from callboard_service.terminal.reply import AnswersAndInterrupts, ReplyView
from callboard_service.terminal.text import error_line, how_lost, one_line
from callboard_service.terminal.view import Pipe
from transport.errors import ConnectionClosed, RequestFailed, SessionLost


class OneShot:
    """Sends one message and prints its reply. Declines asks, since nobody can answer them."""

    def __init__(
        self, link: Link, conversation: Conversation, pipe: Pipe, interrupts: Interrupts
    ) -> None:
        self._link = link
        self._conversation = conversation
        self._pipe = pipe
        self._interrupts = interrupts

    async def run(self, text: str, *, take_up: bool) -> int:
        """Send `text`, print the reply and return the exit code.

        Raises NoService, OutputFailed, and ConnectionClosed if it happens before the reply begins.
        """
        client = await self._link.open()
        try:
            if take_up and await self._conversation.take_up(client) is None:
                self._pipe.line(
                    "callboard: there is no conversation to continue; starting a new one"
                )
            answers = await self._conversation.say(client, text)
        except RequestFailed as failed:
            self._pipe.failure(f"callboard: {error_line(failed.error)}")
            return Exit.FAILED
        reply = ReplyView(answers, self._pipe, self._decline, self._interrupts)
        try:
            error = await reply.follow()
            self._pipe.end()
        except (SessionLost, ConnectionClosed) as lost:
            self._pipe.end()
            self._pipe.failure(f"callboard: {how_lost(lost)}: the reply is lost")
            return Exit.FAILED
        if error is None:
            if reply.why_stopped:
                self._pipe.failure(f"callboard: {reply.why_stopped}")
            return Exit.DONE
        if reply.cancelled and error.code == "CANCELLED":
            self._pipe.line("callboard: cancelled")
            return Exit.INTERRUPTED
        self._pipe.failure(f"callboard: {error_line(error)}")
        return Exit.FAILED

    async def _decline(self, ask: AskEvent, _inbox: AnswersAndInterrupts) -> Answered:
        self._pipe.ask(ask)
        title = one_line(ask.title) or "a question"
        self._pipe.line(f"callboard: declined, because nobody can answer here: {title}")
        return Answered()
