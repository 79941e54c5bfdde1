"""The output of a running turn, appended piece by piece until the turn ends."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, Literal, TypeAlias

from callboard.v1.chat_pb2 import AskClosed, HistoryEntry, ToolResultEvent
from callboard_service.store.transaction import Transaction

Piece: TypeAlias = HistoryEntry | int
"""An entry, or the number of bytes of UTF-8 to which the turn's text so far is cut back."""

TextKind: TypeAlias = Literal["assistant_text", "reasoning_text"]

CUT_OFF: Final = "The reply ended before the tool did. The tool may still be running."
"""The result of a tool call that was open when its turn was stopped, failed or was interrupted."""

_INSERT: Final = "INSERT INTO pieces (conversation, turn, keep, data) VALUES (?, ?, ?, ?)"
_SELECT: Final = "SELECT keep, data FROM pieces WHERE conversation = ? AND turn = ? ORDER BY id"


def insert_pieces(
    transaction: Transaction, conversation: int, turn_id: str, pieces: Sequence[Piece]
) -> None:
    """Append pieces to those of a turn."""
    values = [
        (conversation, turn_id, piece, None)
        if isinstance(piece, int)
        else (conversation, turn_id, None, piece.SerializeToString())
        for piece in pieces
    ]
    transaction.change_many(_INSERT, values)


def remove_pieces(transaction: Transaction, conversation: int, turn_id: str) -> None:
    """Remove the pieces of a turn."""
    sql = "DELETE FROM pieces WHERE conversation = ? AND turn = ?"
    transaction.change(sql, conversation, turn_id)


def entries_of_pieces(
    transaction: Transaction, conversation: int, turn_id: str
) -> list[HistoryEntry]:
    """Return the entries that the pieces of a turn make up."""
    return joined(_pieces(transaction, conversation, turn_id))


def _pieces(transaction: Transaction, conversation: int, turn_id: str) -> Iterator[Piece]:
    for keep, data in transaction.each(_SELECT, conversation, turn_id):
        yield HistoryEntry.FromString(data) if keep is None else int(keep)


def joined(pieces: Iterable[Piece]) -> list[HistoryEntry]:
    """Return the entries that pieces make up; the entries in `pieces` may be changed.

    Cuts are applied, neighbouring texts of one kind are joined, and a later tool call replaces an
    earlier one with its `call_id`, in the place of that one.
    """
    entries: list[HistoryEntry] = []
    calls: dict[str, HistoryEntry] = {}
    text = _Text()
    for piece in pieces:
        if isinstance(piece, int):
            text.cut(piece)
            continue
        if piece.HasField("tool_call"):
            earlier = calls.setdefault(piece.tool_call.call_id, piece)
            if earlier is not piece:
                earlier.tool_call.CopyFrom(piece.tool_call)
                continue
        elif piece.HasField("assistant_text"):
            text.add(piece)
        entries.append(piece)
    said = [entry for entry in entries if _text_kind(entry) is None or _text(entry)]
    made: list[HistoryEntry] = []
    for kind, group in groupby(said, key=_text_kind):
        if kind is None:
            made += group
        else:
            first, *others = group
            if others:
                setattr(first, kind, "".join(map(_text, (first, *others))))
            made.append(first)
    return made


def closings(entries: Sequence[HistoryEntry]) -> list[HistoryEntry]:
    """Return entries that close the tool calls and asks that `entries` leave open."""
    calls: dict[str, None] = {}
    asks: dict[str, None] = {}
    for entry in entries:
        match entry.WhichOneof("entry"):
            case "tool_call":
                calls[entry.tool_call.call_id] = None
            case "tool_result":
                calls.pop(entry.tool_result.call_id, None)
            case "ask":
                asks[entry.ask.ask_id] = None
            case "ask_closed":
                asks.pop(entry.ask_closed.ask_id, None)
            case _:
                pass
    results = (ToolResultEvent(call_id=one, output=CUT_OFF, is_error=True) for one in calls)
    return [
        *(HistoryEntry(tool_result=result) for result in results),
        *(HistoryEntry(ask_closed=AskClosed(ask_id=ask_id)) for ask_id in asks),
    ]


class _Text:
    """The texts of the assistant in a turn, and their length in bytes of UTF-8."""

    def __init__(self) -> None:
        self._entries: list[HistoryEntry] = []
        self._length = 0

    def add(self, entry: HistoryEntry) -> None:
        self._entries.append(entry)
        self._length += len(entry.assistant_text.encode())

    def cut(self, keep: int) -> None:
        """Cut the texts, taken together, back to `keep` bytes, and to whole characters."""
        while self._length > keep:
            last = self._entries.pop()
            encoded = last.assistant_text.encode()
            self._length -= len(encoded)
            last.assistant_text = encoded[: max(keep - self._length, 0)].decode(errors="ignore")
            if last.assistant_text:
                self.add(last)
                return


def _text_kind(entry: HistoryEntry) -> TextKind | None:
    kind = entry.WhichOneof("entry")
    return kind if kind in ("assistant_text", "reasoning_text") else None


def _text(entry: HistoryEntry) -> str:
    return entry.assistant_text or entry.reasoning_text
