"""The codec agrees with protobuf's own encoder and decoder."""

from collections.abc import AsyncIterator

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given
from hypothesis import strategies as st

from actors import Code, DuplexActor, Failure, Notice, Registry, RequestActor
from actors.protocol.frames import (
    Ack,
    Cancel,
    Completed,
    Credit,
    GoingAway,
    Grant,
    Inform,
    Input,
    Ping,
    Pong,
    Request,
    Sealed,
    Violation,
)
from callboard.v1 import chat_pb2, session_pb2
from callboard.v1.envelope_pb2 import ClientMessage, ServerMessage
from transport.errors import NotProtobuf
from transport.wire.calls import SHAPES
from transport.wire.codec import Wire
from transport.wire.framing import binary_header, payload_of
from transport.wire.varint import varint

UINT64 = st.integers(0, 2**64 - 1)
UINT32 = st.integers(0, 2**32 - 1)
TEXT = st.text(max_size=300)

ARMS = {
    "session_list": st.builds(
        chat_pb2.SessionList, sessions=st.lists(st.builds(chat_pb2.SessionInfo, id=TEXT))
    ),
    "session_info": st.builds(
        chat_pb2.SessionInfo,
        id=TEXT,
        title=TEXT,
        created_at=st.builds(Timestamp, seconds=st.integers(0, 10**9)),
    ),
    "session_deleted": st.builds(chat_pb2.SessionDeleted, session_id=TEXT),
    "history": st.builds(
        chat_pb2.History,
        entries=st.lists(st.builds(chat_pb2.HistoryEntry, id=TEXT, user_text=TEXT)),
        more=st.booleans(),
    ),
    "token": st.builds(chat_pb2.ChatToken, text=TEXT),
    "completed": st.builds(chat_pb2.ChatCompleted, input_tokens=UINT32, output_tokens=UINT32),
    "reasoning": st.builds(chat_pb2.ReasoningToken, text=TEXT),
    "tool_call": st.builds(chat_pb2.ToolCallEvent, call_id=TEXT, name=TEXT),
    "tool_result": st.builds(chat_pb2.ToolResultEvent, output=TEXT, is_error=st.booleans()),
    "ask": st.builds(chat_pb2.AskEvent, ask_id=TEXT, options=st.lists(TEXT)),
    "ask_closed": st.builds(chat_pb2.AskClosed, ask_id=TEXT, answers=st.lists(TEXT)),
    "session_changed": st.builds(chat_pb2.SessionChanged, deleted=TEXT),
    "option_list": st.builds(
        chat_pb2.OptionList, options=st.lists(st.builds(chat_pb2.SessionOption, id=TEXT))
    ),
    "command_list": st.builds(
        chat_pb2.CommandList, commands=st.lists(st.builds(chat_pb2.Command, name=TEXT))
    ),
    "event": st.builds(chat_pb2.ConversationEvent, token=st.builds(chat_pb2.ChatToken, text=TEXT)),
    "turn": st.builds(chat_pb2.TurnInfo, id=TEXT, text=TEXT, place=UINT32),
    "usage": st.builds(chat_pb2.UsageEvent, context_used=UINT64, currency=TEXT),
    "uploaded": st.builds(chat_pb2.Uploaded, upload_id=TEXT, sha256=st.binary()),
    "chunk": st.builds(chat_pb2.UploadChunk, data=st.binary()),
    "tool_progress": st.builds(chat_pb2.ToolProgressEvent, call_id=TEXT, output=TEXT),
    "plan": st.builds(
        chat_pb2.PlanEvent, entries=st.lists(st.builds(chat_pb2.PlanEntry, text=TEXT))
    ),
    "welcome": st.builds(session_pb2.Welcome, session=TEXT, resume_token=st.binary()),
}


class Echo(RequestActor[Duration, Duration]):
    async def handle(self, request: Duration) -> Duration:
        return request


class Say(RequestActor[StringValue, StringValue]):
    async def handle(self, request: StringValue) -> StringValue:
        return request


class Last(DuplexActor[Empty, Timestamp, Timestamp]):
    async def handle(
        self, request: Empty, inputs: AsyncIterator[Timestamp]
    ) -> AsyncIterator[Timestamp]:
        async for item in inputs:
            yield item


@pytest.fixture(scope="module")
def wire() -> Wire:
    registry = Registry()
    registry.register(Duration, Echo)
    registry.register_duplex(Empty, Timestamp, Last)
    return Wire(registry)


@given(UINT64)
def test_a_varint_is_encoded_as_protobuf_does(number: int) -> None:
    expected = ServerMessage(request_id=number).SerializeToString()
    assert (b"\x08" + varint(number) if number else b"") == expected


@given(st.data(), st.sampled_from(sorted(ARMS)), UINT64, UINT64, st.booleans())
def test_an_answer_with_an_arm_is_encoded_as_protobuf_does(
    wire: Wire, data: st.DataObject, arm: str, request_id: int, sequence: int, end: bool
) -> None:
    answer: Message = data.draw(ARMS[arm])
    expected = ServerMessage(request_id=request_id, sequence=sequence, end=end)
    getattr(expected, arm).CopyFrom(answer)
    getattr(expected, arm).SetInParent()
    message = expected.SerializeToString()
    frame = binary_header(len(message)) + message
    assert wire.encode(request_id, sequence, end, answer) == frame


def test_every_arm_of_the_contract_is_tried_above() -> None:
    said_otherwise = {"credit", "going_away", "pong", "error", "notice", "reply"}
    arms = {field.name for field in ServerMessage.DESCRIPTOR.oneofs_by_name["payload"].fields}
    assert arms == set(ARMS) | said_otherwise


@given(st.builds(Duration, seconds=st.integers(0, 10**9)), UINT64, UINT64, st.booleans())
def test_an_answer_without_an_arm_goes_in_reply(
    wire: Wire, answer: Duration, request_id: int, sequence: int, end: bool
) -> None:
    packed = AnyMessage()
    packed.Pack(answer)
    expected = ServerMessage(request_id=request_id, sequence=sequence, end=end, reply=packed)
    message = expected.SerializeToString()
    frame = binary_header(len(message)) + message
    assert wire.encode(request_id, sequence, end, answer) == frame


def test_frames_of_the_session_itself_are_encoded(wire: Wire) -> None:
    def said(*arguments: object) -> ServerMessage:
        return ServerMessage.FromString(payload_of(wire.encode(*arguments)))  # type: ignore[arg-type]  # below

    failure = Failure(Code.NOT_FOUND, "no such city", retryable=True, retry_after_ms=7)
    assert said(1, 2, True, failure).error == chat_pb2.ChatError(
        message="no such city", code="NOT_FOUND", retryable=True, retry_after_ms=7
    )
    assert said(1, 2, False, Notice("wait", 3)).notice == chat_pb2.ChatNotice(
        message="wait", discard_tokens=3
    )
    assert said(1, 2, True, Completed()).WhichOneof("payload") == "completed"
    assert said(1, 2, False, Grant(7)).credit == session_pb2.Credit(limit=7)
    assert said(0, 0, False, Pong(9)).pong.nonce == 9
    assert said(0, 0, False, GoingAway("bye", 5)).going_away.reconnect_after_ms == 5
    with pytest.raises(TypeError, match="int"):
        said(1, 2, False, 3)


@given(UINT64, UINT32)
def test_every_kind_of_client_message_is_a_frame(
    wire: Wire, number: int, milliseconds: int
) -> None:
    def decoded(**payload: object) -> object:
        envelope = ClientMessage(request_id=number, timeout_ms=milliseconds)
        for arm, value in payload.items():
            getattr(envelope, arm).CopyFrom(value)
            getattr(envelope, arm).SetInParent()
        return wire.decode(envelope.SerializeToString())

    assert decoded(ack=session_pb2.Ack(sequence=5)) == Ack(5)
    assert decoded(credit=session_pb2.Credit(limit=5)) == Credit(number, 5)
    assert decoded(ping=session_pb2.Ping(nonce=5)) == Ping(5)
    assert decoded(cancel=chat_pb2.CancelRequest()) == Cancel(number)
    answer = chat_pb2.AnswerRequest(ask_id="a", answers=["b"])
    answered = decoded(answer=answer)
    assert isinstance(answered, Inform)
    assert (answered.request_id, answered.about) == (number, "a")
    assert isinstance(answered.payload, Sealed)
    assert answered.payload.open() == answer
    assert decoded(hello=session_pb2.Hello()) == Violation(4500, "a second Hello")
    assert decoded() == Request(number, 0, None)
    for arm, request in (
        ("list_sessions", chat_pb2.ListSessionsRequest()),
        ("create_session", chat_pb2.CreateSessionRequest(title="t")),
        ("delete_session", chat_pb2.DeleteSessionRequest(session_id="s")),
        ("get_history", chat_pb2.GetHistoryRequest(session_id="s", limit=3)),
        ("send_message", chat_pb2.SendMessageRequest(session_id="s", text="t")),
    ):
        assert decoded(**{arm: request}) == Request(number, milliseconds, request)


def test_a_call_is_unpacked_by_its_type_name(wire: Wire) -> None:
    def called(type_url: str, value: bytes) -> object:
        envelope = ClientMessage(request_id=1, call=AnyMessage(type_url=type_url, value=value))
        frame = wire.decode(envelope.SerializeToString())
        assert isinstance(frame, Request)
        return frame.payload

    known = "type.googleapis.com/google.protobuf.Duration"
    assert called(known, Duration(seconds=3).SerializeToString()) == Duration(seconds=3)
    assert called("type.googleapis.com/no.Such", b"") is None
    assert called("", b"") is None
    broken = called(known, b"\xff")
    assert isinstance(broken, Failure)
    assert broken.code is Code.INVALID_ARGUMENT


def test_an_input_is_unpacked_by_its_type_name(wire: Wire) -> None:
    def informed(number: int, last: bool, payload: AnyMessage | None) -> Input:
        given = session_pb2.Input(number=number, last=last, payload=payload)
        frame = wire.decode(ClientMessage(request_id=1, input=given).SerializeToString())
        assert isinstance(frame, Inform)
        assert isinstance(frame.payload, Input)
        return frame.payload

    known = "type.googleapis.com/google.protobuf.Timestamp"
    value = Timestamp(seconds=3)
    packed = AnyMessage(type_url=known, value=value.SerializeToString())
    good = informed(7, False, packed)
    assert (good.number, good.last) == (7, False)
    assert isinstance(good.payload, Sealed)
    assert good.payload.kind is Timestamp
    assert good.payload.open() == value
    assert informed(8, True, None) == Input(8, None, last=True)
    unknown = informed(1, False, AnyMessage(type_url="no.Such")).payload
    assert isinstance(unknown, Failure)
    assert unknown.code is Code.INVALID_ARGUMENT
    broken = informed(1, False, AnyMessage(type_url=known, value=b"\xff")).payload
    assert isinstance(broken, Sealed)
    with pytest.raises(Failure, match="INVALID_ARGUMENT"):
        broken.open()


def cut_or_changed(data: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy for these bytes, a prefix of them, or them with one byte changed."""
    places = st.integers(0, max(0, len(data) - 1))
    changed = st.builds(
        lambda place, byte: data[:place] + bytes((byte,)) + data[place + 1 :],
        places,
        st.integers(0, 255),
    )
    return st.one_of(st.just(data), places.map(lambda place: data[:place]), changed)


NEARLY = st.one_of(
    st.builds(
        ClientMessage,
        hello=st.builds(session_pb2.Hello, token=TEXT, resume=st.builds(session_pb2.Resume)),
    ),
    st.builds(
        ClientMessage, request_id=UINT64, send_message=st.builds(chat_pb2.SendMessageRequest)
    ),
    st.builds(ClientMessage, request_id=UINT64, credit=st.builds(session_pb2.Credit, limit=UINT64)),
).flatmap(lambda message: cut_or_changed(message.SerializeToString()))


@given(st.one_of(st.binary(max_size=200), NEARLY))
def test_any_bytes_are_taken_as_protobuf_takes_them(wire: Wire, data: bytes) -> None:
    frame, hello = wire.decode(data), wire.greeting(data)
    try:
        envelope = ClientMessage.FromString(data)
    except DecodeError:
        assert frame == Violation(4500, "not a ClientMessage")
        assert hello is None
        return
    arm = envelope.WhichOneof("payload")
    assert hello == (envelope.hello if arm == "hello" else None)
    assert isinstance(frame, Violation) == (arm == "hello")


def test_a_registered_message_that_is_not_protobufs_is_refused() -> None:
    class Plain:
        def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
            return b""

        def ByteSize(self) -> int:  # noqa: N802 - protobuf's name
            return 0

    class Answer(RequestActor[Plain, Plain]):
        async def handle(self, request: Plain) -> Plain:
            return request

    registry = Registry()
    registry.register(Plain, Answer)
    with pytest.raises(NotProtobuf, match="Plain"):
        Wire(registry)


def call_of(request_id: int, duration: Duration) -> bytes:
    packed = AnyMessage()
    packed.Pack(duration)
    return ClientMessage(request_id=request_id, call=packed).SerializeToString()


@given(UINT64, st.builds(Duration, seconds=st.integers(-(10**11), 10**11)))
def test_the_fast_path_of_a_call_reads_what_protobuf_reads(
    wire: Wire, request_id: int, duration: Duration
) -> None:
    assert wire.decode(call_of(request_id, duration)) == Request(request_id, 0, duration)


def test_calls_of_more_sizes_than_are_remembered_are_read_all_the_same() -> None:
    registry = Registry()
    registry.register(StringValue, Say)
    wire = Wire(registry)
    for size in (*range(1, 2 * SHAPES), 1):
        said = StringValue(value="x" * size)
        packed = AnyMessage()
        packed.Pack(said)
        data = ClientMessage(request_id=size, call=packed).SerializeToString()
        assert wire.decode(data) == wire.decode(data) == Request(size, 0, said)


@given(st.data(), st.integers(1, 2**22))
def test_the_fast_path_of_a_call_is_taken_for_nothing_else(
    wire: Wire, data: st.DataObject, request_id: int
) -> None:
    damaged = bytearray(call_of(request_id, Duration(seconds=10**9)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(1, len(damaged)))])
    assert wire.decode(cut) == wire._decode_any(cut)
