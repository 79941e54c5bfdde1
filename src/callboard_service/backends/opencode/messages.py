"""The messages before and in one reply, and the server's current state. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from callboard.v1.chat_pb2 import ChatCompleted
from callboard_service.backends.bounds import check_room
from callboard_service.backends.fields import Table, number, table, text
from callboard_service.backends.stops import stopped

_LARGEST: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Baseline:
    """The newest messages before the reply, and the creation time of the oldest of them.

    oldest: in milliseconds since 1970; 0 if there are no others.
    """

    message_ids: frozenset[str] = frozenset()
    oldest: int = 0

    @classmethod
    def of(cls, messages: Sequence[Table], *, all_of_them: bool) -> "Baseline":
        """Create a baseline from the newest page of messages."""
        infos = [table(message, "info") for message in messages]
        created = [number(table(info, "time"), "created") for info in infos]
        return cls(
            frozenset(text(info, "id") for info in infos),
            0 if all_of_them else min(created, default=0),
        )

    def knows(self, info: Table) -> bool:
        """Return whether the message was there before, or answers one that was.

        The clock may have been set back since the newest message, so the time identifies only
        messages that are older than the whole page.
        """
        if text(info, "id") in self.message_ids or text(info, "parentID") in self.message_ids:
            return True
        return 0 < number(table(info, "time"), "created") < self.oldest

    def after(self, messages: Sequence[Table]) -> Sequence[Table]:
        """Return those of `messages` (oldest first) that come after all known ones."""
        ids = [text(table(message, "info"), "id") for message in messages]
        known = [place for place, name in enumerate(ids) if name in self.message_ids]
        return messages[known[-1] + 1 :] if known else messages


@dataclass(frozen=True, slots=True)
class State:
    """The conversation's current state on the server, oldest message first.

    of_agents: the messages of the agents that the reply has started, if they were fetched.
    """

    messages: Sequence[Table] = ()
    status: Table = field(default_factory=dict)
    permissions: Sequence[Table] = ()
    questions: Sequence[Table] = ()
    of_agents: Sequence[Table] = ()


@dataclass(slots=True)
class _Message:
    """A message of the model."""

    completed: bool = False
    hidden: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    finish: str = ""


class ModelMessages:
    """The messages of the model in one reply: one for each step."""

    def __init__(self) -> None:
        self._all: dict[str, _Message] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, message_id: object) -> bool:
        return message_id in self._all

    def note(self, message_id: str, info: Table) -> bool:
        """Take what is known of a message now; return whether it is new. Raises Failure."""
        new = message_id not in self._all
        if new:
            check_room(self._all, "messages")
            self._all[message_id] = _Message()
        message = self._all[message_id]
        message.hidden = info.get("summary") is True
        message.completed = message.completed or "completed" in table(info, "time")
        message.finish = text(info, "finish") or message.finish
        tokens = table(info, "tokens")
        cache = table(tokens, "cache")
        used = number(tokens, "input") + number(cache, "read") + number(cache, "write")
        message.input_tokens = max(message.input_tokens, used)
        message.output_tokens = max(message.output_tokens, number(tokens, "output"))
        return new

    def shows(self, message_id: str) -> bool:
        """Return whether the message is known and meant for the user."""
        message = self._all.get(message_id)
        return message is not None and not message.hidden

    @property
    def completed(self) -> bool:
        """Whether the newest message is complete."""
        last = next(reversed(self._all.values()), None)
        return last is not None and last.completed

    def end(self) -> ChatCompleted:
        """Return the end of a reply that these messages make up."""
        messages = list(self._all.values())
        finish = next((m.finish for m in reversed(messages) if not m.hidden), "")
        return stopped(
            finish,
            input_tokens=min(sum(m.input_tokens for m in messages), _LARGEST),
            output_tokens=min(sum(m.output_tokens for m in messages), _LARGEST),
        )
