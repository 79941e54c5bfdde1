"""The running agents: one process for each conversation, and so many at once.

Agents ─┬ the processes, while their conversations are used
        └ those that are ending, which count until they have ended
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from actors import Actor, Code, Failure
from callboard_service.backends.acp.agent import Agent

IDLE: Final = 600.0
"""Seconds after which an idle agent is ended, if it can load its session again."""

SWEEP: Final = 60.0
"""Seconds between two looks at the idle agents."""


@dataclass(eq=False, slots=True)
class _Place:
    """An agent of a conversation, and since when no reply uses it; None: one does."""

    conversation_id: str
    agent: Agent
    idle_since: float | None = None


class Agents:
    """The agents by their conversations. limit: of the processes at once."""

    def __init__(
        self, limit: int, now: Callable[[], float] = lambda: asyncio.get_running_loop().time()
    ) -> None:
        self._limit = limit
        self._now = now
        self._places: dict[str, _Place] = {}
        self._ending: dict[asyncio.Task[None], _Place] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._places) + len(self._ending)

    def find(self, conversation_id: str) -> Agent | None:
        """Return the agent of a conversation, if it runs."""
        place = self._places.get(conversation_id)
        return None if place is None else place.agent

    def idle(self, conversation_id: str) -> Agent | None:
        """Return the agent of a conversation, if it runs and no reply uses it."""
        place = self._places.get(conversation_id)
        return None if place is None or place.idle_since is None else place.agent

    def uses(self, session_id: str, besides: Agent) -> bool:
        """Return whether another agent has this session."""
        agents = (place.agent for place in self._places.values())
        return any(agent.session_id == session_id and agent is not besides for agent in agents)

    async def take(
        self,
        conversation_id: str,
        make: Callable[[], Agent],
        begin: Callable[[Agent], Awaitable[None]],
    ) -> Agent:
        """Return the agent of a conversation, for one reply; the caller must call `release`.

        make, begin: make an agent and start it, if none runs, and once an earlier one of the
        conversation has ended. Raises Failure if it does not start, or the service is stopping.
        """
        place = self._places.get(conversation_id)
        if place is not None and place.agent.usable:
            place.idle_since = None
            return place.agent
        self.end(conversation_id)
        if earlier := [
            task for task, place in self._ending.items() if place.conversation_id == conversation_id
        ]:
            await asyncio.wait(earlier)
        while len(self) >= self._limit:
            self._make_room()
            await asyncio.wait(self._ending, return_when=asyncio.FIRST_COMPLETED)
        if self._closed:
            raise Failure(Code.UNAVAILABLE, "the service is stopping", retryable=True)
        place = self._places[conversation_id] = _Place(conversation_id, make())
        try:
            await begin(place.agent)
        except BaseException:
            self.end(conversation_id)
            raise
        return place.agent

    def release(self, conversation_id: str, agent: Agent) -> None:
        """Note that a reply uses an agent no more; one that is of no use is ended."""
        place = self._places.get(conversation_id)
        if place is None or place.agent is not agent:
            return
        if agent.usable:
            place.idle_since = self._now()
        else:
            self.end(conversation_id)

    def end(self, conversation_id: str, *, forget: bool = False) -> asyncio.Task[None] | None:
        """Begin to end the agent of a conversation, if there is one; return what waits for it.

        forget: whether it is to delete its session first, if it can.
        """
        place = self._places.pop(conversation_id, None)
        if place is None:
            return None
        place.agent.close_soon(forget=forget)
        task = asyncio.create_task(place.agent.close())
        self._ending[task] = place
        task.add_done_callback(self._ending.pop)
        return task

    def sweep(self) -> None:
        """End the agents that have been idle for long, and those that have ended by themselves."""
        for name, place in list(self._places.items()):
            if place.idle_since is None:
                continue
            idle = self._now() - place.idle_since >= IDLE and place.agent.can_load
            if idle or not place.agent.usable:
                self.end(name)

    async def close(self) -> None:
        """End all agents, in a hurry; none starts afterwards."""
        self._closed = True
        for place in (*self._places.values(), *self._ending.values()):
            place.agent.hurry()
        for name in list(self._places):
            self.end(name)
        while self._ending:
            await asyncio.wait(self._ending)

    def open(self) -> None:
        """Allow agents to start, after `close`."""
        self._closed = False

    def _make_room(self) -> None:
        """End an idle agent, if none is ending: rather one that can load, rather the oldest."""
        if self._ending:
            return
        idle = [
            (not place.agent.can_load, place.idle_since, name)
            for name, place in self._places.items()
            if place.idle_since is not None
        ]
        assert idle, "no more replies run at once than there are places"
        self.end(min(idle)[2])


@dataclass(frozen=True, slots=True)
class Sweep:
    """Look for agents that have been idle for long."""


class AgentKeeper(Actor[Sweep]):
    """Ends agents that nobody uses, and all agents when it stops."""

    def __init__(self, agents: Agents) -> None:
        self._agents = agents

    def started(self) -> None:
        """Allow agents to start, and schedule the first look."""
        self._agents.open()
        self.context.after(SWEEP, Sweep())

    def receive(self, message: Sweep) -> None:
        """Look, and schedule the next look."""
        self._agents.sweep()
        self.context.after(SWEEP, message)

    async def stopped(self) -> None:
        """End all agents."""
        await self._agents.close()
