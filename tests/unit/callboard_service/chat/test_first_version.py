"""A client of the contract's first version gets only what that version has."""

from pathlib import Path

from google.protobuf import descriptor_pb2

from actors import ActorSystem
from actors.testing import serving
from callboard.v1 import chat_pb2
from callboard.v1.chat_pb2 import (
    ChatCompleted,
    ChatNotice,
    ChatToken,
    CreateSessionRequest,
    FileDiff,
    GetHistoryRequest,
    History,
    HistoryEntry,
    ListSessionsRequest,
    PlanEvent,
    ReasoningToken,
    SendMessageRequest,
    SessionInfo,
    SessionList,
    ToolCallEvent,
    ToolProgressEvent,
    ToolResultEvent,
    UsageEvent,
)
from callboard_service.chat.first_version import ADDED
from tests.support.chat_kit import ScriptedBackend
from tests.support.cues import Cues

ROOT = Path(__file__).parents[4]

EVENTS = (
    ReasoningToken(text="hm"),
    ChatToken(text="a"),
    ToolCallEvent(call_id="1", name="t", title="T"),
    ToolProgressEvent(call_id="1", output="half"),
    PlanEvent(),
    UsageEvent(context_used=1),
    ToolCallEvent(call_id="1", name="t", title="The second event of a call"),
    ToolResultEvent(call_id="1", output="done", diffs=[FileDiff(path="a")]),
    ChatNotice(message="again", discard_tokens=1),
    ChatCompleted(),
)

AS_KNOWN = (
    ReasoningToken(text="hm"),
    ChatToken(text="a"),
    ToolCallEvent(call_id="1", name="t"),
    ToolResultEvent(call_id="1", output="done"),
    ChatNotice(message="again", discard_tokens=1),
    ChatCompleted(),
)


async def test_a_client_of_the_first_version_gets_only_what_that_version_has(
    actor_system: ActorSystem,
) -> None:
    """It gets the kinds and the fields that it knows, and each call once."""
    cues = Cues()
    cues.give(*EVENTS)
    async with (
        ScriptedBackend(cues).opened() as backend,
        serving(actor_system, backend.register) as calls,
    ):
        made = await calls.call(CreateSessionRequest(title="t"), SessionInfo)
        request = SendMessageRequest(session_id=made.id, text="hi")
        stream = calls.stream(request, *(type(event) for event in AS_KNOWN))
        assert [event async for event in stream] == list(AS_KNOWN)
        history = await calls.call(GetHistoryRequest(session_id=made.id), History)
        kinds = [entry.WhichOneof("entry") for entry in history.entries]
        assert kinds == ["user_text", "tool_call", "tool_result"]
        assert history.entries[1].tool_call == AS_KNOWN[2]
        assert history.position == 0
        listed = await calls.call(ListSessionsRequest(), SessionList)
        for info in (made, *listed.sessions):
            names = {field.name for field, _ in info.ListFields()}
            assert names <= {"id", "title", "created_at", "updated_at"}


def test_the_fields_that_were_added_are_those_that_the_first_release_lacks() -> None:
    """Every type that the client gets is listed, but ChatCompleted, whose new fields it may get."""
    release = descriptor_pb2.FileDescriptorSet.FromString(
        (ROOT / "proto" / "first-release.binpb").read_bytes()
    )
    fields = {
        message.name: {field.name for field in message.field}
        for file in release.file
        for message in file.message_type
    }
    for kind, added in ADDED.items():
        names = {field.name for field in kind.DESCRIPTOR.fields}
        kinds = {"ask", "ask_closed", "reasoning_text"} if kind is HistoryEntry else set()
        assert names - fields[kind.DESCRIPTOR.name] == set(added) | kinds
    answered = {
        name
        for name in fields
        if name.endswith("Event") or name in {"ChatToken", "ChatNotice", "ChatError", "AskClosed"}
    }
    extended = {
        name
        for name in answered
        if {f.name for f in chat_pb2.DESCRIPTOR.message_types_by_name[name].fields} - fields[name]
    }
    assert extended <= {kind.DESCRIPTOR.name for kind in ADDED}
