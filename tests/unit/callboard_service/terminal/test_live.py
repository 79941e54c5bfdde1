"""Turns that are followed live, with their asks and Ctrl-C: live.py, feed.py and ask_dialog.py."""

import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest

from callboard.v1.chat_pb2 import (
    AnswerRequest,
    AskClosed,
    AskEvent,
    ChatError,
    ConversationSnapshot,
    History,
    HistoryEntry,
    OpenTurn,
    SessionInfo,
    StopTurnRequest,
    TurnInfo,
    TurnState,
)
from callboard.v1.envelope_pb2 import ServerMessage
from callboard_service.terminal.ask_dialog import UNKNOWN, Asking, screen_size
from callboard_service.terminal.asks import Asker
from callboard_service.terminal.interrupts import Interrupts
from tests.unit.callboard_service.terminal.stage import (
    ASK,
    CANCELLED,
    CLOSED,
    COMPLETED,
    QUEUED,
    RUNNING,
    Stage,
    event,
    joined,
    never,
    snapshot,
    started,
    token,
)
from transport.errors import ConnectionClosed, RequestFailed


async def test_a_turn_of_another_client_is_shown_from_its_beginning(stage: Stage) -> None:
    """Joined in the middle, a turn is shown with its message, what it has, and what comes."""
    showing = await joined(stage, token("a"))
    stage.put(token(" b"), SessionInfo(id="c"), COMPLETED)
    assert await showing
    assert stage.out.getvalue() == "> go\na b\n"


async def test_a_turn_that_failed_says_how(stage: Stage) -> None:
    """The error that a turn ended with is shown."""
    showing = await joined(stage, token("a"))
    stage.put(ChatError(code="INTERNAL", message="no"))
    assert await showing
    assert stage.out.getvalue().endswith("a\nINTERNAL: no (trying again will not help)\n")


async def test_the_turns_of_a_queue_are_shown_one_after_the_other(stage: Stage) -> None:
    """A turn that waits is awaited if it is one's own, and shown with its message."""
    turns = stage.turns()
    await stage.sent("follow_session")
    stage.put(snapshot())
    await turns.joined()
    stage.put(QUEUED, turn_id="q")
    await turns.expect(QUEUED)
    showing = asyncio.create_task(stage.show(turns))
    stage.put(token("a"), TurnInfo(id="t", state=TurnState.TURN_STATE_COMPLETED), COMPLETED)
    started_info = TurnInfo(id="q", state=TurnState.TURN_STATE_RUNNING)
    stage.put(started_info, token("b"), COMPLETED, turn_id="q")
    assert await showing
    assert stage.out.getvalue() == (
        "queued, place 1; /queue shows the queue\n> go\na\n\n> later\nb\n"
    )


async def test_a_snapshot_from_before_a_message_is_not_taken_for_its_end(stage: Stage) -> None:
    """A message that was admitted while a snapshot without it was waiting is still awaited."""
    turns = stage.turns()
    await stage.sent("follow_session")
    stage.put(snapshot(), snapshot())
    while turns.feed.snapshots < 2:
        await started()
    await turns.expect(QUEUED)
    stage.put(token("a"), COMPLETED)
    stage.put(TurnInfo(id="q", state=TurnState.TURN_STATE_RUNNING), token("b"), turn_id="q")
    stage.put(COMPLETED, turn_id="q")
    assert await stage.show(turns)
    assert stage.out.getvalue().endswith("> go\na\n\n> \nb\n")


async def test_a_queued_message_that_is_withdrawn_is_told(stage: Stage) -> None:
    """A message of one's own that is withdrawn while another turn runs is not awaited."""
    turns = stage.turns()
    await stage.sent("follow_session")
    stage.put(snapshot())
    await turns.joined()
    await turns.expect(TurnInfo(id="q", state=TurnState.TURN_STATE_QUEUED))
    showing = asyncio.create_task(stage.show(turns))
    stage.put(TurnInfo(id="q", state=TurnState.TURN_STATE_CANCELLED), CANCELLED, turn_id="q")
    stage.put(token("a"), COMPLETED)
    assert await showing
    assert stage.out.getvalue() == "> go\nthe message that waited its turn was withdrawn\na\n"


async def test_a_message_that_is_withdrawn_at_once_is_told(stage: Stage) -> None:
    """A message that was stopped before this client knew its turn is not awaited for ever."""
    turns = stage.turns()
    await stage.sent("follow_session")
    stage.put(snapshot(info=None))
    await turns.joined()
    stage.put(QUEUED, TurnInfo(id="q", state=TurnState.TURN_STATE_CANCELLED), turn_id="q")
    stage.put(CANCELLED, turn_id="q")
    await started()
    await turns.expect(TurnInfo(id="q", state=TurnState.TURN_STATE_QUEUED))
    assert await stage.show(turns)
    assert stage.out.getvalue() == "CANCELLED: no reason given\n"


async def test_at_the_prompt_a_turn_that_starts_is_noticed(stage: Stage) -> None:
    """Waiting ends when a turn starts, not when one is queued, withdrawn or has ended."""
    turns = stage.turns()
    await stage.sent("follow_session")
    waiting = asyncio.create_task(turns.something())
    stage.put(snapshot(info=QUEUED))
    stage.put(TurnInfo(id="q", state=TurnState.TURN_STATE_CANCELLED), CANCELLED, turn_id="q")
    stage.put(QUEUED, SessionInfo(id="c"), token("not known"), turn_id="q")
    await started()
    assert not waiting.done()
    stage.put(TurnInfo(id="q", state=TurnState.TURN_STATE_RUNNING), COMPLETED, turn_id="q")
    await waiting
    await stage.show(turns)
    assert stage.out.getvalue() == "> later\n"


async def test_the_rest_of_a_turn_that_ended_meanwhile_comes_from_the_history(
    stage: Stage,
) -> None:
    """A turn that is missing in a snapshot is shown to its end, without what was shown."""
    showing = await joined(stage, token("a b"))
    await stage.shown("a b")
    stage.put(snapshot(info=None))
    request = await stage.sent("get_history")
    entries = [
        HistoryEntry(id="0", turn_id="old", user_text="before"),
        HistoryEntry(id="1", turn_id="t", user_text="go"),
        HistoryEntry(id="2", turn_id="t", assistant_text="a b c"),
        HistoryEntry(id="3", turn_id="t", error=ChatError(code="ABORTED", message="why")),
        HistoryEntry(id="4", turn_id="new", user_text="after"),
    ]
    stage.answer(request, History(entries=entries))
    assert await showing
    assert stage.out.getvalue() == "> go\na b c\ninterrupted: why\n"


async def test_a_turn_that_the_history_lacks_is_lost(stage: Stage) -> None:
    """If the service has not kept a turn, that is told, and the chat goes on."""
    showing = await joined(stage)
    await stage.shown("> go\n")
    stage.put(snapshot(info=None))
    stage.answer(await stage.sent("get_history"), History())
    assert await showing
    assert stage.out.getvalue().endswith("the service has not kept this reply\n")


async def test_a_turn_that_ended_before_it_was_followed_is_shown(stage: Stage) -> None:
    """A message that was sent again after its turn had ended gets it from the history."""
    turns = stage.turns()
    await stage.sent("follow_session")
    stage.put(snapshot(info=None))
    await turns.joined()
    info = TurnInfo(id="t", state=TurnState.TURN_STATE_COMPLETED)
    expecting = asyncio.create_task(turns.expect(info))
    entry = HistoryEntry(id="2", turn_id="t", assistant_text="a", completed=COMPLETED)
    stage.answer(await stage.sent("get_history"), History(entries=[entry]))
    await expecting
    assert await stage.show(turns)
    assert stage.out.getvalue() == "a\n"


async def test_a_snapshot_in_parts_continues_what_is_shown(stage: Stage) -> None:
    """A turn whose events come again is shown without repeating anything."""
    showing = await joined(stage, token("a"))
    stage.put(token(" b"))
    await stage.shown("a b")
    first = snapshot(token("a b"))
    first.more = True
    rest = OpenTurn(info=RUNNING, events=[event(token(" c"), "")])
    stage.put(first)
    stage.put(ConversationSnapshot(turns=[rest]))
    stage.put(token(" d"), COMPLETED)
    assert await showing
    assert stage.out.getvalue() == "> go\na b c d\n"


async def test_a_snapshot_that_was_cut_off_is_replaced(stage: Stage) -> None:
    """Of a snapshot whose last part never came, nothing is shown."""
    showing = stage.showing()
    await stage.sent("follow_session")
    first = snapshot(token("lost"))
    first.more = True
    stage.put(first, snapshot(token("a")), COMPLETED)
    assert await showing
    assert stage.out.getvalue() == "> go\na\n"


async def test_a_conversation_that_is_deleted_ends_the_showing(stage: Stage) -> None:
    """The error that ends the following is raised after what came before it."""
    showing = await joined(stage, token("a"))
    stage.websocket.say(1, ServerMessage(end=True, error=ChatError(code="NOT_FOUND")))
    with pytest.raises(RequestFailed):
        await showing
    assert stage.out.getvalue() == "> go\na"


async def test_a_lost_connection_is_told_after_what_came(stage: Stage) -> None:
    """What came before the connection was lost for good is shown."""
    showing = await joined(stage, token("a"))
    stage.put(None)
    with pytest.raises(ConnectionClosed):
        await showing
    assert stage.out.getvalue() == "> go\na"


async def test_ctrl_d_leaves_the_turn_running(stage: Stage) -> None:
    """Ctrl-D ends the showing at once and sends nothing that would end the turn."""
    showing = await joined(stage, token("a"))
    await stage.shown("a")
    stage.keyboard.send_text("\x04")
    assert not await showing
    assert [kind async for kind in remaining(stage)] == ["cancel"]  # of the follow request


async def remaining(stage: Stage) -> AsyncIterator[str | None]:
    """Yield the kinds of what the client has sent by now."""
    await started()
    while not stage.websocket.sent.empty():
        yield stage.websocket.sent.get_nowait().WhichOneof("payload")


@pytest.mark.parametrize("by_key", [True, False])
async def test_ctrl_c_stops_the_turn_and_waits_for_its_end(stage: Stage, by_key: bool) -> None:
    """Ctrl-C, as a key or as a signal, sends StopTurn; what still comes is not shown."""
    showing = await joined(stage, token("a"))
    await stage.shown("a")
    if by_key:
        stage.keyboard.send_text("\x03")
    else:
        signal.raise_signal(signal.SIGINT)
    request = await stage.sent("stop_turn")
    assert request.stop_turn == StopTurnRequest(session_id="c", turn_id="t")
    assert not showing.done()
    stage.put(token("too late"), ASK, CANCELLED)
    assert await showing
    assert stage.out.getvalue() == "> go\na\ncancelled\n"


async def test_a_turn_that_another_client_stopped_says_so(stage: Stage) -> None:
    """A turn that ends with CANCELLED without a Ctrl-C here shows that as its error."""
    showing = await joined(stage)
    stage.put(CANCELLED)
    assert await showing
    assert stage.out.getvalue() == "> go\nCANCELLED: no reason given\n"


async def test_a_second_ctrl_c_leaves(stage: Stage) -> None:
    """A second Ctrl-C ends the program while the turn has not ended."""

    async def program() -> None:
        with Interrupts() as interrupts:
            stage.interrupts = interrupts
            try:
                await stage.show(stage.turns())
            finally:
                assert interrupts.leaving

    running = asyncio.create_task(program())
    await stage.sent("follow_session")
    stage.put(snapshot())
    await stage.shown("> go\n")
    signal.raise_signal(signal.SIGINT)
    await stage.sent("stop_turn")
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_ctrl_c_before_the_message_is_admitted_stops_its_turn(stage: Stage) -> None:
    """Ctrl-C right after a message was sent stops the turn once its id is known."""
    turns = stage.turns()
    await stage.sent("follow_session")
    stage.put(snapshot(info=None))
    await turns.joined()
    turns.interrupt()
    await turns.expect(RUNNING)
    assert (await stage.sent("stop_turn")).stop_turn.turn_id == "t"
    stage.put(RUNNING, CANCELLED)
    assert await stage.show(turns)
    assert stage.out.getvalue() == "cancelled\n"


async def test_a_ctrl_c_that_finds_the_loop_stuck_ends_it(stage: Stage) -> None:
    """A second signal that comes before the first is handled raises KeyboardInterrupt."""
    with stage.interrupts.handled_by(lambda: None), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    await started()


async def test_an_ask_is_answered_and_its_close_not_repeated(stage: Stage) -> None:
    """An answer is sent for the conversation, and not shown again when it is settled."""
    showing = await joined(stage, ASK)
    await stage.shown("? Well?\n")
    stage.keyboard.send_text("yes\r")
    request = await stage.sent("answer_ask")
    assert request.answer_ask.session_id == "c"
    assert request.answer_ask.answer == AnswerRequest(ask_id="a", answers=["yes"])
    stage.answer(request, CLOSED)
    stage.put(CLOSED, COMPLETED)
    await showing
    assert stage.out.getvalue() == "> go\n? Well?\n"


async def test_an_ask_settled_elsewhere_closes_the_prompt(stage: Stage) -> None:
    """An ask that another client answers ends its dialog."""
    showing = await joined(stage, ASK)
    stage.keyboard.send_text("half an ans")
    await stage.shown("? Well?\n")
    stage.put(token("before"), CLOSED, token("after"), COMPLETED)
    await showing
    assert stage.out.getvalue() == "> go\n? Well?\nbefore\n  answered elsewhere: yes\nafter\n"


async def test_an_ask_stays_open_when_its_turn_comes_again(stage: Stage) -> None:
    """A snapshot in which the ask is still open leaves its dialog; one without it ends it."""
    showing = await joined(stage, ASK)
    await stage.shown("? Well?\n")
    stage.put(snapshot(ASK))
    await started()
    stage.put(snapshot(ASK, CLOSED), COMPLETED)
    await showing
    assert stage.asked == ["a"]
    assert stage.out.getvalue() == "> go\n? Well?\n  answered elsewhere: yes\n"


async def test_an_answer_that_came_too_late_is_told(stage: Stage) -> None:
    """If another answer took effect, that one is shown."""
    showing = await joined(stage, ASK)
    await stage.shown("? Well?\n")
    stage.keyboard.send_text("no\r")
    stage.answer(await stage.sent("answer_ask"), CLOSED)
    stage.put(CLOSED, COMPLETED)
    await showing
    assert stage.out.getvalue() == "> go\n? Well?\n  answered elsewhere: yes\n"


async def test_an_answer_that_the_service_refuses_is_asked_for_again(stage: Stage) -> None:
    """An answer that is not allowed leaves the ask open, and an ask that is gone ends it."""
    showing = await joined(stage, ASK)
    for before, typed, code in (
        ("> go\n", "no", "INVALID_ARGUMENT"),
        ("(trying again will not help)\n", "yes", "NOT_FOUND"),
    ):
        await stage.shown(f"{before}? Well?\n")
        stage.keyboard.send_text(typed + "\r")
        request = await stage.sent("answer_ask")
        stage.websocket.say(request.request_id, ServerMessage(end=True, error=ChatError(code=code)))
    stage.put(COMPLETED)
    await showing
    assert stage.asked == ["a", "a"]


async def test_an_ask_that_was_settled_before_it_is_shown_is_not_put(stage: Stage) -> None:
    """An ask that is already settled is shown without a dialog."""
    other = AskEvent(ask_id="b", title="And?")
    showing = await joined(stage, ASK)
    await stage.shown("? Well?\n")
    stage.put(other, AskClosed(ask_id="b"), CLOSED, COMPLETED)
    await showing
    assert stage.asked == ["a"]
    assert stage.out.getvalue().splitlines() == [
        "> go",
        "? Well?",
        "? And?",
        "  this no longer needs an answer",
        "  answered elsewhere: yes",
    ]


async def test_ctrl_c_at_an_ask_stops_the_turn(stage: Stage) -> None:
    """Ctrl-C in the dialog of an ask stops the turn, like everywhere else."""
    showing = await joined(stage, ASK)
    await stage.shown("? Well?\n")
    stage.keyboard.send_text("\x03")
    await stage.sent("stop_turn")
    stage.put(AskClosed(ask_id="a"), CANCELLED)
    await showing
    assert stage.out.getvalue() == "> go\n? Well?\ncancelled\n"


async def test_a_connection_lost_at_an_ask_closes_the_prompt(stage: Stage) -> None:
    """The dialog of an ask ends if the connection is lost for good."""
    showing = await joined(stage, ASK)
    await stage.shown("? Well?\n")
    stage.put(None)
    with pytest.raises(ConnectionClosed):
        await showing


TALL = AskEvent(
    ask_id="a",
    kind=AskEvent.KIND_PERMISSION,
    title="Well?",
    detail="1\n2\n3\n4\n5\n6",
    options=["yes", "no"],
)


def paged(stage: Stage, sizes: list[tuple[int, int]]) -> Asker:
    """Return a dialog that sees these screen sizes, one per look; the last one stays."""

    def size() -> os.terminal_size:
        return os.terminal_size(sizes.pop(0) if len(sizes) > 1 else sizes[0])

    return Asking(stage.screen, stage.prompts, size).ask


async def answered(stage: Stage, *answers: str) -> None:
    """Expect these answers, settle the ask with them, and end the turn."""
    request = await stage.sent("answer_ask")
    assert request.answer_ask.answer == AnswerRequest(ask_id="a", answers=answers)
    closed = AskClosed(ask_id="a", answers=answers)
    stage.answer(request, closed)
    stage.put(closed, COMPLETED)


async def test_an_ask_is_answered_once_its_last_page_was_shown(stage: Stage) -> None:
    """An ask of two pages takes its answer after the second."""
    showing = await joined(stage, TALL, asker=paged(stage, [(80, 4)]))
    await stage.shown("  | 2\n")
    for keys in (" ", "\r"):
        stage.keyboard.send_text(keys)
        await stage.shown("  | 5\n" if keys == " " else "  2. no\n")
    stage.keyboard.send_text("1\r")
    await answered(stage, "yes")
    await showing


async def test_keys_typed_before_an_ask_do_not_answer_it(stage: Stage) -> None:
    """Keys that were pressed while the turn ran are dropped by its ask."""
    showing = await joined(stage, token("a"), asker=paged(stage, [(80, 24)]))
    await stage.shown("a")
    stage.keyboard.send_text("1\r")
    while not stage.prompts.keyboard._typed:
        await started()
    stage.put(TALL)
    await stage.shown("  2. no\n")
    stage.keyboard.send_text("2\r")
    await answered(stage, "no")
    await showing


async def test_keys_typed_during_a_turn_reach_the_next_prompt(stage: Stage) -> None:
    """Keys that are pressed while a turn runs wait for the next message, in their order."""
    showing = await joined(stage, token("a"))
    await stage.shown("a")
    stage.keyboard.send_text("type ahe")
    await started()
    stage.put(COMPLETED)
    await showing
    stage.keyboard.send_text("ad\r")
    assert await stage.prompts.message(never()) == "type ahead"


@pytest.mark.parametrize("key", ["r", "R", "\x04"])
async def test_an_ask_is_refused_between_its_pages(stage: Stage, key: str) -> None:
    """Between two pages an ask can only be refused, whatever else is typed or pasted."""
    showing = await joined(stage, TALL, asker=paged(stage, [(80, 4)]))
    await stage.shown("  | 2\n")
    stage.keyboard.send_text("1yes\x1b[200~1\r\x1b[201~" + key)
    await answered(stage)
    await showing
    assert stage.out.getvalue() == "> go\n? Well?\n  | 1\n  | 2\n  declined\n"


async def test_ctrl_c_between_the_pages_of_an_ask_stops_the_turn(stage: Stage) -> None:
    """Ctrl-C between two pages stops the turn."""
    showing = await joined(stage, TALL, asker=paged(stage, [(80, 4)]))
    await stage.shown("  | 2\n")
    stage.keyboard.send_text("\x03")
    await stage.sent("stop_turn")
    stage.put(CANCELLED)
    await showing


async def test_an_ask_settled_elsewhere_closes_the_prompt_between_its_pages(stage: Stage) -> None:
    """An answer of another client ends the dialog between two pages too."""
    showing = await joined(stage, TALL, asker=paged(stage, [(80, 4)]))
    await stage.shown("  | 2\n")
    stage.put(CLOSED, COMPLETED)
    await showing
    assert stage.out.getvalue().endswith("  answered elsewhere: yes\n")


async def test_a_page_during_which_the_screen_was_resized_is_shown_again(stage: Stage) -> None:
    """A page that may have been cut off by a smaller screen is shown again."""
    showing = await joined(stage, TALL, asker=paged(stage, [(80, 6), (80, 4)]))
    await stage.shown("  | 4\n")
    stage.keyboard.send_text("\r")
    await stage.shown("? Well?\n  | 1\n  | 2\n  | 3\n  | 4\n? Well?\n  | 1\n  | 2\n")
    stage.keyboard.send_text("r")
    await answered(stage)
    await showing


def test_the_size_of_what_is_no_terminal_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setenv("LINES", "1000")
    assert screen_size() == UNKNOWN
    monkeypatch.setattr(sys, "stdout", None)
    assert screen_size() == UNKNOWN
