"""Recordings of real servers (`tools/record_streams.py`) give one reply however they are cut.

Each recording goes through the backend over a socket: whole, byte by byte, and

* in pieces of SHORT bytes after a first piece of each length, so that each byte begins a piece;
* in two pieces, cut at each multiple of LONG, so that many events come with a part of the next.

The servers' versions are those in that script.
"""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from actors import Failure
from callboard.v1.chat_pb2 import ChatCompleted, StopReason
from callboard_service.backends.openai.completion import NO_REASON
from tests.support.conversing import text_of
from tests.support.openai.scripted_server import Exchange, Script, ScriptedServer, scripted
from tests.support.openai.talk import Talk, talking

SHORT, LONG = 31, 101
"""Longer pieces take more answers, each of which costs more than the pieces that it saves."""

RECORDED = Path(__file__).parent / "recorded"


@dataclass(frozen=True)
class Whole:
    """A reply: its text, why it ended, and its tokens (0: the server does not say)."""

    text: str
    reason: "StopReason.ValueType"
    tokens: tuple[int, int] = (0, 0)
    detail: str = ""


@dataclass(frozen=True)
class Refusal:
    """A failure: its code, words of the server that it contains, and whether it is retryable."""

    code: str
    words: str
    retryable: bool = False


END_TURN = StopReason.STOP_REASON_END_TURN
MAX_TOKENS = StopReason.STOP_REASON_MAX_TOKENS
CONTEXT_FULL = StopReason.STOP_REASON_CONTEXT_FULL
UNSPECIFIED = StopReason.STOP_REASON_UNSPECIFIED

EXPECTED: dict[str, Whole | Refusal] = {
    "llama.cpp/length": Whole("Hello there!", MAX_TOKENS, (33, 3)),
    "llama.cpp/stop": Whole("Hello there", END_TURN, (33, 3)),
    "llama.cpp/too-long": Refusal(
        "INVALID_ARGUMENT", "request (1531 tokens) exceeds the available context size (512 tokens)"
    ),
    "llama.cpp/context-full": Whole('The original sentence is "', CONTEXT_FULL, (507, 5)),
    # Two replies share its cache, which is full before either of them ends.
    "llama.cpp/cache-full": Refusal("INVALID_ARGUMENT", "Context size has been exceeded."),
    "llama-cpp-python/length": Whole("Hello there!", MAX_TOKENS),
    "llama-cpp-python/stop": Whole("Hello there", END_TURN),
    # It sends an empty body.
    "llama-cpp-python/too-long": Refusal(
        "UNAVAILABLE", "the conversation may be too long for it", retryable=True
    ),
    # It reports neither the size of its context nor the number of tokens.
    "llama-cpp-python/context-full": Whole("The answer is:\n", MAX_TOKENS),
    # It drops a reply as soon as another one is asked for.
    "llama-cpp-python/interrupted": Whole("The story of a", UNSPECIFIED, detail=NO_REASON),
    "transformers/length": Whole("Hello there!", MAX_TOKENS, (33, 3)),
    "transformers/stop": Whole("Hello there!", END_TURN, (33, 3)),
    "transformers/unknown-model": Refusal(
        "INVALID_ARGUMENT", "Server is pinned to 'smollm2'; requested 'no-such-model'."
    ),
    "litellm/length": Whole("Hello there!", MAX_TOKENS, (33, 3)),
    "litellm/stop": Whole("Hello there", END_TURN, (33, 3)),
    "litellm/too-long": Refusal(
        "INVALID_ARGUMENT", "request (1531 tokens) exceeds the available context size (512 tokens)"
    ),
    "litellm/unknown-model": Refusal(
        "INVALID_ARGUMENT", "Invalid model name passed in model=no-such-model."
    ),
    # It has no database to look the key up in.
    "litellm/wrong-key": Refusal("UNAUTHENTICATED", "No connected db."),
}


def recording(name: str) -> bytes:
    return (RECORDED / f"{name}.http").read_bytes()


def pieces_of(data: bytes, first: int, size: int) -> list[bytes]:
    """Cut data after the first bytes, and then after each `size` bytes."""
    return [data[:first], *(data[at : at + size] for at in range(first, len(data), size))]


def sending(*pieces: bytes) -> Script:
    """Return a script that sends these pieces, with turns of the event loop to read each one."""

    async def script(exchange: Exchange) -> None:
        for piece in pieces:
            await exchange.send(piece)
            for _ in range(3):
                await asyncio.sleep(0)

    return script


async def outcome(talk: Talk, server: ScriptedServer, *pieces: bytes) -> Whole | Refusal:
    """Return what the backend makes of an answer in these pieces, in a new conversation."""
    server.will(*[sending(*pieces)] * 5)
    await talk.renew()
    events: list[Any] = []
    try:
        async for event in talk.send():
            events.append(event)  # noqa: PERF401 - kept when it raises
    except Failure as failure:
        assert not any(isinstance(event, ChatCompleted) for event in events)
        return Refusal(failure.code.value, failure.message, failure.retryable)
    end = events[-1]
    assert isinstance(end, ChatCompleted)
    tokens = (end.input_tokens, end.output_tokens)
    return Whole(text_of(events), end.stop_reason, tokens, end.stop_detail)


def test_every_recording_is_replayed() -> None:
    names = {str(path.relative_to(RECORDED).with_suffix("")) for path in RECORDED.glob("*/*.http")}
    assert {name for name in names if not name.endswith("/models")} == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
async def test_a_recording_gives_the_same_reply_however_it_is_cut(
    name: str, tmp_path: Path
) -> None:
    data = recording(name)
    async with scripted() as server:
        server.models = sending(recording(f"{name.partition('/')[0]}/models"))
        async with talking(tmp_path, server.url) as talk:
            first, expected = await outcome(talk, server, data), EXPECTED[name]
            if isinstance(first, Refusal) and isinstance(expected, Refusal):
                assert expected.words in first.words
                expected = replace(expected, words=first.words)
            assert first == expected
            assert await outcome(talk, server, *pieces_of(data, 1, 1)) == first
            for length in range(1, SHORT + 1):
                assert await outcome(talk, server, *pieces_of(data, length, SHORT)) == first, length
            for cut in range(LONG, len(data), LONG):
                assert await outcome(talk, server, data[:cut], data[cut:]) == first, cut
