"""What a conversation has used: its context and its cost. No I/O."""

from collections.abc import Mapping
from typing import TypeAlias

from callboard.v1.chat_pb2 import UsageEvent
from callboard_service.backends.opencode.fields import Table, amount, number, table, text

ContextSizes: TypeAlias = Mapping[tuple[str, str], int]
"""For each model, by its provider and own name: how many tokens its context holds; 0: unknown."""


class Usage:
    """Reports the usage whenever OpenCode has updated its own count and something has changed."""

    def __init__(self, context_sizes: ContextSizes) -> None:
        self._context_sizes = context_sizes
        self._used = 0
        self._size = 0
        self._reported: UsageEvent | None = None

    def note(self, info: Table) -> None:
        """Take the tokens of the newest message of the model: all of them are in its context."""
        tokens = table(info, "tokens")
        cache = table(tokens, "cache")
        parts = (number(tokens, key) for key in ("input", "output", "reasoning"))
        used = sum(parts) + number(cache, "read") + number(cache, "write")
        if used and info.get("summary") is not True:
            self._used = min(used, 2**63)
            model = text(info, "providerID"), text(info, "modelID")
            self._size = self._context_sizes.get(model, 0)

    def report(self, session: Table) -> list[UsageEvent]:
        """Return an event for the conversation as it is now, unless it says nothing new."""
        if not self._used:
            return []
        cost = amount(session, "cost")
        event = UsageEvent(
            context_used=self._used,
            context_size=self._size,
            cost=cost,
            currency="USD" if cost else "",
        )
        if event == self._reported:
            return []
        self._reported = event
        return [event]
