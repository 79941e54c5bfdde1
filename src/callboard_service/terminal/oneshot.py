"""Sends one message and prints only its reply to standard output, for scripts and pipes."""

from typing import Final
from uuid import uuid4

from callboard.v1.chat_pb2 import AskEvent, TurnInfo
from callboard_service.terminal.connect import Link
from callboard_service.terminal.conversation import Conversation
from callboard_service.terminal.exits import Exit
from callboard_service.terminal.interrupts import Interrupts
from callboard_service.terminal.text import error_line, how_lost, one_line
from callboard_service.terminal.turn_view import TurnView
from callboard_service.terminal.view import Pipe
from transport.client import Client
from transport.client.following import TurnAnswer
from transport.client.stream import Stream
from transport.errors import ConnectionClosed, NotRunning, RequestFailed, SessionLost

NOTHING: Final = "callboard: there is no conversation to continue; starting a new one"


class OneShot:
    """Sends one message and prints its reply. Declines asks, since nobody can answer them."""

    def __init__(
        self, link: Link, conversation: Conversation, pipe: Pipe, interrupts: Interrupts
    ) -> None:
        self._link = link
        self._conversation = conversation
        self._pipe = pipe
        self._interrupts = interrupts
        self._turn = TurnView(pipe)
        self._stream: Stream[TurnAnswer] | None = None
        self._cancelled = False

    async def run(self, text: str, *, take_up: bool) -> int:
        """Send `text`, print the reply and return the exit code.

        If the session is lost, the message is sent again with its id, which starts nothing twice.
        Raises NoService, OutputFailed, and ConnectionClosed if it happens before the reply begins.
        """
        client = await self._link.open()
        begun = False
        try:
            if take_up and await self._conversation.take_up(client) is None:
                self._pipe.line(NOTHING)
            message_id = str(uuid4())
            with self._interrupts.handled_by(self._interrupt):
                while True:
                    try:
                        name = await self._conversation.ensure(client)
                        begun = True
                        await self._follow(client, name, text, message_id)
                        break
                    except SessionLost:
                        if self._cancelled:
                            raise
                        await client.ready()
                        self._turn.begin_again()
        except (SessionLost, ConnectionClosed, NotRunning) as lost:
            if not begun and isinstance(lost, ConnectionClosed):
                raise
            self._pipe.end()
            self._pipe.failure(f"callboard: {how_lost(lost)}: the reply is lost")
            return Exit.FAILED
        except RequestFailed as failed:
            self._turn.error = failed.error
        return self._end()

    async def _follow(self, client: Client, name: str, text: str, message_id: str) -> None:
        """Send the message and show its turn. Raises RequestFailed, ConnectionClosed."""
        async with client.send(name, text, message_id=message_id) as self._stream:
            async for event in self._stream:
                if isinstance(event, TurnInfo):
                    self._show_place(event)
                elif not self._cancelled:
                    self._turn.show(event)
                    if isinstance(event, AskEvent):
                        self._decline(self._stream, event)

    def _show_place(self, info: TurnInfo) -> None:
        if info.place and self._turn.first_time("place", ""):
            self._pipe.line("another reply of this conversation runs; this one waits its turn")

    def _decline(self, stream: Stream[TurnAnswer], ask: AskEvent) -> None:
        stream.answer(ask.ask_id, [])
        self._turn.answered[ask.ask_id] = []
        if self._turn.first_time("declined", ask.ask_id):
            title = one_line(ask.title) or "a question"
            self._pipe.line(f"callboard: declined, because nobody can answer here: {title}")

    def _end(self) -> int:
        turn = self._turn
        turn.end(compare=not self._cancelled)
        if turn.error is None:
            if turn.why_stopped:
                self._pipe.failure(f"callboard: {turn.why_stopped}")
            return Exit.DONE
        if self._cancelled and turn.error.code == "CANCELLED":
            self._pipe.line("callboard: cancelled")
            return Exit.INTERRUPTED
        self._pipe.failure(f"callboard: {error_line(turn.error)}")
        return Exit.FAILED

    def _interrupt(self) -> None:
        if self._cancelled or self._stream is None:
            self._interrupts.leave()
        else:
            self._cancelled = True
            self._stream.cancel()
