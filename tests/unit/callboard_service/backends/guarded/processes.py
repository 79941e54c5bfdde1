"""A fake agent that runs, for the tests of processes."""

import asyncio
import os
import sys
from pathlib import Path

from callboard_service.backends.guarded.process import GuardedProcess
from tests.support.witness import Witness

FAKE_PROGRAM = [sys.executable, "-I", "-S", str(Path(__file__).with_name("fake_program.py"))]


class Running:
    """A fake agent, and what the service was told about it."""

    def __init__(self, folder: Path, witness: Witness) -> None:
        self.folder = folder
        self.witness = witness
        self.output = bytearray()
        self.reports: list[str] = []
        self.reasons: list[str] = []
        self.agents: list[GuardedProcess] = []
        self._changed = asyncio.Event()

    def _received(self, data: bytes) -> None:
        self.output += data
        self._changed.set()

    def _ended(self, reason: str) -> None:
        self.reasons.append(reason)
        self._changed.set()

    async def start(self, *words: str, command: list[str] | None = None) -> GuardedProcess:
        """Start the fake agent, or a command, and wait until it is ready."""
        agent = await self.launch(*words, command=command)
        await self.until(b"ready\n")
        return agent

    async def launch(
        self, *words: str, command: list[str] | None = None, settle: float = 0
    ) -> GuardedProcess:
        agent = await GuardedProcess.start(
            [*(command or FAKE_PROGRAM), *words],
            self.folder,
            {"PATH": os.environ["PATH"], "WITNESS": str(self.witness.path)},
            received=self._received,
            ended=self._ended,
            report=self.reports.append,
            settle=settle,
        )
        self.agents.append(agent)
        return agent

    async def until(self, text: bytes) -> None:
        """Wait for this in the agent's output."""
        while text not in self.output:
            await self._next()

    async def received(self, size: int) -> None:
        """Wait until that much was received."""
        while len(self.output) < size:
            await self._next()

    async def reason(self) -> str:
        """Wait for the end of the agent and return why it ended."""
        while not self.reasons:
            await self._next()
        return self.reasons[0]

    async def _next(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def end(self) -> None:
        for agent in self.agents:
            await agent.close(patience=0, grace=0)
        self.witness.close()
