"""Tool calls are assembled from pieces cut anywhere, with indexes and ids missing or wrong."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from callboard_service.backends.openai.tool_calls import ToolCalls, TooManyCalls


def assembled(deltas: list[dict[str, Any]]) -> list[tuple[str, str, Any]]:
    """Return the calls assembled from these pieces, one piece per chunk."""
    calls = ToolCalls(at_most=100, max_characters=100_000)
    for delta in deltas:
        calls.add([delta])
    events = calls.events()
    return [(event.call_id, event.name, MessageToDict(event.arguments)) for event in events]


def piece(arguments: Any = None, name: str = "", **fields: Any) -> dict[str, Any]:
    function = {"name": name or None, "arguments": arguments}
    return {**fields, "function": {key: value for key, value in function.items() if value}}


@pytest.mark.parametrize(
    ("deltas", "calls"),
    [
        # arguments as an object (ggml-org/llama.cpp#20198)
        ([piece({"path": "a.txt"}, "read", id="a")], [("a", "read", {"path": "a.txt"})]),
        # two calls with the same index and no ids
        (
            [
                piece('{"x": 1}', "one", index=0),
                piece('{"y"', "two", index=0),
                piece(": 2}", index=0),
            ],
            [("call-1", "one", {"x": 1.0}), ("call-2", "two", {"y": 2.0})],
        ),
        # the same function twice, whole, with the same index and no ids
        (
            [piece('{"x": 1}', "one", index=0), piece('{"x": 2}', "one", index=0)],
            [("call-1", "one", {"x": 1.0}), ("call-2", "one", {"x": 2.0})],
        ),
        # another id on each piece
        (
            [piece(None, "one", id="a"), piece('{"x"', id="b"), piece(": 1}", id="c")],
            [("a", "one", {"x": 1.0})],
        ),
        # another index on each piece
        (
            [piece(None, "one", index=0), piece('{"x"', index=1), piece(": 1}", index=2)],
            [("call-1", "one", {"x": 1.0})],
        ),
        # the name with each piece
        (
            [piece('{"x"', "one", index=0, id="a"), piece(": 1}", "one", index=0, id="a")],
            [("a", "one", {"x": 1.0})],
        ),
        # the id first, then the name
        (
            [piece(index=0, id="a"), piece(None, "one", index=0), piece("{}", index=0)],
            [("a", "one", {})],
        ),
        (
            [
                piece("{}", "one", index=0, id="a"),
                piece(index=1, id="b"),
                piece("{}", "two", index=1),
            ],
            [("a", "one", {}), ("b", "two", {})],
        ),
    ],
)
def test_calls_as_servers_send_them(
    deltas: list[dict[str, Any]], calls: list[tuple[str, str, Any]]
) -> None:
    assert assembled(deltas) == calls


def ordered(call: tuple[str, dict[str, Any]]) -> str:
    return json.dumps(call, sort_keys=True)


@dataclass(frozen=True)
class Style:
    """How a server sends calls."""

    index: str
    id: str
    name: str
    mixed: bool


def is_decidable(style: Style) -> bool:
    """Return whether it can be decided which pieces belong together."""
    if style.mixed:
        return style.index == "right" and style.id != "of each piece"
    if style.name == "with each piece":
        return style.index != "of each piece" and style.id != "of each piece"
    return True


STYLES = st.builds(
    Style,
    st.sampled_from(["right", "none", "always 0", "of each piece"]),
    st.sampled_from(["first piece", "with each piece", "none", "always the same", "of each piece"]),
    st.sampled_from(["first piece", "with each piece"]),
    st.booleans(),
).filter(is_decidable)

ARGUMENTS = st.dictionaries(
    st.text(max_size=4), st.one_of(st.text('{}[]",\\a', max_size=6), st.integers(0, 9)), max_size=3
)


@given(
    STYLES,
    st.lists(st.tuples(st.sampled_from(["read", "write"]), ARGUMENTS), min_size=1, max_size=4),
    st.data(),
)
def test_any_split_of_any_calls(
    style: Style, calls: list[tuple[str, dict[str, Any]]], data: st.DataObject
) -> None:
    streams: list[list[dict[str, Any]]] = []
    count = 0
    for number, (name, arguments) in enumerate(calls):
        text = json.dumps(arguments, ensure_ascii=data.draw(st.booleans()))
        cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=3)))
        texts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        stream = []
        for place, part in enumerate(filter(None, texts)):
            fields: dict[str, Any] = {}
            if style.index != "none":
                fields["index"] = {"right": number, "always 0": 0, "of each piece": count}[
                    style.index
                ]
            if style.id != "none" and (place == 0 or style.id != "first piece"):
                same = {"always the same": "same", "of each piece": f"piece-{count}"}
                fields["id"] = same.get(style.id, f"id-{number}")
            named = place == 0 or style.name == "with each piece"
            stream.append(piece(part, name if named else "", **fields))
            count += 1
        streams.append(stream)
    deltas = []
    while any(streams):
        left = [stream for stream in streams if stream]
        deltas.append((data.draw(st.sampled_from(left)) if style.mixed else left[0]).pop(0))
    found = [(name, arguments) for _, name, arguments in assembled(deltas)]
    wanted = [
        (name, {k: float(v) if isinstance(v, int) else v for k, v in arguments.items()})
        for name, arguments in calls
    ]
    if style.mixed:  # in the order in which they began
        assert sorted(map(ordered, found)) == sorted(map(ordered, wanted))
    else:
        assert found == wanted


@given(st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["index", "id", "function", "name", "arguments"]), inner, max_size=4
        ),
    ),
))  # fmt: skip
def test_nothing_that_a_server_sends_is_a_fault_of_ours(value: object) -> None:
    calls = ToolCalls(at_most=3, max_characters=50)
    try:
        calls.add(value)
        calls.add([value, value])
    except TooManyCalls:
        return
    assert len(calls.events()) <= 3


def test_calls_are_bounded() -> None:
    with pytest.raises(TooManyCalls, match="more than 3 tool calls"):
        ToolCalls(3, 1000).add([piece("{}", f"n{number}", index=number) for number in range(4)])
    for endless in (piece("x" * 51), piece(None, "n" * 51), piece(None, "n", id="i" * 51)):
        with pytest.raises(TooManyCalls, match="too long"):
            ToolCalls(3, 50).add([endless])


def test_a_chunk_that_repeats_what_is_known_says_nothing() -> None:
    calls = ToolCalls(3, 1000)
    assert calls.add([piece("{", "one", index=0, id="a")])
    assert not calls.add([piece(None, "one", index=0, id="a")])
    assert not calls.add(None)
    assert calls.add([piece("}", index=0)])
