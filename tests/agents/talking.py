"""A conversation with a real agent. Each turn is checked for what every turn promises."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.contract_client import Contract, message, text_of
from tests.e2e.service_process import ServiceProcess
from tests.support.peers.acp_agents import RealAgent
from tests.support.peers.scripted_llm import ScriptedLLM, Step, say, script
from tests.support.peers.talk import answer

ALLOW_ONCE, REJECT_ONCE = 1, 3
"""Kinds of choices."""

STOPPED_WITHIN = 3.0
"""Seconds in which a stopped turn ends for its clients."""

ANSWERED_WITHIN = 60.0
"""Seconds in which an agent answers that the model server does not keep waiting."""


class Turn:
    """A turn that runs. `seen`: its events so far."""

    def __init__(self, client: Contract, conversation: str, request_id: int, text: str) -> None:
        self.text = text
        self.request_id = request_id
        self.seen: list[Any] = []
        self._client = client
        self._conversation = conversation

    async def until(self, *kinds: str) -> Any:
        """Return the next event of one of these kinds; the last event of the turn if none comes."""
        queue = self._client.queue(self.request_id)
        while not (self.seen and self.seen[-1].end):
            one = await queue.get()
            assert one is not None, "the connection ended before the turn did"
            self.seen.append(one)
            if one.WhichOneof("payload") in kinds:
                break
        return self.seen[-1]

    async def asked(self) -> Any:
        """Return the permission that the agent asks for; None if it ends without one."""
        one = await self.until("ask")
        return one.ask if one.HasField("ask") else None

    async def choose(self, ask: Any, kind: int) -> None:
        """Answer a permission with the choice of this kind."""
        (value,) = (one.value for one in ask.choices if one.kind == kind)
        await answer(self._client, self.request_id, ask, value)

    async def stop(self) -> list[Any]:
        """Stop the turn, which must end in time with CANCELLED; return its events."""
        async with asyncio.timeout(STOPPED_WITHIN):
            request = message("StopTurnRequest", session_id=self._conversation)
            stopped = (await self._client.call(stop_turn=request)).turn
            events = await self.end()
        assert stopped.state == 6, "cancelled"
        assert events[-1].error.code == "CANCELLED"
        return events

    async def end(self) -> list[Any]:
        """Return all events of the turn, once it has ended as it must."""
        last = await self.until()
        assert last.WhichOneof("payload") in ("completed", "error")
        if last.HasField("error"):
            assert last.error.message.strip()
            assert "Traceback" not in last.error.message
        elif not (text_of(self.seen) or self.of("tool_result")):
            assert last.completed.stop_detail or self.of("notice"), "an empty turn is shown as such"
        opened = [ask.ask_id for ask in self.of("ask")]
        assert sorted(opened) == sorted(closed.ask_id for closed in self.of("ask_closed"))
        return self.seen

    def of(self, kind: str) -> list[Any]:
        """Return the events of this kind."""
        return [getattr(one, kind) for one in self.seen if one.WhichOneof("payload") == kind]

    def notices(self) -> str:
        return " ".join(one.message for one in self.of("notice"))


@dataclass
class Talk:
    """A conversation with an agent, and all that it runs on."""

    agent: RealAgent
    service: ServiceProcess
    client: Contract
    llm: ScriptedLLM
    folder: Path
    """For the files of the test."""
    conversation: str = ""

    def on(self, conversation: str) -> "Talk":
        """Return the same on another conversation."""
        return replace(self, conversation=conversation)

    def at(self, service: ServiceProcess, client: Contract) -> "Talk":
        """Return the same on another service."""
        return replace(self, service=service, client=client)

    async def renew(self) -> "Talk":
        """Return the same on a new conversation."""
        return self.on(await self.client.conversation(self.agent.name))

    async def begin(self, *turns: list[Step]) -> Turn:
        """Send a script of what the model does."""
        text = script(*turns)
        request_id = await self.client.say(self.conversation, text)
        return Turn(self.client, self.conversation, request_id, text)

    async def reply(self, *turns: list[Step]) -> Turn:
        """Send a script of what the model does, and wait for the end of the turn."""
        turn = await self.begin(*turns)
        await turn.end()
        return turn

    async def goes_on(self) -> Turn:
        """Check that the conversation goes on: the next message is answered."""
        turn = await self.begin([say("it ", "goes ", "on")])
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWERED_WITHIN):
                await turn.end()
        assert text_of(turn.seen) == "it goes on", turn.seen
        return turn

    def shell(self, command: str) -> list[Step]:
        """Return what the model says to run a command."""
        return [self.agent.shell(command)]

    def processes(self) -> set[psutil.Process]:
        """Return the programs of the agents that run, without their own children."""
        found: set[psutil.Process] = set()
        for guardian in psutil.Process(self.service.process.pid).children():
            with suppress(psutil.NoSuchProcess):
                if any("guardian" in part for part in guardian.cmdline()):
                    found.update(guardian.children()[:1])
        return found
