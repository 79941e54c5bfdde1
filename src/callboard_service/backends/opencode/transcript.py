"""The text of a reply: what was sent of each part, and what of it is void or still missing.

A part's text comes in pieces and then once more as a whole. Pieces are passed on as they come, and
the whole is compared with them. If a part is given up because the model is asked again, a notice
takes its tokens back. No I/O.
"""

from dataclasses import dataclass, field
from io import StringIO
from typing import Final, TypeAlias

from callboard.v1.chat_pb2 import ChatNotice, ChatToken, ReasoningToken
from callboard_service.backends.bounds import MAX_REPLY_BYTES, check_room, too_long

ShownAnswer: TypeAlias = ChatToken | ReasoningToken | ChatNotice

AGAIN: Final = "The last part of the reply is void; it will be sent again."


@dataclass(slots=True)
class Part:
    """One part and its text so far.

    gap: pieces were missed, so only the whole text is reliable. length, size: of the text, in
    characters and in bytes of UTF-8.
    """

    message_id: str
    kind: str = ""
    text: StringIO = field(default_factory=StringIO)
    length: int = 0
    size: int = 0
    done: bool = False
    gap: bool = False


@dataclass(slots=True)
class Stretch:
    """A run of `tokens` consecutive tokens of one part: its text from `start` to `end`."""

    part_id: str
    tokens: int
    start: int
    end: int


class Transcript:
    """The text sent so far. Each call returns the events to send for it."""

    def __init__(self) -> None:
        self._parts: dict[str, Part] = {}
        self._runs: list[Stretch] = []
        self._bytes = {True: 0, False: 0}
        """Bytes kept of text (True) and of reasoning (False)."""

    @property
    def incomplete(self) -> bool:
        """Whether a part still needs its whole text."""
        return any(part.gap and not part.done for part in self._parts.values())

    def lose(self) -> None:
        """Mark the open parts as having a gap, because events were missed."""
        for part in self._parts.values():
            if not part.done:
                part.gap = True

    def delta(self, message_id: str, part_id: str, piece: str) -> list[ShownAnswer]:
        """Add the next piece of a part."""
        part = self._parts.get(part_id)
        if part is None:
            # The beginning of this part was missed, and its kind is unknown.
            self._enter(part_id, Part(message_id, gap=True))
            return []
        if part.done or part.gap or not piece:
            return []
        return [self._say(part_id, part, piece)]

    def snapshot(
        self, message_id: str, part_id: str, kind: str, whole: str | None, *, live: bool
    ) -> list[ShownAnswer]:
        """Update a part; `whole` is its text once that is final.

        live: the snapshot came in the stream, so no piece before the next ones was missed.
        """
        part = self._parts.get(part_id)
        if part is None:
            part = self._enter(part_id, Part(message_id, gap=not live))
        part.kind = part.kind or kind
        if whole is None or part.done:
            return []
        part.done = True
        said = part.text.getvalue()
        if whole.startswith(said):
            rest = whole[len(said) :]
            return [self._say(part_id, part, rest)] if rest else []
            # OpenCode strips trailing spaces when a part ends.
        if said.rstrip() == whole.rstrip() or kind != "text":
            return []
        correction = self._void({part_id}, "The text was corrected.")
        return [*correction, self._say(part_id, part, whole)]

    def give_up(self, message_id: str | None, *, message: str) -> list[ShownAnswer]:
        """Void the open parts of a message (None: of all messages), which get no further.

        Parts known only from the server's state are kept: they may be newer than this event.
        """
        lost = {
            part_id
            for part_id, part in self._parts.items()
            if not part.done
            and message_id in (None, part.message_id)
            and (part.length or not part.gap)
        }
        return self._void(lost, message)

    def give_up_before(self, part_ids: set[str]) -> list[ShownAnswer]:
        """Void those of these parts that are open, because another attempt follows them."""
        lost = {name for name in part_ids if not self._parts[name].done}
        return self._void(lost, AGAIN)

    def _enter(self, part_id: str, part: Part) -> Part:
        check_room(self._parts, "parts")
        self._parts[part_id] = part
        return part

    def _say(self, part_id: str, part: Part, piece: str) -> ShownAnswer:
        is_text, size = part.kind == "text", len(piece.encode(errors="replace"))
        self._bytes[is_text] += size
        if self._bytes[is_text] > MAX_REPLY_BYTES:
            raise too_long("reply" if is_text else "reasoning")
        part.text.write(piece)
        part.size += size
        start = part.length
        part.length += len(piece)
        if not is_text:
            return ReasoningToken(text=piece)
        if not self._runs or self._runs[-1].part_id != part_id:
            check_room(self._runs, "stretches of text")
            self._runs.append(Stretch(part_id, 0, start, start))
        self._runs[-1].tokens += 1
        self._runs[-1].end = part.length
        return ChatToken(text=piece)

    def _forget(self, part: Part) -> None:
        """Drop the text of a void part."""
        self._bytes[part.kind == "text"] -= part.size
        part.text, part.length, part.size = StringIO(), 0, 0

    def _void(self, part_ids: set[str], message: str) -> list[ShownAnswer]:
        """Take back the tokens of these parts, and send again what other parts said after them."""
        for part_id in part_ids:
            part = self._parts[part_id]
            part.done = True
            self._forget(part)
        first = next((n for n, run in enumerate(self._runs) if run.part_id in part_ids), None)
        if first is None:
            return []
        taken, self._runs = self._runs[first:], self._runs[:first]
        count = sum(run.tokens for run in taken)
        said: list[ShownAnswer] = [ChatNotice(message=message, discard_tokens=count)]
        for run in taken:
            if run.part_id not in part_ids:
                again = self._parts[run.part_id].text.getvalue()[run.start : run.end]
                run.tokens = 1
                self._runs.append(run)
                said.append(ChatToken(text=again))
        return said
