"""A reply with its asks, the prompt and Ctrl-C: reply.py, prompts.py and interrupts.py."""

import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from callboard.v1.chat_pb2 import (
    AnswerRequest,
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatError,
    ChatNotice,
    ChatToken,
    SendMessageRequest,
    ToolCallEvent,
)
from callboard.v1.envelope_pb2 import ServerMessage
from callboard_service.terminal.ask_answers import Answered
from callboard_service.terminal.ask_dialog import UNKNOWN, Asking, screen_size
from callboard_service.terminal.conversation import Answer
from callboard_service.terminal.errors import InputEnded, Interrupted, OutputFailed
from callboard_service.terminal.interrupts import Interrupts
from callboard_service.terminal.prompts import Prompts
from callboard_service.terminal.reply import AnswersAndInterrupts, ReplyView
from callboard_service.terminal.view import Pipe, Screen, make_console
from tests.support.scripted_websocket import ScriptedDialer, ScriptedWebSocket
from transport.client import Client, by_url
from transport.client.stream import Stream
from transport.errors import ConnectionClosed

ASK = ServerMessage(ask=AskEvent(ask_id="a", title="Well?"))
CLOSED = ServerMessage(ask_closed=AskClosed(ask_id="a", answers=["yes"]))
COMPLETED = ServerMessage(end=True, completed=ChatCompleted())
CANCELLED = ServerMessage(end=True, error=ChatError(code="CANCELLED"))


def token(text: str) -> ServerMessage:
    """Return the message with a part of a reply."""
    return ServerMessage(token=ChatToken(text=text))


async def started() -> None:
    """Let existing tasks run until they wait, and pending signals be handled."""
    await asyncio.to_thread(lambda: None)


@dataclass
class Stage:
    """A reply, controlled by a test."""

    websocket: ScriptedWebSocket
    answers: Stream[Answer]
    out: io.StringIO
    screen: Screen
    interrupts: Interrupts
    prompts: Prompts
    keyboard: PipeInput
    asked: list[str] = field(default_factory=list)

    def reply(self) -> ReplyView:
        """Return the view of the reply, which puts its asks at the prompt."""

        async def ask(ask: AskEvent, inbox: AnswersAndInterrupts) -> Answered | None:
            self.asked.append(ask.ask_id)
            self.screen.ask(ask)
            typed = await self.prompts.answer("?", inbox.settled(ask.ask_id))
            return None if typed is None else Answered([typed])

        return ReplyView(self.answers, self.screen, ask, self.interrupts)

    def put(self, *messages: ServerMessage | None) -> None:
        """Send these messages as the service; for None, close the connection with 4504."""
        for message in messages:
            if message is None:
                self.websocket.cut(4504)
            else:
                self.websocket.say(1, message)

    async def shown(self, text: str) -> None:
        """Wait until the output ends with this text."""
        while not self.out.getvalue().endswith(text):
            await started()

    async def sent(self) -> str | None:
        """Return the kind of the client's next message."""
        kind: str | None = (await self.websocket.sent.get()).WhichOneof("payload")
        return kind


@pytest.fixture
def keyboard() -> Iterator[PipeInput]:
    with create_pipe_input() as pipe:
        yield pipe


@pytest.fixture
async def stage(keyboard: PipeInput) -> AsyncIterator[Stage]:
    dialer = ScriptedDialer()
    out = io.StringIO()
    prompts = Prompts(InMemoryHistory(), input=keyboard, output=DummyOutput())
    async with Client(by_url("ws://stage", ""), dialer=dialer) as client:
        answers: Stream[Answer] = client.stream(
            SendMessageRequest(), ChatToken, AskEvent, AskClosed, ChatNotice, ToolCallEvent
        )
        for _ in range(2):  # the Hello and the message
            await dialer.last.sent.get()
        with Interrupts() as interrupts:
            screen = Screen(make_console(out))
            yield Stage(dialer.last, answers, out, screen, interrupts, prompts, keyboard)


async def test_a_reply_is_shown_to_its_end(stage: Stage) -> None:
    stage.put(token("a"), token(" b"), ServerMessage(), COMPLETED)
    assert await stage.reply().follow() is None
    assert stage.out.getvalue() == "a b"
    assert stage.websocket.sent.empty()


async def test_a_reply_that_failed_says_how(stage: Stage) -> None:
    stage.put(token("a"), ServerMessage(end=True, error=ChatError(code="INTERNAL")))
    reply = stage.reply()
    error = await reply.follow()
    assert error is not None
    assert error.code == "INTERNAL"
    assert not reply.cancelled


async def test_a_lost_connection_is_told_after_what_came(stage: Stage) -> None:
    stage.put(token("a"), None)
    with pytest.raises(ConnectionClosed):
        await stage.reply().follow()
    assert stage.out.getvalue() == "a"


async def test_ctrl_c_cancels_and_waits_for_the_end(stage: Stage) -> None:
    reply = stage.reply()
    following = asyncio.create_task(reply.follow())
    await started()
    signal.raise_signal(signal.SIGINT)
    assert await stage.sent() == "cancel"
    assert not following.done()
    stage.put(token("too late"), ASK, CANCELLED)
    error = await following
    assert error is not None
    assert error.code == "CANCELLED"
    assert reply.cancelled
    assert stage.out.getvalue() == ""


async def test_a_second_ctrl_c_leaves(stage: Stage) -> None:
    async def program() -> None:
        with Interrupts() as interrupts:
            stage.interrupts = interrupts
            try:
                await stage.reply().follow()
            finally:
                assert interrupts.leaving

    running = asyncio.create_task(program())
    await started()
    signal.raise_signal(signal.SIGINT)
    await stage.sent()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_ctrl_c_that_finds_the_loop_stuck_ends_it(stage: Stage) -> None:
    with stage.interrupts.handled_by(lambda: None), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    await started()


async def test_output_that_fails_cancels_the_reply(stage: Stage) -> None:
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    pipe = Pipe(Full(), make_console(io.StringIO()))

    async def decline(_ask: AskEvent, _inbox: AnswersAndInterrupts) -> Answered:
        return Answered()

    stage.put(token("a"))
    with pytest.raises(OutputFailed):
        await ReplyView(stage.answers, pipe, decline, stage.interrupts).follow()
    assert await stage.sent() == "cancel"


async def test_an_ask_is_answered_and_its_close_not_repeated(stage: Stage) -> None:
    stage.put(ASK)
    following = asyncio.create_task(stage.reply().follow())
    stage.keyboard.send_text("yes\r")
    answer = (await stage.websocket.sent.get()).answer
    assert answer == AnswerRequest(ask_id="a", answers=["yes"])
    stage.put(CLOSED, COMPLETED)
    await following
    assert stage.out.getvalue() == "? Well?\n"


async def test_an_ask_settled_elsewhere_closes_the_prompt(stage: Stage) -> None:
    stage.put(ASK)
    following = asyncio.create_task(stage.reply().follow())
    stage.keyboard.send_text("half an ans")
    stage.put(token("before"), CLOSED, token("after"), COMPLETED)
    await following
    assert stage.websocket.sent.empty()
    assert stage.out.getvalue() == "? Well?\nbefore\n  answered elsewhere: yes\nafter"


async def test_an_answer_that_came_too_late_is_told(stage: Stage) -> None:
    stage.put(ASK)
    following = asyncio.create_task(stage.reply().follow())
    stage.keyboard.send_text("no\r")
    await stage.sent()
    stage.put(CLOSED, COMPLETED)
    await following
    assert stage.out.getvalue() == "? Well?\n  answered elsewhere: yes\n"


async def test_an_ask_that_was_settled_before_it_is_shown_is_not_put(stage: Stage) -> None:
    other = ServerMessage(ask=AskEvent(ask_id="b", title="And?"))
    other_closed = ServerMessage(ask_closed=AskClosed(ask_id="b"))
    stage.put(ASK)
    following = asyncio.create_task(stage.reply().follow())
    stage.put(other, other_closed, CLOSED, COMPLETED)
    await following
    assert stage.asked == ["a"]
    assert stage.websocket.sent.empty()
    assert stage.out.getvalue().splitlines() == [
        "? Well?",
        "? And?",
        "  this no longer needs an answer",
        "  answered elsewhere: yes",
    ]


async def test_ctrl_c_at_an_ask_cancels_the_reply(stage: Stage) -> None:
    stage.put(ASK)
    reply = stage.reply()
    following = asyncio.create_task(reply.follow())
    stage.keyboard.send_text("\x03")
    assert await stage.sent() == "cancel"
    stage.put(ServerMessage(ask_closed=AskClosed(ask_id="a")), CANCELLED)
    await following
    assert reply.cancelled
    assert stage.out.getvalue() == "? Well?\n"


TALL = ServerMessage(
    ask=AskEvent(
        ask_id="a",
        kind=AskEvent.KIND_PERMISSION,
        title="Well?",
        detail="1\n2\n3\n4\n5\n6",
        options=["yes", "no"],
    )
)


def paged(stage: Stage, sizes: list[tuple[int, int]]) -> ReplyView:
    """Return a reply whose asks see these screen sizes, one per look; the last one stays."""

    def size() -> os.terminal_size:
        return os.terminal_size(sizes.pop(0) if len(sizes) > 1 else sizes[0])

    asking = Asking(stage.screen, stage.prompts, size)
    return ReplyView(stage.answers, stage.screen, asking.ask, stage.interrupts)


async def test_an_ask_is_answered_once_its_last_page_was_shown(stage: Stage) -> None:
    stage.put(TALL)
    following = asyncio.create_task(paged(stage, [(80, 4)]).follow())
    for keys in (" ", "\r"):
        stage.keyboard.send_text(keys)
        await stage.shown("  | 5\n" if keys == " " else "  2. no\n")
    stage.keyboard.send_text("1\r")
    answer = (await stage.websocket.sent.get()).answer
    assert answer == AnswerRequest(ask_id="a", answers=["yes"])
    stage.put(CLOSED, COMPLETED)
    await following


@pytest.mark.parametrize("key", ["r", "R", "\x04"])
async def test_an_ask_is_refused_between_its_pages(stage: Stage, key: str) -> None:
    stage.put(TALL)
    following = asyncio.create_task(paged(stage, [(80, 4)]).follow())
    stage.keyboard.send_text("1yes\x1b[200~1\r\x1b[201~" + key)
    answer = (await stage.websocket.sent.get()).answer
    assert answer == AnswerRequest(ask_id="a")
    stage.put(ServerMessage(ask_closed=AskClosed(ask_id="a")), COMPLETED)
    await following
    assert stage.out.getvalue() == "? Well?\n  | 1\n  | 2\n  declined\n"


async def test_ctrl_c_between_the_pages_of_an_ask_cancels_the_reply(stage: Stage) -> None:
    stage.put(TALL)
    following = asyncio.create_task(paged(stage, [(80, 4)]).follow())
    stage.keyboard.send_text("\x03")
    assert await stage.sent() == "cancel"
    stage.put(CANCELLED)
    await following


async def test_an_ask_settled_elsewhere_closes_the_prompt_between_its_pages(stage: Stage) -> None:
    stage.put(TALL, CLOSED, COMPLETED)
    following = asyncio.create_task(paged(stage, [(80, 4)]).follow())
    await following
    assert stage.websocket.sent.empty()
    assert stage.out.getvalue().endswith("  answered elsewhere: yes\n")


async def test_a_page_during_which_the_screen_was_resized_is_shown_again(stage: Stage) -> None:
    stage.put(TALL)
    following = asyncio.create_task(paged(stage, [(80, 6), (80, 4)]).follow())
    stage.keyboard.send_text("\r")
    await stage.shown("? Well?\n  | 1\n  | 2\n  | 3\n  | 4\n? Well?\n  | 1\n  | 2\n")
    stage.keyboard.send_text("r")
    assert (await stage.websocket.sent.get()).answer == AnswerRequest(ask_id="a")
    stage.put(ServerMessage(ask_closed=AskClosed(ask_id="a")), COMPLETED)
    await following


def test_the_size_of_what_is_no_terminal_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setenv("LINES", "1000")
    assert screen_size() == UNKNOWN
    monkeypatch.setattr(sys, "stdout", None)
    assert screen_size() == UNKNOWN


async def test_a_connection_lost_at_an_ask_closes_the_prompt(stage: Stage) -> None:
    stage.put(ASK)
    following = asyncio.create_task(stage.reply().follow())
    stage.put(None)
    with pytest.raises(ConnectionClosed):
        await following


async def test_what_is_pasted_keeps_its_lines(stage: Stage) -> None:
    stage.keyboard.send_text("a \x1b[200~one\r\ntwo\x1b[201~\x1b\rthree\r")
    assert await stage.prompts.message() == "a one\ntwo\nthree"


async def test_the_keys_that_end_a_line(stage: Stage) -> None:
    discarded: list[bool] = []
    for keys in ("dropped\x03", "\x03"):
        stage.keyboard.send_text(keys)
        with pytest.raises(Interrupted):
            await stage.prompts.message()
        discarded.append(stage.prompts.discarded)
    assert discarded == [True, False]
    stage.keyboard.send_text("\x04")
    with pytest.raises(InputEnded):
        await stage.prompts.message()


async def test_a_keyboard_that_is_gone_ends_the_input(stage: Stage) -> None:
    stage.keyboard.close()
    with pytest.raises(InputEnded):
        await stage.prompts.message()


async def test_ctrl_d_at_an_ask_is_an_empty_line(stage: Stage) -> None:
    stage.keyboard.send_text("\x04")
    inbox = AnswersAndInterrupts(stage.answers)
    assert await stage.prompts.answer("?", inbox.settled("a")) == ""
