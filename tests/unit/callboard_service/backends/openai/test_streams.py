"""Streams of arbitrary content, cut into arbitrary reads."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import Failure
from callboard.v1.chat_pb2 import ChatCompleted, ChatToken, ReasoningToken
from callboard_service.backends.openai.answer import Answer
from callboard_service.backends.openai.completion import Chunk, Completion
from callboard_service.backends.openai.quick import token_in
from callboard_service.backends.openai.refusals import Refusals

REFUSALS = Refusals("", lambda: 0.0)


class Content:
    """The body of an answer, in these pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def read(self, _count: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


class Response:
    """The part of an aiohttp response that `Answer` uses."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.content = Content([piece for piece in pieces if piece])

    def close(self) -> None: ...

    def release(self) -> None: ...


def read(*pieces: bytes) -> tuple[list[Any], Failure | None]:
    """Read an answer in these pieces as the backend does; return its events and its failure."""

    async def reply() -> tuple[list[Any], Failure | None]:
        answer = Answer(Response(list(pieces)), REFUSALS)  # type: ignore[arg-type]  # all it uses
        completion, events = Completion(REFUSALS), []
        try:
            while (chunk := await answer.next(60.0)) is not None:
                events += completion.take(chunk)
                if completion.failure is not None:
                    raise completion.failure
            if not completion.finished and answer.broken is not None:
                raise answer.broken
            if not completion.said:
                raise REFUSALS.empty()
        except Failure as failure:
            return events, failure
        return [*events, *completion.end()], None

    return asyncio.run(reply())


def whole(events: list[Any]) -> list[Any]:
    """Join adjacent tokens, so that the events do not depend on where a text is cut."""
    joined: list[Any] = []
    for event in events:
        kind = type(event)
        if joined and kind in (ChatToken, ReasoningToken) and type(joined[-1]) is kind:
            joined[-1] = kind(text=joined[-1].text + event.text)
        else:
            joined.append(event)
    return joined


@st.composite
def chunks(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a chunk of a reply, or something like one."""
    text = st.text(max_size=5)
    delta = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "content": st.one_of(text, st.none(), st.integers(), st.just([{"text": "a"}])),
                "reasoning_content": text,
                "role": st.just("assistant"),
                "tool_calls": st.lists(
                    st.fixed_dictionaries(
                        {"function": st.just({"name": "f", "arguments": "{}"})},
                        optional={"index": st.integers(0, 2), "id": text},
                    ),
                    max_size=2,
                ),
            },
        )
    )  # fmt: skip
    choice = {"delta": delta, "finish_reason": draw(st.sampled_from([None, "", "stop", "error"]))}
    made: dict[str, Any] = {
        "choices": draw(st.sampled_from([[choice], [choice], [], None, [None]]))
    }
    if draw(st.integers(0, 9)) == 0:
        made["error"] = draw(st.sampled_from([{"message": "m"}, "m", [], {"code": 429}, ["x"], 7]))
    return made


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["error", "choices", "delta", "message", "code", "usage", "content"]),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=10,
)
LINES = st.one_of(
    chunks().map(lambda chunk: f"data: {json.dumps(chunk)}\n\n"),
    JSON.map(lambda value: f"data: {json.dumps(value)}\n\n"),
    JSON.map(lambda value: f"{json.dumps(value)}\n\n"),
    st.sampled_from(
        ["data: [DONE]\n\n", ": ping\n\n", "data:\n\n", "event: error\n", "id: 7\n", "\n"]
    ),
    st.text(max_size=20),
)


@given(chunks() | JSON)
def test_the_quick_decoder_takes_only_what_the_general_one_takes_for_one_token(value: Any) -> None:
    text = token_in(json.dumps(value).encode())
    if text:
        taken = Completion(REFUSALS).take(value)
        assert taken == [ChatToken(text=text)]


@given(st.lists(st.text("ab\u00e9\ud83d\ude00", max_size=3), max_size=6))
def test_texts_taken_alone_are_what_whole_chunks_are(texts: list[str]) -> None:
    quick, general = Completion(REFUSALS), Completion(REFUSALS)
    for text in filter(None, texts):
        chunk: Chunk = {"choices": [{"delta": {"content": text}}]}
        assert quick.take(text) == general.take(chunk)
        assert quick.said == general.said
    assert quick.end() == general.end()


@given(st.lists(LINES, max_size=6), st.binary(max_size=8), st.integers(0, 400))
def test_nothing_that_a_server_sends_is_a_fault_of_ours(
    lines: list[str], noise: bytes, place: int
) -> None:
    data = "".join(lines).encode(errors="replace")
    data = data[:place] + noise + data[place:]
    events, failure = read(data)
    if failure is None:
        assert isinstance(events[-1], ChatCompleted)
    else:
        assert failure.code.value != "INTERNAL"
        assert not any(isinstance(event, ChatCompleted) for event in events)


@given(st.lists(chunks(), max_size=5), st.sampled_from(["error", "network_error", "aborted"]))
def test_a_stream_that_says_that_it_failed_is_no_reply(
    before: list[dict[str, Any]], reason: str
) -> None:
    last = {"choices": [{"delta": {}, "finish_reason": reason}]}
    data = b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in [*before, last])
    _, failure = read(data + b"data: [DONE]\n\n")
    assert failure is not None


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=5), st.data())
def test_a_stream_that_is_cut_is_no_reply(words: list[str], data: st.DataObject) -> None:
    """It is cut before the chunk with the finish reason."""
    said = [{"choices": [{"delta": {"content": word}, "finish_reason": None}]} for word in words]
    stream = b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in said)
    cut = data.draw(st.integers(0, len(stream)))
    events, failure = read(stream[:cut])
    assert failure is not None
    assert failure.code.value == "UNAVAILABLE"
    assert "".join(words).startswith("".join(event.text for event in events))


@given(st.lists(LINES, max_size=5))
def test_where_a_stream_is_cut_into_reads_makes_no_difference(lines: list[str]) -> None:
    data = "".join(lines).encode(errors="replace")
    events, failure = read(data)
    for pieces in (
        [data[i : i + 1] for i in range(len(data))],
        [data[: len(data) // 2], data[len(data) // 2 :]],
    ):
        again, other = read(*pieces)
        assert whole(again) == whole(events)
        assert (other is None) == (failure is None)
        if other is not None and failure is not None:
            assert (other.code, other.message) == (failure.code, failure.message)


@pytest.mark.parametrize("text", ["data: {}", '{"choices": []}', "[]", "<html>", "", "  \n"])
def test_answers_that_say_nothing_are_no_reply(text: str) -> None:
    events, failure = read(text.encode())
    assert failure is not None
    assert events == []
