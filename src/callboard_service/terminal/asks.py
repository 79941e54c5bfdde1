"""Puts the asks of a followed turn to a person, and sends the answers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import AnswerAskRequest, AnswerRequest, AskClosed, AskEvent
from callboard_service.terminal.ask_answers import Answered
from callboard_service.terminal.feed import Feed
from callboard_service.terminal.outages import Outages
from callboard_service.terminal.turn_view import TurnView
from callboard_service.terminal.view import Screen
from transport.client import Client
from transport.errors import RequestFailed, SessionLost, TransportError

T = TypeVar("T")

Asker = Callable[[AskEvent, Feed], Awaitable[Answered | None]]
"""Shows an ask and returns its answers; None if it was settled in the meantime. Raises Interrupted
if the reply is to be cancelled."""

REFUSAL: Final = 0.3
"""Seconds in which an answer that an ask does not allow is refused."""


class Asks:
    """The asks of one conversation."""

    def __init__(
        self, conversation_id: str, screen: Screen, asker: Asker, outages: Outages
    ) -> None:
        self._id = conversation_id
        self._screen = screen
        self._asker = asker
        self._outages = outages
        self._sending: set[asyncio.Future[bool]] = set()
        """Answers whose asks are not settled yet."""

    async def put(self, view: TurnView, ask: AskEvent, feed: Feed) -> None:
        """Put an ask to the person until it is settled. Raises Interrupted."""
        if feed.is_settled(ask.ask_id):
            view.show(ask)
            return
        if not view.first_time("ask", ask.ask_id):
            return
        while (answered := await self._read(ask, feed)) is not None:
            view.answered[ask.ask_id] = answered.answers
            if await self._answer(ask.ask_id, answered, feed):
                return

    async def _read(self, ask: AskEvent, feed: Feed) -> Answered | None:
        with self._outages.unsaid():
            return await self._asker(ask, feed)

    async def _answer(self, ask_id: str, answered: Answered, feed: Feed) -> bool:
        """Send an answer; return whether the ask need not be put again.

        Waits a moment for a refusal, but not for the ask to be settled if there is more to show:
        questions that were asked together are settled together, once the last one is answered.
        """
        sending = asyncio.ensure_future(self._send(ask_id, answered, feed.client))
        await asyncio.wait({sending}, timeout=REFUSAL)
        if not sending.done() and feed.head() is None:
            more = asyncio.ensure_future(feed.more())
            try:
                await asyncio.wait({sending, more}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                more.cancel()
        if sending.done():
            return sending.result()
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        return True

    async def _send(self, ask_id: str, answered: Answered, client: Client) -> bool:
        answer = AnswerRequest(ask_id=ask_id, answers=answered.answers, message=answered.message)
        request = AnswerAskRequest(session_id=self._id, answer=answer)
        try:
            await repeated(client, lambda: client.call(request, AskClosed))
        except RequestFailed as failed:
            if failed.code is Code.NOT_FOUND:
                return True  # the turn has ended, as the feed will report
            self._screen.error(failed.error)
            return failed.code is not Code.INVALID_ARGUMENT
        except TransportError:
            pass  # the feed reports it
        return True


async def repeated(client: Client, call: Callable[[], Awaitable[T]]) -> T:
    """Make a call that may be repeated, again in each new session until it is answered."""
    while True:
        try:
            return await call()
        except SessionLost:
            await client.ready()
