"""What an OpenCode server has of a turn: its message, whose id names the turn, and the reply."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from callboard_service.backends.fields import Table, table, text
from callboard_service.backends.opencode.api import Api
from callboard_service.backends.opencode.marks import mark_of, message_id_of
from callboard_service.backends.opencode.messages import Baseline


@dataclass(frozen=True, slots=True)
class Begun:
    """Where a turn begins.

    before: what comes before it. since: its message and everything after it, oldest first; empty if
    the server does not have the message. leftovers: ids of messages at the end of the conversation
    that were handed to an earlier reply, which has not used them.
    """

    before: Baseline
    since: Sequence[Table] = ()
    leftovers: Sequence[str] = ()


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
        before = Baseline.of(messages, all_of_them=not page.earlier)
        return Begun(before, leftovers=_leftovers(messages))
    since = messages[place:]
    older = messages[:place]
    if not older and page.earlier:
        page = await api.page(conversation_id, page.earlier)
        older = list(page.messages)
    return Begun(Baseline.of(older, all_of_them=not page.earlier), since)


async def messages_of(api: Api, conversation_id: str, turn_id: str, *, copied: bool) -> list[str]:
    """Return the ids of a turn's messages, newest first; empty if the server has none of them.

    They are the user's, those that were handed to the turn, and the replies to these. copied: the
    messages may have come with a copy of the conversation. Raises Failure.
    """
    if not copied and not await api.has_message(conversation_id, message_id_of(turn_id)):
        return []
    later: list[Table] = []
    earlier = ""
    while True:
        page = await api.page(conversation_id, earlier)
        for message in reversed(page.messages):
            later.append(message)
            mark = mark_of(message)
            if mark.turn_id == turn_id and not mark.handed:
                return _answering(later, turn_id)
        if not page.earlier:
            return []
        earlier = page.earlier


def _leftovers(messages: Sequence[Table]) -> list[str]:
    left = list(takewhile(lambda message: mark_of(message).handed, reversed(messages)))
    return [text(table(message, "info"), "id") for message in left]


def _answering(messages: Sequence[Table], turn_id: str) -> list[str]:
    infos = [table(message, "info") for message in messages if mark_of(message).turn_id == turn_id]
    asked = {text(info, "id") for info in infos}
    found = (table(message, "info") for message in messages)
    return [text(i, "id") for i in found if asked & {text(i, "id"), text(i, "parentID")}]


def _place(messages: Sequence[Table], message_id: str) -> int | None:
    if not message_id:
        return None
    ids = (text(table(message, "info"), "id") for message in messages)
    return next((place for place, name in enumerate(ids) if name == message_id), None)
