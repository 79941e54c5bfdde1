"""What a person does with a conversation: stop, steer, answer, choose, queue, try again."""

from typing import Any

import pytest

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import AskEvent, AskOption, StopTurnRequest, TurnInfo, TurnState
from callboard_page.nodes import Element, Event, find, text_of
from callboard_page.thread import Thread
from tests.support.page_kit import Page, Pages
from transport.errors import RequestFailed

WAITS = "first [[ask:question]] rest"


def thread_of(page: Page) -> Thread:
    assert page.chat.thread is not None
    return page.chat.thread


async def waiting(page: Page, text: str = WAITS) -> None:
    """Send a message whose reply stops at a question; wait for the question."""
    page.type(text, key="Enter")
    await page.until(lambda: page.find(class_="open", role="group"))


async def queued(page: Page, *texts: str) -> None:
    before = len(thread_of(page).queue)
    for text in texts:
        page.type(text, key="Enter")
    await page.until(lambda: len(thread_of(page).queue) == before + len(texts))


def queue(page: Page) -> list[str]:
    return [
        text_of(one) for shown in page.find(class_="queue") for one in find(shown, class_="title")
    ]


async def idle(page: Page) -> None:
    await page.until(lambda: thread_of(page).running is None and not thread_of(page).queue)


# -- the running turn ------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["button", "escape"])
async def test_stopping_ends_the_turn_and_starts_the_next(page: Page, way: str) -> None:
    await waiting(page)
    await queued(page, "next")
    if way == "button":
        page.click("Stop the reply")
    else:
        page.press("Escape")
    await idle(page)
    first, second = thread_of(page).turns
    assert first.info.state == TurnState.TURN_STATE_CANCELLED
    assert second.reply == "next"
    assert page.texts(class_="ended") == ["Stopped."]
    assert not page.buttons("Stop the reply")


async def test_a_reply_that_has_ended_meanwhile_is_not_stopped(page: Page) -> None:
    await page.say("hello")
    page.chat.stop()
    page.press("Escape")
    await page.tasks_started_are_done()
    assert page.notes.shown == []


async def test_a_stop_that_fails_is_said(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    await waiting(page)
    call = page.client.call

    async def refuse(request: Any, answer: Any, **options: Any) -> Any:
        if isinstance(request, StopTurnRequest):
            raise RequestFailed(Code.UNAVAILABLE, "it does not stop", retryable=True)
        return await call(request, answer, **options)

    monkeypatch.setattr(page.client, "call", refuse)
    page.click("Stop the reply")
    await page.until(lambda: page.notes.shown)
    assert page.texts(class_="note") == ["It does not stop. You can try again."]
    page.click("Dismiss")
    assert not page.find(class_="note")


async def test_a_message_is_handed_to_the_running_reply(page: Page) -> None:
    page.type("waits [[steer]] end", key="Enter")
    await page.until(lambda: thread_of(page).running if page.chat.thread else None)
    assert not page.buttons("Steer")  # there is nothing to hand over
    page.type("this way")
    page.click("Steer")
    await idle(page)
    (turn,) = thread_of(page).turns
    assert turn.reply.split() == ["waits", "this", "way", "end"]
    assert page.texts(class_="steered") == ["Added while it ranthis way"]


async def test_a_message_interrupts_the_running_reply(page: Page) -> None:
    await waiting(page)
    await queued(page, "later")
    page.type("now")
    page.click("Interrupt")
    await idle(page)
    assert [turn.text for turn in thread_of(page).turns] == [WAITS, "now", "later"]
    assert thread_of(page).turns[0].info.state == TurnState.TURN_STATE_CANCELLED


async def test_without_a_running_reply_a_message_is_just_sent(page: Page) -> None:
    await page.say("one")
    page.type("two")
    assert not page.buttons("Steer")
    assert not page.buttons("Interrupt")
    page.chat.send("interrupt")
    await page.until(lambda: len(thread_of(page).turns) == 2 and not thread_of(page).running)
    assert [turn.reply for turn in thread_of(page).turns] == ["one", "two"]


# -- the queue -------------------------------------------------------------------------------


async def test_the_queue_is_edited_ordered_and_emptied(windows: Pages) -> None:
    page = await windows.open()
    await waiting(page)
    other = await windows.open(page.open_id)
    await queued(page, "a", "b", "c")
    assert "3 waiting" in page.text(class_="queue")
    assert "disabled" in page.buttons("Earlier")[0].attributes
    assert "disabled" in page.buttons("Later")[2].attributes
    page.click("Later", 0)
    await other.until(lambda: queue(other) == ["b", "a", "c"])
    other.click("Remove", 1)
    await page.until(lambda: queue(page) == ["b", "c"])
    page.click("Edit", 0)
    edited = thread_of(page).queue[0].info.id
    assert page.window.focused[-1] == f"queued-{edited}"
    page.type("B", f"queued-{edited}", key="Enter")
    await other.until(lambda: queue(other) == ["B", "c"])
    assert queue(page) == ["B", "c"]
    page.click("yes")
    await idle(page)
    assert [turn.text for turn in thread_of(page).turns] == [WAITS, "B", "c"]
    await idle(other)
    assert page.thread_text == other.thread_text


@pytest.mark.parametrize("text", ["", " ", "a", "other"])
async def test_an_edit_that_is_left_or_empty_changes_nothing(page: Page, text: str) -> None:
    await waiting(page)
    await queued(page, "a")
    (turn,) = thread_of(page).queue
    page.click("Edit")
    page.type(text, f"queued-{turn.info.id}")
    if text == "other":
        page.click("Cancel")
    else:
        page.click("Save")
    await page.tasks_started_are_done()
    assert queue(page) == ["a"]
    assert page.chat.queue_edits == {}


async def test_an_edit_of_what_has_started_meanwhile_is_said(page: Page) -> None:
    await waiting(page)
    await queued(page, "a [[ask:question]]")
    (turn,) = thread_of(page).queue
    page.click("Edit")
    page.click("yes")
    await page.until(lambda: thread_of(page).running is turn and turn.asks)
    assert not page.find(class_="queue")
    page.chat.queue_edits[turn.info.id] = "b"
    page.chat.save_queued(turn, keep=True)
    await page.until(lambda: page.notes.shown)
    assert "not queued any more" in page.text(class_="note")


async def test_what_is_removed_from_the_queue_was_never_there(windows: Pages) -> None:
    page = await windows.open()
    await waiting(page)
    await queued(page, "gone")
    page.click("Remove")
    await page.until(lambda: not thread_of(page).queue)
    page.click("no")
    await idle(page)
    assert [turn.text for turn in thread_of(page).turns] == [WAITS]
    other = await windows.open(page.open_id)
    assert other.thread_text == page.thread_text


# -- trying again ----------------------------------------------------------------------------


async def test_trying_again_takes_the_turns_place(page: Page) -> None:
    await page.say("one")
    failed = await page.say("[[error:UNAVAILABLE]]")
    page.click("Try again")
    await page.until(
        lambda: failed not in thread_of(page).turns and len(thread_of(page).turns) == 2
    )
    await idle(page)
    assert [turn.text for turn in thread_of(page).turns] == ["one", "[[error:UNAVAILABLE]]"]
    assert failed not in thread_of(page).turns
    assert [entry.turn_id == failed.info.id for entry in (await page.history()).entries] == [
        False
    ] * 4


async def test_a_second_try_that_is_refused_keeps_the_turn(page: Page) -> None:
    failed = await page.say("[[error:INTERNAL]]")
    await page.send_behind("meanwhile")
    await page.until(lambda: len(thread_of(page).turns) == 2 and not thread_of(page).running)
    page.chat.retry(failed)
    await page.until(lambda: page.notes.shown)
    assert failed in thread_of(page).turns
    assert "last turn" in page.text(class_="note")


# -- questions -------------------------------------------------------------------------------


async def test_a_question_is_answered_with_a_button(page: Page) -> None:
    await waiting(page)
    assert page.text(role="status", id="status") == "Needs your answer"
    assert [text_of(one) for one in find(page.find(class_="ask")[0], tag="button")] == [
        "yes", "no", "maybe", "Decline",
    ]  # fmt: skip
    page.click("maybe")
    assert "disabled" in page.buttons("yes")[0].attributes  # while it is on its way
    await idle(page)
    assert page.texts(class_="settled") == ["Answered: maybe"]
    assert page.chat.answering == set()
    assert not page.find(class_="open", role="group")


async def test_a_question_is_declined(page: Page) -> None:
    await waiting(page)
    page.click("Decline")
    await idle(page)
    assert page.texts(class_="settled") == ["Declined."]


async def test_a_permission_is_given(page: Page) -> None:
    await waiting(page, "[[ask:permission]]")
    assert not page.buttons("Decline")
    page.click("once")
    await idle(page)
    assert page.texts(class_="settled") == ["Answered: once"]


async def test_a_question_that_was_answered_elsewhere_is_settled_here(windows: Pages) -> None:
    page = await windows.open()
    await waiting(page)
    other = await windows.open(page.open_id)
    (ask,) = thread_of(other).turns[-1].asks.values()
    page.click("yes")
    await other.until(lambda: other.texts(class_="settled") == ["Answered: yes"])
    other.chat.answer(ask, ["no"])
    await other.until(lambda: other.chat.answering == set())
    assert other.texts(class_="settled") == ["Answered: yes"]
    assert other.notes.shown == [] or "answer" in other.text(class_="note")


async def test_a_question_whose_turn_was_stopped_needs_no_answer(page: Page) -> None:
    await waiting(page)
    page.click("Stop the reply")
    await idle(page)
    assert page.texts(class_="settled") == ["No longer needed."]


async def test_an_answer_is_sent_once(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    await waiting(page)
    (ask,) = thread_of(page).turns[-1].asks.values()
    sent: list[list[str]] = []

    async def answer(conversation_id: str, ask_id: str, answers: list[str]) -> None:
        sent.append(answers)

    monkeypatch.setattr(page.chat, "_answer", answer)
    page.chat.answer(ask, ["yes"])
    page.chat.answer(ask, ["no"])
    await page.tasks_started_are_done()
    assert sent == [["yes"]]


def asked(page: Page, ask: AskEvent) -> AskEvent:
    """Show another question in place of the open one: what the echo cannot ask."""
    turn = thread_of(page).turns[-1]
    part = next(one for one in turn.parts if getattr(one, "ask", None) is not None)
    ask.ask_id = next(iter(turn.asks))
    part.ask = ask  # type: ignore[union-attr] # it is the question
    turn.changes += 1
    return ask


async def test_several_answers_are_chosen_and_sent_together(page: Page) -> None:
    await waiting(page)
    options = [AskOption(value=value, name=value.upper()) for value in ("yes", "no", "maybe")]
    asked(page, AskEvent(title="Which?", multiple=True, choices=options))
    assert "disabled" in page.buttons("Answer")[0].attributes

    def boxes() -> list[Element]:
        return find(page.find(class_="several")[0], type="checkbox")

    for place in (2, 0, 1, 1):
        boxes()[place].handlers["change"](Event("change"))
    assert ["checked" in box.attributes for box in boxes()] == [True, False, True]
    boxes()[0].handlers["change"](Event("change"))
    assert ["checked" in box.attributes for box in boxes()] == [False, False, True]
    page.click("Answer")
    await idle(page)
    assert page.texts(class_="settled") == ["Answered: MAYBE"]
    assert page.chat.answers == {}


async def test_a_free_answer_is_written_and_sent_with_enter(page: Page) -> None:
    await waiting(page)
    asked(page, AskEvent(title="Name?", kind=AskEvent.KIND_QUESTION))
    page.press("Enter", "Your answer")
    assert page.chat.answering == set()
    page.type("  ", "Your answer")
    assert "disabled" in page.buttons("Answer")[0].attributes
    page.type("Ada", "Your answer")
    assert page.field("Your answer").attributes["value"] == "Ada"
    page.press("Enter", "Your answer")
    await page.until(lambda: page.chat.answering == set())
    await page.tasks_started_are_done()


async def test_an_answer_that_is_refused_can_be_given_again(page: Page) -> None:
    await waiting(page)
    (ask,) = thread_of(page).turns[-1].asks.values()
    page.chat.answer(AskEvent(ask_id="no such ask"), ["yes"])
    await page.until(lambda: page.notes.shown)
    assert page.chat.answering == set()
    page.chat.answer(ask, ["yes"])
    await idle(page)


# -- options ---------------------------------------------------------------------------------


async def test_an_option_is_chosen_and_other_windows_see_it(windows: Pages) -> None:
    page = await windows.open()
    await page.say("hello")
    other = await windows.open(page.open_id)
    assert page.field("Model").attributes["value"] == "echo"
    page.change("Model", "loud")
    await other.until(lambda: other.field("Model").attributes["value"] == "loud")
    await page.until(lambda: page.field("Model").attributes["value"] == "loud")
    turn = await page.say("hello")
    assert turn.reply == "HELLO"


async def test_an_option_of_a_new_conversation_is_set_with_its_first_message(page: Page) -> None:
    await page.until(lambda: page.chat.new_options.options)
    page.change("Model", "loud")
    assert page.field("Model").attributes["value"] == "loud"
    turn = await page.say("hello")
    assert turn.reply == "HELLO"
    page.click("New conversation")
    assert page.field("Model").attributes["value"] == "echo"


async def test_a_choice_that_is_refused_is_said(page: Page) -> None:
    await page.say("hello")
    page.change("Model", "no such model")
    await page.until(lambda: page.notes.shown)
    assert page.field("Model").attributes["value"] == "echo"


# -- the rest --------------------------------------------------------------------------------


async def test_how_much_of_the_context_is_used(page: Page) -> None:
    await page.say("[[usage:1500/8000]]")
    assert page.texts(class_="usage") == ["1.5k of 8.0k tokens"]


async def test_a_narrow_window_shows_the_list_or_the_thread(page: Page) -> None:
    page.click("Conversations")
    assert page.draw().attributes["class"] == "app show-list"
    page.click("New conversation")
    assert page.draw().attributes["class"] == "app"


async def test_copying(page: Page) -> None:
    await page.say("hello *there*")
    page.click("Copy message")
    page.click("Copy reply")
    assert page.window.copied == ["hello *there*", "hello *there*"]


async def test_a_message_behind_the_page_is_seen(page: Page) -> None:
    await page.say("one")
    info = await page.send_behind("two")
    assert isinstance(info, TurnInfo)
    await page.until(lambda: len(thread_of(page).turns) == 2 and not thread_of(page).running)
