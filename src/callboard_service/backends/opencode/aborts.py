"""Stops replies that nobody waits for any more, while who waited has gone.

Aborts ── one actor for each conversation in which something is being stopped
"""

import asyncio
from dataclasses import dataclass
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

ONCE: Final = Lifecycle(restart=Restart.TEMPORARY, shutdown=0.0)

_LOOKS: Final = 20
_BETWEEN: Final = 0.1


@dataclass(slots=True)
class AbortReply:
    """Stop what runs in a conversation. `underway`: it was seen to run."""

    conversation_id: str
    underway: bool


@dataclass(slots=True)
class Quiet:
    """Be told when nothing is being stopped there."""

    conversation_id: str
    reply: Reply[None]


AbortMessage: TypeAlias = AbortReply | Quiet


class Stopping(Actor[Never]):
    """Stops one conversation's reply."""

    def __init__(self, api: Api, what: AbortReply, log: Log) -> None:
        self._api = api
        self._what = what
        self._log = log

    async def main(self) -> None:
        """Say so to the server."""
        try:
            if not self._what.underway:
                await self._wait_until_busy()
            await self._api.abort(self._what.conversation_id)
        except Failure as failure:
            self._log.warning("a reply may go on unheard", reason=str(failure))
        self.context.stop()

    async def _wait_until_busy(self) -> None:
        """A prompt is taken at once and begun a little later; stopped before that it goes on."""
        for _ in range(_LOOKS):
            if await self._api.status(self._what.conversation_id):
                return
            await asyncio.sleep(_BETWEEN)

    def receive(self, message: Never) -> None:
        """Nothing."""


class Aborts(Actor[AbortMessage]):
    """Who is being stopped, and who waits for that."""

    supervision = Supervision(order=Order.TOGETHER)

    def __init__(self, api: Api, log: Log) -> None:
        self._api = api
        self._log = log
        self._stopping: dict[str, ActorRef[Never]] = {}
        self._waiting: dict[str, list[Reply[None]]] = {}

    def receive(self, message: AbortMessage) -> None:
        """Begin to stop, or remember who waits."""
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
        """One is stopped."""
        self._stopping.pop(down.name, None)
        for reply in self._waiting.pop(down.name, ()):
            reply.send(None)
