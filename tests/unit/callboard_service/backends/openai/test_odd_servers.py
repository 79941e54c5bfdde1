"""Odd servers, one row each: what they send, and the reply that results. Add new ones as rows."""

import asyncio
import json
from typing import Any

import pytest

from callboard.v1.chat_pb2 import (
    ChatCompleted,
    ChatNotice,
    ChatToken,
    ReasoningToken,
    StopReason,
    ToolCallEvent,
)
from callboard_service.backends.openai.api import OpenAITimeouts
from tests.support.conversing import text_of
from tests.support.openai.scripted_server import Exchange, Script, ScriptedServer, refusing, saying
from tests.support.openai.talk import Talk, talking

SSE = "text/event-stream"
BAD = "INVALID_ARGUMENT"


def chunk(content: Any = "", reason: str | None = None, **fields: Any) -> dict[str, Any]:
    delta = {"content": content} if content else {}
    return {"choices": [{"index": 0, "delta": {**delta, **fields}, "finish_reason": reason}]}


def data(*values: Any, end: bytes = b"\n\n") -> bytes:
    return b"".join(b"data: " + json.dumps(value).encode() + end for value in values)


DONE = b"data: [DONE]\n\n"


def stream(*pieces: bytes, kind: str = SSE) -> Script:
    """Return a script that answers with these bytes and their Content-Length."""
    return refusing(200, b"".join(pieces), kind)


def cut(*pieces: bytes) -> Script:
    """Return a script that streams these bytes and then closes the connection."""

    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        for piece in pieces:
            await exchange.raw(piece)
        exchange.writer.close()

    return script


WHOLE = {
    "choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]
}
HEL, LO = data(chunk("Hel")), data(chunk("lo", "stop"))
REPEATED = {"choices": [{"delta": {}, "message": {"content": "Hello"}, "finish_reason": "stop"}]}
HELLO = data(chunk("Hel"), chunk("lo"), chunk(reason="stop")) + DONE


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("B4: a reason with each chunk", stream(data(chunk("Hel", "stop")), LO, DONE)),
        ("B5: empty data", stream(HEL, b"data:\n\n", LO, DONE)),
        ("B5: a ping that is no JSON", stream(HEL, b"event: ping\ndata: ping\n\n", LO, DONE)),
        ("B6: labelled as JSON", stream(HELLO, kind="application/json")),
        ("B6: labelled as a page", stream(HELLO, kind="text/html")),
        ("B6: without a label", stream(HELLO, kind="")),
        ("B6: whole, labelled as a stream", refusing(200, WHOLE, SSE)),
        ("B6: whole, labelled as a problem", refusing(200, WHOLE, "application/problem+json")),
        ("B6: with a byte order mark", stream(b"\xef\xbb\xbf" + HELLO)),
        ("B7: no empty line at the end", stream(HEL, data(chunk("lo", "stop"), end=b""))),
        (
            "B8: the whole message beside an empty delta",
            stream(HEL, data(chunk("lo")), data(REPEATED), DONE),
        ),
        (
            "B15: a header of 9,000 bytes",
            refusing(200, HELLO, SSE, X_Policy="x" * 9000),
        ),
    ],
)  # fmt: skip
async def test_a_whole_reply(server: ScriptedServer, talk: Talk, name: str, script: Script) -> None:
    server.will(script)
    events = await talk.all()
    assert text_of(events) == "Hello"
    assert events[-1].stop_reason == StopReason.STOP_REASON_END_TURN
    assert len(server.chats) == 1
    assert await talk.kept() == ["hi", "> Hello"]


@pytest.mark.parametrize(
    ("name", "script", "reason", "detail"),
    [
        ("B3", stream(data(chunk("Hello", "MAX_TOKENS")), DONE), "MAX_TOKENS", ""),
        ("B3", stream(data(chunk("Hello", "model_length")), DONE), "CONTEXT_FULL", ""),
        ("B3", stream(data(chunk("Hello", "odd")), DONE), "UNSPECIFIED", "odd"),
        (
            "B16: [DONE] without a reason",
            stream(data(chunk("Hello")), DONE),
            "UNSPECIFIED",
            "the model server gave no reason for the end of the reply",
        ),
    ],
)
async def test_a_reply_whose_end_says_why(
    server: ScriptedServer, talk: Talk, name: str, script: Script, reason: str, detail: str
) -> None:
    """The last event of a reply has the server's reason, and so has the history."""
    server.will(script)
    completed = (await talk.all())[-1]
    assert isinstance(completed, ChatCompleted)
    assert StopReason.Name(completed.stop_reason) == f"STOP_REASON_{reason}"
    assert completed.stop_detail == detail
    assert (await talk.entries())[-1].completed == completed


async def refused(
    server: ScriptedServer, talk: Talk, script: Script, end: tuple[str, bool], words: str
) -> list[Any]:
    """Ask once, and check that the reply fails with this end; return the events before it."""
    server.will(script)
    failure, events = await talk.failure()
    assert (failure.code.value, failure.retryable) == end
    assert words in failure.message
    assert len(server.chats) == 1
    return events


TOO_LONG = {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}


@pytest.mark.parametrize(
    ("name", "script", "code", "retryable", "words"),
    [
        (
            "B3: an error in a choice",
            stream(HEL, data({"choices": [{"error": {"message": "boom", "code": 502}}]})),
            "UNAVAILABLE", True, ": boom",
        ),
        *(
            (f"B3: {reason}", stream(HEL, data(chunk(reason=reason))), "UNAVAILABLE", True, reason)
            for reason in ("error", "network_error", "insufficient_system_resource")
        ),
        (
            "B12: an error without data:",
            stream(HEL, b'{"error": {"message": "boom", "code": 429}}\n\n'),
            "RESOURCE_EXHAUSTED", True, ": boom",
        ),
        (
            "B12: the same over several lines, cut at the end",
            stream(HEL, b'{\n "error": {\n  "message": "boom",\n  "code": 401\n }\n}'),
            "UNAUTHENTICATED", False, ": boom",
        ),
        ("B16: the connection drops", cut(HEL), "UNAVAILABLE", True, "broke off the reply"),
        ("B17: llama.cpp", stream(HEL, data({"error": TOO_LONG})), BAD, False, "exceeded."),
        (
            "B17: transformers",
            stream(HEL, data({"error": "the prompt is too long for the model"})),
            BAD, False, "too long for the model",
        ),
    ],
)  # fmt: skip
async def test_a_reply_that_breaks_off_keeps_what_was_said(
    server: ScriptedServer, talk: Talk,
    name: str, script: Script, code: str, retryable: bool, words: str,
) -> None:  # fmt: skip
    events = await refused(server, talk, script, (code, retryable), words)
    assert text_of(events) == "Hel"
    assert await talk.kept() == ["hi", "> Hel", f"! {code}"]


@pytest.mark.parametrize(
    ("name", "script", "code", "retryable", "words"),
    [
        ("B12: a list", refusing(400, [{"error": {"message": "boom"}}]), BAD, False, ": boom"),
        (
            "B12: base_resp",
            refusing(200, {"base_resp": {"status_code": 1004, "status_msg": "login fail"}}),
            "UNAUTHENTICATED", False, ": login fail",
        ),
        ("B12: msg", refusing(200, {"code": 401, "msg": "no"}), "UNAUTHENTICATED", False, ": no"),
        ("B12: errors", refusing(422, {"errors": [{"message": "boom"}]}), BAD, False, ": boom"),
        ("B12: text", refusing(400, b"boom boom", "text/plain"), BAD, False, ": boom boom"),
        ("B18: nothing at all", stream(b""), "UNAVAILABLE", True, "may be too long"),
        ("B18: just [DONE]", stream(DONE), "UNAVAILABLE", True, "may be too long"),
    ],
)  # fmt: skip
async def test_a_refusal_is_in_the_servers_own_words_and_not_tried_again(
    server: ScriptedServer, talk: Talk,
    name: str, script: Script, code: str, retryable: bool, words: str,
) -> None:  # fmt: skip
    assert await refused(server, talk, script, (code, retryable), words) == []


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("B18: just a role, then cut", cut(data(chunk(role="assistant")))),
        ("B18: a role and empty content, then cut", cut(data(chunk(role="assistant", content="")))),
    ],
)
async def test_a_stream_that_is_cut_before_any_content_is_tried_again(
    server: ScriptedServer, talk: Talk, name: str, script: Script
) -> None:
    server.will(script, saying("Hello"))
    events = await talk.all()
    assert isinstance(events[0], ChatNotice)
    assert text_of(events) == "Hello"


@pytest.mark.parametrize(
    "refusal",
    [
        refusing(400, [{"error": {"message": "Unknown name \"stream_options\""}}]),
        refusing(400, {"message": ["property stream_options should not exist"]}),
        refusing(422, {"message": {"detail": {"include_usage": "extra"}}}),
        refusing(400, b"stream_options: not permitted", "text/plain"),
        refusing(400, {"error": {"message": "x" * 900 + " stream_options"}}),
    ],
)  # fmt: skip
async def test_b11_a_server_that_knows_no_stream_options(
    server: ScriptedServer, talk: Talk, refusal: Script
) -> None:
    server.will(refusal, saying("Hello", usage=None))
    assert text_of(await talk.all()) == "Hello"
    assert "stream_options" not in server.chats[-1].body


async def test_b4_words_that_follow_a_reason_late_are_waited_for(
    server: ScriptedServer, tmp_path: Any
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.delta("stop", content="Hel")
        await late.wait()
        await exchange.delta("stop", content="lo")
        await exchange.raw(DONE)
        await exchange.send(b"0\r\n\r\n")

    late = asyncio.Event()
    server.will(script)
    async with talking(
        tmp_path, server.url, patience=OpenAITimeouts(farewell=0.0, doubt=60.0)
    ) as talk:
        events = []
        async for event in talk.send():
            events.append(event)
            late.set()
    assert text_of(events) == "Hello"


async def test_b9_and_b14_thoughts_in_parts_and_arguments_as_an_object(
    server: ScriptedServer, talk: Talk
) -> None:
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
    parts = [*thinking, {"type": "text", "text": "Yes"}]
    call = {"index": 0, "id": "a", "function": {"name": "read", "arguments": {"path": "a.txt"}}}
    server.will(
        stream(data(chunk(content=parts), chunk(tool_calls=[call]), chunk(reason="stop")), DONE)
    )
    reasoning, token, tool, _ = await talk.all()
    assert (reasoning, token) == (ReasoningToken(text="hm"), ChatToken(text="Yes"))
    assert isinstance(tool, ToolCallEvent)
    assert dict(tool.arguments) == {"path": "a.txt"}


async def test_b20_a_model_that_is_loaded_is_waited_for_and_said_once(
    server: ScriptedServer, talk: Talk
) -> None:
    loading = refusing(503, {"error": {"message": "Loading model", "code": 503}})
    server.will(*[loading] * 30, saying("Hello"))
    events = await talk.all()
    assert text_of(events) == "Hello"
    notices = [event.message for event in events if isinstance(event, ChatNotice)]
    assert len(notices) == 1
    assert "Loading model" in notices[0]
    assert sum(talk.pauses) > 60


async def test_b20_what_a_proxy_says_is_handed_on(server: ScriptedServer, talk: Talk) -> None:
    words = "No deployments available for selected model, Try again in 5 seconds"
    busy = refusing(429, {"error": {"message": words, "code": "429"}})
    server.will(*[busy] * 3, saying("Hello"))
    events = await talk.all()
    assert words in events[0].message
    assert text_of(events) == "Hello"


async def test_b21_the_end_of_a_long_text_is_kept_and_keys_are_not(
    server: ScriptedServer, talk: Talk
) -> None:
    text = (
        f"litellm.BadRequestError: {'x ' * 400}api_key=sk-abcdef123456 Bearer abc.def.ghi the cause"
    )
    server.will(refusing(400, {"error": {"message": text}}))
    failure, _ = await talk.failure()
    assert "litellm.BadRequestError" in failure.message
    assert failure.message.endswith("the cause")
    assert "sk-abcdef" not in failure.message
    assert "abc.def" not in failure.message


@pytest.mark.parametrize("usage", [{"prompt_tokens": 11.0, "completion_tokens": 2.0},
                                   {"input_tokens": 11, "output_tokens": 2}])  # fmt: skip
@pytest.mark.parametrize("inside", [False, True])
async def test_b22_counts_wherever_they_are(
    server: ScriptedServer, talk: Talk, usage: dict[str, float], inside: bool
) -> None:
    last = chunk(reason="stop")
    (last["choices"][0] if inside else last)["usage"] = usage
    server.will(stream(data(chunk("Hello"), last), DONE))
    completed = (await talk.all())[-1]
    assert (completed.input_tokens, completed.output_tokens) == (11, 2)
