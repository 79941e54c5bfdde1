"""Any series of calls on the turns of a conversation equals the same on plain lists."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import TypeAlias

from hypothesis import example, given, settings
from hypothesis import strategies as st

from callboard.v1.chat_pb2 import (
    ChatCompleted,
    ChatError,
    ConversationState,
    HistoryEntry,
    ToolCallEvent,
    TurnState,
)
from callboard_service.store.store import (
    ConversationStore,
    NewTurn,
    TurnConflict,
    UnknownTurn,
)
from tests.support.store_kit import Clock

QUEUED = TurnState.TURN_STATE_QUEUED
RUNNING = TurnState.TURN_STATE_RUNNING
WAITING = TurnState.TURN_STATE_WAITING
STOPPING = TurnState.TURN_STATE_STOPPING
COMPLETED = TurnState.TURN_STATE_COMPLETED
FAILED = TurnState.TURN_STATE_FAILED
CANCELLED = TurnState.TURN_STATE_CANCELLED
INTERRUPTED = TurnState.TURN_STATE_INTERRUPTED

ERROR = ChatError(code="UNAVAILABLE")

Text: TypeAlias = tuple[str, str]
"""The kind of an entry, and what it says."""


@dataclass(frozen=True)
class Admit:
    text: str
    message: str
    replaces: int  # as `turn` below; -1: nothing
    starts: bool
    place: int


@dataclass(frozen=True)
class Start:
    turn: int  # counted from the newest one admitted


@dataclass(frozen=True)
class Change:
    turn: int
    state: TurnState.ValueType


@dataclass(frozen=True)
class Move:
    turn: int
    text: str | None
    place: int | None


@dataclass(frozen=True)
class Add:
    turn: int
    pieces: list[Text]
    keep: int | None


@dataclass(frozen=True)
class End:
    turn: int
    state: TurnState.ValueType
    entries: list[Text]
    start: int  # -1: nothing


@dataclass(frozen=True)
class Interrupt:
    turn: int


Step = Admit | Start | Change | Move | Add | End | Interrupt

_TURN = st.sampled_from([0, 0, 0, 1, 1, 2, 3])
_MAYBE = st.sampled_from([-1, -1, -1, 0, 1, 2])
_WORD = st.sampled_from(["a", "b", "é", "\N{GRINNING FACE}"])
_PIECE = st.tuples(st.sampled_from(["assistant_text", "reasoning_text", "tool_call"]), _WORD)
_ADMIT = st.builds(
    Admit,
    st.sampled_from(["a", "a", "b"]),
    st.sampled_from(["", "", "m1", "m2"]),
    _MAYBE,
    st.sampled_from([True, True, False]),
    st.integers(0, 3),
)
_END = st.builds(
    End,
    _TURN,
    st.sampled_from([COMPLETED, FAILED, FAILED, CANCELLED]),
    st.lists(_PIECE, max_size=1),
    _MAYBE,
)
# Admissions and ends lead to the rarest situations, so they are drawn more often.
_STEP = st.one_of(
    _ADMIT,
    _ADMIT,
    _END,
    _END,
    st.builds(Start, _TURN),
    st.builds(Change, _TURN, st.sampled_from([RUNNING, WAITING, STOPPING])),
    st.builds(Move, _TURN, st.none() | _WORD, st.none() | st.integers(1, 5)),
    st.builds(Add, _TURN, st.lists(_PIECE, max_size=4), st.none() | st.integers(0, 6)),
    st.builds(Interrupt, _TURN),
)


@dataclass
class Turn:
    """What a turn of the store is compared with."""

    id: str
    number: int
    message: str
    text: str
    state: TurnState.ValueType = QUEUED
    pieces: list[Text] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return self.state in (QUEUED, RUNNING, WAITING, STOPPING)

    @property
    def runs(self) -> bool:
        return self.is_open and self.state != QUEUED


class Refused(Exception):
    """The model refuses the step, and is not changed."""


class Model:
    """One conversation in plain lists."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.queue: list[Turn] = []
        self.history: list[tuple[str, Text]] = []
        self._count = 0

    def admit(self, step: Admit) -> Turn:
        for turn in self.turns:
            if step.message and turn.message == step.message:
                return turn
        if step.replaces >= 0:
            self._check_replaced(self.pick(step.replaces))
        if step.starts and self.running():
            raise Refused
        if step.replaces >= 0:
            old = self.pick(step.replaces)
            assert old is not None
            self._remove(old)
        self._count += 1
        turn = Turn(f"t{self._count}", self._count, step.message, step.text)
        self.turns.append(turn)
        self.queue.insert(step.place - 1 if step.place else len(self.queue), turn)
        if step.starts:
            self.start(turn)
        return turn

    def pick(self, back: int) -> Turn | None:
        return self.turns[-1 - back % len(self.turns)] if self.turns else None

    def running(self) -> bool:
        return any(turn.runs for turn in self.turns)

    def _check_replaced(self, turn: Turn | None) -> None:
        if turn is None or turn.state not in (FAILED, CANCELLED, INTERRUPTED):
            raise Refused
        if any(each.is_open for each in self.turns):
            raise Refused
        if self.history:
            last = next(each for each in self.turns if each.id == self.history[-1][0])
            started = any(owner == turn.id for owner, _ in self.history)
            if last is not turn and (started or last.number > turn.number):
                raise Refused

    def _remove(self, turn: Turn) -> None:
        self.turns.remove(turn)
        self.history = [entry for entry in self.history if entry[0] != turn.id]

    def start(self, turn: Turn) -> None:
        if turn.state != QUEUED or self.running():
            raise Refused
        self.queue.remove(turn)
        if not turn.message:
            said = [entry for entry in self.history if entry[1][0] != "error"]
            if said and said[-1][1] == ("user_text", turn.text):
                owner = next(each for each in self.turns if each.id == said[-1][0])
                if not owner.message:
                    self._remove(owner)
        turn.state = RUNNING
        self.history.append((turn.id, ("user_text", turn.text)))

    def move(self, turn: Turn, text: str | None, place: int | None) -> None:
        if turn.state != QUEUED:
            raise Refused
        turn.text = turn.text if text is None else text
        if place is not None:
            self.queue.remove(turn)
            self.queue.insert(place - 1, turn)

    def add(self, turn: Turn, step: Add) -> None:
        if not turn.runs:
            raise Refused
        if step.keep is not None:
            self._cut(turn, step.keep)
        for kind, word in step.pieces:
            if kind != "tool_call" or (kind, word) not in turn.pieces:
                turn.pieces.append((kind, word))

    def _cut(self, turn: Turn, keep: int) -> None:
        kept = []
        for kind, word in turn.pieces:
            if kind == "assistant_text":
                cut = word.encode()[:keep].decode(errors="ignore")
                keep = keep - len(word.encode()) if cut == word else 0
                word = cut
            kept.append((kind, word))
        turn.pieces = [piece for piece in kept if piece[1]]

    def end(self, turn: Turn, step: End, starts: Turn | None) -> None:
        if not turn.is_open or (step.start >= 0 and (starts is None or starts.state != QUEUED)):
            raise Refused
        if starts is turn or (starts is not None and not turn.runs and self.running()):
            raise Refused
        if turn.state == QUEUED:
            if step.entries or step.state == COMPLETED:
                raise Refused
            self.queue.remove(turn)
        else:
            entries = list(step.entries)
            if step.state != COMPLETED:
                entries.append(("error", ERROR.code))
            elif not entries:
                entries.append(("assistant_text", ""))
            self.history += [(turn.id, entry) for entry in entries]
        turn.state, turn.pieces = step.state, []
        if starts is not None:
            self.start(starts)

    def interrupt(self, turn: Turn) -> None:
        if not turn.runs:
            raise Refused
        made = joined(turn.pieces)
        open_calls = dict.fromkeys(word for kind, word in made if kind == "tool_call")
        made += [("tool_result", word) for word in open_calls]
        self.history += [(turn.id, entry) for entry in [*made, ("error", "ABORTED")]]
        turn.state, turn.pieces = INTERRUPTED, []


def joined(pieces: list[Text]) -> list[Text]:
    made: list[Text] = []
    for kind, word in pieces:
        if made and made[-1][0] == kind != "tool_call":
            made[-1] = (kind, made[-1][1] + word)
        else:
            made.append((kind, word))
    return made


@settings(max_examples=100, deadline=None)
@given(st.lists(_STEP, min_size=20, max_size=40))
@example([Admit("a", "", -1, True, 0), End(0, FAILED, [], -1), Admit("a", "", -1, True, 0)])
@example(
    [
        Admit("a", "m1", -1, True, 0),
        Admit("b", "m2", -1, False, 0),
        Add(1, [("assistant_text", "é"), ("assistant_text", "a")], None),
        Add(1, [("assistant_text", "b")], 2),
        Interrupt(1),
        End(0, CANCELLED, [], -1),
        Admit("c", "", 1, True, 0),
    ]
)
def test_a_series_of_calls_equals_plain_lists(steps: list[Step]) -> None:
    """The store's turns, queue and history are those of the model after each step."""
    asyncio.run(_compare(steps))


async def _compare(steps: list[Step]) -> None:
    store = await ConversationStore.open(
        ":memory:", clock=Clock(), new_id=lambda: "c1", report=lambda line: None
    )
    model = Model()
    try:
        await store.create("")
        for step in steps:
            await _carry_out(store, model, step)
            await _check(store, model)
    finally:
        await store.close()


async def _carry_out(store: ConversationStore, model: Model, step: Step) -> None:
    """Carry the step out on both; both refuse it, or neither does."""
    ids = [turn.id for turn in reversed(model.turns)]

    def name(back: int) -> str:
        return "" if back < 0 else ids[back % len(ids)] if ids else "none"

    if isinstance(step, Admit):
        new = NewTurn(
            f"t{model._count + 1}",
            step.text,
            step.message,
            replaces=name(step.replaces),
            starts=step.starts,
            place=step.place,
        )
        known = [turn.message for turn in model.turns]
        try:
            turn = model.admit(step)
        except Refused:
            await _refuse(store.admit("c1", new))
        else:
            admission = await store.admit("c1", new)
            assert admission.turn.id == turn.id
            assert admission.repeated == (step.message != "" and step.message in known)
        return
    call = _call(store, step, name)
    picked = model.pick(step.turn)
    try:
        if picked is None:
            raise Refused
        _apply(model, picked, step)
    except Refused:
        await _refuse(call)
    else:
        await call


async def _refuse(call: Awaitable[object]) -> None:
    try:
        await call
    except (TurnConflict, UnknownTurn):
        return
    raise AssertionError("it was not refused")


def _apply(model: Model, turn: Turn, step: Step) -> None:
    match step:
        case Start():
            model.start(turn)
        case Change():
            if not turn.runs:
                raise Refused
            turn.state = step.state
        case Move():
            model.move(turn, step.text, step.place)
        case Add():
            model.add(turn, step)
        case End():
            model.end(turn, step, model.pick(step.start) if step.start >= 0 else None)
        case _:
            model.interrupt(turn)


def _call(
    store: ConversationStore, step: Step, name: Callable[[int], str]
) -> Coroutine[None, None, object]:
    assert not isinstance(step, Admit)
    turn = name(step.turn)
    match step:
        case Start():
            return store.start("c1", turn)
        case Change():
            return store.set_state("c1", turn, step.state)
        case Move():
            return store.update_queued("c1", turn, step.text, step.place)
        case Add():
            return store.add_pieces("c1", turn, [_entry(*each) for each in step.pieces], step.keep)
        case End():
            completes = step.state == COMPLETED
            return store.end(
                "c1",
                turn,
                step.state,
                [_entry(*each) for each in step.entries],
                completed=ChatCompleted() if completes else None,
                error=None if completes else ERROR,
                start=name(step.start),
            )
        case Interrupt():
            return store.interrupt("c1", turn)


def _entry(kind: str, word: str) -> HistoryEntry:
    if kind == "tool_call":
        return HistoryEntry(tool_call=ToolCallEvent(call_id=word))
    if kind == "reasoning_text":
        return HistoryEntry(reasoning_text=word)
    return HistoryEntry(assistant_text=word)


def _said(entry: HistoryEntry) -> tuple[str, Text]:
    kind = entry.WhichOneof("entry") or ""
    value = getattr(entry, kind)
    word = {"tool_call": "call_id", "tool_result": "call_id", "error": "code"}.get(kind)
    return entry.turn_id, (kind, value if word is None else getattr(value, word))


async def _check(store: ConversationStore, model: Model) -> None:
    assert [_said(entry) for entry in (await store.history("c1")).entries] == model.history
    running = [turn for turn in model.turns if turn.runs]
    expected = [
        (turn.id, turn.text, turn.state, place)
        for place, turn in [*((0, turn) for turn in running), *enumerate(model.queue, start=1)]
    ]
    opened = await store.open_turns("c1")
    assert [(turn.id, turn.text, turn.state, turn.place) for turn in opened] == expected
    for turn in model.turns:
        kept = await store.find_turn("c1", turn_id=turn.id)
        assert kept is not None
        assert (kept.message_id, kept.text, kept.state) == (turn.message, turn.text, turn.state)
        assert (kept.completed is not None) == (turn.state == COMPLETED)
        assert (kept.error is not None) == (turn.state in (FAILED, CANCELLED, INTERRUPTED))
        said = [_said(entry)[1] for entry in await store.turn_entries("c1", turn.id)]
        owned = [entry for owner, entry in model.history if owner == turn.id]
        assert said == owned + joined(turn.pieces)
    state = ConversationState.CONVERSATION_STATE_IDLE
    if expected:
        waits = any(turn.state == WAITING for turn in running)
        state = ConversationState.CONVERSATION_STATE_RUNNING
        state = ConversationState.CONVERSATION_STATE_WAITING if waits else state
    assert (await store.get("c1")).state == state
    assert await store.conversations_with_open_turns() == (["c1"] if expected else [])
