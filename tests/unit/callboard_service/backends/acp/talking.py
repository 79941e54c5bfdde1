"""A conversation with a fake agent, as the service runs it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from actors.testing import Answers
from callboard.v1.chat_pb2 import AnswerRequest, AskEvent, ChatNotice
from callboard_service.backends.acp.backend import AcpBackend
from callboard_service.backends.acp.command import AgentCommand
from callboard_service.backends.acp.known import KnownAgent, Quirk
from callboard_service.backends.acp.timeouts import AcpTimeouts
from callboard_service.backends.base import ReplyEvent
from tests.support import conversing
from tests.support.conversing import LOG
from tests.support.scripted_agent import FakeAgents, Step, Traits, script

PLAIN = Traits()
KNOWN = {
    "codex": KnownAgent(command=("codex-acp",), quirks=(Quirk.NEW_ID_RESTARTS,)),
    "fast-agent": KnownAgent(command=("fast-agent-acp",), asks="no"),
    "gptme": KnownAgent(
        command=("gptme-acp",), quirks=(Quirk.ENDS_TO_CANCEL, Quirk.ONE_CONVERSATION)
    ),
}
QUICK = AcpTimeouts(start=5.0, silence=60.0, underway=0.0, cancel=5.0, close=0.0)


class Talk(conversing.Talk[AcpBackend]):
    """A conversation, and the agents that were started for it and others."""

    def __init__(self, made: conversing.Talk[AcpBackend], agents: FakeAgents) -> None:
        super().__init__(made.backend, made.system, made.calls, made.conversation)
        self.agents = agents

    def begin(self, *steps: Step) -> Answers[ReplyEvent]:
        """Send a script; return the events of its turn, which are pulled one at a time."""
        return self.send(script(*steps))

    async def say(self, *steps: Step) -> list[Any]:
        """Send a script and return the events of its turn."""
        return await self.all(script(*steps))

    async def stop(self, stream: Answers[ReplyEvent]) -> None:
        """Stop the turn and wait until it has ended."""
        stream.cancel()
        async for _ in ignoring(stream):
            pass
        await self.idle()

    async def until_sent(self, method: str, count: int = 1) -> None:
        """Wait until the agents were sent so many messages of this method."""
        await eventually(lambda: len(self.agents.sent(method)) >= count)


async def ignoring(stream: Answers[ReplyEvent]) -> AsyncIterator[ReplyEvent]:
    """Yield the events up to the failure that ends the stream."""
    _, events = await conversing.failure_of(stream)
    for event in events:
        yield event


async def until(stream: Answers[ReplyEvent], kind: type[Any]) -> Any:
    """Return the first event of this kind."""
    async for event in stream:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"no {kind.__name__} came")


async def answer(stream: Answers[ReplyEvent], *answers: str) -> AskEvent:
    """Answer the next ask, and return it."""
    asked = await until(stream, AskEvent)
    stream.tell(AnswerRequest(ask_id=asked.ask_id, answers=answers))
    assert isinstance(asked, AskEvent)
    return asked


async def eventually(condition: Callable[[], bool]) -> None:
    """Let other tasks run until the condition holds, for at most 10 seconds."""
    async with asyncio.timeout(10):
        for _ in iter(condition, True):
            await asyncio.sleep(0)


def notices(events: list[Any]) -> list[str]:
    return [event.message for event in events if isinstance(event, ChatNotice)]


def of(kind: type[Any], events: list[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@asynccontextmanager
async def talking(
    folder: Path,
    traits: Traits = PLAIN,
    *,
    mode: str = "",
    files: Path | None = None,
    terminals: bool = False,
    shared: bool = False,
    limit: int = 8,
    timeouts: AcpTimeouts = QUICK,
) -> AsyncIterator[Talk]:
    """Yield a conversation with an agent that has these traits."""
    agents = FakeAgents(traits)
    command = AgentCommand(
        ["agent"], folder, mode=mode, known=KNOWN, files=files, terminals=terminals, shared=shared
    )
    backend = AcpBackend(
        command, folder, LOG, print, max_processes=limit, timeouts=timeouts, start=agents.start
    )
    keeper = backend.spec()
    async with conversing.conversing(backend) as made:
        ends = await made.system.start(keeper.factory, name=keeper.name)
        try:
            yield Talk(made, agents)
        finally:
            ends.stop()
            await ends.join()
