"""The messages that were handed to one running reply, and which of them it has used. No I/O.

OpenCode 1.18.33 reads the conversation anew before each step of a reply, and answers the newest
message of the user; the model sees all of them. A reply does not end while that message is one that
its last step has not seen.
"""

import asyncio
from collections.abc import Sequence

from callboard.v1.chat_pb2 import SteerEvent
from callboard_service.backends.bounds import check_room
from callboard_service.backends.fields import Table, table, tables, text
from callboard_service.backends.opencode.marks import handed_id_of, mark_of


class Handed:
    """What was handed to the reply of a turn.

    begun: set once the server has the turn's message. closed: the reply has ended.
    """

    def __init__(self, turn_id: str = "") -> None:
        self.turn_id = turn_id
        self.begun = asyncio.Event()
        self.closed = False
        self._own: Table = {}
        self._messages: dict[str, SteerEvent] = {}
        self._posted: set[str] = set()
        self._used: set[str] = set()

    def __contains__(self, message_id: object) -> bool:
        return message_id in self._messages

    def begin(self, info: Table) -> None:
        """Note that the server has the turn's message. info: empty if it was not seen."""
        if not self.begun.is_set():
            self._own = info
            self.begun.set()

    def choices(self) -> dict[str, object]:
        """Return the agent and the model of the turn, for a message that is handed to it."""
        own, model = self._own, table(self._own, "model")
        chosen: dict[str, object] = {}
        if agent := text(own, "agent"):
            chosen["agent"] = agent
        if text(model, "modelID"):
            chosen["model"] = {key: text(model, key) for key in ("providerID", "modelID")}
        if variant := text(model, "variant"):
            chosen["variant"] = variant
        return chosen

    def add(self, message: SteerEvent) -> str:
        """Add a message before it is posted; return its id in OpenCode. Raises Failure if full."""
        for message_id, known in self._messages.items():
            if known.message_id == message.message_id:
                return message_id
        check_room(self._messages, "messages")
        message_id = handed_id_of(self.turn_id, message.message_id, len(self._messages))
        self._messages[message_id] = message
        return message_id

    def posted(self, message_id: str) -> None:
        """Note that the server has the message, or may have it."""
        self._posted.add(message_id)

    def restore(self, messages: Sequence[Table]) -> None:
        """Take the messages that were handed to the turn before this service was started."""
        for message in messages:
            mark = mark_of(message)
            message_id = text(table(message, "info"), "id")
            if mark.handed and mark.turn_id == self.turn_id and message_id not in self._messages:
                said = "".join(text(part, "text") for part in tables(message, "parts"))
                self._messages[message_id] = SteerEvent(message_id=mark.handed, text=said)
                self._posted.add(message_id)

    def used_by(self, parent_id: str) -> list[SteerEvent]:
        """Return the events for a step of the model that answers the message `parent_id`."""
        if parent_id not in self._messages:
            return []
        events = []
        for message_id, message in self._messages.items():
            if message_id not in self._used:
                self._used.add(message_id)
                events.append(message)
            if message_id == parent_id:
                break
        return events

    def unused(self) -> tuple[str, ...]:
        """Return the ids of the messages that the server has and that no step has used."""
        return tuple(name for name in self._messages if name in self._posted - self._used)
