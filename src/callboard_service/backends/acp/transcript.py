"""The earlier messages of a conversation, for an agent that does not have them. No I/O."""

from typing import Final

from callboard_service.backends.acp.prompts import text_block
from callboard_service.backends.fields import Table
from callboard_service.store.histories import RecentTurns

MAX_BYTES: Final = 64 * 1024
"""Bytes of the messages that an agent is given; older ones are left out."""

COPIED: Final = (
    "The agent does not know the earlier messages of this copy. It was given their text, without "
    "what its tools did."
)

_HEADING: Final = (
    "[Earlier messages of this conversation, which you do not remember; without the tool calls]"
)
_END: Final = "[End of the earlier messages]"
_LEFT_OUT: Final = "[Older messages are left out]"


def transcript(turns: RecentTurns, *, embeds: bool) -> Table | None:
    """Return the messages before the newest one as a block of a prompt; None if there is none.

    embeds: whether the agent takes resources.
    """
    earlier = RecentTurns(turns[:-1], turns.left_out, turns.attached[:-1]).joined()
    if not earlier:
        return None
    parts = [_LEFT_OUT] if earlier.left_out else []
    for (role, said), attached in zip(earlier, earlier.attached, strict=True):
        files = [f"[File: {each.name}]" for each in attached]
        parts.append("\n".join([f"## {role.capitalize()}", *files, said]))
    shown = "\n\n".join([_HEADING, *parts, _END])
    if not embeds:
        return text_block(shown)
    uri = "callboard:///earlier-messages.md"
    return {
        "type": "resource",
        "resource": {"uri": uri, "mimeType": "text/markdown", "text": shown},
    }
