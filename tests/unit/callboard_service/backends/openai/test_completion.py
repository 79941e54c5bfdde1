from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from callboard.v1.chat_pb2 import (
    ChatCompleted,
    ChatToken,
    ReasoningToken,
    StopReason,
    ToolCallEvent,
    UsageEvent,
)
from callboard_service.backends.openai import completion as module
from callboard_service.backends.openai.completion import Completion
from callboard_service.backends.openai.refusals import Refusals, Refused


def make() -> Completion:
    return Completion(Refusals("", lambda: 0.0))


def delta(reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]}


def take(*chunks: dict[str, Any]) -> tuple[Completion, list[Any]]:
    completion = make()
    return completion, [event for chunk in chunks for event in completion.take(chunk)]


def ending(completion: Completion) -> list[Any]:
    return list(completion.end())


def called(*deltas: Any) -> list[tuple[str, str, Any]]:
    completion, _ = take(*(delta(tool_calls=each) for each in deltas), delta("tool_calls"))
    events = [event for event in ending(completion) if isinstance(event, ToolCallEvent)]
    return [(event.call_id, event.name, dict(event.arguments)) for event in events]


def call(arguments: str = "", **fields: Any) -> dict[str, Any]:
    name = fields.pop("name", None)
    return {**fields, "function": {"arguments": arguments, "name": name}}


def test_text_reasoning_usage() -> None:
    completion, events = take(
        delta(role="assistant", content=None),
        delta(reasoning_content="hm"),
        delta(reasoning="so", content=None),
        delta(reasoning="twice", reasoning_content="twice"),
        delta(content="He"),
        delta(content="llo"),
        delta("stop"),
        {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 2}},
    )
    assert events == [
        *(ReasoningToken(text=text) for text in ("hm", "so", "twice")),
        ChatToken(text="He"),
        ChatToken(text="llo"),
    ]
    assert completion.finished
    usage, completed = completion.end(4096)
    assert usage == UsageEvent(context_used=13, context_size=4096)
    assert isinstance(completed, ChatCompleted)
    assert (completed.input_tokens, completed.output_tokens) == (11, 2)


@pytest.mark.parametrize(
    "chunk",
    [
        {},
        {"choices": None},
        {"choices": "x"},
        {"choices": []},
        {"choices": [None]},
        {"choices": [{}]},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": {"content": 7, "tool_calls": [None, {}, {"function": 1}]}}]},
        {"choices": [{"delta": {}, "finish_reason": 3}], "usage": {"prompt_tokens": "many"}},
        {"usage": {"prompt_tokens": True, "completion_tokens": -1}},
        {"type": "of another API", "data": [1]},
    ],
)
def test_a_chunk_of_no_known_form_says_nothing(chunk: dict[str, Any]) -> None:
    completion, events = take(chunk)
    assert events == []
    assert not completion.finished
    completed = ending(completion)[-1]
    assert (completed.input_tokens, completed.output_tokens) == (0, 0)


def test_counts_beyond_the_contract_are_capped_at_its_largest() -> None:
    completion, _ = take({"usage": {"prompt_tokens": 10**12, "completion_tokens": 1}})
    assert ending(completion)[-1].input_tokens == 2**32 - 1


def test_a_pair_cut_in_two_is_one_letter_and_a_lone_half_is_replaced() -> None:
    completion, events = take(
        delta(content="a\ud83d"), delta(content="\ude00b"), delta(content="\ude00c\ud83d")
    )
    assert [event.text for event in events] == ["a", "😀b", "�c"]
    assert ending(completion)[0] == ChatToken(text="�")


def test_refusal_and_parts_are_text() -> None:
    _, events = take(
        delta(refusal="I will not."),
        delta(content=[{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}]),
    )
    assert [event.text for event in events] == ["I will not.", "ab"]


@pytest.mark.parametrize(
    ("reason", "known", "detail"),
    [
        ("stop", StopReason.STOP_REASON_END_TURN, ""),
        ("tool_calls", StopReason.STOP_REASON_END_TURN, ""),
        ("length", StopReason.STOP_REASON_MAX_TOKENS, ""),
        ("content_filter", StopReason.STOP_REASON_CONTENT_FILTER, ""),
        ("of its own accord\ud800", StopReason.STOP_REASON_UNSPECIFIED, "of its own accord\ufffd"),
    ],
)
def test_a_reply_says_why_it_ended(reason: str, known: "StopReason.ValueType", detail: str) -> None:
    completion, _ = take(delta(content="x"), delta(reason))
    (completed,) = ending(completion)
    assert isinstance(completed, ChatCompleted)
    assert (completed.stop_reason, completed.stop_detail) == (known, detail)


def test_an_empty_finish_reason_ends_nothing() -> None:
    completion, _ = take(delta("", content="x"))
    assert not completion.finished


def test_tool_calls_in_pieces_and_side_by_side() -> None:
    assert called(
        [call(index=0, id="a", name="read")],
        [call('{"pa', index=0)],
        [call(index=1, id="b", name="list"), call('th": "x"}', index=0)],
        [call("not json", index=1)],
    ) == [("a", "read", {"path": "x"}), ("b", "list", {"arguments": "not json"})]


def test_tool_calls_as_other_servers_send_them() -> None:
    # Whole, all with the index 0; without an index; without an id; with the id at the end.
    assert called([call("{}", index=0, id="a", name="x")], [call("{}", index=0, id="b")]) == [
        ("a", "x", {}),
        ("b", "", {}),
    ]
    assert called([call("{}", id="a"), call("{}", id="b")]) == [("a", "", {}), ("b", "", {})]
    assert called([call('{"n"', name="x")], [call(": 1}")]) == [("call-1", "x", {"n": 1.0})]
    assert called([call("{", name="x")], [call("}", id="late")]) == [("late", "x", {})]


def test_an_answer_that_is_not_streamed() -> None:
    message = {"role": "assistant", "content": "Hello", "tool_calls": [call("{}", id="a")]}
    completion, events = take(
        {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {}}
    )
    assert events == [ChatToken(text="Hello")]
    assert ending(completion)[0] == ToolCallEvent(call_id="a", arguments=Struct())


@pytest.mark.parametrize(
    "chunk",
    [
        {"error": {"message": "m", "code": 503}},
        {"error": {"message": "m", "code": "503"}},
        {"error": "m"},
        {"object": "error", "message": "m", "code": 500},
        {"choices": [{"delta": {"content": "x"}}], "error": {"message": "m"}},
    ],
)
def test_an_error_object_ends_the_reply(chunk: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        take(chunk)
    assert (caught.value.code.value, caught.value.retryable) == ("UNAVAILABLE", True)
    assert caught.value.message.endswith(": m")


def test_nothing_grows_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TEXT", 100)
    monkeypatch.setattr(module, "MAX_ARGUMENTS", 100)
    monkeypatch.setattr(module, "MAX_CALLS", 10)
    for kind in ("content", "refusal", "reasoning", "reasoning_content"):
        for text in ("x" * 30, "é" * 15, "😀" * 7 + "é"):
            with pytest.raises(Refused, match="longer than 100 bytes") as ended:
                take(*[delta(**{kind: text})] * 4)
            assert (ended.value.code.value, ended.value.retryable) == ("RESOURCE_EXHAUSTED", False)
            take(*[delta(**{kind: text})] * 3)
    with pytest.raises(Refused, match="tool calls that are too long"):
        take(*[delta(tool_calls=[call("x" * 30, index=0)])] * 4)
    for endless in (call(index=0, id="i" * 101), {"index": 0, "function": {"name": "n" * 101}}):
        with pytest.raises(Refused, match="tool calls that are too long"):
            take(delta(tool_calls=[endless]))
    with pytest.raises(Refused, match="more than 10 tool calls"):
        take(delta(tool_calls=[call(index=number, name="x") for number in range(11)]))


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        (0, StopReason.STOP_REASON_MAX_TOKENS),
        (101, StopReason.STOP_REASON_MAX_TOKENS),
        (100, StopReason.STOP_REASON_CONTEXT_FULL),
    ],
)
def test_b17_a_reply_that_fills_the_context_ends_for_that_reason(
    context: int, reason: "StopReason.ValueType"
) -> None:
    completion = make()
    completion.take({"choices": [{"delta": {"content": "hi"}, "finish_reason": "length"}]})
    completion.take({"choices": [], "usage": {"prompt_tokens": 90, "completion_tokens": 10}})
    (*_, end) = completion.end(context)
    assert isinstance(end, ChatCompleted)
    assert end.stop_reason == reason
