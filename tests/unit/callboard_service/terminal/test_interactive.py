"""Lines typed in a chat, at the prompt and while a reply runs: interactive.py, commands*.py."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from google.protobuf.message import Message
from prompt_toolkit.input import PipeInput

from callboard.v1.chat_pb2 import (
    AskEvent,
    Attachment,
    ChatError,
    ChatToken,
    Delivery,
    HistoryEntry,
    TurnInfo,
)
from callboard.v1.envelope_pb2 import ClientMessage
from callboard_service.terminal.connect import Link, by_url
from callboard_service.terminal.conversation import Conversation
from callboard_service.terminal.interactive import Chat
from callboard_service.terminal.interrupts import Interrupts
from callboard_service.terminal.memory import Memory
from callboard_service.terminal.prompts import Prompts
from callboard_service.terminal.view import Screen, make_console
from tests.unit.callboard_service.terminal.scripted_chat import (
    FEATURES,
    QUEUED,
    RUNNING,
    Service,
    Talk,
    until,
)

Begin = Callable[[Service], Talk]


@pytest.fixture
async def begin(keyboard: PipeInput, prompts: Prompts, tmp_path: Path) -> AsyncIterator[Begin]:
    chats: list[asyncio.Task[None]] = []

    def begun(service: Service) -> Talk:
        out = io.StringIO()

        async def run() -> None:
            link = Link(by_url("ws://service", ""), dialer=service.dialer)
            with Interrupts() as interrupts:
                async with link:
                    screen = Screen(make_console(out))
                    conversation = Conversation(Memory(tmp_path))
                    await Chat(link, conversation, screen, prompts, interrupts).run(take_up=False)

        chats.append(asyncio.create_task(run()))
        return Talk(service, keyboard, prompts, out)

    yield begun
    for chat in chats:
        chat.cancel()
        await asyncio.gather(chat, return_exceptions=True)


async def replying(begin: Begin, service: Service | None = None) -> Talk:
    """Return a chat in which a reply runs."""
    talk = begin(service or Service())
    await talk.shown("/help lists the commands.\n")
    await talk.type("go")
    await until(lambda: bool(talk.service.running))
    talk.service.put(ChatToken(text="so far"))
    await talk.shown("so far")
    return talk


async def test_a_line_typed_during_a_reply_is_queued_and_shown_when_its_turn_comes(
    begin: Begin,
) -> None:
    talk = await replying(begin)
    await talk.type("and then", "\nqueued, place 1; /queue shows the queue\n")
    talk.service.put(ChatToken(text=" on"))
    await talk.shown(" on")
    talk.service.end()
    talk.service.put(ChatToken(text="second"))
    assert await talk.shown("second") == "\n\n> and then\nsecond"


async def test_two_lines_that_are_pasted_into_a_reply_are_both_taken(begin: Begin) -> None:
    talk = await replying(begin)
    await talk.type("one\rtwo", "place 1; ")
    await talk.shown("place 2; ")
    texts = [message.send_message.text for message in talk.service.said("send_message")]
    assert texts == ["go", "one", "two"]


async def test_a_line_that_is_being_typed_waits_for_an_ask(begin: Begin) -> None:
    """An ask takes the keyboard, and the half line is there again once it is answered."""
    talk = await replying(begin)
    await talk.half("half")
    talk.service.put(AskEvent(ask_id="a", title="Well?"))
    await talk.shown("? Well?\n")
    talk.keyboard.send_text("yes\r")
    await until(lambda: bool(talk.service.said("answer_ask")))
    (request,) = talk.service.said("answer_ask")
    assert list(request.answer_ask.answer.answers) == ["yes"]
    await talk.type(" a line", "queued")
    assert talk.service.said("send_message")[-1].send_message.text == "half a line"


async def test_a_line_that_is_being_typed_when_the_reply_ends_is_kept(begin: Begin) -> None:
    talk = await replying(begin)
    await talk.half("half")
    talk.service.end()
    await talk.shown("\n\n")
    await talk.type(" a line")
    await until(lambda: len(talk.service.said("send_message")) == 2)
    assert talk.service.said("send_message")[-1].send_message.text == "half a line"


async def test_what_is_half_typed_at_the_prompt_does_not_hold_up_a_reply(begin: Begin) -> None:
    """A reply that another client starts is shown at once; the next key brings the line back."""
    talk = await idle(begin)
    await talk.half("half")
    talk.service.running = "o"
    talk.service.put(TurnInfo(id="o", text="theirs", state=RUNNING), ChatToken(text="so"))
    assert await talk.shown("so") == "> theirs\nso"
    talk.keyboard.send_text(" a line\r")
    await talk.shown("queued, place 1; ")
    assert talk.service.said("send_message")[-1].send_message.text == "half a line"


async def test_ctrl_c_drops_the_line_first_and_then_stops_the_reply(begin: Begin) -> None:
    talk = await replying(begin)
    await talk.half("half")
    talk.keyboard.send_text("\x03")
    talk.service.put(ChatToken(text="more"))
    await talk.shown("more")
    assert not talk.service.said("stop_turn")
    talk.service.queue.append("t1")
    talk.keyboard.send_text("\x03")
    await until(lambda: bool(talk.service.said("stop_turn")))


async def test_ctrl_d_on_an_empty_line_leaves_the_reply_running(begin: Begin) -> None:
    talk = await replying(begin)
    await talk.half("h")
    talk.keyboard.send_text("\x7f\x04")
    await talk.shown("the reply goes on; `callboard chat --continue` shows it")


async def test_the_queue_is_shown_and_changed(begin: Begin) -> None:
    talk = await replying(begin)
    await talk.type("one", "place 1; ")
    await talk.type("two", "place 2; ")
    assert await talk.type("/queue", "two\n") == "/queue shows the queue\n  1.  one\n  2.  two\n"
    await talk.type("/queue drop 1", "dropped: one\n")
    assert talk.service.said("stop_turn")[0].stop_turn.turn_id == "t2"
    await talk.type("/queue move 1 9", "there is only one\n")
    await talk.type("/queue what", "usage: /queue, /queue drop N, /queue edit N TEXT, ")
    talk.service.put(ChatToken(text="on"))
    await talk.shown("\non")
    assert "withdrawn" not in talk.out.getvalue()


async def test_a_queued_message_is_edited(begin: Begin) -> None:
    talk = await replying(begin)
    await talk.type("one", "place 1; ")
    await talk.type("/queue edit 1 other  words")
    await until(lambda: bool(talk.service.said("update_turn")))
    talk.service.put(TurnInfo(id="t2", state=QUEUED, text="other  words", place=1))
    await talk.shown("place 1 is now: other words\n")
    talk.service.end()
    await talk.shown("> other  words\n")
    (request,) = talk.service.said("update_turn")
    assert (request.update_turn.turn_id, request.update_turn.text) == ("t2", "other  words")
    assert not request.update_turn.HasField("place")


async def test_steer_and_interrupt_name_the_reply_that_is_meant(begin: Begin) -> None:
    talk = await replying(begin)
    await talk.type("/steer hurry", "handed to the reply")
    await talk.type("/interrupt stop it")
    await until(lambda: len(talk.service.said("send_message")) == 3)
    sent = [message.send_message for message in talk.service.said("send_message")]
    assert [(one.text, one.delivery, one.target_turn) for one in sent[1:]] == [
        ("hurry", Delivery.DELIVERY_STEER, "t1"),
        ("stop it", Delivery.DELIVERY_INTERRUPT, "t1"),
    ]
    talk.service.put(ChatError(code="CANCELLED", message="cut off"))
    talk.service.end()
    shown = await talk.shown("> stop it\n")
    assert "cancelled\n\n> stop it\n" in shown
    assert "CANCELLED" not in shown


@pytest.mark.parametrize("line", ["/fork", "/edit", "/edit x", "/retry"])
async def test_what_goes_on_in_a_copy_waits_for_the_reply(begin: Begin, line: str) -> None:
    talk = await replying(begin)
    await talk.type(line, "a reply runs: stop it with Ctrl-C before /")
    assert not talk.service.said("fork_session")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("/steer x", "no reply runs: type the message without /steer"),
        ("/interrupt x", "no reply runs"),
        ("/queue", "there is no conversation yet"),
        ("/rename x", "there is no conversation yet"),
        ("/archive", "there is no conversation yet"),
        ("/fork", "there is no conversation yet"),
        ("/retry", "there is no conversation yet"),
        ("/rename", "usage: /rename TITLE"),
        ("/archive now", "usage: /archive"),
        ("/steer", "usage: /steer TEXT"),
        ("/help me", "usage: /help"),
        ("/model c", "there is no model c"),
        ("/set", "usage: /set OPTION [VALUE]"),
        ("/set speed", "there is no option speed"),
        ("/options x", "usage: /options"),
        ("/attach drop", "usage: /attach [PATH], /attach drop N"),
        ("/attach drop 1", "there are no attached files"),
        ("/attach", "nothing is attached to the next message"),
        ("/foo", "there is no command /foo: /help lists them"),
    ],
)
async def test_a_line_that_cannot_be_carried_out_says_why(
    begin: Begin, line: str, shown: str
) -> None:
    """Nothing is sent to the model, and no conversation is created."""
    talk = begin(Service())
    await talk.type(line, shown)
    assert not talk.service.said("send_message")
    assert not talk.service.said("create_session")


@pytest.mark.parametrize(
    ("line", "feature"),
    [
        ("/queue", "follow"),
        ("/steer x", "steer"),
        ("/fork", "fork"),
        ("/model", "options"),
        ("/attach x", "uploads"),
    ],
)
async def test_what_the_service_lacks_is_said_in_one_line(
    begin: Begin, line: str, feature: str
) -> None:
    talk = begin(Service(tuple(set(FEATURES) - {feature})))
    await talk.type(line, f"{line.split()[0]} is not possible here: no feature '{feature}'\n")


async def test_what_the_conversation_lacks_is_said_in_one_line(begin: Begin) -> None:
    """A service may have what an agent in one of its conversations has not."""
    service = Service()
    service.info.features.extend(["follow", "options"])
    talk = await replying(begin, service)
    await talk.type("/steer x", "/steer is not possible here: no feature 'steer'\n")
    await talk.type("/model", "BIG\n")


async def test_a_request_that_is_unimplemented_is_said_in_one_line(begin: Begin) -> None:
    service = Service()
    service.refusals["update_session"] = "UNIMPLEMENTED"
    talk = await replying(begin, service)
    await talk.type("/rename x", "\n/rename is not possible here: no\n")


async def test_the_help_lists_what_this_service_has(begin: Begin) -> None:
    talk = begin(Service(("follow", "commands")))
    shown = await talk.type("/help", "/compact  Shorten it\n")
    assert "/queue drop N " in shown
    assert "//TEXT " in shown
    assert "/steer" not in shown
    assert max(map(len, shown.splitlines())) < 80


@pytest.mark.parametrize(
    ("line", "text"),
    [("/compact all", "/compact all"), ("//help", "/help"), ("//", "/")],
)
async def test_a_command_of_the_backend_and_an_escaped_text_are_sent(
    begin: Begin, line: str, text: str
) -> None:
    talk = begin(Service())
    await talk.type(line)
    await until(lambda: bool(talk.service.running))
    assert talk.service.said("send_message")[0].send_message.text == text


def message_and_reply(*last: HistoryEntry) -> list[HistoryEntry]:
    """Return two turns; the second one ends with these entries."""
    return [
        HistoryEntry(id="1", turn_id="o", user_text="first"),
        HistoryEntry(id="2", turn_id="o", assistant_text="reply"),
        HistoryEntry(id="3", turn_id="p", user_text="second", attachments=[
            Attachment(id="x", name="a.png", media_type="image/png", size=3)
        ]),
        HistoryEntry(id="4", turn_id="p", assistant_text="again"),
        HistoryEntry(id="5", turn_id="p", user_text="handed over"),
        *last,
    ]  # fmt: skip


async def idle(begin: Begin, *last: HistoryEntry) -> Talk:
    """Return a chat at its prompt, after two turns."""
    talk = await replying(begin)
    talk.service.entries = message_and_reply(*last)
    talk.service.end()
    await talk.shown("\n\n")
    return talk


async def test_fork_goes_on_in_a_copy(begin: Begin) -> None:
    talk = await idle(begin)
    await talk.type("/fork 2", "in a copy now, without the last 2 messages: A title\n")
    (request,) = talk.service.said("fork_session")
    assert (request.fork_session.session_id, request.fork_session.before) == ("c", "1")
    assert request.fork_session.create_id
    await talk.type("/fork 3", "there are only 2 messages\n")
    await talk.type("on")
    await until(lambda: bool(talk.service.running))
    assert talk.service.said("send_message")[-1].send_message.session_id == "copy"
    assert talk.service.said("follow_session")[-1].follow_session.session_id == "copy"


async def test_edit_brings_the_message_back_to_the_prompt_with_its_files(begin: Begin) -> None:
    talk = await idle(begin)
    await talk.type("/edit", "in a copy now, without the last message: A title\n")
    await talk.type(" thoughts")
    await until(lambda: bool(talk.service.running))
    sent = talk.service.said("send_message")[-1].send_message
    assert (sent.session_id, sent.text) == ("copy", "second thoughts")
    attached = Attachment(name="a.png", media_type="image/png", data=b"abc")
    assert list(sent.attachments) == [attached]
    assert talk.service.said("fork_session")[0].fork_session.before == "3"


async def test_retry_of_a_failed_reply_takes_its_place(begin: Begin) -> None:
    talk = await idle(begin, HistoryEntry(id="6", turn_id="p", error=ChatError(code="INTERNAL")))
    await talk.type("/retry", "> second\n> [image a.png, 3 B]\n")
    await until(lambda: bool(talk.service.running))
    sent = talk.service.said("send_message")[-1].send_message
    assert (sent.session_id, sent.text, sent.replaces) == ("c", "second", "p")
    assert sent.attachments[0].data == b"abc"
    assert not talk.service.said("fork_session")


async def test_retry_of_a_complete_reply_is_a_copy(begin: Begin) -> None:
    talk = await idle(begin)
    await talk.type("/retry", "in a copy now: A title\n> second\n")
    await until(lambda: bool(talk.service.running))
    sent = talk.service.said("send_message")[-1].send_message
    assert (sent.session_id, sent.text, sent.replaces) == ("copy", "second", "")


async def test_a_model_is_chosen_before_the_first_message(begin: Begin) -> None:
    """Listing creates no conversation, choosing does."""
    talk = begin(Service())
    assert (await talk.type("/model", "BIG\n")).endswith("  *1.  a    A\n   2.  big  BIG\n")
    assert not talk.service.said("create_session")
    await talk.type("/model bi", "model: BIG\n")
    (request,) = talk.service.said("set_option")
    chosen = request.set_option
    assert (chosen.session_id, chosen.option_id, chosen.value) == ("c", "model", "big")


async def test_files_go_with_the_next_message_that_is_admitted(
    begin: Begin, tmp_path: Path
) -> None:
    """A message that is refused leaves the files where they are."""
    (tmp_path / "a.txt").write_text("abc")
    service = Service()
    service.refusals["send_message"] = "INVALID_ARGUMENT"
    talk = begin(service)
    await talk.type(f"/attach {tmp_path}/a.txt", "[file a.txt, 3 B] text/plain\n")
    await talk.type("refused", "INVALID_ARGUMENT")
    service.refusals.clear()
    await talk.type("look")
    await until(lambda: bool(service.running))
    sent = service.said("send_message")[-1].send_message
    assert [(a.name, a.media_type, a.data) for a in sent.attachments] == [
        ("a.txt", "text/plain", b"abc")
    ]
    await talk.type("/attach", "nothing is attached to the next message\n")


async def test_ctrl_c_ends_a_command_that_takes_long(begin: Begin) -> None:
    """The command ends, and the chat goes on."""

    class Slow(Service):
        def respond(self, message: ClientMessage) -> Message | None:
            answer = super().respond(message)
            return None if message.HasField("list_options") else answer

    talk = begin(Slow())
    await talk.type("/model")
    await until(lambda: bool(talk.service.said("list_options")))
    talk.keyboard.send_text("\x03")
    await talk.shown("cancelled\n")
    await talk.type("/queue", "there is no conversation yet")
