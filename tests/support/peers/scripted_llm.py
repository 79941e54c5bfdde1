"""A scripted language model: an OpenAI-compatible server for tests.

A user message is a script, made by `script`. It has the steps for each turn; the model is asked
again after tool calls. A step can wait for the test to call `go`, but never for time to pass.

    with ScriptedLLM() as llm:
        text = script([think("hm"), call("read", filePath="a.txt")], [say("done")])

A message that is not a script gets "Understood."; a request without tools (OpenCode asks for a
title of the conversation that way) gets "A title".
"""

import asyncio
import contextlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import uuid4

from aiohttp import web

from tests.support.peers.background import Background

Step: TypeAlias = Mapping[str, Any]

MODEL = "scripted-1"
INPUT_TOKENS, OUTPUT_TOKENS = 11, 7

_BEGIN = "script:"
_EARLIER = re.compile(r"\[Earlier messages .*\[End of the earlier messages\]", re.DOTALL)
_REMINDER = "<system-reminder>"


def say(*pieces: str) -> Step:
    """Send text in these pieces."""
    return {"say": pieces}


def think(*pieces: str) -> Step:
    """Send reasoning in these pieces."""
    return {"think": pieces}


def call(name: str, **arguments: Any) -> Step:
    """Call a tool; all calls of one turn are made together."""
    return {"call": name, "arguments": arguments}


def fail(status: int, times: int = 1_000_000, **headers: str) -> Step:
    """Respond this many times with this HTTP status; `_` in a header's name becomes `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"fail": status, "times": times, "headers": named}


def cut(times: int = 1) -> Step:
    """Cut the connection, this many times."""
    return {"cut": times}


def wait(name: str) -> Step:
    """Continue when the test calls `go(name)`."""
    return {"wait": name}


def script(*turns: Sequence[Step]) -> str:
    """Make a user message that makes the model do this; each message is unique."""
    return _BEGIN + json.dumps({"id": uuid4().hex, "turns": turns})


@dataclass
class Asked:
    """One request to the model; `ended` is set when its response is complete or abandoned."""

    body: Any
    authorization: str
    text: str
    ended: threading.Event = field(default_factory=threading.Event)
    abandoned: bool = False

    @property
    def tool_results(self) -> list[str]:
        """The results of tools, as the model received them."""
        return [_text(m["content"]) for m in self.body["messages"] if m["role"] == "tool"]

    async def end(self, seconds: float = 20.0) -> bool:
        """Wait for the end; return False if it does not come in time."""
        return await asyncio.to_thread(self.ended.wait, seconds)


class ScriptedLLM:
    """The server, on a free port."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.url = ""
        self.title = "A title"
        self.scripts: dict[str, Sequence[Sequence[Step]]] = {}
        """What the model does, by a text that the user's message contains."""
        self.titles_wait_for = ""
        """Titles that are asked for from now on wait for this name; empty: for nothing."""
        self._times: Counter[str] = Counter()
        self._gates: dict[str, asyncio.Event] = {}
        self._background = Background()

    def __enter__(self) -> "ScriptedLLM":
        self._background.__enter__()
        self._background.run(self._start())
        return self

    def __exit__(self, *error: Any) -> None:
        self._background.run(self._runner.cleanup())
        self._background.__exit__(None, None, None)

    def go(self, name: str) -> None:
        """Let the model continue where it waits for this name."""
        self._background.loop.call_soon_threadsafe(lambda: self._gate(name).set())

    def about(self, text: str) -> list[Asked]:
        """Return the requests that this user message led to."""
        return [asked for asked in self.asked if text in asked.text]

    def _gate(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())

    async def _start(self) -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        # The handler is cancelled as soon as its client leaves.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/v1"

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        messages = body["messages"]
        last = max((n for n, m in enumerate(messages) if _is_of_user(m)), default=0)
        text = _text(messages[last]["content"])
        turn = sum(message["role"] == "assistant" for message in messages[last:])
        asked = Asked(body, request.headers.get("Authorization", ""), text)
        if not body.get("tools"):
            held = [wait(self.titles_wait_for)] if self.titles_wait_for else []
            steps: Sequence[Step] = [*held, say(self.title)]
        else:
            self.asked.append(asked)
            given = next((turns for key, turns in self.scripts.items() if key in text), None)
            steps = _steps(text, turn) if given is None else given[turn]
        try:
            return await self._answer(request, asked, steps, f"{text}:{turn}")
        except (asyncio.CancelledError, ConnectionError):
            asked.abandoned = True
            raise
        finally:
            asked.ended.set()

    async def _answer(
        self, request: web.Request, asked: Asked, steps: Sequence[Step], key: str
    ) -> web.StreamResponse:
        for step in steps:
            if "fail" in step and self._once_more(f"fail:{key}", step["times"]):
                message = f"scripted failure {step['fail']}"
                return web.json_response(
                    {"error": {"message": message, "type": "scripted"}},
                    status=step["fail"],
                    headers=step["headers"],
                )
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        stream = _Stream(response)
        await stream.delta(role="assistant", content="")
        calls = 0
        for step in steps:
            if "cut" in step and self._once_more(f"cut:{key}", step["cut"]):
                assert request.transport is not None
                request.transport.abort()
                return response
            if "wait" in step:
                await self._gate(step["wait"]).wait()
            if "call" in step:
                await stream.call(calls, step["call"], json.dumps(step["arguments"]))
                calls += 1
            for piece in step.get("think", ()):
                await stream.delta(reasoning_content=piece)
            for piece in step.get("say", ()):
                await stream.delta(content=piece)
        await stream.finish("tool_calls" if calls else "stop")
        return response

    def _once_more(self, key: str, times: int) -> bool:
        self._times[key] += 1
        return self._times[key] <= times


class _Stream:
    """A response, sent as chunks of a chat completion."""

    def __init__(self, response: web.StreamResponse) -> None:
        self._response = response
        self._head = {"id": uuid4().hex, "object": "chat.completion.chunk", "model": MODEL}

    async def chunk(self, delta: Mapping[str, Any], reason: str | None, **more: Any) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        data = json.dumps({**self._head, **more, "choices": [choice]})
        await self._response.write(f"data: {data}\n\n".encode())

    async def delta(self, **delta: Any) -> None:
        await self.chunk(delta, None)

    async def call(self, index: int, name: str, arguments: str) -> None:
        """Send the name first, then the arguments in two halves, as servers do."""
        function = {"name": name, "arguments": ""}
        head = {"index": index, "id": f"call_{uuid4().hex[:12]}", "type": "function"}
        await self.delta(tool_calls=[{**head, "function": function}])
        middle = len(arguments) // 2
        for half in (arguments[:middle], arguments[middle:]):
            await self.delta(tool_calls=[{"index": index, "function": {"arguments": half}}])

    async def finish(self, reason: str) -> None:
        total = INPUT_TOKENS + OUTPUT_TOKENS
        usage = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS}
        await self.chunk({}, reason, usage={**usage, "total_tokens": total})
        await self._response.write(b"data: [DONE]\n\n")
        await self._response.write_eof()


def _is_of_user(message: Any) -> bool:
    """Return whether a message is a user's, and not one that the agent adds."""
    text = _text(message["content"])
    added = text.startswith(_REMINDER) and _BEGIN not in text
    return message["role"] == "user" and not added


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or [])


def _steps(text: str, turn: int) -> Sequence[Step]:
    # The last script counts: Qwen sends a message that failed again, before the next one. One that
    # is within another is quoted, and cannot be decoded. The text of earlier messages is left out.
    text = _EARLIER.sub("", text)
    begin = text.rfind(_BEGIN)
    while begin >= 0:
        with contextlib.suppress(ValueError):
            turns: Sequence[Sequence[Step]] = json.JSONDecoder().raw_decode(
                text[begin + len(_BEGIN) :]
            )[0]["turns"]
            return turns[turn] if turn < len(turns) else [say("Nothing more.")]
        begin = text.rfind(_BEGIN, 0, begin)
    return [say("Understood.")]


@contextlib.contextmanager
def scripted_llm() -> Iterator[ScriptedLLM]:
    """Run a model for the duration of the block."""
    with ScriptedLLM() as llm:
        yield llm
