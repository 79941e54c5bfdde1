"""What an OpenCode server has of a turn: its message, whose id names the turn, and the reply.

OpenCode 1.18.33 accepts any message id that begins with "msg". It orders messages by the time at
which it got them, so the ids that are posted here need not sort.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from callboard_service.backends.opencode.api import Api
from callboard_service.backends.opencode.fields import Table, table, text
from callboard_service.backends.opencode.run import Baseline

_PREFIX: Final = "msg_"
_OURS: Final = re.compile(r"msg_([0-9a-f]{32})")


def message_id_of(turn_id: str) -> str:
    """Return the id of a turn's message in OpenCode; empty if the turn has no id."""
    return _PREFIX + turn_id if turn_id else ""


def turn_id_of(message_id: str) -> str:
    """Return the turn that a message's id names; empty for those of OpenCode and its clients."""
    ours = _OURS.fullmatch(message_id)
    return "" if ours is None else ours[1]


@dataclass(frozen=True, slots=True)
class Begun:
    """Where a turn begins.

    before: what comes before it. since: its message and everything after it, oldest first; empty if
    the server does not have the message.
    """

    before: Baseline
    since: Sequence[Table] = ()


async def look_for(api: Api, conversation_id: str, message_id: str, *, far: bool) -> Begun:
    """Find a turn's message. Raises Failure.

    far: look beyond the newest messages too.
    """
    page = await api.page(conversation_id)
    messages, place = list(page.messages), _place(page.messages, message_id)
    if place is None and far and await api.has_message(conversation_id, message_id):
        while place is None and page.earlier:
            page = await api.page(conversation_id, page.earlier)
            messages = [*page.messages, *messages]
            place = _place(page.messages, message_id)
    if place is None:
        return Begun(Baseline.of(messages, all_of_them=not page.earlier))
    since = messages[place:]
    before = messages[:place]
    if not before and page.earlier:
        page = await api.page(conversation_id, page.earlier)
        before = list(page.messages)
    return Begun(Baseline.of(before, all_of_them=not page.earlier), since)


def _place(messages: Sequence[Table], message_id: str) -> int | None:
    if not message_id:
        return None
    ids = (text(table(message, "info"), "id") for message in messages)
    return next((place for place, name in enumerate(ids) if name == message_id), None)
