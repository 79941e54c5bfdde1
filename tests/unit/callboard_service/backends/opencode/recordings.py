"""Recorded events of the real server, and what a run makes of them in a comparable form."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from actors import Failure
from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatNotice,
    ChatToken,
    PlanEvent,
    ReasoningToken,
    ToolCallEvent,
    ToolProgressEvent,
    ToolResultEvent,
    UsageEvent,
)
from callboard_service.backends.opencode.messages import Baseline, State
from callboard_service.backends.opencode.run import Run

FOLDER = Path(__file__).parent / "transcripts"
WHOLE = [
    "a_plain",
    "a_reasoning",
    "b_perm_once",
    "b_question",
    "b_tool_error",
    "b_tool_write_read",
    "c_err_400",
    "c_err_500x2",
    "e_two",
    "f_after_restart_sigkill",
    "h_dir_global",
]
"""The recordings in which the reply ends."""

Event = dict[str, Any]


def recorded(name: str) -> list[Event]:
    """Return the events of a recording; those of /global/event without their envelope."""
    lines = (FOLDER / f"{name}.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    return [event.get("payload", event) for event in events]


def conversations(events: Iterable[Event]) -> list[str]:
    """Return the ids of the conversations in a recording, in the order of their first events."""
    names = (event.get("properties", {}).get("sessionID") for event in events)
    return list(dict.fromkeys(name for name in names if name))


def play(run: Run, events: Iterable[Event]) -> list[tuple[Any, ...]]:
    """Feed all events to the run; return its output, and its end if it has ended.

    What the conversation has used is left out: `test_usage.py` is about that.
    """
    output = [said for event in events for said in run.feed(event)]
    seen = [plain(said) for said in output if not isinstance(said, UsageEvent)]
    return [*seen, *ending(run)]


def replay(name: str, conversation: int = 0) -> list[tuple[Any, ...]]:
    """Return the output for one conversation of a recording, given by its number."""
    events = recorded(name)
    return play(Run(conversations(events)[conversation], Baseline()), events)


def ending(run: Run) -> list[tuple[Any, ...]]:
    """Return the end of the reply in the same form, or nothing if it has not ended."""
    match run.end:
        case None:
            return []
        case ChatCompleted() as done:
            return [("completed", done.input_tokens, done.output_tokens)]
        case Failure() as failure:
            return [("failed", failure.code.value, failure.message, failure.retryable)]


def plain(event: object) -> tuple[Any, ...]:
    """Return an event of the contract as a tuple."""
    match event:
        case ChatToken():
            return ("token", event.text)
        case ReasoningToken():
            return ("reasoning", event.text)
        case ToolCallEvent():
            return ("call", event.call_id, event.name, MessageToDict(event.arguments))
        case PlanEvent():
            return ("plan", [(step.text, step.status) for step in event.entries])
        case UsageEvent():
            return ("usage", event.context_used, event.cost)
        case ToolProgressEvent():
            return ("progress", event.call_id, event.output)
        case ToolResultEvent():
            return ("result", event.call_id, event.output, event.is_error)
        case AskEvent():
            return ("ask", event.ask_id, event.kind, event.call_id, list(event.options))
        case AskClosed():
            return ("closed", event.ask_id, list(event.answers))
        case ChatNotice():
            return ("notice", event.message, event.discard_tokens)
        case _:
            raise AssertionError(f"an event of no known type: {event!r}")


def shown(seen: Sequence[tuple[Any, ...]]) -> str:
    """Return the text that a person sees in the end, without the discarded tokens."""
    tokens: list[str] = []
    for event in seen:
        if event[0] == "token":
            tokens.append(event[1])
        elif event[0] == "notice":
            assert event[2] <= len(tokens), "more is taken back than was said"
            del tokens[len(tokens) - event[2] :]
    return "".join(tokens)


def state_after(events: Iterable[Event], conversation: str) -> State:
    """Return the state in the server's REST API after these events: text only of ended parts."""
    messages: dict[str, Event] = {}
    status: Event = {}
    asked: dict[str, dict[str, Event]] = {"permission": {}, "question": {}}
    for event in events:
        data = event.get("properties", {})
        if data.get("sessionID") != conversation:
            continue
        kind = event["type"]
        what, _, verb = kind.partition(".")
        if kind == "message.updated":
            messages.setdefault(data["info"]["id"], {"parts": {}})["info"] = data["info"]
        elif kind == "message.part.updated":
            messages[data["part"]["messageID"]]["parts"][data["part"]["id"]] = data["part"]
        elif kind == "session.status":
            status = data["status"] if data["status"]["type"] != "idle" else {}
        elif kind == "session.idle":
            status = {}
        elif what in asked and verb == "asked":
            asked[what][data["id"]] = data
        elif what in asked:
            asked[what].pop(data["requestID"], None)
    return State(
        [{"info": m["info"], "parts": list(m["parts"].values())} for m in messages.values()],
        status,
        list(asked["permission"].values()),
        list(asked["question"].values()),
    )
