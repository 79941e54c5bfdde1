"""The token is found in a first message of any content."""

from hypothesis import given
from hypothesis import strategies as st

from callboard.v1.envelope_pb2 import ClientMessage
from callboard.v1.session_pb2 import Hello
from transport.server.authentication import MAX_BYTES, shown_token


@given(st.text(), st.text(), st.integers(0, 2**32 - 1))
def test_the_token_is_what_protobuf_reads(token: str, name: str, version: int) -> None:
    hello = Hello(token=token, client_name=name, protocol_version=version)
    assert shown_token(ClientMessage(hello=hello).SerializeToString()) == token.encode()


@given(st.binary(max_size=300))
def test_whatever_else_comes_is_none_or_bytes(data: bytes) -> None:
    shown = shown_token(data)
    assert shown is None or shown in data


def test_the_last_token_counts_as_in_protobuf() -> None:
    data = b"\x1a\x03\x0a\x01a" + b"\x1a\x06\x0a\x01b\x0a\x01c"
    assert shown_token(data) == b"c"
    assert ClientMessage.FromString(data).hello.token == "c"


def test_anything_but_a_hello_has_no_token() -> None:
    assert shown_token(b"") is None
    assert shown_token(ClientMessage(request_id=1).SerializeToString()) is None
    assert shown_token(b"\x1a\x02\x0a") is None
    assert shown_token(b"\x1a\x01\x0a") is None
    assert shown_token(b"\x18\x01") is None  # the field number of hello, with another wire type
    token = ClientMessage(hello=Hello(token="x" * MAX_BYTES))
    assert shown_token(token.SerializeToString()) is None


def test_a_token_that_is_no_text_is_a_token() -> None:
    assert shown_token(b"\x1a\x04\x0a\x02\xff\xfe") == b"\xff\xfe"
