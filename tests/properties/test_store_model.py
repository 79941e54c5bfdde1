"""Any series of calls gives the same results on the conversation store as on plain lists."""

import asyncio
from dataclasses import dataclass, field

from google.protobuf.struct_pb2 import Struct
from hypothesis import example, given, settings
from hypothesis import strategies as st

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatError,
    HistoryEntry,
    ToolCallEvent,
    ToolResultEvent,
)
from callboard_service.store.histories import title_of
from callboard_service.store.store import ConversationStore, UnknownConversation
from tests.support.store_kit import Clock, listed

_TEXT = st.text(max_size=20)
_NUMBER = st.floats(allow_nan=False)
_VALUE = st.recursive(
    st.none() | st.booleans() | _NUMBER | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)
_NAMES = ("a", "b", "c")
_NAME = st.sampled_from(_NAMES)


@st.composite
def _structs(draw: st.DrawFn) -> Struct | None:
    if draw(st.booleans()):
        return None
    struct = Struct()
    struct.update(draw(st.dictionaries(_TEXT, _VALUE, max_size=3)))
    return struct


_ENTRY = st.one_of(
    st.builds(HistoryEntry, user_text=_TEXT),
    st.builds(
        HistoryEntry,
        assistant_text=_TEXT,
        turn_id=_TEXT,
        completed=st.none() | st.builds(ChatCompleted, output_tokens=st.integers(0, 9)),
    ),
    st.builds(HistoryEntry, reasoning_text=_TEXT, turn_id=_TEXT),
    st.builds(HistoryEntry, ask=st.builds(AskEvent, ask_id=_TEXT, options=st.lists(_TEXT))),
    st.builds(HistoryEntry, ask_closed=st.builds(AskClosed, ask_id=_TEXT)),
    st.builds(
        HistoryEntry,
        tool_call=st.builds(
            ToolCallEvent, call_id=_TEXT, name=_TEXT, arguments=_structs(), title=_TEXT
        ),
    ),
    st.builds(
        HistoryEntry,
        tool_result=st.builds(ToolResultEvent, call_id=_TEXT, output=_TEXT, is_error=st.booleans()),
    ),
    st.builds(
        HistoryEntry,
        error=st.builds(
            ChatError,
            message=_TEXT,
            code=_TEXT,
            retryable=st.booleans(),
            retry_after_ms=st.integers(0, 2**32 - 1),
        ),
    ),
)


@dataclass(frozen=True)
class Create:
    name: str
    title: str


@dataclass(frozen=True)
class Delete:
    name: str


@dataclass(frozen=True)
class Append:
    name: str
    entries: list[HistoryEntry]


@dataclass(frozen=True)
class Read:
    name: str
    limit: int
    back: int  # `before` is this many entries from the end; 0: the end


@dataclass
class Conversation:
    """A conversation in the model."""

    title: str
    changed: int
    entries: list[HistoryEntry] = field(default_factory=list)


Step = Create | Delete | Append | Read
_STEP = st.one_of(
    st.builds(Create, _NAME, _TEXT),
    st.builds(Delete, _NAME),
    st.builds(Append, _NAME, st.lists(_ENTRY, min_size=1, max_size=5)),
    st.builds(Read, _NAME, st.integers(0, 6), st.integers(0, 6)),
)

_ASKED = Append("a", [HistoryEntry(user_text="why?")])
_FAILED = Append("a", [HistoryEntry(error=ChatError(code="UNAVAILABLE"))])
_ANSWERED = Append("a", [HistoryEntry(assistant_text="so that")])


@settings(max_examples=60, deadline=None)
@given(st.lists(_STEP, max_size=25))
@example([Create("a", ""), _ASKED, _FAILED, _ASKED, _ANSWERED, _ASKED])
def test_a_series_of_calls_equals_plain_lists(steps: list[Step]) -> None:
    asyncio.run(_compare(steps))


async def _compare(steps: list[Step]) -> None:
    clock = Clock()
    ids: list[str] = []
    store = await ConversationStore.open(
        ":memory:", clock=clock, new_id=lambda: ids[-1], report=_never
    )
    model: dict[str, Conversation] = {}
    try:
        for moment, step in enumerate(steps):
            clock.pass_seconds(1)
            if isinstance(step, Create):
                if step.name not in model:
                    ids.append(step.name)
                    await store.create(step.title)
                    title = step.title if step.title.strip() else ""
                    model[step.name] = Conversation(title, moment)
            elif step.name in model:
                await _carry_out(store, model, step, moment)
            else:
                await _refuse(store, step)
            shown = [(info.id, info.title) for info in await listed(store)]
            newest = sorted(model, key=lambda name: -model[name].changed)
            assert shown == [(name, model[name].title) for name in newest]
        for name, conversation in model.items():
            history = await store.history(name)
            assert list(history.entries) == conversation.entries
    finally:
        await store.close()


async def _carry_out(
    store: ConversationStore,
    model: dict[str, Conversation],
    step: Delete | Append | Read,
    moment: int,
) -> None:
    conversation = model[step.name]
    match step:
        case Delete(name):
            await store.delete(name)
            del model[name]
        case Append(name, entries):
            kept = await store.append(name, *entries)
            for entry, given_entry in zip(kept, entries, strict=True):
                assert _said(entry) == _said(given_entry)
            _drop_repeated(conversation.entries, entries[0])
            conversation.entries += kept
            conversation.changed = moment
            headings = [title_of(entry.user_text) for entry in entries]
            conversation.title = conversation.title or next(filter(None, headings), "")
        case Read(name, limit, back):
            entries = conversation.entries
            end = len(entries)
            before = ""
            if 0 < back <= end:
                end -= back
                before = entries[end].id
            begin = max(0, end - limit) if limit else 0
            history = await store.history(name, limit=limit, before=before)
            assert list(history.entries) == entries[begin:end]
            assert history.more == (begin > 0)


def _drop_repeated(before: list[HistoryEntry], entry: HistoryEntry) -> None:
    """Drop the last question, and the errors after it, if this entry asks it again."""
    said = [place for place, old in enumerate(before) if old.WhichOneof("entry") != "error"]
    if entry.user_text and said and before[said[-1]].user_text == entry.user_text:
        del before[said[-1] :]


async def _refuse(store: ConversationStore, step: Delete | Append | Read) -> None:
    try:
        match step:
            case Delete(name):
                await store.delete(name)
            case Append(name, entries):
                await store.append(name, *entries)
            case Read(name):
                await store.history(name)
    except UnknownConversation:
        return
    raise AssertionError("it is unknown")


def _said(entry: HistoryEntry) -> bytes:
    copy = HistoryEntry()
    copy.CopyFrom(entry)
    copy.ClearField("id")
    copy.ClearField("at")
    return copy.SerializeToString(deterministic=True)


def _never(line: str) -> None:
    raise AssertionError(line)
