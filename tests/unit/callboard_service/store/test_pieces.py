"""The output of a running turn, in pieces, becomes entries."""

from callboard.v1.chat_pb2 import AskEvent, HistoryEntry, ToolCallEvent, ToolResultEvent
from callboard_service.store.pieces import Piece, joined
from tests.support.store_kit import assistant


def reasoning(text: str) -> HistoryEntry:
    return HistoryEntry(reasoning_text=text)


def call(call_id: str, title: str) -> HistoryEntry:
    return HistoryEntry(tool_call=ToolCallEvent(call_id=call_id, title=title))


def result(call_id: str) -> HistoryEntry:
    return HistoryEntry(tool_result=ToolResultEvent(call_id=call_id, output="done"))


def shown(*pieces: Piece) -> list[str]:
    """What the entries say."""
    said = []
    for entry in joined(pieces):
        kind = entry.WhichOneof("entry") or ""
        value = getattr(entry, kind)
        said.append(f"{kind[0]}:{value if isinstance(value, str) else value.call_id}")
    return said


def test_neighbouring_texts_of_one_kind_are_joined() -> None:
    """Text, reasoning and calls keep their order, and neighbours of one kind are one entry."""
    pieces = [reasoning("a"), reasoning("b"), assistant("c"), assistant("d"), call("1", "")]
    assert shown(*pieces, assistant("e"), reasoning("f")) == [
        "r:ab", "a:cd", "t:1", "a:e", "r:f"
    ]  # fmt: skip


def test_a_cut_shortens_the_text_alone_and_over_all_its_pieces() -> None:
    """A cut counts the bytes of the turn's whole text and leaves reasoning and calls."""
    first = [assistant("abc"), call("1", ""), assistant("def"), reasoning("why"), assistant("gh")]
    assert shown(*first, 4) == ["a:abc", "t:1", "a:d", "r:why"]
    second = [assistant("abc"), reasoning("why"), assistant("def")]
    assert shown(*second, 2, assistant("x"), 3, assistant("y")) == ["a:ab", "r:why", "a:xy"]
    assert shown(assistant("abc"), 3, 9) == ["a:abc"]
    assert shown(assistant("abc"), 0) == []


def test_texts_that_a_cut_makes_neighbours_are_joined() -> None:
    """An emptied text between two others leaves no trace."""
    assert shown(reasoning("a"), assistant("gone"), 0, reasoning("b")) == ["r:ab"]


def test_a_cut_leaves_whole_characters() -> None:
    """A cut inside a character removes it."""
    assert shown(assistant("aé"), 2) == ["a:a"]
    assert shown(assistant("é"), 1, assistant("b")) == ["a:b"]


def test_the_latest_version_of_a_call_takes_the_place_of_the_first() -> None:
    """A later call with the same id replaces the earlier one where that one stands."""
    made = joined([call("1", "old"), call("2", "other"), result("1"), call("1", "new")])
    titles = [entry.tool_call.title for entry in made if entry.HasField("tool_call")]
    assert titles == ["new", "other"]
    assert len(made) == 3


def test_asks_are_kept_as_they_are() -> None:
    """An ask is neither joined nor replaced."""
    ask = HistoryEntry(ask=AskEvent(ask_id="1"))
    assert joined([ask, assistant("a"), ask]) == [ask, assistant("a"), ask]


def test_many_pieces_take_time_in_proportion() -> None:
    """A long reply in many small pieces, each followed by a cut, is joined without copying it."""
    pieces: list[Piece] = []
    for number in range(20_000):
        pieces += [assistant("abcdef"), 6 * number + 3]
    (entry,) = joined(pieces)
    assert len(entry.assistant_text) == 6 * 19_999 + 3
