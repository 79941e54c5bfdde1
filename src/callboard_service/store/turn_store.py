"""The part of the conversation store that keeps turns: admission, queue, output and end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from actors import Code
from callboard.v1.chat_pb2 import (
    ChatCompleted,
    ChatError,
    HistoryEntry,
    TurnState,
    UsageEvent,
)
from callboard_service.store import attachment_rows, histories, pieces, turns
from callboard_service.store.database import MAX_WAITING_ENTRIES, Database
from callboard_service.store.entries import microseconds
from callboard_service.store.histories import dated, title_of
from callboard_service.store.kept_turns import Admission, KeptTurn, NewTurn
from callboard_service.store.run import check_run, key_for_writing
from callboard_service.store.transaction import Transaction
from callboard_service.store.turn_reader import TurnReader

T = TypeVar("T")

UPLOAD_LIFE: Final = timedelta(hours=1)
"""How long an upload waits for the message that uses it."""

UPLOAD_LIFE_MICROSECONDS: Final = UPLOAD_LIFE // timedelta(microseconds=1)

_RUNNING: Final = f"""
    SELECT turns.conversation FROM turns
    WHERE turns.id = ? AND turns.conversation = (SELECT key FROM conversations WHERE id = ?)
        AND turns.state IN ({", ".join(str(int(state)) for state in turns.STARTED)})
"""  # noqa: S608  # constants


@dataclass(frozen=True, slots=True)
class TurnOutputPieces:
    """Output of one turn: entries, and numbers of bytes to which its text is cut in between."""

    conversation_id: str
    turn_id: str
    pieces: Sequence[pieces.Piece]


class TurnStore(TurnReader):
    """Keeps the turns of conversations.

    run: the number of this opening of the database, 1 to 2**24 - 1, larger than those of all
    openings before. Once the database is opened again, every write raises StoreFenced. A call that
    names an unknown conversation raises UnknownConversation.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime], run: int) -> None:
        super().__init__(database)
        self._clock = clock
        self.run = run

    # -- admission and the queue -----------------------------------------------------------------

    async def admit(self, conversation_id: str, turn: NewTurn) -> Admission:
        """Store a message as a new turn, which starts or is queued.

        If its message id is known, its turn is returned and nothing is written, whatever else
        `turn` says. `replaces` removes that turn and its entries; its message id is free again. A
        text without a message id that repeats the newest one, which has no reply, replaces it in
        the history. The conversation's title and `updated_at` change as in `append`.

        Raises TurnConflict if the turn is to start while another one runs, and if `replaces` is not
        the last turn, or neither failed nor was stopped; UnknownUpload for an attachment that names
        no upload, or one that has expired or was used.
        """
        now = self._now()

        def admit(transaction: Transaction, key: int) -> Admission:
            known = turns.find_turn(transaction, key, message_id=turn.message_id)
            if known is not None:
                return Admission(known, repeated=True)
            if turn.replaces:
                turns.remove_replaced(transaction, key, turn.replaces)
            if turn.starts:
                kept = turns.insert_started(transaction, key, turn, now)
            else:
                turns.insert_turn(transaction, key, turn)
                kept = turns.get_turn(transaction, key, turn.id)
            attachment_rows.use(
                transaction, key, turn.attachments, now, now - UPLOAD_LIFE_MICROSECONDS
            )
            heading = turn.text or next((each.name for each in turn.attachments), "")
            chosen = histories.touch(transaction, key, now, title_of(heading))
            if not (turn.starts and turn.recent_bytes):
                return Admission(kept, False, chosen)
            recent = histories.recent_texts(transaction, key, turn.recent_bytes)
            return Admission(kept, False, chosen, recent.for_model())

        return await self._change(conversation_id, admit)

    async def start(self, conversation_id: str, turn_id: str) -> None:
        """Start a queued turn; its text enters the history.

        Raises UnknownTurn, and TurnConflict if it is not queued or another turn is running.
        """
        now = self._now()

        def start(transaction: Transaction, key: int) -> None:
            turns.start_turn(transaction, key, turn_id, now)

        await self._change(conversation_id, start, at_most=MAX_WAITING_ENTRIES)

    async def set_state(
        self, conversation_id: str, turn_id: str, state: TurnState.ValueType
    ) -> None:
        """Set the state of a turn that has started: RUNNING, WAITING or STOPPING.

        Raises ValueError for another state, UnknownTurn, and TurnConflict if the turn is queued or
        has ended.
        """
        if state not in turns.STARTED:
            raise ValueError("`end` and `start` set the other states")

        def change(transaction: Transaction, key: int) -> None:
            turns.require_started(transaction, key, turn_id)
            turns.set_columns(transaction, key, turn_id, state=state)

        await self._change(conversation_id, change, at_most=MAX_WAITING_ENTRIES)

    async def update_queued(
        self, conversation_id: str, turn_id: str, text: str | None = None, place: int | None = None
    ) -> list[KeptTurn]:
        """Change the text or the place of a queued turn and return the queue.

        place: from 1; beyond the end is the end. Raises UnknownTurn, and TurnConflict if the turn
        is not queued any more.
        """

        def update(transaction: Transaction, key: int) -> list[KeptTurn]:
            turns.update_queued(transaction, key, turn_id, text, place)
            return turns.queue_of(transaction, key)

        return await self._change(conversation_id, update)

    async def withdraw(self, conversation_id: str, turn_id: str) -> None:
        """Remove a queued turn; its message id is free again, and so are its uploads.

        Raises UnknownTurn, and TurnConflict if it is not queued any more.
        """

        def withdraw(transaction: Transaction, key: int) -> None:
            turns.remove_queued(transaction, key, turn_id)

        await self._change(conversation_id, withdraw, at_most=MAX_WAITING_ENTRIES)

    async def hand_over(
        self, conversation_id: str, turn_id: str, running_id: str, entry: HistoryEntry
    ) -> None:
        """Make the message of a queued turn part of the running turn, as output of that turn.

        From now on the message's id names the running turn. Raises UnknownTurn, and TurnConflict if
        the one is not queued any more, or the other not running.
        """
        piece = histories.dated(entry, self._now(), running_id)

        def hand_over(transaction: Transaction, key: int) -> None:
            turn = turns.get_turn(transaction, key, turn_id)
            turns.hand_over(transaction, key, turn, running_id)
            pieces.insert_pieces(transaction, key, running_id, [piece])

        await self._change(conversation_id, hand_over, at_most=MAX_WAITING_ENTRIES)

    # -- output and end --------------------------------------------------------------------------

    async def add_pieces(
        self,
        conversation_id: str,
        turn_id: str,
        entries: Sequence[HistoryEntry],
        keep_text_bytes: int | None = None,
    ) -> None:
        """Append output of a turn that has started. It is not in the history before the turn ends.

        keep_text_bytes: first cut the turn's text so far back to this many bytes of UTF-8. Raises
        ValueError for an entry of no kind or a negative number of bytes, UnknownTurn, and
        TurnConflict if the turn is queued or has ended.
        """
        now = self._now()
        made: list[pieces.Piece] = [histories.dated(entry, now, turn_id) for entry in entries]
        if any(entry.WhichOneof("entry") is None for entry in entries):
            raise ValueError("an empty entry cannot be stored")
        if keep_text_bytes is not None:
            if keep_text_bytes < 0:
                raise ValueError("a text has no negative length")
            made.insert(0, keep_text_bytes)

        def add(transaction: Transaction, key: int) -> None:
            turns.require_started(transaction, key, turn_id)
            pieces.insert_pieces(transaction, key, turn_id, made)

        await self._change(conversation_id, add, at_most=MAX_WAITING_ENTRIES)

    async def add_output(self, outputs: Sequence[TurnOutputPieces]) -> None:
        """Append output of many running turns in one transaction, as `add_pieces` does for one.

        Turns that are gone, or have not started, are skipped. Raises no UnknownConversation.
        """
        now = self._now()
        made = [
            (
                output,
                [
                    piece if isinstance(piece, int) else dated(piece, now, output.turn_id)
                    for piece in output.pieces
                ],
            )
            for output in outputs
        ]

        def add(transaction: Transaction) -> None:
            for output, dated_pieces in made:
                key = transaction.number(_RUNNING, output.turn_id, output.conversation_id)
                if key:
                    pieces.insert_pieces(transaction, key, output.turn_id, dated_pieces)

        await self._write(add, at_most=MAX_WAITING_ENTRIES, joins=True)

    async def begin_again(self, conversation_id: str, turn_id: str) -> None:
        """Remove the pieces of a turn that has started, and set its state to RUNNING.

        Raises UnknownTurn, and TurnConflict if the turn is queued or has ended.
        """

        def begin_again(transaction: Transaction, key: int) -> None:
            turns.require_started(transaction, key, turn_id)
            pieces.remove_pieces(transaction, key, turn_id)
            running = TurnState.TURN_STATE_RUNNING
            turns.set_columns(transaction, key, turn_id, state=running)

        await self._change(conversation_id, begin_again, at_most=MAX_WAITING_ENTRIES)

    async def end(
        self,
        conversation_id: str,
        turn_id: str,
        state: TurnState.ValueType,
        entries: Sequence[HistoryEntry],
        *,
        completed: ChatCompleted | None,
        error: ChatError | None,
        start: str = "",
        usage: UsageEvent | None = None,
    ) -> None:
        """End an open turn and, in the same transaction, start the queued turn `start`.

        entries: the whole output, which takes the place of the pieces. `completed` is kept on the
        last of them, or on an empty assistant text if there is none; `error` becomes the last
        entry. A turn that was queued leaves nothing in the history; its message id stays known.
        usage: the conversation's latest; None: as before.

        Raises ValueError for a state that is no end, for an empty entry, and if both `completed`
        and `error` are given; UnknownTurn; TurnConflict if the turn has ended, if it is queued and
        has output or COMPLETED as state, or if `start` is not queued.
        """
        if state not in turns.ENDED:
            raise ValueError("a turn does not end with this state")
        if completed is not None and error is not None:
            raise ValueError("a turn ends with ChatCompleted or with ChatError, not with both")
        now = self._now()
        made = _with_end(entries, completed, error)
        rows = [histories.row_at(entry, now, turn_id) for entry in made]
        may_be_queued = not entries and state != TurnState.TURN_STATE_COMPLETED

        def end(transaction: Transaction, key: int) -> None:
            turn = turns.get_turn(transaction, key, turn_id) if may_be_queued else None
            if turn is not None and turn.state == TurnState.TURN_STATE_QUEUED:
                turns.end_queued(transaction, key, turn, state, error)
            else:
                turns.end_started(transaction, key, turn_id, state, completed, error)
                pieces.remove_pieces(transaction, key, turn_id)
                histories.insert_rows(transaction, key, rows)
            histories.touch(transaction, key, now, usage=usage)
            if start:
                turns.start_turn(transaction, key, start, now)

        await self._change(conversation_id, end, at_most=MAX_WAITING_ENTRIES)

    async def interrupt(self, conversation_id: str, turn_id: str) -> None:
        """End a turn that has started with INTERRUPTED. Its pieces become entries of the history.

        Neighbouring texts are joined, cuts are applied, and of each tool call the latest version is
        kept. Open tool calls and asks are closed; an error ABORTED follows. Raises UnknownTurn, and
        TurnConflict if the turn is queued or has ended.
        """
        now = self._now()
        message = "the service ended while the reply was being made"
        error = ChatError(code=Code.ABORTED.value, message=message)

        def interrupt(transaction: Transaction, key: int) -> None:
            state = TurnState.TURN_STATE_INTERRUPTED
            turns.end_started(transaction, key, turn_id, state, None, error)
            made = pieces.entries_of_pieces(transaction, key, turn_id)
            pieces.remove_pieces(transaction, key, turn_id)
            made += [*pieces.closings(made), HistoryEntry(error=error)]
            rows = [histories.row_at(entry, now, turn_id) for entry in made]
            histories.insert_rows(transaction, key, rows)
            histories.touch(transaction, key, now)

        await self._change(conversation_id, interrupt, at_most=MAX_WAITING_ENTRIES)

    # -- shared with the rest of the store -------------------------------------------------------

    async def _change(
        self,
        conversation_id: str,
        work: Callable[[Transaction, int], T],
        *,
        at_most: int | None = None,
    ) -> T:
        """Run `work`, which is short, with the key of a conversation, as `_write` does.

        It may share its transaction with others, and may be called twice.
        """

        def fenced(transaction: Transaction) -> T:
            return work(transaction, key_for_writing(transaction, self.run, conversation_id))

        return await self._database.write(fenced, at_most=at_most, joins=True)

    async def _write(
        self,
        work: Callable[[Transaction], T],
        *,
        at_most: int | None = None,
        patient: bool = True,
        joins: bool = False,
    ) -> T:
        """Run `work` as the only writer; see `Database.write`.

        Raises StoreFenced if the database was opened again.
        """

        def fenced(transaction: Transaction) -> T:
            check_run(transaction, self.run)
            return work(transaction)

        return await self._database.write(fenced, at_most=at_most, patient=patient, joins=joins)

    def _now(self) -> int:
        return microseconds(self._clock())


def _with_end(
    entries: Sequence[HistoryEntry], completed: ChatCompleted | None, error: ChatError | None
) -> list[HistoryEntry]:
    """Return the entries of a turn with its end on, or after, the last one."""
    made = list(entries)
    if completed is not None:
        last = HistoryEntry(assistant_text="")
        if made:
            last.CopyFrom(made.pop())
        last.completed.CopyFrom(completed)
        made.append(last)
    if error is not None:
        made.append(HistoryEntry(error=error))
    return made
