"""The statements on the table `turns`: admission, the queue, the start and the state of a turn."""

from collections.abc import Sequence
from sqlite3 import Row
from typing import Final

from callboard.v1.chat_pb2 import (
    Attachment,
    ChatCompleted,
    ChatError,
    HistoryEntry,
    TurnState,
)
from callboard_service.store import attachment_rows
from callboard_service.store.entries import microseconds, moment_of
from callboard_service.store.errors import TurnConflict, UnknownTurn
from callboard_service.store.histories import (
    OPEN,
    insert_rows,
    remove_unanswered,
    row_at,
    touch,
)
from callboard_service.store.kept_turns import KeptTurn, NewTurn
from callboard_service.store.transaction import SqlValue, Transaction

STARTED: Final = (
    TurnState.TURN_STATE_RUNNING,
    TurnState.TURN_STATE_WAITING,
    TurnState.TURN_STATE_STOPPING,
)
"""The states of a turn that has started and has not ended."""

_REPLACEABLE: Final = (
    TurnState.TURN_STATE_FAILED,
    TurnState.TURN_STATE_CANCELLED,
    TurnState.TURN_STATE_INTERRUPTED,
)

ENDED: Final = (TurnState.TURN_STATE_COMPLETED, *_REPLACEABLE)

_QUEUED: Final = TurnState.TURN_STATE_QUEUED
_RUNNING: Final = TurnState.TURN_STATE_RUNNING

# The text of a turn that has started is that of its first user text.
_TURN: Final = """
    SELECT key, id, message_id, state, place, model, detached, deadline_at, completed, error,
        attachments, part_of, handed,
        coalesce(text, (
            SELECT said.text FROM entries AS said
            WHERE said.conversation = turns.conversation AND said.turn = turns.id
                AND said.kind = 'user_text' ORDER BY said.id LIMIT 1
        ), '') AS text
    FROM turns WHERE conversation = ?
"""
_INSERT: Final = """
    INSERT INTO turns (
        conversation, id, message_id, state, place, text, model, detached, deadline_at, attachments,
        handed
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

# Inserts nothing if a turn has started.
_INSERT_STARTED: Final = f"""
    {_INSERT.replace("VALUES (", "SELECT ").replace("?)", "?")}
    WHERE NOT EXISTS (
        SELECT 1 FROM turns WHERE conversation = ? AND {OPEN} AND state != {int(_QUEUED)}
    )
"""  # noqa: S608  # constants
_END_STARTED: Final = f"""
    UPDATE turns SET state = ?, completed = ?, error = ? WHERE conversation = ? AND id = ?
        AND state IN ({", ".join(str(int(state)) for state in STARTED)})
"""  # noqa: S608  # constants


def find_turn(
    transaction: Transaction, conversation: int, *, turn_id: str = "", message_id: str = ""
) -> KeptTurn | None:
    """Return the turn with this id, or else with this message id; None if there is none.

    The turn of a message that was handed to a running turn is that turn.
    """
    if turn_id:
        row = transaction.row(f"{_TURN} AND id = ?", conversation, turn_id)
    elif message_id:
        row = transaction.row(f"{_TURN} AND message_id = ?", conversation, message_id)
    else:
        row = None
    if row is not None and row["part_of"] is not None:
        return find_turn(transaction, conversation, turn_id=row["part_of"])
    return None if row is None else _turn_of(row)


def get_turn(transaction: Transaction, conversation: int, turn_id: str) -> KeptTurn:
    """Return the turn with this id. Raises UnknownTurn."""
    turn = find_turn(transaction, conversation, turn_id=turn_id)
    if turn is None:
        raise UnknownTurn(turn_id)
    return turn


def require_started(transaction: Transaction, conversation: int, turn_id: str) -> None:
    """Raise UnknownTurn, or TurnConflict if the turn is queued or has ended."""
    turn = get_turn(transaction, conversation, turn_id)
    if turn.state not in STARTED:
        queued = turn.state == _QUEUED
        raise TurnConflict("the turn has not started" if queued else "the turn has ended")


def open_turns(transaction: Transaction, conversation: int) -> list[KeptTurn]:
    """Return the turns that have not ended: the one that has started, then the queue."""
    rows = transaction.rows(f"{_TURN} AND {OPEN} ORDER BY place", conversation)
    return [_turn_of(row) for row in rows]


def queue_of(transaction: Transaction, conversation: int) -> list[KeptTurn]:
    """Return the queued turns, in their order."""
    return [turn for turn in open_turns(transaction, conversation) if turn.state == _QUEUED]


def insert_turn(transaction: Transaction, conversation: int, turn: NewTurn) -> None:
    """Add a turn to the queue."""
    count = len(queue_of(transaction, conversation))
    place = min(turn.place or count + 1, count + 1)
    _shift(transaction, conversation, place, 1)
    described = map(attachment_rows.description, turn.attachments)
    values = _values(conversation, turn, _QUEUED, place, turn.text, tuple(described))
    transaction.change(_INSERT, *values)


def insert_started(
    transaction: Transaction, conversation: int, turn: NewTurn, now: int
) -> KeptTurn:
    """Add a turn that starts at once, and return it; its text enters the history.

    The same as `insert_turn` and `start_turn`, in fewer statements. Raises TurnConflict if another
    turn runs.
    """
    described = tuple(map(attachment_rows.description, turn.attachments))
    values = _values(conversation, turn, _RUNNING, 0, None, described)
    if not transaction.change(_INSERT_STARTED, *values, conversation):
        raise TurnConflict("another turn of the conversation is running")
    _enter_history(transaction, conversation, turn, described, now)
    return KeptTurn(
        id=turn.id,
        message_id=turn.message_id,
        text=turn.text,
        model=turn.model,
        detached=turn.detached,
        deadline_at=turn.deadline_at,
        state=_RUNNING,
        place=0,
        completed=None,
        error=None,
        attachments=described,
    )


def _values(
    conversation: int,
    turn: NewTurn,
    state: TurnState.ValueType,
    place: int,
    text: str | None,
    described: Sequence[Attachment],
) -> tuple[SqlValue, ...]:
    """Return the values that `_INSERT` takes."""
    deadline = None if turn.deadline_at is None else microseconds(turn.deadline_at)
    values = (turn.message_id or None, state, place, text, turn.model, int(turn.detached))
    attached = HistoryEntry(attachments=described).SerializeToString() if described else None
    return conversation, turn.id, *values, deadline, attached, int(turn.handed)


def _enter_history(
    transaction: Transaction,
    conversation: int,
    turn: NewTurn | KeptTurn,
    attachments: Sequence[Attachment],
    now: int,
) -> None:
    """Append the message of a turn that starts to the history."""
    if turn.text and not turn.message_id and not attachments:
        remove_unanswered(transaction, conversation, turn.text)
    said = HistoryEntry(user_text=turn.text, attachments=attachments)
    insert_rows(transaction, conversation, [row_at(said, now, turn.id)])


def start_turn(transaction: Transaction, conversation: int, turn_id: str, now: int) -> None:
    """Take a turn from the queue; its text enters the history.

    Raises UnknownTurn, and TurnConflict if it is not queued or another turn runs.
    """
    turns = open_turns(transaction, conversation)
    turn = next((each for each in turns if each.id == turn_id), None)
    if turn is None:
        turn = get_turn(transaction, conversation, turn_id)
    if turn.state != _QUEUED:
        raise TurnConflict("the turn is not queued")
    if any(each.state in STARTED for each in turns):
        raise TurnConflict("another turn of the conversation is running")
    _enter_history(transaction, conversation, turn, turn.attachments, now)
    _leave_queue(transaction, conversation, turn)
    set_columns(transaction, conversation, turn_id, state=_RUNNING, text=None)
    touch(transaction, conversation, now)


def update_queued(
    transaction: Transaction, conversation: int, turn_id: str, text: str | None, place: int | None
) -> None:
    """Change the text or the place of a queued turn. Raises UnknownTurn and TurnConflict."""
    turn = get_turn(transaction, conversation, turn_id)
    if turn.state != _QUEUED:
        raise TurnConflict("the turn is not queued any more")
    set_columns(transaction, conversation, turn_id, handed=0)
    if text is not None:
        set_columns(transaction, conversation, turn_id, text=text)
    if place is not None:
        place = max(1, min(place, len(queue_of(transaction, conversation))))
        _shift(transaction, conversation, turn.place + 1, -1)
        _shift(transaction, conversation, place, 1)
        set_columns(transaction, conversation, turn_id, place=place)


def remove_queued(transaction: Transaction, conversation: int, turn_id: str) -> None:
    """Remove a queued turn. Raises UnknownTurn, and TurnConflict if it is not queued any more."""
    turn = get_turn(transaction, conversation, turn_id)
    if turn.state != _QUEUED:
        raise TurnConflict("the turn is not queued any more")
    _leave_queue(transaction, conversation, turn)
    attachment_rows.give_back(transaction, conversation, turn.attachments)
    sql = "DELETE FROM turns WHERE conversation = ? AND id = ?"
    transaction.change(sql, conversation, turn_id)


def hand_over(transaction: Transaction, conversation: int, turn: KeptTurn, running_id: str) -> None:
    """Make the message of a queued turn part of the running turn. Raises TurnConflict."""
    if turn.state != _QUEUED:
        raise TurnConflict("the turn is not queued any more")
    if get_turn(transaction, conversation, running_id).state not in STARTED:
        raise TurnConflict("the turn to hand it to is not running")
    _leave_queue(transaction, conversation, turn)
    state = TurnState.TURN_STATE_COMPLETED
    set_columns(transaction, conversation, turn.id, state=state, part_of=running_id)


def handed_to(transaction: Transaction, conversation: int, turn_id: str) -> list[KeptTurn]:
    """Return the messages that became part of a turn, in the order of their admission."""
    rows = transaction.rows(f"{_TURN} AND part_of = ? ORDER BY key", conversation, turn_id)
    return [_turn_of(row) for row in rows]


def end_started(
    transaction: Transaction,
    conversation: int,
    turn_id: str,
    state: TurnState.ValueType,
    completed: ChatCompleted | None,
    error: ChatError | None,
) -> None:
    """Set the final state of a turn that has started, and how it ended.

    Raises UnknownTurn, and TurnConflict if it is queued or has ended.
    """
    how = (_encoded(completed), _encoded(error))
    if not transaction.change(_END_STARTED, state, *how, conversation, turn_id):
        require_started(transaction, conversation, turn_id)


def end_queued(
    transaction: Transaction,
    conversation: int,
    turn: KeptTurn,
    state: TurnState.ValueType,
    error: ChatError | None,
) -> None:
    """Take a turn from the queue; set its final state and how it ended."""
    _leave_queue(transaction, conversation, turn)
    set_columns(transaction, conversation, turn.id, state=state, error=_encoded(error))


def _encoded(end: ChatCompleted | ChatError | None) -> bytes | None:
    return None if end is None else end.SerializeToString()


def remove_replaced(transaction: Transaction, conversation: int, turn_id: str) -> None:
    """Remove a turn and its entries, so that another one can take its place.

    Raises TurnConflict unless it is the last turn of the conversation and has failed, or was
    cancelled or interrupted.
    """
    turn = find_turn(transaction, conversation, turn_id=turn_id)
    if turn is None or turn.state not in _REPLACEABLE:
        raise TurnConflict("only a turn that failed or was stopped can be replaced")
    if not _is_last(transaction, conversation, turn_id):
        raise TurnConflict("only the last turn of the conversation can be replaced")
    attachments = attachment_rows.attachments_of(transaction, conversation, turn_id)
    attachment_rows.end_use(transaction, conversation, attachments)
    for table, column in (("entries", "turn"), ("turns", "id"), ("turns", "part_of")):
        sql = f"DELETE FROM {table} WHERE conversation = ? AND {column} = ?"  # noqa: S608
        transaction.change(sql, conversation, turn_id)


def set_columns(
    transaction: Transaction, conversation: int, turn_id: str, **columns: SqlValue
) -> None:
    """Set columns of a turn."""
    names = ", ".join(f"{name} = ?" for name in columns)
    sql = f"UPDATE turns SET {names} WHERE conversation = ? AND id = ?"  # noqa: S608  # names only
    transaction.change(sql, *columns.values(), conversation, turn_id)


def _is_last(transaction: Transaction, conversation: int, turn_id: str) -> bool:
    """Return whether no turn is open, and none has started after this ended one.

    A turn that was cancelled in the queue counts from its admission.
    """
    if open_turns(transaction, conversation):
        return False
    sql = "SELECT turn FROM entries WHERE conversation = ? ORDER BY id DESC LIMIT 1"
    newest = transaction.row(sql, conversation)
    if newest is None or newest["turn"] == turn_id:
        return True
    sql = "SELECT text IS NOT NULL AND key > ? FROM turns WHERE conversation = ? AND id = ?"
    key = "SELECT key FROM turns WHERE conversation = ? AND id = ?"
    last = transaction.number(key, conversation, newest["turn"])
    return bool(transaction.number(sql, last, conversation, turn_id))


def _leave_queue(transaction: Transaction, conversation: int, turn: KeptTurn) -> None:
    set_columns(transaction, conversation, turn.id, place=0)
    _shift(transaction, conversation, turn.place + 1, -1)


def _shift(transaction: Transaction, conversation: int, first: int, by: int) -> None:
    """Add `by` to the places of the queued turns from the place `first` on."""
    sql = f"""
        UPDATE turns SET place = place + ? WHERE conversation = ? AND {OPEN} AND place >= ?
    """  # noqa: S608  # a constant
    transaction.change(sql, by, conversation, max(first, 1))


def _turn_of(row: Row) -> KeptTurn:
    completed, error, deadline = row["completed"], row["error"], row["deadline_at"]
    attached = row["attachments"]
    return KeptTurn(
        id=row["id"],
        message_id=row["message_id"] or "",
        text=row["text"],
        model=row["model"],
        detached=bool(row["detached"]),
        deadline_at=None if deadline is None else moment_of(deadline),
        state=TurnState.ValueType(row["state"]),
        place=row["place"],
        completed=None if completed is None else ChatCompleted.FromString(completed),
        error=None if error is None else ChatError.FromString(error),
        attachments=()
        if attached is None
        else tuple(HistoryEntry.FromString(attached).attachments),
        handed=bool(row["handed"]),
    )
