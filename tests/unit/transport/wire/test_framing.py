"""Server frames, read back by the `websockets` library's own parser."""

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from transport.wire.framing import PING, binary_header, payload_of, pong_frame


def binary_frames(messages: list[bytes]) -> bytes:
    return b"".join(binary_header(len(message)) + message for message in messages)


def parsed(data: bytes) -> list[Frame]:
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    frames = []
    while reader.buffer:
        step = Frame.parse(reader.read_exact, mask=False)
        try:
            next(step)
        except StopIteration as done:
            frames.append(done.value)
    return frames


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_binary_frames_are_what_a_client_reads(messages: list[bytes]) -> None:
    frames = parsed(binary_frames(messages))
    assert [bytes(frame.data) for frame in frames] == messages
    assert all(frame.opcode is Opcode.BINARY and frame.fin for frame in frames)


def test_each_length_field_at_its_bounds() -> None:
    messages = [bytes(size) for size in (0, 125, 126, 65535, 65536)]
    assert [len(frame.data) for frame in parsed(binary_frames(messages))] == [
        0,
        125,
        126,
        65535,
        65536,
    ]


@given(st.sampled_from([0, 1, 125, 126, 300, 65535, 65536]))
def test_the_payload_of_a_frame_is_found_again(size: int) -> None:
    message = bytes(size)
    assert payload_of(binary_frames([message])) == message


@given(st.binary(max_size=125))
def test_control_frames(payload: bytes) -> None:
    (ping,) = parsed(PING)
    assert (ping.opcode, bytes(ping.data)) == (Opcode.PING, b"")
    (pong,) = parsed(pong_frame(payload))
    assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, payload)
