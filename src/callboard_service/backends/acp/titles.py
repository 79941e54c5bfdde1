"""The titles that agents give to their sessions; a person's own title stays."""

from typing import Final

from callboard_service.backends.fields import Table, table, text
from callboard_service.backends.stored import StoredConversations
from callboard_service.store.histories import title_of as title_of_text

TITLE: Final = "acp.title"
"""The choice of a conversation under which the title is kept that the agent gave last."""

MAX_TITLE: Final = 200
"""Characters."""

_FIRST: Final = 100
"""Entries among which the first message of a conversation is looked for."""


def title_of(params: Table) -> str:
    """Return the title that a `session/update` gives; empty: none."""
    update = table(params, "update")
    if text(update, "sessionUpdate") != "session_info_update":
        return ""
    return " ".join(text(update, "title").split())[:MAX_TITLE]


async def give_title(turns: StoredConversations, conversation_id: str, title: str) -> bool:
    """Give a conversation the agent's title, unless a person gave it one; return whether it did.

    The beginning of the first message, which stands in for a title, is replaced, and so is a title
    of the agent. Raises Failure.
    """
    current = (await turns.get(conversation_id)).title
    given = (await turns.journal.choices(conversation_id)).get(TITLE, "")
    if current == title or current not in ("", given, await _stand_in(turns, conversation_id)):
        return False
    await turns.write(lambda store: store.choose(conversation_id, TITLE, title))
    await turns.update(conversation_id, title, None)
    return True


async def _stand_in(turns: StoredConversations, conversation_id: str) -> str:
    """Return the title that the first message gave; empty if that was long ago."""
    history = await turns.history(conversation_id, _FIRST, "")
    first = next(iter(history.entries), None)
    return "" if history.more or first is None else title_of_text(first.user_text)
