"""The text of a reply: what was said of each part, and what of it is void or still missing.

A part's text comes in pieces, then once more as a whole. Pieces are passed on as they come, the
whole is held against them. A part that is given up (the model is asked again) was said in vain: a
notice takes its tokens back. No I/O.
"""

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from callboard.v1.chat_pb2 import ChatNotice, ChatToken, ReasoningToken

Said: TypeAlias = ChatToken | ReasoningToken | ChatNotice

AGAIN: Final = "What was said last is void; it comes again."


@dataclass(slots=True)
class Part:
    """One part. `gap`: pieces of it were missed, so that only the whole can be believed."""

    message_id: str
    kind: str = ""
    pieces: list[str] = field(default_factory=list)
    done: bool = False
    gap: bool = False


@dataclass(slots=True)
class Stretch:
    """Tokens that came one after the other, of one part."""

    part_id: str
    pieces: list[str]


class Transcript:
    """What was said. Each call returns what is to be said for it."""

    def __init__(self) -> None:
        self._parts: dict[str, Part] = {}
        self._runs: list[Stretch] = []

    @property
    def incomplete(self) -> bool:
        """A part waits for its whole text."""
        return any(part.gap and not part.done for part in self._parts.values())

    def lose(self) -> None:
        """Events were missed: the parts that are open have a gap."""
        for part in self._parts.values():
            if not part.done:
                part.gap = True

    def delta(self, message_id: str, part_id: str, piece: str) -> list[Said]:
        """The next piece of a part."""
        part = self._parts.get(part_id)
        if part is None:
            # Whatever this is, its beginning was missed.
            self._parts[part_id] = Part(message_id, gap=True)
            return []
        if part.done or part.gap or not piece:
            return []
        return [self._say(part_id, part, piece)]

    def snapshot(
        self, message_id: str, part_id: str, kind: str, whole: str | None, *, live: bool
    ) -> list[Said]:
        """A part as it stands; `whole`: its text, once that is final.

        live: this came in the stream, so that the pieces that follow are all there are.
        """
        part = self._parts.get(part_id)
        if part is None:
            part = self._parts[part_id] = Part(message_id, gap=not live)
        part.kind = kind
        if whole is None or part.done:
            return []
        part.done = True
        said = "".join(part.pieces)
        if whole.startswith(said):
            rest = whole[len(said) :]
            return [self._say(part_id, part, rest)] if rest else []
        # Spaces at the end are cut off when a part ends.
        if said.rstrip() == whole.rstrip() or kind != "text":
            return []
        correction = self._void({part_id}, "The text was corrected.")
        part.pieces = []
        return [*correction, self._say(part_id, part, whole)]

    def give_up(self, message_id: str | None, *, message: str) -> list[Said]:
        """The open parts (of that message; None: of all) get no further: they are void.

        Not those that are known from the server's state alone: they may be newer than this.
        """
        lost = {
            part_id
            for part_id, part in self._parts.items()
            if not part.done
            and message_id in (None, part.message_id)
            and (part.pieces or not part.gap)
        }
        for part_id in lost:
            self._parts[part_id].done = True
        return self._void(lost, message)

    def give_up_before(self, part_ids: set[str]) -> list[Said]:
        """Those of these parts that are open are void: another attempt follows them."""
        lost = {name for name in part_ids if not self._parts[name].done}
        for part_id in lost:
            self._parts[part_id].done = True
        return self._void(lost, AGAIN)

    def _say(self, part_id: str, part: Part, piece: str) -> Said:
        part.pieces.append(piece)
        if part.kind != "text":
            return ReasoningToken(text=piece)
        if not self._runs or self._runs[-1].part_id != part_id:
            self._runs.append(Stretch(part_id, []))
        self._runs[-1].pieces.append(piece)
        return ChatToken(text=piece)

    def _void(self, part_ids: set[str], message: str) -> list[Said]:
        """Take back the tokens of these parts; what others said since then is said again."""
        first = next((n for n, run in enumerate(self._runs) if run.part_id in part_ids), None)
        if first is None:
            return []
        taken, self._runs = self._runs[first:], self._runs[:first]
        count = sum(len(run.pieces) for run in taken)
        said: list[Said] = [ChatNotice(message=message, discard_tokens=count)]
        for run in taken:
            if run.part_id not in part_ids:
                again = "".join(run.pieces)
                self._runs.append(Stretch(run.part_id, [again]))
                said.append(ChatToken(text=again))
        return said
