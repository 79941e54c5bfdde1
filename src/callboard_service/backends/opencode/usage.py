"""What a conversation has used: its context and its cost. No I/O."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from callboard.v1.chat_pb2 import UsageEvent
from callboard_service.backends.fields import Table, amount, number, table, text

ContextSizes: TypeAlias = Mapping[tuple[str, str], int]
"""For each model, by its provider and own name: how many tokens its context holds; 0: unknown."""


def cost_before(session: Table, messages: Sequence[Table]) -> float:
    """Return what a conversation had cost before these messages, which are its newest."""
    spent = sum(amount(table(message, "info"), "cost") for message in messages)
    return max(amount(session, "cost") - spent, 0.0)


class Usage:
    """Reports the usage after each step, and when OpenCode's own count of the cost has changed.

    cost: of the conversation before the reply. OpenCode updates its count some time after a step,
    perhaps after the end of the reply; until then the costs of the steps are added up.
    """

    def __init__(self, context_sizes: ContextSizes, cost: float = 0.0) -> None:
        self._context_sizes = context_sizes
        self._used = 0
        self._size = 0
        self._before = cost
        self._counted = cost
        self._steps: dict[str, float] = {}
        self._reported: UsageEvent | None = None

    def note(self, info: Table) -> None:
        """Take the tokens of the newest message of the model: all of them are in its context."""
        self._steps[text(info, "id")] = amount(info, "cost")
        tokens = table(info, "tokens")
        cache = table(tokens, "cache")
        parts = (number(tokens, key) for key in ("input", "output", "reasoning"))
        used = sum(parts) + number(cache, "read") + number(cache, "write")
        if used and info.get("summary") is not True:
            self._used = min(used, 2**63)
            model = text(info, "providerID"), text(info, "modelID")
            self._size = self._context_sizes.get(model, 0)

    def report(self, session: Table) -> list[UsageEvent]:
        """Return an event for the conversation as it is now, unless it says nothing new.

        session: as OpenCode has it; empty: not known anew.
        """
        self._counted = max(self._counted, amount(session, "cost"))
        if not self._used:
            return []
        cost = max(self._counted, self._before + sum(self._steps.values()))
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
