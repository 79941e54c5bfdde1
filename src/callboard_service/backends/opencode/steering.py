"""Hand messages to a running reply, and take back those that it has not used."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from actors import Code, Failure, Log
from callboard.v1.chat_pb2 import SteerEvent
from callboard_service.backends.opencode.aborts import remove
from callboard_service.backends.opencode.api import Api
from callboard_service.backends.opencode.handed import Handed
from callboard_service.backends.opencode.marks import Mark
from callboard_service.backends.opencode.parts import parts_of
from callboard_service.backends.opencode.retries import retried

BEGIN_WAIT: Final = 5.0
"""Seconds that a message waits for the server to have the turn's own message."""


class Steering:
    """What is handed to the reply of one turn. `handed` tells which of it the reply has used.

    read: returns the content of an attachment.
    """

    def __init__(
        self,
        api: Api,
        conversation_id: str,
        handed: Handed,
        log: Log,
        read: Callable[[str], Awaitable[bytes]],
    ) -> None:
        self._read = read
        self.handed = handed
        self._api = api
        self._conversation_id = conversation_id
        self._log = log

    async def hand(self, message: SteerEvent) -> None:
        """Add a message to the conversation, which starts no reply.

        If the reply has ended meanwhile, the message is deleted again. Raises Failure:
        FAILED_PRECONDITION if the server does not have the turn's own message yet.
        """
        handed, api, name = self.handed, self._api, self._conversation_id
        try:
            async with asyncio.timeout(BEGIN_WAIT):
                await handed.begun.wait()
        except TimeoutError:
            raise Failure(Code.FAILED_PRECONDITION, "the reply has not begun yet") from None
        files = await parts_of(message.attachments, self._read)
        message_id = handed.add(message)
        mark = Mark(handed.turn_id, message.message_id)
        part = {"type": "text", "text": message.text, "metadata": mark.metadata()}
        parts = [part, *files]
        try:
            await api.add(name, {"messageID": message_id, "parts": parts, **handed.choices()})
        except Failure:
            if not await retried(lambda: api.has_message(name, message_id)):
                raise
        finally:
            handed.posted(message_id)
        if handed.closed:
            await self.take_back()

    async def take_back(self) -> None:
        """Delete the messages that the reply, which has ended, has not used.

        What cannot be deleted is logged.
        """
        self.handed.closed = True
        try:
            await remove(self._api, self._conversation_id, self.handed.unused())
        except Failure as failure:
            self._log.warning("an unused message stays in OpenCode", reason=str(failure))
