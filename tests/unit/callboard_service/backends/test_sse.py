from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callboard_service.backends.sse import (
    BARE,
    EventReader,
    EventTooLong,
    ServerEvent,
    single,
)


def read(*pieces: bytes, limit: int = 1000) -> list[ServerEvent]:
    reader = EventReader(limit)
    events = []
    for piece in pieces:
        reader.feed(piece)
        while event := reader.next():
            events.append(event)
    return events


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_are_read_with_any_line_ending(end: bytes) -> None:
    text = b"data: a\n\n: a comment\nevent: odd\ndata:b\ndata: c\nid: 7\n\ndata\n\n\ndata: d"
    assert read(text.replace(b"\n", end)) == [("", "a"), ("odd", "b\nc"), ("", "")]


def test_line_endings_may_be_split_and_mixed() -> None:
    assert read(b"data: a\r", b"\n", b"\n") == [("", "a")]


@given(st.lists(st.text(alphabet="ab:\né ", max_size=8), max_size=6), st.data())
def test_where_the_bytes_are_cut_makes_no_difference(texts: list[str], data: st.DataObject) -> None:
    lines = [[f"data: {line}" for line in text.split("\n")] for text in texts]
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    whole = "".join(end.join(event) + end * 2 for event in lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    edges = [0, *cuts, len(whole)]
    pieces = [whole[a:b] for a, b in pairwise(edges)]
    assert read(*pieces) == [("", text) for text in texts]


def test_nothing_is_parsed_before_it_is_asked_for() -> None:
    reader = EventReader()
    reader.feed(b"data: x\n\n" * 100)
    assert reader.next() == ("", "x")
    assert reader.buffered == 99 * 9


def test_a_line_without_end_is_refused_within_the_limit() -> None:
    reader = EventReader(1000)
    with pytest.raises(EventTooLong):
        for _ in range(100):
            reader.feed(b"x" * 100)
            assert reader.next() is None
            assert reader.buffered <= 1000


def test_a_long_line_is_scanned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = EventReader(10_000)
    reader.feed(b"data: ")
    for _ in range(50):
        reader.feed(b"x" * 100)
        assert reader.next() is None
        assert reader._scanned == reader.buffered
    reader.feed(b"\n\n")
    assert reader.next() == ("", "x" * 5000)


def test_an_event_of_too_many_lines_is_refused() -> None:
    with pytest.raises(EventTooLong):
        read(b"data: 0123456789\n" * 100)


def test_an_event_at_the_limit_is_read_and_invalid_utf8_is_replaced() -> None:
    assert read(b"data: \xff\xfeok\n\n", limit=10) == [("", "��ok")]


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_an_event_at_the_end_of_the_stream(end: str) -> None:
    reader = EventReader()
    reader.feed(f"data: a\n\ndata: last{end}".encode())
    assert reader.next() == ("", "a")
    assert [reader.end(), reader.end()] == [("", "last"), None]


def test_json_without_a_field_name() -> None:
    text = b'data: a\n\n{"error": 1}\n\ndata: b\n\n{\n  "error": {\n    "code": 2\n  }\n}\n\n'
    assert read(text) == [
        ("", "a"),
        (BARE, '{"error": 1}'),
        ("", "b"),
        (BARE, '{\n  "error": {\n    "code": 2\n  }\n}'),
    ]


def test_errors_of_the_old_llama_cpp() -> None:
    assert read(b'error: {"code":500}\n\n') == [("error", '{"code":500}')]


PIECES = st.lists(
    st.sampled_from([b"data: ", b"data:", b"event: x", b"{}", b"a", b"\n", b"\r", b"\n\n", b": c"]),
    max_size=8,
).map(b"".join)


@given(PIECES)
@example(b"data: a\n\n")
@example(b"data: a\nb\n\n")
def test_the_quick_ways_to_an_event_agree_with_the_reader(piece: bytes) -> None:
    reader, quick = EventReader(), EventReader()
    reader.feed(piece)
    quick.feed(piece)
    event, plain, alone = reader.next(), quick.plain(), single(piece)
    if plain is not None:
        assert event == ServerEvent("", plain.decode())
        assert quick.next() == reader.next()
    if alone is not None:
        assert event == ServerEvent("", alone.decode())
        assert reader.is_idle
