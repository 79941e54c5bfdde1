"""The language model's process: started, fed, listened to, and started again when it dies.

    ModelProcess ── ModelOutput   reads the child's standard output

A fault in native code ends the child, which costs the replies that run, and not the service.
"""

import asyncio
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Never, TypeAlias

from actors import Actor, ActorRef, Code, Failure, Lifecycle, Log, Reply
from callboard_service.errors import BackendFailed
from callboard_service.launch import python_environment, python_module
from callboard_service.scratch import Scratch, make_scratch

START_TIMEOUT: Final = 120.0
"""Seconds that a model may take to load."""

STOP_TIMEOUT: Final = 3.0
"""Seconds that the child has to end by itself."""

_MAX_LINE: Final = 4 * 1024 * 1024
_DIED: Final = Failure(Code.UNAVAILABLE, "the model's process ended", retryable=True)

Event: TypeAlias = Mapping[str, object]


class Generation:
    """One reply that the model makes. What it says waits here; max_tokens bounds it."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[Event | Failure] = asyncio.Queue()

    def put(self, event: Event | Failure) -> None:
        """Take what the model said, or why it says no more."""
        self._events.put_nowait(event)

    async def next(self) -> Event:
        """What the model says next. Raises Failure."""
        event = await self._events.get()
        if isinstance(event, Failure):
            raise Failure(event.code, event.message, retryable=event.retryable)
        return event


@dataclass(slots=True)
class Generate:
    """Have the model reply to these messages; the reply is the generation's number."""

    messages: Sequence[Mapping[str, str]]
    max_tokens: int
    generation: Generation
    reply: Reply[int]


@dataclass(slots=True)
class Abandon:
    """Stop that generation within a token; harmless once it has ended."""

    number: int


@dataclass(slots=True)
class Said:
    """A line of the child's."""

    event: Event


@dataclass(slots=True)
class Ended:
    """The child's standard output is at its end."""


ModelMessage: TypeAlias = Generate | Abandon | Said | Ended


class ModelDied(Exception):
    """The child ended without being told to."""


class ModelOutput(Actor[Never]):
    """Reads the child's lines and hands them on, no faster than they are taken."""

    def __init__(self, lines: asyncio.StreamReader, owner: ActorRef[ModelMessage]) -> None:
        self._lines = lines
        self._owner = owner

    async def main(self) -> None:
        """Read to the end."""
        while line := await self._lines.readline():
            await self._owner.send(Said(json.loads(line)))
        self._owner.tell(Ended())

    def receive(self, message: Never) -> None:
        """Nothing: it only reads."""


class ModelProcess(Actor[ModelMessage]):
    """The child, and the generations that run in it."""

    def __init__(
        self, model: Path, log: Log, on_start: Callable[[ActorRef[ModelMessage]], None]
    ) -> None:
        self._model = model
        self._log = log
        self._on_start = on_start
        self._child: asyncio.subprocess.Process | None = None
        self._scratch: Scratch | None = None
        self._running: dict[int, Generation] = {}
        self._last = 0

    async def started(self) -> None:
        """Start the child and wait until the model is loaded. Raises BackendFailed."""
        child = self._child = await self._launch()
        assert child.stdout is not None
        try:
            ready = await self._first_line(child.stdout)
        except BaseException:
            await self._end_child()
            raise
        output, me = child.stdout, self.context.ref
        self.context.spawn(
            lambda: ModelOutput(output, me), name="output", lifecycle=Lifecycle(shutdown=0.0)
        )
        self._log.info("model ready", model=ready.get("model"), pid=child.pid)
        self._on_start(me)

    async def _launch(self) -> asyncio.subprocess.Process:
        """Start the child in a scratch folder of its own. Raises BackendFailed.

        So nothing is left of one that is killed while it loads, and its native libraries, which
        look for parts of themselves in the working folder, find nothing there.
        """
        try:
            self._scratch = make_scratch()
            folder = self._scratch.path
            return await asyncio.create_subprocess_exec(
                *_command(self._model),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_MAX_LINE,
                cwd=folder,
                env=python_environment() | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder)),
            )
        except OSError as error:
            await self._end_child()
            reason = error.strerror or error
            raise BackendFailed(f"local: the model's process cannot be started: {reason}") from None

    async def _first_line(self, output: asyncio.StreamReader) -> Event:
        try:
            async with asyncio.timeout(START_TIMEOUT):
                line = await output.readline()
        except TimeoutError:
            raise BackendFailed(f"{self._model}: the model did not load in time") from None
        event: Event = json.loads(line) if line else {}
        if event.get("event") != "ready":
            reason = event.get("message", "the model's process ended before it was ready")
            raise BackendFailed(f"local: {reason}")
        return event

    def receive(self, message: ModelMessage) -> None:
        """Feed the child, or hand on what it said."""
        match message:
            case Generate(messages, max_tokens, generation, reply):
                self._last += 1
                self._running[self._last] = generation
                self._send(
                    {
                        "op": "chat",
                        "id": self._last,
                        "messages": list(messages),
                        "max_tokens": max_tokens,
                    }
                )
                reply.send(self._last)
            case Abandon(number):
                if self._running.pop(number, None) is not None:
                    self._send({"op": "cancel", "id": number})
            case Said(event):
                self._hand_on(event)
            case Ended():
                raise ModelDied("the model's process ended")

    def _hand_on(self, event: Event) -> None:
        number = event.get("id")
        if not isinstance(number, int) or number not in self._running:
            return
        generation = self._running[number]
        if event["event"] in ("done", "error"):
            del self._running[number]
        generation.put(event)

    def _send(self, command: Mapping[str, object]) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(command).encode() + b"\n")

    async def stopped(self) -> None:
        """End the generations, and the child."""
        for generation in self._running.values():
            generation.put(_DIED)
        self._running.clear()
        await self._end_child()

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        scratch, self._scratch = self._scratch, None
        try:
            if child is not None:
                await self._reap(child)
        finally:
            if scratch is not None:
                scratch.remove()

    async def _reap(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdin is not None
        child.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await child.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
        finally:
            if child.returncode is None:
                with suppress(ProcessLookupError):
                    child.kill()


def _command(model: Path) -> list[str]:
    """Return the command line of the child, which does not work in our folder."""
    module = "callboard_service.backends.model_child"
    return python_module(module, "--model", os.path.abspath(model))
