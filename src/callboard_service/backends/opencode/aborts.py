"""Stop replies that nobody waits for any more, in actors that outlive the request.

Aborts ── one actor for each conversation in which a reply is being stopped
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Never, TypeAlias

from actors import (
    Actor,
    ActorRef,
    Down,
    Failure,
    Lifecycle,
    Log,
    Order,
    Reply,
    Restart,
    Supervision,
)
from callboard_service.backends.opencode.api import Api
from callboard_service.backends.opencode.retries import retried

ONCE: Final = Lifecycle(restart=Restart.TEMPORARY, shutdown=0.0)

_LOOKS: Final = 20
_BETWEEN: Final = 0.1


@dataclass(slots=True)
class AbortReply:
    """Stop the reply in a conversation.

    underway: it was seen to run. leftovers: ids of messages to delete once it has stopped.
    """

    conversation_id: str
    underway: bool
    leftovers: tuple[str, ...] = ()


@dataclass(slots=True)
class Quiet:
    """Reply once no reply is being stopped in the conversation."""

    conversation_id: str
    reply: Reply[None]


AbortMessage: TypeAlias = AbortReply | Quiet


async def remove(api: Api, conversation_id: str, message_ids: Sequence[str]) -> None:
    """Delete messages of a conversation whose reply has ended. Raises Failure.

    The server refuses to delete any for a moment after it has reported that the reply has ended.
    """
    for message_id in message_ids:
        await retried(partial(api.delete_message, conversation_id, message_id))


class Stopping(Actor[Never]):
    """Stops one conversation's reply."""

    def __init__(self, api: Api, what: AbortReply, log: Log) -> None:
        self._api = api
        self._what = what
        self._log = log

    async def main(self) -> None:
        """Tell the server to stop, then end this actor; a Failure is only logged."""
        try:
            if not self._what.underway:
                await self._wait_until_busy()
            await self._api.abort(self._what.conversation_id)
            await remove(self._api, self._what.conversation_id, self._what.leftovers)
        except Failure as failure:
            self._log.warning("a reply may go on unheard", reason=str(failure))
        self.context.stop()

    async def _wait_until_busy(self) -> None:
        """Wait up to 2 seconds until the server reports that the conversation is busy.

        The server accepts a prompt at once but starts it later; an abort in between has no effect.
        """
        for _ in range(_LOOKS):
            if await self._api.status(self._what.conversation_id):
                return
            await asyncio.sleep(_BETWEEN)

    def receive(self, message: Never) -> None:
        """Do nothing: this actor gets no messages."""


class Aborts(Actor[AbortMessage]):
    """The replies that are being stopped, and the callers that wait for that."""

    supervision = Supervision(order=Order.TOGETHER)

    def __init__(self, api: Api, log: Log) -> None:
        self._api = api
        self._log = log
        self._stopping: dict[str, ActorRef[Never]] = {}
        self._waiting: dict[str, list[Reply[None]]] = {}

    def receive(self, message: AbortMessage) -> None:
        """Start to stop a reply, or answer a Quiet now or when the reply has stopped."""
        name = message.conversation_id
        if isinstance(message, Quiet):
            if name in self._stopping:
                self._waiting.setdefault(name, []).append(message.reply)
            else:
                message.reply.send(None)
        elif name not in self._stopping:
            self._stopping[name] = self.context.spawn(
                lambda: Stopping(self._api, message, self._log), name=name, lifecycle=ONCE
            )

    def child_ended(self, down: Down) -> None:
        """Answer the callers that wait for this reply to stop."""
        self._stopping.pop(down.name, None)
        for reply in self._waiting.pop(down.name, ()):
            reply.send(None)
