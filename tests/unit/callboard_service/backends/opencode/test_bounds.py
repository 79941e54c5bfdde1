"""An endless reply takes bounded memory and is stopped at the server."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from actors import ActorSystem, Code, Failure
from callboard.v1.chat_pb2 import AnswerRequest, ChatToken
from callboard_service.backends import bounds
from callboard_service.backends.base import Prompt
from callboard_service.backends.bounds import cut
from callboard_service.backends.opencode import asks, transcript
from callboard_service.backends.opencode.api import Address
from callboard_service.backends.opencode.backend import OpenCodeBackend
from callboard_service.backends.opencode.messages import Baseline
from callboard_service.backends.opencode.run import Run
from callboard_service.backends.opencode.tools import result_of
from callboard_service.backends.opencode.where import Attached
from callboard_service.log import make_log
from tests.unit.callboard_service.backends.opencode.events import (
    BEGUN,
    SESSION,
    Event,
    delta,
    event,
    model,
    part,
    retry,
    text,
    tool,
)
from tests.unit.callboard_service.backends.opencode.odd_server import answering, stream

LIMIT = 100


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_REPLY_BYTES", LIMIT)
    monkeypatch.setattr(transcript, "MAX_REPLY_BYTES", LIMIT)
    monkeypatch.setattr(bounds, "MAX_TRACKED", 10)
    monkeypatch.setattr(asks, "MAX_OPEN_ASKS", 5)


@pytest.fixture
def run() -> Run:
    begun = Run(SESSION, Baseline())
    for item in BEGUN:
        begun.feed(item)
    return begun


def ended_by(run: Run, events: Iterator[Event]) -> Failure:
    with pytest.raises(Failure) as raised:
        for _, item in zip(range(1000), events, strict=False):
            run.feed(item)
    assert (raised.value.code, raised.value.retryable) == (Code.RESOURCE_EXHAUSTED, False)
    return raised.value


@pytest.mark.parametrize("kind", ["text", "reasoning"])
@pytest.mark.parametrize("piece", ["x" * 30, "é" * 15, "😀" * 8])
def test_text_and_reasoning_are_bounded_in_bytes(run: Run, kind: str, piece: str) -> None:
    run.feed(text("p", kind=kind))
    said = 0

    def pieces() -> Iterator[Event]:
        nonlocal said
        while True:
            said += len(piece.encode())
            yield delta("p", piece)

    assert "longer than 100 bytes" in ended_by(run, pieces()).message
    assert LIMIT < said <= LIMIT + len(piece.encode())


def test_the_whole_of_a_part_counts_too(run: Run) -> None:
    run.feed(text("p"))
    ended_by(run, iter([text("p", "x" * (LIMIT + 1))]))


def test_text_that_was_taken_back_does_not_count(run: Run) -> None:
    for attempt in range(1, 9):
        run.feed(text(f"p{attempt}"))
        run.feed(delta(f"p{attempt}", "x" * 80))
        run.feed(retry(attempt))
    run.feed(text("last"))
    assert run.feed(delta("last", "x" * 80)) == [ChatToken(text="x" * 80)]


def test_what_is_kept_of_a_part_is_its_text_and_not_its_pieces(run: Run) -> None:
    run.feed(text("p"))
    for _ in range(LIMIT):
        run.feed(delta("p", "x"))
    (stretch,) = run._transcript._runs
    assert (stretch.tokens, stretch.start, stretch.end) == (LIMIT, 0, LIMIT)


def numbered(kind: str) -> Iterator[Event]:
    for number in range(1000):
        match kind:
            case "messages":
                yield model(f"m{number}")
            case "parts":
                yield text(f"p{number}")
            case "unknown-parts":
                yield delta(f"p{number}", "x")
            case "steps":
                yield part(f"p{number}", "step-start")
            case "stretches":
                yield from (text("p0"), text("p1"), delta(f"p{number % 2}", "x"))
            case "pending-tools":
                yield tool(f"t{number}", "bash", "pending")
            case "tools":
                yield tool(f"t{number}", "bash", "completed", output="ok")
            case "agents":
                yield {"type": "session.created", "properties": {"sessionID": f"ses_{number}"}}
            case "permissions":
                yield event("permission.asked", id=f"per_{number}", permission="bash")
            case "settled":
                yield event("permission.asked", id=f"per_{number}", permission="bash")
                yield event("permission.replied", requestID=f"per_{number}", reply="once")
            case "replies":
                yield event("permission.replied", requestID=f"per_{number}", reply="once")
            case "questions":
                yield event("question.asked", id="q", questions=[{"question": "?"}] * 6)
            case _:
                raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind",
    [
        "messages",
        "parts",
        "unknown-parts",
        "steps",
        "stretches",
        "pending-tools",
        "tools",
        "agents",
        "permissions",
        "settled",
        "replies",
        "questions",
    ],
)
def test_whatever_is_remembered_is_bounded_in_number(run: Run, kind: str) -> None:
    ended_by(run, numbered(kind))


def test_endless_options_are_refused(run: Run) -> None:
    options = [{"label": "x" * 1000, "description": ""}] * 100
    question = event("question.asked", id="q", questions=[{"question": "?", "options": options}])
    ended_by(run, iter([question]))


def test_an_overlong_id_is_ignored(run: Run) -> None:
    endless = "x" * 1000
    for item in (
        model(endless),
        text(endless),
        delta(endless, "x"),
        tool(endless, "bash", "completed"),
        event("permission.asked", id=endless, permission="bash"),
        event("permission.replied", requestID=endless, reply="once"),
    ):
        assert run.feed(item) == []
    assert endless not in str([*run._messages._all, *run._transcript._parts, *run.asks._seen])


def test_the_output_of_a_tool_is_cut_with_a_mark() -> None:
    assert cut("é" * 50) == "é" * 50
    for output in ("é" * 51, "x" + "😀" * 25, "x" * 1000):
        shown = cut(output)
        kept, mark, _ = shown.partition("… [")
        assert mark
        assert output.startswith(kept)
        assert LIMIT - 4 < len(kept.encode()) <= LIMIT
    state: dict[str, Any] = {"status": "completed", "output": "x" * 1000}
    assert len(result_of({"state": state}).output) < 200


async def test_an_endless_reply_is_stopped_at_the_server() -> None:
    prompted, aborted = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/event":
            response = await stream(request)
            await send(response, {"type": "server.connected"})
            await prompted.wait()
            for item in (*BEGUN, text("p")):
                await send(response, item)
            while True:
                await send(response, delta("p", "on and on "))
        if request.path.endswith("/prompt_async"):
            prompted.set()
        if request.path.endswith("/abort"):
            aborted.set()
        if request.path.endswith(("/message", "/permission", "/question")):
            return web.json_response([])
        status = {"healthy": True, "version": "1.18.33", "directory": "/p", "id": SESSION}
        return web.json_response({} if request.path == "/session/status" else status)

    async def send(response: web.StreamResponse, item: Event) -> None:
        await response.write(f"data: {json.dumps(item)}\n\n".encode())

    async def unanswered() -> AnswerRequest:
        raise AssertionError("nothing is asked here")

    system = ActorSystem()
    async with answering(answer) as url:
        backend = OpenCodeBackend(Attached(Address(url), "/p"), make_log("error"))
        try:
            await system.start(backend.spec().factory)
            said = ""
            with pytest.raises(Failure, match="longer than 100 bytes"):
                async with asyncio.timeout(20):
                    prompt = Prompt(SESSION, "hi", "", unanswered)
                    async for item in backend.reply(prompt):
                        assert isinstance(item, ChatToken)
                        said += item.text
            assert said == "on and on " * 10
            async with asyncio.timeout(20):
                await aborted.wait()
        finally:
            await system.stop()
