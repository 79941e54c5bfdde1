"""Comparison of answers with those of a recording; see `tests/support/recording.py`."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from difflib import unified_diff
from typing import Any, Final

from google.protobuf import text_format
from google.protobuf.unknown_fields import UnknownFieldSet

from tests.support.recording import first_version

GENERATED: Final = {
    "Welcome.session": "session of a client",
    "Welcome.resume_token": "resume token",
    "Welcome.server_version": "version",
    "Resume.resume_token": "resume token",
    "SessionInfo.id": "conversation",
    "SessionDeleted.session_id": "conversation",
    "SendMessageRequest.session_id": "conversation",
    "GetHistoryRequest.session_id": "conversation",
    "GetHistoryRequest.before": "entry",
    "DeleteSessionRequest.session_id": "conversation",
    "HistoryEntry.id": "entry",
    "AskEvent.ask_id": "ask",
    "AskClosed.ask_id": "ask",
    "AnswerRequest.ask_id": "ask",
}
"""Fields for which a service generates the value, and what the value names."""


class Names:
    """What one service generated, numbered in the order of its first appearance."""

    def __init__(self) -> None:
        self.exchange = ""
        """Title of the exchange: the first version's asks have an id within their request only."""
        self._numbers: defaultdict[str, dict[str | bytes, int]] = defaultdict(dict)

    def number(self, kind: str, value: str | bytes) -> int:
        """Return the number of a value; a new value gets the next one."""
        numbers = self._numbers[kind]
        return numbers.setdefault(value, len(numbers))

    def other(self, names: "Names", kind: str, value: str | bytes) -> str | bytes:
        """Return the other service's value for a value of `names`; itself if it is not known."""
        number = names._numbers[kind].get(value)
        return value if number is None else list(self._numbers[kind])[number]

    def kind(self, message: Any, field: str, request_id: int) -> str | None:
        """Return what the field names; None if its value is not generated."""
        kind = GENERATED.get(f"{message.DESCRIPTOR.name}.{field}")
        return f"ask {self.exchange} {request_id}" if kind == "ask" else kind

    def in_text(self, text: str) -> str:
        """Return a text with the numbers of the conversations that it mentions."""
        for conversation, number in self._numbers["conversation"].items():
            text = text.replace(str(conversation), f"conversation {number}")
        return text


def _parts(message: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each set field that holds messages, with each of these; maps are left out."""
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for part in value if field.is_repeated else [value]:
                yield field, part


def _values(message: Any) -> Iterator[tuple[Any, str, str | bytes]]:
    """Yield each text and each bytes field at any depth: its message, its name and its value."""
    for field, value in message.ListFields():
        if isinstance(value, str | bytes):
            yield message, field.name, value
    for _, part in _parts(message):
        yield from _values(part)


def translated(frame: Any, recorded: Names, replayed: Names) -> Any:
    """Return a recorded frame of the client with the ids of the service that it is sent to."""
    copy = type(frame).FromString(frame.SerializeToString())
    for message, name, value in list(_values(copy)):
        kind = recorded.kind(message, name, frame.request_id)
        if kind is not None:
            setattr(message, name, replayed.other(recorded, kind, value))
    return copy


def _timeless(message: Any) -> None:
    for field, part in _parts(message):
        if field.message_type.full_name == "google.protobuf.Timestamp":
            part.Clear()
        else:
            _timeless(part)


def _shown(answer: Any, names: Names) -> str:
    """Return an answer as text, with numbers for what was generated, and without times."""
    copy = type(answer).FromString(answer.SerializeToString())
    _timeless(copy)
    for message, name, value in list(_values(copy)):
        kind = names.kind(message, name, answer.request_id)
        if kind is not None:
            number = str(names.number(kind, value))
            setattr(message, name, number.encode() if isinstance(value, bytes) else number)
        elif isinstance(value, str):
            setattr(message, name, names.in_text(value))
    copy.sequence = 0
    return text_format.MessageToString(copy, as_utf8=True, as_one_line=True)


def new_fields(message: Any) -> set[tuple[str, int]]:
    """Return the fields that the first version lacks: the message's name, and their number."""
    name = message.DESCRIPTOR.name
    unknown: Any = UnknownFieldSet(message)
    found = {(name, field.field_number) for field in unknown}
    for _, part in _parts(message):
        found |= new_fields(part)
    return found


def differences(
    expected: Sequence[Any],
    received: Sequence[bytes],
    recorded: Names,
    replayed: Names,
    added: set[tuple[str, int]],
    as_then: Callable[[Any], None],
) -> list[str]:
    """Compare what came with what the recording has between two frames of the client.

    The order counts within each request. added: fields that may be new; as_then: undoes changes to
    an answer that are deliberate. Returns each difference as a text for people.
    """
    answers = [first_version("ServerMessage").FromString(data) for data in received]
    found = []
    # Sequences count answers as they come, whichever request they are for.
    if [answer.sequence for answer in answers] != [frame.sequence for frame in expected]:
        found.append(f"other sequences: {[answer.sequence for answer in answers]}")
    if new := set().union(*map(new_fields, answers)) - added:
        found.append(f"new fields: {sorted(new)}")
    for request_id in sorted({frame.request_id for frame in [*expected, *answers]}):
        then = [_shown(frame, recorded) for frame in expected if frame.request_id == request_id]
        now = []
        for answer in answers:
            if answer.request_id == request_id:
                as_then(answer)
                now.append(_shown(answer, replayed))
        found.extend(unified_diff(then, now, "recorded", "today", n=0, lineterm=""))
    return found
