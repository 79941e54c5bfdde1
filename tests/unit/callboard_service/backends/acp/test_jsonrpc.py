"""Lines and messages of JSON-RPC, however they are cut and whatever comes between them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard_service.backends.acp.jsonrpc import (
    MAX_LINE,
    MAX_NOISE,
    LineSplitter,
    Message,
    Noise,
    Notification,
    Request,
    Result,
    Rpc,
    RpcError,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def line(**message: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"


def received(rpc: Rpc, data: bytes) -> list[Message]:
    return list(rpc.receive(data))


def cuts(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(
    st.lists(st.dictionaries(st.text(), json_values, max_size=3), max_size=5),
    st.lists(st.integers(min_value=0), max_size=20),
)
def test_messages_are_the_same_however_the_bytes_are_cut(
    params: list[dict[str, Any]], places: list[int]
) -> None:
    data = b"".join(line(method=f"m{n}", params=one) for n, one in enumerate(params))
    rpc = Rpc()
    messages = [message for piece in cuts(data, places) for message in rpc.receive(piece)]
    assert messages == [Notification(f"m{n}", one) for n, one in enumerate(params)]


@given(st.binary(max_size=200), st.lists(st.integers(min_value=0), max_size=10))
def test_any_bytes_are_lines_within_the_limit_or_noise(data: bytes, places: list[int]) -> None:
    splitter = LineSplitter(limit=16)
    lines = [one for piece in cuts(data, places) for one in splitter.feed(piece)]
    lines += splitter.feed(b"\n") if data[-1:] != b"\n" else ()
    whole = data.split(b"\n")[: -1 if data.endswith(b"\n") else None] if data else [b""]
    assert [None if isinstance(one, Noise) else one for one in lines] == [
        None if len(one) > 16 else one for one in whole
    ]


@given(st.binary(max_size=300))
def test_any_bytes_are_taken_without_an_error(data: bytes) -> None:
    for message in Rpc().receive(data + b"\n"):
        assert isinstance(message, Noise)


def test_rule_2_a_line_of_many_mebibytes_is_a_message() -> None:
    rpc = Rpc()
    data = line(method="session/update", params={"text": "x" * (8 * 1024 * 1024)})
    pieces = [data[start : start + 65536] for start in range(0, len(data), 65536)]
    messages = [message for piece in pieces for message in rpc.receive(piece)]
    assert [type(message) for message in messages] == [Notification]
    assert len(data) < MAX_LINE


def test_rule_2_a_longer_line_is_noise_and_the_next_one_is_read() -> None:
    rpc = Rpc(limit=5000)
    assert received(rpc, b"x" * 4000) == []
    assert received(rpc, b"y" * 4000) == [Noise("x" * MAX_NOISE)]
    assert received(rpc, b"z" * 4000 + b"\n" + line(method="m")) == [Notification("m", {})]


def test_rule_3_the_id_0_is_an_id_and_so_are_strings_and_null() -> None:
    rpc = Rpc()
    for request_id in (0, "a", None, 1.5):
        (request,) = received(rpc, line(id=request_id, method="session/request_permission"))
        assert request == Request(request_id, "session/request_permission", {})
        answer = json.loads(rpc.result(request.id, {"outcome": 1}))
        assert answer == {"jsonrpc": "2.0", "id": request_id, "result": {"outcome": 1}}
    assert isinstance(received(rpc, line(id=[], method="m"))[0], Noise)


def test_answers_are_told_apart_by_their_ids_and_come_once() -> None:
    rpc = Rpc()
    first, sent = rpc.request("initialize", {"protocolVersion": 1})
    assert json.loads(sent) == {
        "jsonrpc": "2.0", "id": first, "method": "initialize", "params": {"protocolVersion": 1},
    }  # fmt: skip
    second, _ = rpc.request("session/new", {})
    error = {"code": -32603, "message": "Internal error", "data": {"details": "why"}}
    answers = received(rpc, line(id=second, error=error) + line(id=first, result=None))
    assert answers == [
        RpcError(second, -32603, "Internal error", {"details": "why"}),
        Result(first, {}),
    ]
    assert isinstance(received(rpc, line(id=first, result={}))[0], Noise)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"error": "a text"}, RpcError(1, 0, "a text", None)),
        ({"error": {"code": "x", "message": 5}}, RpcError(1, 0, "", None)),
        ({"error": {"code": 401.0, "message": "no"}}, RpcError(1, 401, "no", None)),
        ({"error": {"code": True}}, RpcError(1, 0, "", None)),
    ],
)
def test_an_odd_error_is_an_error(answer: dict[str, Any], error: RpcError) -> None:
    rpc = Rpc()
    rpc.request("m", {})
    assert received(rpc, line(id=1, **answer)) == [error]


@pytest.mark.parametrize(
    "odd",
    [
        b"Loading the model...\n",
        b"[]\n",
        b'[{"jsonrpc": "2.0", "method": "m"}]\n',
        b'{"jsonrpc": "2.0", "id": 7, "result": {}}\n',
        b'{"jsonrpc": "2.0", "id": true, "result": {}}\n',
        b'{"jsonrpc": "2.0", "id": 1}\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b'{"id": ' + b"9" * 5000 + b', "method": "m"}\n',
    ],
)
def test_what_is_no_message_is_bounded_noise(odd: bytes) -> None:
    rpc = Rpc()
    rpc.request("m", {})
    (noise,) = received(rpc, odd)
    assert isinstance(noise, Noise)
    assert len(noise.line) <= MAX_NOISE


def test_blank_lines_and_returns_are_nothing() -> None:
    rpc = Rpc()
    assert received(rpc, b"\n\r\n  \n") == []
    assert received(rpc, b'{"method": "m"}\r\n') == [Notification("m", {})]


def test_notifications_and_refusals_are_encoded_on_one_line() -> None:
    rpc = Rpc()
    sent = rpc.notification("session/cancel", {"sessionId": "a\nb"})
    assert sent.count(b"\n") == 1
    assert json.loads(sent)["params"] == {"sessionId": "a\nb"}
    refused = json.loads(rpc.refusal(0, -32601, "Method not found"))
    assert refused["error"] == {"code": -32601, "message": "Method not found"}
