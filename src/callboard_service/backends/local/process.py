"""Start, feed and supervise the language model's process, and restart it when it dies.

    ModelProcess ─┬ ModelOutput   reads the child's standard output
                  └ ModelErrors   reads its standard error into the log

A fault in native code ends the child. That costs the running replies, but not the service.
"""

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Never, TypeAlias

from actors import Actor, ActorRef, Code, Failure, Lifecycle, Log, NotRunning, Reply, Restart
from callboard_service.backends.local.generation import Event, Generation, Turn, chat_line, line
from callboard_service.errors import BackendFailed
from callboard_service.launch import python_environment, python_module
from callboard_service.scratch import Scratch, make_scratch

_OUTPUT: Final = Lifecycle(shutdown=0.0)
_ERRORS: Final = Lifecycle(restart=Restart.TEMPORARY, shutdown=0.0)
_ERRORS_AT_ONCE: Final = 16 * 1024
_LONGEST_ERROR: Final = 500
"""Characters logged of a line of the child's standard error."""

START_TIMEOUT: Final = 600.0
"""Seconds that a model may take to load; a large one may be on a slow disk."""

STOP_TIMEOUT: Final = 3.0
"""Seconds that the child has to exit by itself."""

MAX_UNSENT: Final = 16 * 1024 * 1024
"""Bytes that may be buffered for a child that does not read; one more chat of up to 8 MiB may be
added to that."""

MAX_OWED: Final = 64
"""Maximum chats that the child has not ended, including cancelled ones; it queues up to 64."""

_MAX_LINE: Final = 4 * 1024 * 1024
_STUCK: Final = "the model's process is not responding"
_DIED: Final = Failure(Code.UNAVAILABLE, "the model's process ended", retryable=True)

_LOOKS: Final = 8
"""Checks within the allowed silence. They are counted rather than timed: after a machine wakes from
sleep, the process has had no time to write anything."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the process reports: the tokens of a chat, and how many chats it answers at once."""

    context: int
    parallel: int


@dataclass(slots=True)
class Generate:
    """Have the model answer the last of these turns. The reply is sent once that is written."""

    turns: Sequence[Turn]
    max_tokens: int
    generation: Generation
    reply: Reply[None]


@dataclass(slots=True)
class Abandon:
    """Stop that generation within a token. Does nothing once it has ended."""

    generation: Generation


@dataclass(slots=True)
class ModelSaid:
    """A line of `size` bytes from the child whose standard output is `source`."""

    source: asyncio.StreamReader
    event: Event
    size: int


@dataclass(slots=True)
class Ended:
    """The standard output `source` has ended, or broke the protocol."""

    source: asyncio.StreamReader
    reason: str


@dataclass(slots=True)
class Look:
    """Check whether the child has written anything."""


ModelMessage: TypeAlias = Generate | Abandon | ModelSaid | Ended | Look


class ModelDied(Exception):
    """The child ended on its own or has become unusable; the message says why."""


class ModelOutput(Actor[Never]):
    """Reads the child's lines and passes them on, no faster than they are taken."""

    def __init__(self, lines: asyncio.StreamReader, owner: ActorRef[ModelMessage]) -> None:
        self._lines = lines
        self._owner = owner

    async def main(self) -> None:
        """Read to the end, or to the first line that breaks the protocol."""
        source, reason = self._lines, "the model's process ended"
        try:
            while line := await source.readline():
                event = json.loads(line)
                if not isinstance(event, dict):
                    raise ValueError("a line is not a JSON object")
                await self._owner.send(ModelSaid(source, event, len(line)))
        except NotRunning:  # the owner is about to stop this actor too
            return
        except (ValueError, RecursionError) as error:  # readline raises ValueError on a long line
            reason = f"the model's process sent invalid output: {str(error)[:200]}"
        self._owner.tell(Ended(source, reason))

    def receive(self, message: Never) -> None:
        """Do nothing: this actor gets no messages."""


class ModelErrors(Actor[Never]):
    """Reads the child's standard error into the log, so that the child never blocks on it.

    An inherited standard error would be the service's own, which may be a pipe that nobody reads.
    """

    def __init__(self, lines: asyncio.StreamReader, log: Log) -> None:
        self._lines = lines
        self._log = log

    async def main(self) -> None:
        """Log each line until the end."""
        while data := await self._lines.read(_ERRORS_AT_ONCE):
            for printed in data.decode(errors="replace").splitlines():
                if printed.strip():
                    text = printed[:_LONGEST_ERROR]
                    self._log.warning("the model's process printed", text=text)

    def receive(self, message: Never) -> None:
        """Do nothing: this actor gets no messages."""


class ModelProcess(Actor[ModelMessage]):
    """The child process and the generations that run in it."""

    def __init__(
        self,
        model: Path,
        log: Log,
        on_start: Callable[[ActorRef[ModelMessage], Loaded], None],
        silence: float,
        start_timeout: float = START_TIMEOUT,
    ) -> None:
        self._model = model
        self._log = log
        self._on_start = on_start
        self._interval = silence / _LOOKS
        self._start_timeout = start_timeout
        self._child: asyncio.subprocess.Process | None = None
        self._scratch: Scratch | None = None
        self._running: dict[int, Generation] = {}
        self._unheard: set[int] = set()
        """Generations for which the child has sent no event yet."""
        self._owed: set[int] = set()
        """Ids that the child has not ended yet, including those of abandoned generations."""
        self._last = 0
        self._heard = self._mark = self._silent_looks = 0
        self._looking = False

    async def started(self) -> None:
        """Start the child and wait until the model is loaded. Raises BackendFailed."""
        child = self._child = await self._launch()
        assert child.stdout is not None
        assert child.stderr is not None
        errors, log = child.stderr, self._log
        self.context.spawn(lambda: ModelErrors(errors, log), name="errors", lifecycle=_ERRORS)
        try:
            ready = await self._first_line(child.stdout)
        except BaseException:
            await self._end_child()
            raise
        output, me = child.stdout, self.context.ref
        self.context.spawn(lambda: ModelOutput(output, me), name="output", lifecycle=_OUTPUT)
        self._log.info("model ready", model=ready.get("model"), pid=child.pid)
        self._on_start(me, Loaded(_number(ready, "context", 0), _number(ready, "parallel", 1)))

    async def _launch(self) -> asyncio.subprocess.Process:
        """Start the child in its own scratch folder. Raises BackendFailed.

        A child that is killed while it loads then leaves no files behind, and its native libraries,
        which look for their components in the working folder, find nothing there.
        """
        try:
            self._scratch = make_scratch()
            folder = self._scratch.path
            return await asyncio.create_subprocess_exec(
                *_command(self._model),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
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
            async with asyncio.timeout(self._start_timeout):
                line = await output.readline()
        except TimeoutError:
            raise BackendFailed(
                f"{self._model}: the model did not load in time (local_start_ms)"
            ) from None
        except ValueError:  # the line is too long
            line = b""
        try:
            value: object = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        event: Event = value if isinstance(value, dict) else {}
        if event.get("event") != "ready":
            reason = event.get("message", "the model's process ended before it was ready")
            raise BackendFailed(f"local: {reason}")
        return event

    def receive(self, message: ModelMessage) -> None:
        """Write to the child, or pass on what it sent. Raises ModelDied."""
        match message:
            case Generate():
                self._generate(message)
            case Abandon(generation):
                self._abandon(generation)
            case ModelSaid(source, event, size):
                if source is self._output:
                    self._heard += 1
                    self._hand_on(event, size)
            case Ended(source, reason):
                if source is self._output:
                    raise ModelDied(reason)
            case Look():
                self._look()

    def _generate(self, message: Generate) -> None:
        if message.reply.done:
            return  # the caller has gone
        if len(self._owed) >= MAX_OWED or self._unsent > MAX_UNSENT:
            message.reply.fail(Failure(Code.UNAVAILABLE, _STUCK, retryable=True))
            return
        if not self._owed:
            self._mark, self._silent_looks = self._heard, 0
        self._last = number = message.generation.number = self._last + 1
        self._running[number] = message.generation
        self._unheard.add(number)
        self._owed.add(number)
        self._write(chat_line(number, message.turns, message.max_tokens))
        message.reply.send(None)
        self._look_later()

    def _abandon(self, generation: Generation) -> None:
        # Compare by identity: the number may belong to a generation of the restarted process.
        if self._running.get(generation.number) is generation:
            self._forget(generation.number)
            self._write(line({"op": "cancel", "id": generation.number}))

    def _forget(self, number: int) -> None:
        del self._running[number]
        self._unheard.discard(number)

    def _hand_on(self, event: Event, size: int) -> None:
        number, kind = event.get("id"), event.get("event")
        if number is None and kind == "error":
            self._end_unheard(event)
        if not isinstance(number, int):
            return
        if kind in ("done", "error"):
            self._owed.discard(number)
        generation = self._running.get(number)
        if generation is None:
            return
        self._unheard.discard(number)
        if not generation.put(event, size):
            self._abandon(generation)
        elif kind in ("done", "error"):
            self._forget(number)

    def _end_unheard(self, error: Event) -> None:
        """End each generation that an error without an id may be about.

        The child has sent events for every other generation, so it has accepted those.
        """
        for number in list(self._unheard):
            generation = self._running[number]
            generation.put(error)
            self._abandon(generation)
            self._owed.discard(number)

    def _look_later(self) -> None:
        if not self._looking:
            self._looking = True
            self.context.after(self._interval, Look())

    def _look(self) -> None:
        """Kill the child after _LOOKS checks in a row without output while it has chats to end.

        Raises ModelDied.
        """
        self._looking = False
        if not self._owed:
            return
        if self._heard != self._mark:
            self._mark, self._silent_looks = self._heard, 0
        else:
            self._silent_looks += 1
        if self._silent_looks >= _LOOKS:
            assert self._child is not None
            with suppress(ProcessLookupError):
                self._child.kill()
            raise ModelDied("the model's process produced no output for too long")
        self._look_later()

    @property
    def _output(self) -> asyncio.StreamReader | None:
        return None if self._child is None else self._child.stdout

    @property
    def _unsent(self) -> int:
        """The number of bytes that the child has not read."""
        assert self._child is not None
        assert self._child.stdin is not None
        return self._child.stdin.transport.get_write_buffer_size()

    def _write(self, data: bytes) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        self._child.stdin.write(data)

    async def stopped(self) -> None:
        """Fail the running generations and end the child."""
        for generation in self._running.values():
            generation.fail(_DIED)
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
    """Return the child's command line; the path is absolute, as it runs in another folder."""
    module = "callboard_service.backends.local.child"
    return python_module(module, "--model", os.path.abspath(model))


def _number(event: Event, key: str, otherwise: int) -> int:
    value = event.get(key)
    return value if isinstance(value, int) else otherwise
