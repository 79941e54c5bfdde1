"""Conduct one reply: take in events, check the server's state when in doubt, and answer asks."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from actors import Code, Failure
from callboard.v1.chat_pb2 import AnswerRequest
from callboard_service.backends.base import Prompt, ReplyEvent
from callboard_service.backends.fields import Table
from callboard_service.backends.opencode.aborts import remove
from callboard_service.backends.opencode.api import CALL_TIMEOUT, MAX_CHILDREN, Api
from callboard_service.backends.opencode.begun import Begun
from callboard_service.backends.opencode.child import START_TIMEOUT
from callboard_service.backends.opencode.hub import ReplyEvents, Stream
from callboard_service.backends.opencode.messages import State
from callboard_service.backends.opencode.retries import retried
from callboard_service.backends.opencode.run import Run

PAGE: Final = 100
"""Messages to fetch for a check: more than the steps of one reply between two checks."""

OVERTAKEN: Final = (
    "OpenCode does not answer, because the conversation has messages dated after its clock; "
    "start a new conversation"
)


@dataclass(frozen=True, slots=True)
class OpenCodeTimeouts:
    """Timeouts, in seconds.

    call: for the answer to one call. start: for a server that is started here to be ready. away:
    for a broken stream to come back before the reply ends.

    The server's state is checked if no event comes for so long: begin: until the first event;
    doubt: after an event that left doubt; silence: otherwise. doubts: how many checks in a row may
    find that nothing runs and nothing has ended before the reply fails.
    """

    call: float = CALL_TIMEOUT
    start: float = START_TIMEOUT
    away: float = 20.0
    begin: float = 10.0
    doubt: float = 1.0
    silence: float = 60.0
    doubts: int = 5


DEFAULT_TIMEOUTS: Final = OpenCodeTimeouts()


class Conductor:
    """Carries out one reply over the server, until `run.end` is set or a Failure is raised."""

    def __init__(
        self, api: Api, run: Run, inbox: ReplyEvents, prompt: Prompt, patience: OpenCodeTimeouts
    ) -> None:
        self._api = api
        self._run = run
        self._inbox = inbox
        self._prompt = prompt
        self._patience = patience
        self._lost = False
        self._doubts = 0
        self._answers: asyncio.Task[None] | None = None
        self._command: asyncio.Task[None] | None = None
        self._refusal: Failure | None = None

    async def events(self) -> AsyncGenerator[ReplyEvent, None]:
        """Yield the reply's events as they come. Raises Failure."""
        run = self._run
        while run.end is None:
            if run.asks.waiting and self._answers is None:
                self._answers = asyncio.create_task(self._listen())
            for event in await self._next():
                yield event

    async def begin(self, message: Mapping[str, object] | None, begun: Begun) -> list[ReplyEvent]:
        """Ask for the reply, unless it has begun; return what it has yielded by then.

        message: a prompt, or a command, which has a "command"; None: nothing is to be asked for.
        Raises Failure.
        """
        if message is None or begun.since:
            return await self.take_up(begun.since)
        name = self._prompt.conversation_id
        await remove(self._api, name, begun.leftovers)
        if "command" in message:
            self._run_command(message)
        else:
            await self._api.prompt(name, message)
        return []

    async def take_up(self, since: Sequence[Table]) -> list[ReplyEvent]:
        """Return what a reply that began earlier has yielded by now.

        since: its message and everything after it, oldest first. If the server did not continue the
        reply, the run ends with ABORTED. Raises Failure if the server cannot be asked.
        """
        run = self._run
        # Nothing ends the reply here: all of these messages come before the end.
        events = run.resync(State(since, status={"type": "busy"}))
        run.missed = True
        for _ in range(self._patience.doubts if since else 0):
            events += run.resync(await retried(self._state))
            if run.end is not None or not run.unsure:
                return events
            await asyncio.sleep(self._patience.doubt)
        run.end = Failure(Code.ABORTED, "the OpenCode server did not continue the reply")
        return []

    def _run_command(self, command: Mapping[str, object]) -> None:
        """Ask for the reply by a command; the call lasts as long as the reply."""
        self._command = asyncio.create_task(self._call(command))

    async def _call(self, command: Mapping[str, object]) -> None:
        try:
            await self._api.command(self._prompt.conversation_id, command)
        except Failure as failure:
            self._refusal = failure
            self._inbox.put({})  # so that it is noticed now

    async def close(self) -> None:
        """Stop listening for the user's answers, and for the end of the command."""
        for task in (self._answers, self._command):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _listen(self) -> None:
        while True:
            self._inbox.put(await self._prompt.answered())

    async def _next(self) -> list[ReplyEvent]:
        """Wait for the next item and return its events, checking the server's state if needed."""
        run = self._run
        try:
            async with asyncio.timeout(self._wait()):
                item = await self._inbox.take()
        except TimeoutError:
            if self._lost:
                message = "the OpenCode server cannot be reached"
                raise Failure(Code.UNAVAILABLE, message, retryable=True) from None
            return await self._look()
        if isinstance(item, AnswerRequest):
            return await self._settle(item)
        if isinstance(item, Stream):
            self._lost = item is Stream.LOST
            run.lose()
            return [] if self._lost else await self._look()
        events = run.feed(item)
        if self._refusal is not None and not run.begun:
            raise run.hint or self._refusal
        if run.unsure and not self._lost and not self._doubts:
            events += await self._look()
        return events

    def _wait(self) -> float:
        patience = self._patience
        if self._lost:
            return patience.away
        if self._run.unsure:
            return patience.doubt
        return patience.silence if self._run.begun else patience.begin

    async def _look(self) -> list[ReplyEvent]:
        """Check the conversation's state on the server and return the events that were missed.

        Raises Failure after too many checks in a row that leave doubt.
        """
        state = await retried(self._state)
        events = self._run.resync(state)
        # A command may prepare its message for as long as it likes.
        preparing = self._command is not None and not (self._command.done() or self._run.begun)
        self._doubts = self._doubts + 1 if self._run.unsure and not preparing else 0
        if self._doubts > self._patience.doubts:
            if self._run.hint is not None:
                raise self._run.hint
            if self._run.is_overtaken(state):
                raise Failure(Code.FAILED_PRECONDITION, OVERTAKEN)
            message = "the OpenCode server did not finish the reply"
            raise Failure(Code.UNAVAILABLE, message, retryable=True)
        return events

    async def _state(self) -> State:
        name = self._prompt.conversation_id
        # Fetch the status before the messages: a reply that ends in between is then complete.
        status = await self._api.status(name)
        permissions, questions = await self._api.permissions(), await self._api.questions()
        page = await self._api.messages(name, PAGE)
        of_agents: list[Table] = []
        for agent in self._run.agents[:MAX_CHILDREN] if self._run.missed else ():
            of_agents += (await self._api.messages(agent, PAGE)).messages
        return State(page.messages, status, permissions, questions, of_agents)

    async def _settle(self, answer: AnswerRequest) -> list[ReplyEvent]:
        settlement = self._run.asks.answer(answer)
        if settlement is None:
            return []
        try:
            await retried(lambda: self._api.settle(settlement))
        except Failure as failure:
            if failure.code is not Code.NOT_FOUND:
                raise
            # Somebody else was faster; an event with their answer follows or has been here.
            self._run.unsure = True
        return []
