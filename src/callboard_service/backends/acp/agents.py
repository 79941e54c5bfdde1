"""The running agents, by their conversations, and so many processes at once.

Agents ─┬ the conversations that are used, each in a process of its own, or all in one
        └ those that are ending, which count until they have ended
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from actors import Actor, Code, Failure
from callboard_service.backends.acp.agent import Agent
from callboard_service.backends.acp.agent_process import AgentProcess

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
    """The agents by their conversations.

    limit: of the processes at once. shared: whether one process serves all conversations.
    """

    def __init__(
        self,
        limit: int,
        now: Callable[[], float] = lambda: asyncio.get_running_loop().time(),
        *,
        shared: bool = False,
    ) -> None:
        self._limit = limit
        self._shared = shared
        self._now = now
        self._places: dict[str, _Place] = {}
        self._ending: dict[asyncio.Task[None], _Place] = {}
        self._closed = False

    def __len__(self) -> int:
        places = (*self._places.values(), *self._ending.values())
        return len({id(place.agent.process) for place in places})

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
        start: Callable[[], AgentProcess],
        make: Callable[[AgentProcess], Agent],
        begin: Callable[[Agent], Awaitable[None]],
    ) -> Agent:
        """Return the agent of a conversation, for one reply; the caller must call `release`.

        start: makes a process, if it cannot share one. make, begin: make an agent in it and start
        it, if none runs, and once an earlier one of the conversation has ended. Raises Failure if
        it does not start, or the service is stopping.
        """
        place = self._places.get(conversation_id)
        if place is not None and place.agent.usable:
            place.idle_since = None
            return place.agent
        self.end(conversation_id)
        self._bury()
        if earlier := [
            task for task, place in self._ending.items() if place.conversation_id == conversation_id
        ]:
            await asyncio.wait(earlier)
        while self._process() is None and len(self) >= self._limit:
            self._make_room()
            await asyncio.wait(self._ending, return_when=asyncio.FIRST_COMPLETED)
        if self._closed:
            raise Failure(Code.UNAVAILABLE, "the service is stopping", retryable=True)
        process = self._process() or start()
        place = self._places[conversation_id] = _Place(conversation_id, make(process))
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
        """End the processes that have been idle for long, or have ended by themselves."""
        self._bury()
        for since, can_load, process in self._idle():
            if can_load and self._now() - since >= IDLE:
                self._end_process(process)

    async def close(self) -> None:
        """End all agents, in a hurry; none starts afterwards."""
        self._closed = True
        for place in (*self._places.values(), *self._ending.values()):
            place.agent.process.hurry()
        for place in list(self._places.values()):
            self._end_process(place.agent.process)
        while self._ending:
            await asyncio.wait(self._ending)

    def open(self) -> None:
        """Allow agents to start, after `close`."""
        self._closed = False

    def _process(self) -> AgentProcess | None:
        """Return the process that a conversation can share; None: there is none."""
        processes = (place.agent.process for place in self._places.values())
        return next((one for one in processes if self._shared and one.usable), None)

    def _bury(self) -> None:
        """End the agents whose processes are of no use any more."""
        for name, place in list(self._places.items()):
            if not place.agent.process.usable:
                self.end(name)

    def _idle(self) -> list[tuple[float, bool, AgentProcess]]:
        """Return the processes whose conversations are all idle, since when, and if they load."""
        found: dict[int, list[_Place]] = {}
        for place in self._places.values():
            found.setdefault(id(place.agent.process), []).append(place)
        idle = []
        for places in found.values():
            times = [place.idle_since for place in places if place.idle_since is not None]
            if len(times) == len(places):
                can_load = places[0].agent.can_load
                idle.append((max(times), can_load, places[0].agent.process))
        return idle

    def _end_process(self, process: AgentProcess) -> None:
        process.close_soon()
        self._bury()

    def _make_room(self) -> None:
        """End an idle process, if none is ending: rather one that can load, rather the oldest."""
        if self._ending:
            return
        idle = self._idle()
        assert idle, "no more replies run at once than there are places"
        self._end_process(min(idle, key=lambda one: (not one[1], one[0]))[2])


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
