"""Kills a service between two steps of a message, sends the message again, and checks the outcome.

    python -m tests.support.killed_turns RUNS SEED

Each run is a process of its own, forked with everything imported: the chat's actors over the
backend `echo` with its conversations in a file. The process kills itself with SIGKILL before a
given step, a call of the store or an event that a client receives; the next process sends the same
message again. Prints the number of runs, or raises AssertionError with the seed.
"""

import asyncio
import inspect
import os
import signal
import struct
import sys
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from random import Random
from typing import Any, cast

from actors import ActorSystem, Failure, Registry
from actors.requests.background import Extensions
from callboard.v1.chat_pb2 import FollowSessionRequest, SendMessageRequest, TurnInfo
from callboard_service.backends.echo.backend import EchoBackend
from callboard_service.chat import chat
from callboard_service.chat.following import FollowSession
from callboard_service.chat.sending import SendMessage
from callboard_service.log import make_log
from tests.support.handlers import answers_of

TEXTS = ("one two three", "a [[tool:t {}]]b", "[[reasoning:r]]x", "a [[error:UNAVAILABLE]]")


class Steps:
    """Counts the steps of a process and ends it before step number `last`; 0: never."""

    def __init__(self, last: int) -> None:
        self.taken = 0
        self._last = last

    def step(self) -> None:
        self.taken += 1
        if self.taken == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


class Stepping:
    """A journal whose every call is two steps: before it, and after it."""

    def __init__(self, journal: object, steps: Steps) -> None:
        self._journal = journal
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._journal, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*arguments: object, **named: object) -> object:
            self._steps.step()
            result = await found(*arguments, **named)
            self._steps.step()
            return result

        return call


class Report:
    """What a process tells its parent: positions as they are seen, and the outcome."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def position(self, position: int) -> None:
        os.write(self._pipe, struct.pack("<q", position))


async def talk(path: Path, conversation: str, text: str, steps: Steps, report: Report) -> str:
    """Send the message and follow its conversation to the turn's end; return that end."""
    backend = EchoBackend(lambda line: None, path)
    system, registry = ActorSystem(), Registry()
    await system.start(backend.store_spec().factory, name="store")
    backend.journal = cast("Any", Stepping(backend.journal, steps))
    chat.register(registry, backend, make_log("error"))
    await system.start(lambda: Extensions(registry.background_actors), name="extensions")

    seen = asyncio.Event()

    async def follow() -> None:
        request = FollowSessionRequest(session_id=conversation)
        following = answers_of(FollowSession(), request, registry, system, "follower")
        async with aclosing(following) as events:
            async for event in events:
                report.position(event.position)
                seen.set()

    follower = asyncio.create_task(follow())
    request = SendMessageRequest(session_id=conversation, text=text, message_id="m")
    sender = SendMessage(backend.journal)
    end = "COMPLETED"
    try:
        async with aclosing(answers_of(sender, request, registry, system, "sender")) as events:
            async for event in events:
                steps.step()
                assert not isinstance(event, TurnInfo) or event.message_id == "m"
    except Failure as failure:
        end = failure.code.value
    history = await backend.history(conversation, 0, "")
    said = [entry.user_text for entry in history.entries if entry.user_text]
    assert said == [text], said
    await seen.wait()  # of a turn that has ended, it sees the snapshot alone
    follower.cancel()
    await asyncio.gather(follower, return_exceptions=True)
    await system.stop()
    return end


def forked(work: Callable[[Report], Coroutine[Any, Any, object]]) -> tuple[int, list[int]]:
    """Run `work` in a process of its own; return its status and the positions that it reports."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        code = 1
        try:
            asyncio.run(work(Report(writing)))
            code = 0
        except BaseException as error:  # noqa: BLE001 - the parent has only the status
            print(f"failed: {error!r}", file=sys.stderr)  # noqa: T201
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    return status, [position for (position,) in struct.iter_unpack("<q", data)]


def one(seed: int) -> int:
    """Kill one message before each of its steps, one after the other; return the runs."""
    random = Random(seed)
    text = random.choice(TEXTS)
    runs, last = 0, 1
    while True:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "echo.sqlite3"

            async def work(report: Report, path: Path = path, last: int = last) -> None:
                backend = EchoBackend(lambda line: None, path)
                await backend.open()
                conversation = (await backend.create("", "c")).id
                await backend.close()
                await talk(path, conversation, text, Steps(last), report)

            runs += 1
            status, before = forked(work)
            killed = os.WIFSIGNALED(status)
            assert killed or status == 0, f"seed {seed}, step {last}"

            async def again(report: Report, path: Path = path) -> None:
                await work(report, path, 0)

            status, after = forked(again)
            assert status == 0, f"seed {seed}, step {last}: the message was not sent again"
            reused = before and after and max(before) >= min(after)
            assert not reused, f"seed {seed}, step {last}: a position came again"
        if not killed:
            return runs
        last += 1


def main() -> None:
    """Run at least RUNS runs."""
    wanted, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    done = 0
    while done < wanted:
        done += one(seed)
        seed += 1
    print(f"{done} runs, up to seed {seed - 1}")  # noqa: T201


if __name__ == "__main__":
    main()
