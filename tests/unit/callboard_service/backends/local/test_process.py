"""The actor of the model's process, with a scripted process."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from actors import ActorRef, ActorSystem, Code, Crashed, Failure
from actors import Event as ActorEvent
from actors.testing import ManualClock, actor_events, actor_system, manual_clock
from callboard_service.backends.local import process as model_process
from callboard_service.backends.local.generation import Event, Generation
from callboard_service.backends.local.process import (
    MAX_UNSENT,
    Abandon,
    Generate,
    Loaded,
    ModelMessage,
    ModelProcess,
    ModelSaid,
)
from callboard_service.log import make_log

__all__ = ["actor_events", "actor_system", "manual_clock"]

SILENCE = 8.0

CHILD = """
import json, sys
def say(line):
    sys.stdout.buffer.write(line + b"\\n")
    sys.stdout.flush()
say(b'{"event": "ready", "model": "fake", "context": 100, "parallel": 2}')
for line in sys.stdin.buffer:
    command = json.loads(line)
    if command["op"] == "chat":
        text = command["messages"][-1]["content"]
        if text.startswith("say "):
            say(text[4:].replace("@", str(command["id"])).encode())
        elif text == "complain":
            sys.stderr.write("out of luck\\n" * 400_000)
            sys.stderr.flush()
            say(b'{"event": "done", "id": %d}' % command["id"])
        elif text == "long":
            say(b"x" * (5 * 1024 * 1024))
"""
"""A fake model process, which does what the last message of a chat tells it to."""

TOKEN = 'say {"event": "token", "id": @, "text": "word"}'
DONE = 'say {"event": "done", "id": @}'
NOT_TOLD = 'say {"event": "error", "id": null, "code": "INVALID_ARGUMENT", "message": "what?"}'


class Model:
    """The actor in each of its incarnations, and helpers to drive it."""

    def __init__(self, system: ActorSystem, clock: ManualClock) -> None:
        self.clock = clock
        self.lives: list[ModelProcess] = []
        self.attached: asyncio.Queue[Loaded] = asyncio.Queue()
        self.ref: ActorRef[ModelMessage] = system.spawn(self._make, name="model")

    def _make(self) -> ModelProcess:
        made = ModelProcess(
            Path("model.gguf"),
            make_log("error"),
            lambda ref, loaded: self.attached.put_nowait(loaded),
            SILENCE,
        )
        self.lives.append(made)
        return made

    async def loaded(self) -> Loaded:
        """Wait until the process has started, for the first time or again."""
        getting = asyncio.ensure_future(self.attached.get())
        while not getting.done():
            # The pause before a restart is on the manual clock, the start itself in real time.
            await self.clock.advance(0.1)
            await asyncio.wait([getting], timeout=0.05)
        return await getting

    @property
    def child(self) -> psutil.Process:
        child = self.lives[-1]._child
        assert child is not None
        return psutil.Process(child.pid)

    async def chat(self, text: str) -> Generation:
        generation = Generation()

        def make(reply: Any) -> Generate:
            return Generate([("user", text)], 10, generation, reply)

        await self.ref.ask(make, timeout=5.0)
        return generation

    async def say(self, event: Event) -> None:
        """Send the actor an event as if its process had printed it."""
        source = self.lives[-1]._output
        assert source is not None
        self.ref.tell(ModelSaid(source, event, 10))


@pytest.fixture
async def model(
    actor_system: ActorSystem, manual_clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Model]:
    create = asyncio.create_subprocess_exec

    async def fake(program: str, *_: str, **options: Any) -> asyncio.subprocess.Process:
        return await create(program, "-c", CHILD, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", fake)
    made = Model(actor_system, manual_clock)
    assert await made.loaded() == Loaded(context=100, parallel=2)
    yield made
    # In real time: a stop on the manual clock would not wait for the process to end.
    made.ref.stop()
    async with asyncio.timeout(20):
        await made.ref.join()


async def next_of(generation: Generation) -> Event:
    async with asyncio.timeout(10):
        return await generation.next()


async def end_of(generation: Generation) -> Failure:
    with pytest.raises(Failure) as raised:
        await next_of(generation)
    return raised.value


posix = pytest.mark.skipif(sys.platform == "win32", reason="SIGSTOP, which Windows has not")


@posix
async def test_a_process_that_hangs_in_a_reply_is_killed_and_started_again(model: Model) -> None:
    generation = await model.chat(TOKEN)
    assert (await next_of(generation))["text"] == "word"
    child = model.child
    child.suspend()
    await model.clock.advance(SILENCE - 0.1)
    assert len(model.lives) == 1
    await model.clock.advance(SILENCE / 4)
    ended = await end_of(generation)
    assert (ended.code, ended.retryable) == (Code.UNAVAILABLE, True)
    assert await model.loaded()
    assert not child.is_running()
    assert (await next_of(await model.chat(TOKEN)))["text"] == "word"


@posix
async def test_cancelling_each_reply_in_time_does_not_hide_that_it_hangs(model: Model) -> None:
    child = model.child
    child.suspend()
    for _ in range(8):
        generation = await model.chat(TOKEN)
        await model.clock.advance(SILENCE / 8)
        model.ref.tell(Abandon(generation))
    assert await model.loaded()
    assert not child.is_running()


async def test_anything_that_is_said_is_a_sign_of_life(model: Model) -> None:
    generation = await model.chat("work")
    for _ in range(5):
        await model.clock.advance(SILENCE - 0.1)
        await model.say({"event": "progress", "id": generation.number, "tokens": 128, "total": 999})
        assert (await next_of(generation))["event"] == "progress"
    assert len(model.lives) == 1


async def test_a_process_without_a_reply_to_make_may_be_silent(model: Model) -> None:
    assert (await next_of(await model.chat(DONE)))["event"] == "done"
    await model.clock.advance(100 * SILENCE)
    assert len(model.lives) == 1
    generation = await model.chat(TOKEN)
    await next_of(generation)
    await model.clock.advance(SILENCE - 0.1)
    assert len(model.lives) == 1


@posix
async def test_a_process_that_does_not_read_is_sent_a_bounded_amount(model: Model) -> None:
    model.child.suspend()
    largest = "x" * (8 * 1024 * 1024)
    with pytest.raises(Failure, match="UNAVAILABLE") as refused:
        for _ in range(10):
            await model.chat(largest)
    assert refused.value.retryable
    assert model.lives[-1]._unsent <= MAX_UNSENT + len(largest) + 1000


@posix
async def test_chats_that_it_does_not_end_are_bounded_too(model: Model) -> None:
    model.child.suspend()
    with pytest.raises(Failure, match="UNAVAILABLE"):
        for _ in range(100):
            model.ref.tell(Abandon(await model.chat("work")))


@posix
async def test_a_process_that_hangs_does_not_hold_up_the_stop(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_process, "STOP_TIMEOUT", 0.1)
    generation = await model.chat(TOKEN)
    await next_of(generation)
    child = model.child
    child.suspend()
    model.ref.stop()
    async with asyncio.timeout(10):
        await model.ref.join()
    assert (await end_of(generation)).code is Code.UNAVAILABLE
    assert not child.is_running()


async def test_a_line_that_arrives_while_it_stops_is_no_crash(
    model: Model, actor_events: list[ActorEvent]
) -> None:
    source = model.lives[-1]._output
    assert source is not None
    # Both in one turn of the loop: the line is read before the reader is stopped.
    source.feed_data(b'{"event": "token", "id": 1, "text": "late"}\n')
    model.ref.stop()
    async with asyncio.timeout(20):
        await model.ref.join()
    assert [event for event in actor_events if isinstance(event, Crashed)] == []


async def test_an_error_without_an_id_ends_all_that_it_may_be_about_and_nothing_else(
    model: Model,
) -> None:
    heard = await model.chat(TOKEN)
    assert (await next_of(heard))["event"] == "token"
    silent, culprit = await model.chat("work"), await model.chat(NOT_TOLD)
    for generation in (silent, culprit):
        event = await next_of(generation)
        assert (event["event"], event["code"]) == ("error", "INVALID_ARGUMENT")
    await model.say({"event": "token", "id": heard.number, "text": "more"})
    assert (await next_of(heard))["text"] == "more"


@pytest.mark.parametrize(
    "text", ["long", "say not JSON", "say [1]", "say " + "[" * 100_000, "say \udcff"],
    ids=["too-long", "no-json", "no-object", "too-deep", "no-utf8"],
)  # fmt: skip
async def test_a_process_that_speaks_nonsense_is_started_again(model: Model, text: str) -> None:
    other = await model.chat(TOKEN)
    assert (await next_of(other))["event"] == "token"
    generation = await model.chat(text)
    for ended in (await end_of(generation), await end_of(other)):
        assert (ended.code, ended.retryable) == (Code.UNAVAILABLE, True)
    assert await model.loaded()
    assert (await next_of(await model.chat(TOKEN)))["text"] == "word"


@pytest.mark.parametrize(
    "line", ['{"id": 1}', '{"event": 5, "id": 1}', '{"event": "new", "id": [1]}', "{}"]
)
async def test_an_event_of_no_known_form_is_ignored(model: Model, line: str) -> None:
    await model.chat(f"say {line}")
    assert (await next_of(await model.chat(TOKEN)))["text"] == "word"
    assert len(model.lives) == 1


async def test_what_concerns_the_process_before_does_not_reach_the_one_after(
    model: Model,
) -> None:
    before = await model.chat("work")
    source = model.lives[-1]._output
    assert source is not None
    model.child.kill()
    await end_of(before)
    await model.loaded()
    after = await model.chat("work")
    assert after.number == before.number
    model.ref.tell(Abandon(before))
    model.ref.tell(ModelSaid(source, {"event": "token", "id": after.number, "text": "stale"}, 10))
    await model.say({"event": "token", "id": after.number, "text": "fresh"})
    assert (await next_of(after))["text"] == "fresh"


async def test_a_reply_that_comes_faster_than_it_is_taken_ends(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callboard_service.backends.local.generation.MAX_HELD_EVENTS", 5)
    generation = await model.chat("work")
    for _ in range(7):
        await model.say({"event": "token", "id": generation.number, "text": "x"})
    await model.clock.settle()
    ended = await end_of(generation)
    assert (ended.code, ended.retryable) == (Code.RESOURCE_EXHAUSTED, True)


async def test_what_the_process_prints_to_standard_error_does_not_hold_it_up(
    model: Model,
) -> None:
    generation = await model.chat("complain")
    async with asyncio.timeout(20.0):
        assert (await generation.next())["event"] == "done"
