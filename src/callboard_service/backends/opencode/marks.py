"""Which turn a message of OpenCode belongs to, and which conversation was forked from which.

The id of a message that is posted here names its turn. In a copy of a conversation, OpenCode gives
all messages new ids; there, the metadata of a part names the turn. OpenCode 1.18.33 keeps metadata
when it copies, and gives none of it to the model. It accepts any message id that begins with "msg".
It orders messages by the time at which it got them, so the ids that are posted here need not sort.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from callboard_service.backends.fields import Table, name, table, tables, text

_KEY: Final = "callboard"
_PREFIX: Final = "msg_"
_OURS: Final = re.compile(r"msg_([0-9a-f]{32})(?:_([0-9a-f]{16}))?")


@dataclass(frozen=True, slots=True)
class Mark:
    """The turn of a user's message; empty if it is none of this service's.

    handed: its name, if it was handed to the turn while that was running.
    """

    turn_id: str = ""
    handed: str = ""

    def metadata(self) -> dict[str, object]:
        """Return the metadata of a part that carries this mark."""
        return {_KEY: {"turn": self.turn_id, **({"handed": self.handed} if self.handed else {})}}


def message_id_of(turn_id: str) -> str:
    """Return the id of a turn's message in OpenCode; empty if the turn has no id."""
    return _PREFIX + turn_id if turn_id else ""


def handed_id_of(turn_id: str, handed: str, number: int) -> str:
    """Return the id of the message of this name and number that is handed to a running turn.

    OpenCode orders messages of the same millisecond by their ids.
    """
    return f"{_PREFIX}{turn_id}_{number:04x}{sha256(handed.encode()).hexdigest()[:12]}"


def turn_id_of(message_id: str) -> str:
    """Return the turn that a message's id names; empty for those of OpenCode and its clients."""
    ours = _OURS.fullmatch(message_id)
    return "" if ours is None else ours[1]


def mark_of(message: Table) -> Mark:
    """Return the mark of a user's message."""
    mark = part_mark_of(message)
    if mark.turn_id:
        return mark
    ours = _OURS.fullmatch(text(table(message, "info"), "id"))
    return Mark() if ours is None else Mark(ours[1], ours[2] or "")


def part_mark_of(message: Table) -> Mark:
    """Return the mark that the message's parts carry, which a copy of it keeps."""
    for part in tables(message, "parts"):
        kept = table(table(part, "metadata"), _KEY)
        if turn_id := name(kept, "turn"):
            return Mark(turn_id, name(kept, "handed"))
    return Mark()


def fork_metadata(copy: Table, source: Table) -> Mapping[str, object]:
    """Return the metadata of a conversation that is a fork of another one."""
    kept = {key: value for key, value in table(copy, "metadata").items() if key != _KEY}
    # A fork that another client makes of this one has the same metadata, but another id.
    ours = {"id": text(copy, "id"), "parent": text(source, "id")}
    model = table(source, "model") or source_model_of(source)
    return {**kept, _KEY: {**ours, **({"model": model} if model else {})}}


def parent_of(session: Table) -> str:
    """Return the conversation from which this one was forked here; empty if it was not."""
    kept = table(table(session, "metadata"), _KEY)
    return text(kept, "parent") if text(kept, "id") == text(session, "id") else ""


def source_model_of(session: Table) -> Table:
    """Return the model of the conversation from which this one was forked.

    OpenCode uses it for the copy's first message but does not report it until then.
    """
    return table(table(table(session, "metadata"), _KEY), "model")
