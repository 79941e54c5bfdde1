"""The fuzz targets, on data from hypothesis: messages, damaged messages and any bytes."""

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard.v1 import chat_pb2, session_pb2
from callboard.v1.envelope_pb2 import ClientMessage
from tests.fuzz.targets import fuzz_greeting, fuzz_session, fuzz_wire

SMALL = st.integers(0, 12)
TEXT = st.text(max_size=20)
KNOWN = "type.googleapis.com/callboard.v1.ServiceStatusRequest"


def envelope(**arm: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    made = st.builds(ClientMessage, request_id=SMALL, timeout_ms=st.integers(0, 2**32 - 1), **arm)
    return made.map(ClientMessage.SerializeToString)


MESSAGES = st.one_of(
    envelope(),
    envelope(hello=st.builds(session_pb2.Hello, token=TEXT, client_name=TEXT)),
    envelope(ack=st.builds(session_pb2.Ack, sequence=st.integers(0, 2**64 - 1))),
    envelope(credit=st.builds(session_pb2.Credit, limit=st.integers(0, 2**64 - 1))),
    envelope(ping=st.builds(session_pb2.Ping, nonce=SMALL)),
    envelope(cancel=st.builds(chat_pb2.CancelRequest)),
    envelope(answer=st.builds(chat_pb2.AnswerRequest, ask_id=TEXT)),
    envelope(send_message=st.builds(chat_pb2.SendMessageRequest, text=TEXT)),
    envelope(list_sessions=st.builds(chat_pb2.ListSessionsRequest)),
    envelope(
        call=st.builds(
            AnyMessage,
            type_url=st.sampled_from([KNOWN, "x/y", "", "/", "callboard.v1.Hello"]),
            value=st.binary(max_size=10),
        )
    ),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A message with a piece cut out, doubled or overwritten."""
    data: bytes = draw(MESSAGES)
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, len(data)))
    return data[:start] + draw(st.sampled_from([b"", data[start:end] * 2, b"\xff"])) + data[end:]


BYTES = st.one_of(MESSAGES, damaged(), st.binary(max_size=100))


@st.composite
def steps(draw: st.DrawFn) -> bytes:
    """Data for the target `session`."""
    parts = []
    for _ in range(draw(st.integers(0, 60))):
        data = draw(BYTES)[:255]
        parts += [bytes((draw(st.integers(0, 255)), len(data))), data]
    return b"".join(parts)


@given(BYTES)
@settings(max_examples=200, deadline=None)
def test_the_wire(data: bytes) -> None:
    fuzz_wire(data)


@given(BYTES)
@settings(max_examples=200, deadline=None)
def test_the_first_message(data: bytes) -> None:
    fuzz_greeting(data)


@given(steps())
@settings(max_examples=60, deadline=None)
def test_the_session(data: bytes) -> None:
    fuzz_session(data)
