"""One message, and just its reply on standard output: for scripts and pipes."""

from typing import Final

from callboard.v1.chat_pb2 import AskEvent
from callboard_service.terminal.connect import Link
from callboard_service.terminal.conversation import Conversation
from callboard_service.terminal.errors import Refused
from callboard_service.terminal.interrupts import Interrupts
from callboard_service.terminal.reply import Inbox, Reply
from callboard_service.terminal.text import error_line, one_line
from callboard_service.terminal.view import Pipe
from transport.errors import ConnectionClosed

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130


class OneShot:
    """A message and its reply. Asks are declined: nobody is there to answer."""

    def __init__(
        self, link: Link, conversation: Conversation, pipe: Pipe, interrupts: Interrupts
    ) -> None:
        self._link = link
        self._conversation = conversation
        self._pipe = pipe
        self._interrupts = interrupts

    async def run(self, text: str, *, take_up: bool) -> int:
        """The exit code. Raises NoService, OutputFailed; ConnectionClosed before the reply."""
        client = await self._link.open()
        try:
            if take_up and await self._conversation.take_up(client) is None:
                self._pipe.line("callboard: there is no conversation to continue; a new one starts")
            answers = await self._conversation.say(client, text)
        except Refused as refused:
            self._pipe.failure(f"callboard: {error_line(refused.error)}")
            return EXIT_FAILED
        reply = Reply(answers, self._pipe, self._decline, self._interrupts)
        try:
            error = await reply.follow()
            self._pipe.end()
        except ConnectionClosed as closed:
            self._pipe.end()
            self._pipe.failure(f"callboard: {one_line(str(closed))}: the reply is lost")
            return EXIT_FAILED
        if error is None:
            return EXIT_DONE
        if reply.cancelled and error.code == "CANCELLED":
            self._pipe.line("callboard: cancelled")
            return EXIT_INTERRUPTED
        self._pipe.failure(f"callboard: {error_line(error)}")
        return EXIT_FAILED

    async def _decline(self, ask: AskEvent, _inbox: Inbox) -> list[str]:
        title = one_line(ask.title) or "a question"
        self._pipe.line(f"callboard: declined, since nobody can answer here: {title}")
        return []
