"""A reply ends in bounded time, even if the server or its event stream fails."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from actors import Failure
from callboard.v1.chat_pb2 import AnswerRequest, ChatCompleted
from callboard_service.backends.base import Prompt
from callboard_service.backends.opencode.api import Address, Api
from callboard_service.backends.opencode.hub import Item, ReplyEvents, Stream
from callboard_service.backends.opencode.messages import Baseline
from callboard_service.backends.opencode.reply import Conductor, OpenCodeTimeouts
from callboard_service.backends.opencode.run import Run
from tests.unit.callboard_service.backends.opencode.events import (
    BEGUN,
    DONE,
    MODEL,
    SESSION,
    USER,
    delta,
    error,
    event,
    text,
)
from tests.unit.callboard_service.backends.opencode.odd_server import answering
from tests.unit.callboard_service.backends.opencode.recordings import ending, plain

SHORT = OpenCodeTimeouts(away=0.05, begin=0.05, doubt=0.01, silence=0.05, doubts=3)
LONG = OpenCodeTimeouts(away=30.0, begin=30.0, doubt=30.0, silence=30.0)
INFO: dict[str, Any] = {
    "id": MODEL,
    "role": "assistant",
    "parentID": USER,
    "time": {"created": 101, "completed": 102},
}
WHOLE = {"id": "p", "messageID": MODEL, "type": "text", "text": "one two", "time": {"end": 2}}
ENDED = [{"info": INFO, "parts": [WHOLE]}]


class Server:
    """A fake server with fixed answers, which records the paths that are requested."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = {"status": {}, "permission": [], "question": [], "message": [], **answers}
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        answer = self.answers.get(request.path.rsplit("/", 1)[-1])
        return web.json_response(answer, status=404 if answer is None else 200)


@asynccontextmanager
async def conducting(
    server: Server, patience: OpenCodeTimeouts
) -> AsyncIterator[tuple[ReplyEvents, Run, Conductor, "asyncio.Queue[AnswerRequest]"]]:
    inbox, run = ReplyEvents(lambda: None), Run(SESSION, Baseline())
    answers: asyncio.Queue[AnswerRequest] = asyncio.Queue()
    prompt = Prompt(SESSION, "hi", "", answers.get)
    async with answering(server.answer) as url:
        api = Api(Address(url))
        conductor = Conductor(api, run, inbox, prompt, patience)
        try:
            yield inbox, run, conductor, answers
        finally:
            await conductor.close()
            await api.close()


def fill(inbox: ReplyEvents, *items: Item) -> None:
    for item in items:
        inbox.put(item)


async def said(run: Run, conductor: Conductor) -> list[tuple[Any, ...]]:
    async with asyncio.timeout(10):
        return [plain(event) async for event in conductor.events()] + ending(run)


async def test_a_stream_that_does_not_come_back_ends_the_reply() -> None:
    server = Server({})
    async with conducting(server, SHORT) as (inbox, run, conductor, _):
        fill(inbox, *BEGUN, Stream.LOST)
        with pytest.raises(Failure, match="UNAVAILABLE"):
            await said(run, conductor)
    assert server.asked == []


async def test_an_end_whose_event_was_lost_is_detected() -> None:
    async with conducting(Server({"message": ENDED}), SHORT) as (inbox, run, conductor, _):
        fill(inbox, *BEGUN, text("p"), delta("p", "one "))
        answers = await said(run, conductor)
    assert answers == [("token", "one "), ("token", "two"), ("completed", 0, 0)]


async def test_what_came_while_the_stream_was_broken_is_fetched_once_it_is_back() -> None:
    async with conducting(Server({"message": ENDED}), LONG) as (inbox, run, conductor, _):
        fill(inbox, *BEGUN, text("p"), Stream.LOST, Stream.BACK)
        answers = await said(run, conductor)
    assert answers == [("token", "one two"), ("completed", 0, 0)]


async def test_a_prompt_that_leads_to_nothing_ends_the_reply() -> None:
    server = Server({})
    async with conducting(server, SHORT) as (_, run, conductor, _):
        with pytest.raises(Failure, match="did not finish") as raised:
            await said(run, conductor)
    assert raised.value.retryable
    assert server.asked.count("/session/status") == SHORT.doubts + 1


async def test_an_answer_that_comes_too_late_is_no_error() -> None:
    """The ask was settled elsewhere before, so the server answers 404."""
    ask = event("permission.asked", id="per_1", permission="bash", patterns=[], metadata={})
    server = Server({"message": ENDED, "status": {SESSION: {"type": "busy"}}})
    patience = OpenCodeTimeouts(away=30.0, begin=30.0, doubt=0.01, silence=0.05)
    async with conducting(server, patience) as (inbox, run, conductor, answers):
        fill(inbox, *BEGUN, ask)
        answers.put_nowait(AnswerRequest(ask_id="per_1", answers=["once"]))
        events = conductor.events()
        seen = [plain(await anext(events)) for _ in range(3)]
        assert "/permission/per_1/reply" in server.asked
        server.answers["status"] = {}
        seen += [plain(event) async for event in events]
    assert [one[0] for one in seen] == ["ask", "token", "closed"]
    assert seen[2] == ("closed", "per_1", ["once"])
    assert ending(run) == [("completed", 0, 0)]


async def test_a_server_that_fails_is_asked_again_and_then_given_up() -> None:
    asked = 0

    class Failing(Server):
        async def answer(self, request: web.Request) -> web.StreamResponse:
            nonlocal asked
            asked += 1
            return web.Response(status=500)

    async with conducting(Failing({}), LONG) as (inbox, run, conductor, _):
        inbox.put(Stream.BACK)
        with pytest.raises(Failure, match="UNAVAILABLE"):
            await said(run, conductor)
    assert asked == 3


MESSAGE: dict[str, Any] = {
    "info": {"id": USER, "role": "user", "time": {"created": 100}},
    "parts": [],
}


async def test_a_reply_that_ended_meanwhile_is_taken_up_whole() -> None:
    """The server is idle, and its last message is complete."""
    server = Server({"message": [MESSAGE, *ENDED]})
    async with conducting(server, SHORT) as (_, run, conductor, _):
        seen = [plain(event) for event in await conductor.take_up([MESSAGE])]
        assert ending(run) == [("completed", 0, 0)]
    assert seen == [("token", "one two")]


async def test_a_reply_that_runs_is_taken_up_in_the_middle() -> None:
    """What has ended of it comes at once, and the rest as events."""
    going = {**INFO, "time": {"created": 101}}
    server = Server(
        {
            "message": [MESSAGE, {"info": going, "parts": [WHOLE]}],
            "status": {SESSION: {"type": "busy"}},
        }
    )
    async with conducting(server, LONG) as (inbox, run, conductor, _):
        seen = [plain(event) for event in await conductor.take_up([MESSAGE])]
        assert run.end is None
        fill(inbox, text("q"), delta("q", " three"), *DONE)
        seen += await said(run, conductor)
    assert seen == [("token", "one two"), ("token", " three"), ("completed", 0, 0)]


@pytest.mark.parametrize("since", [[], [MESSAGE]])
async def test_a_reply_that_the_server_did_not_continue_is_aborted(since: list[Any]) -> None:
    """Its message is not there, or nothing runs and nothing has ended; no event comes of it."""
    cut = {"info": {**INFO, "time": {"created": 101}}, "parts": [WHOLE]}
    server = Server({"message": [*since, *([cut] if since else [])]})
    async with conducting(server, SHORT) as (_, run, conductor, _):
        assert await conductor.take_up(since) == []
    assert [end[:2] for end in ending(run)] == [("failed", "ABORTED")]


async def test_an_ask_that_was_taken_up_can_be_answered() -> None:
    """Answers are taken before another event comes."""
    ask = {"id": "per_1", "sessionID": SESSION, "permission": "bash", "tool": {"messageID": MODEL}}
    server = Server(
        {
            "message": [MESSAGE, {"info": {**INFO, "time": {"created": 101}}, "parts": []}],
            "status": {SESSION: {"type": "busy"}},
            "permission": [ask],
            "reply": True,
        }
    )
    async with conducting(server, LONG) as (inbox, run, conductor, answers):
        (asked,) = await conductor.take_up([MESSAGE])
        assert plain(asked)[:2] == ("ask", "per_1")
        answers.put_nowait(AnswerRequest(ask_id="per_1", answers=["once"]))
        events = asyncio.create_task(said(run, conductor))
        async with asyncio.timeout(10):
            while "/permission/per_1/reply" not in server.asked:  # noqa: ASYNC110 - another task
                await asyncio.sleep(0)
        replied = event("permission.replied", requestID="per_1", reply="once")
        fill(inbox, replied, *DONE)
        assert await events == [("closed", "per_1", ["once"]), ("completed", 0, 0)]


# -- commands ------------------------------------------------------------------------------------


class Commanding(Server):
    """A server whose command takes until `go_on` is set, and then has this status."""

    def __init__(self, status: int) -> None:
        super().__init__({})
        self.status = status
        self.go_on = asyncio.Event()
        self.checked = asyncio.Event()
        """Set when the state was asked for more often than a prompt may leave doubt."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.asked.count("/session/status") > 2 * SHORT.doubts:
            self.checked.set()
        if request.path.endswith("/command"):
            await self.go_on.wait()
            return web.json_response({}, status=self.status)
        return await super().answer(request)


async def test_a_command_may_prepare_its_message_for_longer_than_a_prompt_may_take() -> None:
    """A prompt without any sign of a reply fails after `doubts` checks."""
    server = Commanding(200)
    async with conducting(server, SHORT) as (inbox, run, conductor, _):
        conductor._run_command({"command": "c"})
        reply = asyncio.create_task(said(run, conductor))
        await server.checked.wait()
        fill(inbox, *BEGUN, text("p"), delta("p", "hi"), text("p", "hi"), *DONE)
        assert await reply == [("token", "hi"), ("completed", 0, 0)]


async def test_a_command_that_the_server_refuses_fails_with_its_reason() -> None:
    """The reason comes as an event; without one, the status says what can be said."""
    for events, message in (
        ([], "the OpenCode server failed"),
        ([error("UnknownError", "no such thing")], "no such thing"),
    ):
        server = Commanding(500)
        server.go_on.set()
        async with conducting(server, LONG) as (inbox, _, conductor, _):
            fill(inbox, *events)
            conductor._run_command({"command": "c"})
            with pytest.raises(Failure) as caught:
                async for _ in conductor.events():
                    pass
        assert caught.value.message == message


async def test_a_lost_call_of_a_command_does_not_end_a_reply_that_has_begun() -> None:
    """The events tell what becomes of it."""
    server = Commanding(500)
    async with conducting(server, LONG) as (inbox, run, conductor, _):
        conductor._run_command({"command": "c"})
        fill(inbox, *BEGUN, text("p"), delta("p", "hi"))
        events = conductor.events()
        assert plain(await anext(events)) == ("token", "hi")
        server.go_on.set()
        assert conductor._command is not None
        await conductor._command
        assert conductor._refusal is not None
        fill(inbox, text("p", "hi"), *DONE)
        assert [event async for event in events] == []
        assert isinstance(run.end, ChatCompleted)
