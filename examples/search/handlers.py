"""Search with `grep`, one process per request: a cancel ends the request and the process.

    SEARCH_FOLDER=docs callboard serve --backend echo --actors examples.search.handlers

No shell is involved, the text is a single argument after `--`, and the service chooses the folder,
not the client.
"""

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from actors import Code, Failure, Last, Registry, StreamActor, Yielded
from examples.search.search_pb2 import Match, Searched, SearchRequest

LONGEST_LINE = 64 * 1024
"""Bytes; a longer line ends the search instead of filling the service's memory."""


@asynccontextmanager
async def running(*command: str, folder: Path) -> AsyncIterator[Process]:
    """Run a process that is killed and reaped when the block is left, in whatever way.

    Raises Failure: UNAVAILABLE if it cannot be started.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, limit=LONGEST_LINE
        )
    except OSError as error:
        raise Failure(Code.UNAVAILABLE, f"{command[0]} cannot be run") from error
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        # Not wait(): a full pipe is not closed until its content is read.
        await process.communicate()


class Search(StreamActor[SearchRequest, Match | Searched]):
    """Sends grep's matches line by line; grep waits if the client does not keep up."""

    deadline = 60.0
    at_most = 4

    def __init__(self, folder: Path, program: str = "grep") -> None:
        self._folder = folder
        self._program = program

    async def handle(self, request: SearchRequest) -> AsyncIterator[Yielded[Match | Searched]]:
        """Run grep and yield its matches, then their number. Raises Failure."""
        if not request.text or "\0" in request.text or "\n" in request.text:
            raise Failure(Code.INVALID_ARGUMENT, "a search is for one line of text")
        flags = ("-rnIZF", "--", request.text, ".")
        found = 0
        async with running(self._program, *flags, folder=self._folder) as process:
            assert process.stdout is not None
            try:
                async for line in process.stdout:
                    yield parse(line)
                    found += 1
            except ValueError as error:
                raise Failure(Code.RESOURCE_EXHAUSTED, "a line is too long") from error
        yield Last(Searched(matches=found))


def parse(line: bytes) -> Match:
    """Parse a line of `grep -nZ`: FILE NUL NUMBER ':' TEXT."""
    file, _, rest = line.decode(errors="replace").rstrip("\n").partition("\0")
    number, _, text = rest.partition(":")
    return Match(file=file.removeprefix("./"), line=int(number), text=text)


def register(registry: Registry) -> None:
    """Register the actor; `--actors` calls this."""
    folder = Path(os.environ.get("SEARCH_FOLDER", "."))
    registry.register(SearchRequest, lambda: Search(folder))
