"""A thread: history in pages, turns as they happen, snapshots, and what other windows see."""

from typing import Any

import pytest

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import DeleteSessionRequest, GetHistoryRequest, SessionDeleted, TurnState
from callboard_page import thread as thread_module
from callboard_page.nodes import Element, find, text_of
from callboard_page.thread import Thread
from tests.support.page_kit import Page, Pages
from transport.errors import RequestFailed, SessionLost


async def started(page: Page, *texts: str) -> str:
    """Begin a conversation with these messages and return its id."""
    for text in texts:
        await page.say(text)
    return page.open_id


def turns(page: Page) -> list[str]:
    return page.texts(class_="turn")


def thread_of(page: Page) -> Thread:
    assert page.chat.thread is not None
    return page.chat.thread


async def waiting(page: Page, text: str) -> None:
    """Send a message whose reply stops at a question; wait for the question."""
    page.type(text, key="Enter")
    await page.until(lambda: page.find(class_="ask"))


# -- two windows -----------------------------------------------------------------------------


async def test_two_windows_show_the_same(windows: Pages) -> None:
    one = await windows.open()
    conversation = await started(one, "first", "second")
    two = await windows.open(conversation)
    assert turns(two)[0].startswith("Youfirst")
    long = 'a [[reasoning:hm]] b [[tool:list {"a": 1}]] c [[plan:x;y]] [[ask:question]] d'
    await waiting(one, long)
    await two.until(lambda: two.find(class_="ask"))
    assert one.thread_text == two.thread_text
    assert two.find(role="log")[0].attributes["aria-busy"] == "true"
    two.click("yes")
    for page in (one, two):
        await page.until(lambda: "d" in turns(page)[-1].split("Answered: yes")[-1])  # noqa: B023
        await page.until(lambda: thread_of(page).running is None)  # noqa: B023
    assert one.thread_text == two.thread_text


async def test_a_window_that_is_opened_meanwhile_joins_the_reply(windows: Pages) -> None:
    one = await windows.open()
    await started(one, "before")
    await waiting(one, "some text [[ask:question]] the rest")
    two = await windows.open(one.open_id)
    assert one.thread_text == two.thread_text
    two.click("no")
    await two.until(lambda: thread_of(two).running is None)
    assert turns(two)[-1].count("some text") == 2  # the message and the reply
    assert "the rest" in turns(two)[-1]


async def test_the_history_shows_what_was_seen(windows: Pages) -> None:
    one = await windows.open()
    text = "a [[tool:list]] b [[reasoning:hm]] c [[error:INTERNAL]]"
    conversation = await started(one, "x **y**", text, "[[stop:MAX_TOKENS]]")
    two = await windows.open(conversation)
    assert one.thread_text == two.thread_text


async def test_another_window_sees_that_a_turn_was_replaced(windows: Pages) -> None:
    one = await windows.open()
    conversation = await started(one, "good", "[[error:INTERNAL]]")
    two = await windows.open(conversation)
    three = await windows.open(conversation)
    one.click("Try again")
    for page in (two, three):
        await page.until(lambda: len(turns(page)) == 2 and thread_of(page).turns[-1].error)  # noqa: B023
    await one.until(lambda: thread_of(one).running is None and len(turns(one)) == 2)
    assert one.thread_text == two.thread_text == three.thread_text
    assert len((await one.history()).entries) == 4


async def test_a_turn_that_was_seen_to_fail_is_gone_once_it_is_replaced(windows: Pages) -> None:
    one, two = await windows.open(), await windows.open()
    await started(one, "good")
    await two.open(one.open_id)
    failed = await one.say("[[error:INTERNAL]]")
    await two.until(lambda: two.find(class_="ended"))
    await one.send_behind("better", replaces=failed.info.id, message_id="new")
    for page in (one, two):
        await page.until(lambda: "better" in page.thread_text)  # noqa: B023
        await page.until(lambda: thread_of(page).running is None)  # noqa: B023
        assert [turn.text for turn in thread_of(page).turns] == ["good", "better"]


async def test_the_conversation_is_deleted_while_it_is_open(windows: Pages) -> None:
    one = await windows.open()
    conversation = await started(one, "hello")
    two = await windows.open(conversation)
    await one.client.call(DeleteSessionRequest(session_id=conversation), SessionDeleted)
    for page in (one, two):
        await page.until(lambda: thread_of(page).gone)  # noqa: B023
        assert "This conversation has been deleted." in page.text(tag="main")
        assert not page.find(id="message")
        await page.until(lambda: not page.titles())  # noqa: B023


async def test_a_conversation_that_is_not_there(windows: Pages) -> None:
    page = await windows.open("no such conversation")
    assert thread_of(page).gone


# -- cuts ------------------------------------------------------------------------------------


async def test_a_cut_in_the_middle_of_a_reply_loses_and_repeats_nothing(windows: Pages) -> None:
    page = await windows.open()
    await waiting(page, "[[repeat:300]] [[ask:question]] [[repeat:20]] end")
    kept = page.find(class_="turn")
    windows.service.cut()
    await page.until(lambda: page.find(class_="waiting"))
    assert "Connecting" in page.text(id="connection")
    await page.until(lambda: page.client.connected)
    assert page.find(class_="turn") == kept  # nothing is drawn again
    page.click("yes")
    await page.until(lambda: thread_of(page).running is None)
    reply = thread_of(page).turns[-1].reply.split()
    assert reply == [f"{n:03}" for n in range(300)] + [f"{n:03}" for n in range(20)] + ["end"]


async def test_a_snapshot_keeps_what_the_history_lacks(windows: Pages) -> None:
    one = await windows.open()
    conversation = await started(one, "first")
    two = await windows.open(conversation)
    planned = await one.say("[[plan:a;b]] second")
    await two.until(lambda: len(turns(two)) == 2 and not thread_of(two).running)
    shown = one.find(class_="turn")
    await snapshot(one)
    assert thread_of(one).turns[-1] is planned
    assert one.find(class_="turn")[1] is shown[1]
    assert one.thread_text == two.thread_text


async def test_a_session_that_is_lost_leaves_no_trace(windows: Pages) -> None:
    """As after a restart of the service, or a computer that slept for long."""
    page = await windows.open()
    await waiting(page, "[[repeat:30]] [[ask:question]] end")
    page.client.welcome.resume_token = b""
    windows.service.cut()
    other = await windows.open(page.open_id)
    other.click("yes")
    await page.until(lambda: thread_of(page).turns[-1].ended)
    assert page.thread_text == other.thread_text
    assert page.notes.shown == []


async def snapshot(page: Page) -> None:
    """Have the page begin again with a snapshot, as after a gap."""
    thread = thread_of(page)
    thread.close()
    thread._settled.clear()
    thread.open()
    await thread.followed()


async def test_turns_that_ended_during_a_gap_are_in_their_order(windows: Pages) -> None:
    one = await windows.open()
    conversation = await started(one, "1")
    two = await windows.open(conversation)
    await two.say("2")
    thread_of(two).close()
    for text in "345":
        await one.say(text)
    await snapshot(two)
    assert [turn.text for turn in thread_of(two).turns] == list("12345")
    assert one.thread_text == two.thread_text
    await two.say("6")
    await one.until(lambda: [turn.text for turn in thread_of(one).turns] == list("123456"))


class Refusing:
    """Refuses the first requests for a history, with these errors."""

    def __init__(self, page: Page, *errors: RequestFailed) -> None:
        self._call = page.client.call
        self._errors = list(errors)
        self.refused = 0

    async def __call__(self, request: Any, answer: Any, **options: Any) -> Any:
        if isinstance(request, GetHistoryRequest) and self._errors:
            self.refused += 1
            raise self._errors.pop(0)
        return await self._call(request, answer, **options)


async def test_the_thread_goes_on_if_its_history_is_lost_on_the_way(
    windows: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await windows.open()
    conversation = await started(one, "hello")
    two = await windows.open()
    busy = RequestFailed(Code.UNAVAILABLE, "busy", retryable=True, retry_after_ms=1)
    refusing = Refusing(two, SessionLost(), busy, SessionLost())
    monkeypatch.setattr(two.client, "call", refusing)
    monkeypatch.setattr("transport.client.client.RETRY_AFTER", 0.0)
    await two.open(conversation)
    assert refusing.refused == 3
    await one.say("more")
    await two.until(lambda: len(turns(two)) == 2)
    assert two.notes.shown == []


async def test_a_history_that_fails_is_said(
    windows: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await windows.open()
    conversation = await started(one, "hello")
    two = await windows.open()
    monkeypatch.setattr(two.client, "call", Refusing(two, RequestFailed(Code.INTERNAL, "broken")))
    two.chat.open(conversation)
    await two.until(lambda: two.notes.shown)
    assert two.texts(role="alert") == ["Broken."]


# -- pages of the history --------------------------------------------------------------------


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> int:
    """Load three entries at once: a turn and the end of the one before."""
    monkeypatch.setattr(thread_module, "PAGE", 3)
    return 3


async def test_earlier_pages_are_loaded_when_asked_for(windows: Pages, short_pages: int) -> None:
    one = await windows.open()
    conversation = await started(one, *"12345")
    two = await windows.open(conversation)
    assert [turn.text for turn in thread_of(two).turns] == ["", "5"]  # the fourth is cut
    for texts in (["3", "4", "5"], ["", "2", "3", "4", "5"], ["1", "2", "3", "4", "5"]):
        shown = {turn.info.id: turn for turn in thread_of(two).turns[1:]}
        elements = {one.key: one for one in two.find(class_="turn")[1:]}
        two.click("Show earlier messages")
        assert "disabled" in two.find(class_="earlier")[0].attributes
        two.chat.thread.load_earlier() if two.chat.thread else None  # once at a time
        await two.until(lambda: not thread_of(two).loading)
        assert [turn.text for turn in thread_of(two).turns] == texts
        again = {turn.info.id: turn for turn in thread_of(two).turns}
        assert all(again[name] is turn for name, turn in shown.items())
        drawn = {one.key: one for one in two.find(class_="turn")}
        assert all(drawn[name] is element for name, element in elements.items())
    assert not two.find(class_="earlier")
    assert two.thread_text == one.thread_text


async def test_a_snapshot_keeps_the_earlier_pages(windows: Pages, short_pages: int) -> None:
    one = await windows.open()
    conversation = await started(one, *"1234")
    two = await windows.open(conversation)
    two.click("Show earlier messages")
    await two.until(lambda: not thread_of(two).loading)
    await one.say("5")
    await snapshot(two)
    assert [turn.text for turn in thread_of(two).turns] == ["2", "3", "4", "5"]
    assert thread_of(two).earlier


async def test_a_snapshot_after_much_begins_with_the_newest_page(
    windows: Pages, short_pages: int
) -> None:
    one = await windows.open()
    conversation = await started(one, "1")
    two = await windows.open(conversation)
    thread_of(two).close()
    for text in "2345":
        await one.say(text)
    await snapshot(two)
    assert [turn.text for turn in thread_of(two).turns] == ["", "5"]
    assert thread_of(two).earlier
    while thread_of(two).earlier:
        thread_of(two).load_earlier()
        await two.until(lambda: not thread_of(two).loading)
    assert two.thread_text == one.thread_text


async def test_a_message_on_an_earlier_page_is_edited(windows: Pages, short_pages: int) -> None:
    one = await windows.open()
    conversation = await started(one, *"1234")
    one.click("Edit in a copy of the conversation", 1)
    one.type("zwei", key="Enter")
    await one.until(lambda: one.open_id != conversation and len(turns(one)) == 2)
    assert [turn.text for turn in thread_of(one).turns] == ["1", "zwei"]


async def test_an_earlier_page_that_comes_after_a_snapshot_is_left_out(
    windows: Pages, short_pages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await windows.open()
    conversation = await started(one, *"12345")
    two = await windows.open(conversation)
    thread, call = thread_of(two), two.client.call

    async def late(request: Any, answer: Any) -> Any:
        page = await call(request, answer)
        thread._entries = thread._entries[1:]  # as a snapshot would change them
        return page

    monkeypatch.setattr(two.client, "call", late)
    thread.load_earlier()
    await two.until(lambda: not thread.loading)
    assert len(thread._entries) == 2


async def test_replacing_makes_the_newest_page_reach_further_back(
    windows: Pages, short_pages: int
) -> None:
    one = await windows.open()
    await started(one, "1", "2", "3 [[error:INTERNAL]]")
    two = await windows.open(one.open_id)
    failed = thread_of(one).turns[-1]
    await one.send_behind("[[ask:question]]", replaces=failed.info.id, message_id="new")
    await two.until(lambda: two.find(class_="ask"))
    assert [turn.text for turn in thread_of(two).turns][-2:] == ["2", "[[ask:question]]"]
    ids = [entry.id for entry in thread_of(two)._entries]
    assert len(ids) == len(set(ids))


# -- the order -------------------------------------------------------------------------------


async def test_parts_are_in_the_order_in_which_they_came(page: Page) -> None:
    await page.say("one [[tool:list]] two [[reasoning:hm]] three [[tool:read]] four")
    (reply,) = page.find(class_="reply")
    classes = [
        child.attributes.get("class") for child in reply.children if isinstance(child, Element)
    ]
    kinds = [one for one in classes if one in {"markdown", "tool", "reasoning"}]
    assert kinds == ["markdown", "tool", "markdown", "reasoning", "markdown", "tool", "markdown"]
    texts = [text_of(one).strip() for one in find(reply, class_="markdown")]
    assert texts == ["one", "two", "three", "four"]


async def test_what_waits_is_not_in_the_thread_and_comes_in_the_order_of_starts(
    page: Page,
) -> None:
    await waiting(page, "first [[ask:question]]")
    for text in ("second", "third"):
        page.type(text, key="Enter")
    await page.until(lambda: len(thread_of(page).queue) == 2)
    assert len(turns(page)) == 1
    page.click("Earlier", 1)
    await page.until(lambda: [turn.text for turn in thread_of(page).queue] == ["third", "second"])
    page.click("yes")
    await page.until(lambda: len(turns(page)) == 3 and not thread_of(page).running)
    assert [turn.text for turn in thread_of(page).turns][1:] == ["third", "second"]


async def test_only_the_last_turn_that_did_not_complete_can_be_tried_again(page: Page) -> None:
    await page.say("[[error:INTERNAL]]")
    assert page.buttons("Try again")
    await page.say("fine")
    assert not page.buttons("Try again")
    await page.say("[[error:UNAVAILABLE]]")
    assert len(page.buttons("Try again")) == 1
    assert thread_of(page).turns[-1].info.state == TurnState.TURN_STATE_FAILED
