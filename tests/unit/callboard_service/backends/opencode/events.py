"""Events in the form of the recordings, for cases that no recording has."""

from typing import Any

SESSION = "ses_test"
USER, MODEL = "msg_user", "msg_model"

Event = dict[str, Any]


def event(kind: str, **properties: Any) -> Event:
    return {"type": kind, "properties": {"sessionID": SESSION, **properties}}


def user(message_id: str = USER, created: int = 100) -> Event:
    return event(
        "message.updated", info={"id": message_id, "role": "user", "time": {"created": created}}
    )


def model(message_id: str = MODEL, *, completed: bool = False, **info: Any) -> Event:
    time = {"created": 101} | ({"completed": 102} if completed else {})
    info = {"id": message_id, "role": "assistant", "parentID": USER, "time": time, **info}
    return event("message.updated", info=info)


def part(part_id: str, kind: str, message_id: str = MODEL, **fields: Any) -> Event:
    fields = {"id": part_id, "messageID": message_id, "type": kind, **fields}
    return event("message.part.updated", part=fields)


def text(part_id: str, whole: str | None = None, kind: str = "text") -> Event:
    """Return the event for the start of a part, or for its end if its whole text is given."""
    time = {"start": 1} | ({"end": 2} if whole is not None else {})
    return part(part_id, kind, text=whole or "", time=time)


def delta(part_id: str, piece: str, message_id: str = MODEL) -> Event:
    return event(
        "message.part.delta", messageID=message_id, partID=part_id, field="text", delta=piece
    )


def tool(part_id: str, name: str, status: str, **state: Any) -> Event:
    state = {"status": status, "input": {}, **state}
    return part(part_id, "tool", tool=name, callID=f"call_{part_id}", state=state)


def status(kind: str, **fields: Any) -> Event:
    return event("session.status", status={"type": kind, **fields})


def retry(attempt: int, why: str = "it broke") -> Event:
    return status("retry", attempt=attempt, message=why, next=1000 + attempt)


def idle() -> Event:
    return event("session.idle")


def error(name: str, message: str = "", **data: Any) -> Event:
    return event("session.error", error={"name": name, "data": {"message": message, **data}})


BEGUN: list[Event] = [user(), status("busy"), model()]
DONE: list[Event] = [model(completed=True), idle()]
