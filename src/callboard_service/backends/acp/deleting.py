"""The agent's sessions of conversations that were deleted: the agent deletes them, if it can."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from pathlib import Path

from actors import Failure
from callboard_service.backends.acp.agent import Agent
from callboard_service.backends.acp.agent_process import AgentProcess
from callboard_service.backends.acp.agents import Agents
from callboard_service.backends.acp.kept import KeptAgent
from callboard_service.backends.fair import FairPlaces


class Deleting:
    """Has sessions deleted; nobody waits for it, and what fails stays with the agent.

    places: shared with the replies. start, make: make a process that works in a folder, and an
    agent in it.
    """

    def __init__(
        self,
        agents: Agents,
        places: FairPlaces,
        start: Callable[[Path], AgentProcess],
        make: Callable[[AgentProcess, Path], Agent],
    ) -> None:
        self._agents = agents
        self._places = places
        self._start = start
        self._make = make
        self._tasks: set[asyncio.Task[None]] = set()

    def forget(self, conversation_id: str, kept: KeptAgent) -> None:
        """Have the agent of a deleted conversation delete its session, and end it."""
        agent = self._agents.find(conversation_id)
        if agent is not None and agent.usable and agent.session_id:
            self._agents.end(conversation_id, forget=True)
            return
        self._agents.end(conversation_id)
        if kept.session and kept.deletes:
            task = asyncio.create_task(self._delete(conversation_id, kept))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _delete(self, conversation_id: str, kept: KeptAgent) -> None:
        """Start the agent once more, to delete a session."""
        with suppress(Failure):
            ticket = self._places.enter("")
            try:
                async with aclosing(ticket.turn()) as waiting:
                    async for _ in waiting:
                        pass
                agent = await self._agents.take(
                    conversation_id,
                    lambda: self._start(kept.directory),
                    lambda process: self._make(process, kept.directory),
                    Agent.introduce,
                )
                await agent.delete_session(kept.session)
            finally:
                self._agents.end(conversation_id)
                ticket.leave()
