"""One turn, from the prompt to the answer to it, as a state machine. No I/O."""

from collections.abc import Callable, Collection
from typing import Final

from actors import Code, Failure
from callboard.v1.chat_pb2 import AnswerRequest, ChatCompleted, ChatNotice, UsageEvent
from callboard_service.backends.acp.connection import Answer
from callboard_service.backends.acp.consents import Consents
from callboard_service.backends.acp.elicitations import CANCELLED as NOT_ANSWERED
from callboard_service.backends.acp.elicitations import Elicitations
from callboard_service.backends.acp.failures import failure_of
from callboard_service.backends.acp.jsonrpc import Request, Result, RpcError
from callboard_service.backends.acp.known import Quirk
from callboard_service.backends.acp.permissions import CANCELLED, Permissions, Settlement
from callboard_service.backends.acp.quirks import is_of_agent
from callboard_service.backends.acp.updates import Updates, usage_of
from callboard_service.backends.base import ReplyEvent
from callboard_service.backends.fields import Table, number, table, text
from callboard_service.backends.stops import stopped

EMPTY: Final = "The agent ended its turn without an answer, and gave no reason."
ELICIT: Final = "elicitation/create"

CANCELLATIONS: Final = {"session/request_permission": CANCELLED, ELICIT: NOT_ANSWERED}
"""The questions of an agent, and the answer to each if there is no other."""

NOT_ASKED: Final = "A question of the agent was not answered, because it cannot be shown in full."
NOT_SHOWN: Final = "A permission was refused, because it cannot be shown in full."
BROKEN_OFF: Final = Failure(
    Code.UNAVAILABLE, "the agent broke the reply off, and gave no reason", retryable=True
)


class Turn:
    """A turn. `end` is set once the prompt is answered, or the agent is gone, and stays set.

    printed: returns the output of a terminal of the service so far; empty if there is none.
    """

    def __init__(
        self,
        turn_id: str,
        quirks: Collection[Quirk] = (),
        printed: Callable[[str], str] = lambda terminal_id: "",
    ) -> None:
        self.end: ChatCompleted | Failure | None = None
        self.begun = False
        """Whether the agent has been seen at work on it."""
        self.updates = Updates(quirks, printed)
        self._permissions = Permissions(turn_id)
        self._elicitations = Elicitations(turn_id)
        self.consents = Consents(turn_id)
        """What the service is asked to do for the agent."""
        self._refused = False

    @property
    def waiting(self) -> bool:
        """Whether an ask is open."""
        asks = (self._permissions, self._elicitations, self.consents)
        return any(each.waiting for each in asks)

    def has_shown(self, *wanted: object) -> bool:
        """Return whether a person has just allowed this (see `Call.shows`); that counts once."""
        return self._permissions.has_shown(*wanted)

    @property
    def tool_left(self) -> bool:
        """Whether a tool has not been seen to end."""
        return self.updates.calls.open

    def update(self, params: Table) -> list[ReplyEvent]:
        """Return the events of a `session/update`. Raises Failure for a turn that is too long."""
        if self.end is not None or is_of_agent(params):
            return []
        update = table(params, "update")
        events = self.updates.take(update)
        self.begun = self.begun or not (events == [] or isinstance(events[0], UsageEvent))
        return events

    def printed(self, terminal_id: str) -> list[ReplyEvent]:
        """Return the events of a terminal that has printed more."""
        return [*self.updates.calls.printed(terminal_id)] if self.end is None else []

    def retrying(self) -> list[ReplyEvent]:
        """Return the events of an agent that says that it tries again."""
        return self.updates.retrying() if self.end is None else []

    def ask(self, request: Request) -> tuple[list[ReplyEvent], bool]:
        """Return the events of a permission, and whether it is open; else it must be cancelled.

        It may also be another question, an `elicitation/create`.
        """
        if self.end is not None:
            return [], False
        self.begun = True
        if request.method == ELICIT:
            question = self._elicitations.ask(request)
            return ([question], True) if question else ([ChatNotice(message=NOT_ASKED)], False)
        call, calls = self.updates.calls.wait(table(request.params, "toolCall"))
        ask = self._permissions.ask(request, call)
        if ask is None:
            call.refused = self._refused = True
            return [*calls, ChatNotice(message=NOT_SHOWN)], False
        return [*calls, ask], True

    def answer(self, answer: AnswerRequest) -> Settlement | None:
        """Settle an ask as a person chose; None if it is not open."""
        settled = (
            self._permissions.answer(answer)
            or self._elicitations.answer(answer)
            or self.consents.answer(answer)
        )
        self._refused = self._refused or (settled is not None and settled.refused)
        return settled

    def withdraw(self, request_id: object) -> list[Settlement]:
        """Close the ask of a request that the agent has withdrawn."""
        return [
            *self._permissions.withdraw(request_id),
            *self._elicitations.withdraw(request_id),
            *self.consents.withdraw(request_id),
        ]

    def close_asks(self) -> list[Settlement]:
        """Close the asks that are open, when the turn ends or is stopped."""
        asks = (self._permissions, self._elicitations, self.consents)
        return [settlement for each in asks for settlement in each.close()]

    def finish(self, answer: Answer) -> list[ReplyEvent]:
        """Set `end`, and return the last events before it.

        answer: that to the prompt; a Failure: the agent is gone.
        """
        if self.end is not None:
            return []
        events = self.updates.end(failed=not isinstance(answer, Result))
        if isinstance(answer, Failure):
            self.end = answer.alone()
        elif isinstance(answer, RpcError):
            self.end = failure_of(answer)
        else:
            self.end = self._end_of(answer)
            if self.updates.empty and isinstance(self.end, ChatCompleted):
                events.append(ChatNotice(message=EMPTY))
        return events

    def _end_of(self, answer: Result) -> ChatCompleted | Failure:
        """Return the end that an answer stands for."""
        reason = text(answer.value, "stopReason")
        if reason == "cancelled" and not self._refused:
            return BROKEN_OFF.alone()  # nobody asked for it
        completed = stopped(reason)
        usage = table(answer.value, "usage") or self.updates.usage
        completed.input_tokens = _count(usage, "inputTokens")
        completed.output_tokens = _count(usage, "outputTokens")
        completed.reasoning_tokens = _count(usage, "thoughtTokens")
        completed.cached_input_tokens = _count(usage, "cachedReadTokens")
        return completed


def late_usage(params: Table) -> UsageEvent | None:
    """Return the usage that an update tells, also one that comes between two turns; or None."""
    update = table(params, "update")
    return usage_of(update) if text(update, "sessionUpdate") == "usage_update" else None


def _count(usage: Table, key: str) -> int:
    return min(number(usage, key), 2**32 - 1)
