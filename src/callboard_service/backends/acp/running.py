"""A turn that an agent runs, between the agent and the reply that yields it."""

import asyncio

from actors import Failure
from callboard.v1.chat_pb2 import ChatCompleted, ChatNotice
from callboard_service.backends.acp.inbox import Inbox
from callboard_service.backends.acp.turn import Turn
from callboard_service.backends.base import ReplyEvent


class RunningTurn:
    """A turn, and what the agent's side and the reply's side of it tell each other."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.inbox = Inbox()
        self.begun = asyncio.Event()
        self.answered = asyncio.Event()
        self.over = False
        """Whether the last event was taken."""
        self.stopped = False
        self.tool_left = False
        self._told = 0.0
        """Seconds of the silence that was told last."""
        self._now = asyncio.get_running_loop().time
        self._heard = self._now()

    def put(self, events: list[ReplyEvent]) -> None:
        """Hand events to the reply, if it still wants any."""
        self._heard = self._now()
        if not self.stopped:
            try:
                self.inbox.put(events)
            except Failure as failure:
                self.inbox.end(failure)

    async def next(self, silence: float) -> ReplyEvent:
        """Return the next event, or a notice that the agent is silent. Raises Failure at the end.

        silence: seconds of silence until the first notice; each later one takes twice as long,
        while nothing comes.
        """
        while not await self.inbox.wait(self._told + silence):
            silent_for = self._now() - self._heard
            if silent_for >= silence and not self.turn.waiting:
                self._told = silent_for
                return ChatNotice(message=_silent(silent_for))
        self._told = 0.0
        event = self.inbox.take()
        assert event is not None
        if isinstance(event, Failure):
            raise event
        self.over = isinstance(event, ChatCompleted)
        return event


def _silent(seconds: float) -> str:
    minutes = round(seconds / 60)
    since = f"{minutes} min" if minutes > 1 else f"{seconds:.0f} s"
    return f"The agent has been silent for {since}. It may be trying again; you can stop it."
