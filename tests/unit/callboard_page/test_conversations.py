"""The list of conversations, on the real service."""

from typing import Any

import pytest

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import DeleteSessionRequest, SessionDeleted
from callboard_page.conversations import DELETED_AFTER
from callboard_page.nodes import find, text_of
from tests.support.page_kit import Page, Pages
from transport.errors import RequestFailed


async def titled(page: Page, *titles: str) -> list[str]:
    """Create conversations with these titles; return their ids."""
    made = []
    for title in titles:
        info = await page.chat.conversations.create()
        await page.chat.conversations.rename(info.id, title)
        made.append(info.id)
    await page.until(lambda: set(titles) <= set(page.titles()))
    return made


async def test_nothing_yet(page: Page) -> None:
    assert page.titles() == []
    assert "No conversations yet" in page.text(class_="sidebar")


async def test_the_newest_comes_first_and_a_message_brings_one_to_the_top(page: Page) -> None:
    one, *_ = await titled(page, "one", "two", "three")
    assert page.titles() == ["three", "two", "one"]
    await page.open(one)
    await page.say("hello")
    await page.until(lambda: page.titles() == ["one", "three", "two"])
    (current,) = [item for item in page.find(class_="pick") if "aria-current" in item.attributes]
    assert text_of(find(current, class_="title")[0]) == "one"
    assert page.window.address == one


async def test_another_window_sees_what_is_created_renamed_and_archived(windows: Pages) -> None:
    one, two = await windows.open(), await windows.open()
    (made,) = await titled(one, "first")
    await two.until(lambda: two.titles() == ["first"])
    two.click("More about first")
    two.click("Rename")
    assert two.window.focused[-1] == "rename"
    two.press("Enter", "rename", value="  second ")
    await one.until(lambda: one.titles() == ["second"])
    one.chat.archive(made, archived=True)
    await two.until(lambda: two.titles() == [])


async def test_a_title_that_is_empty_or_left_changes_nothing(page: Page) -> None:
    await titled(page, "one")
    for key, value in (("Enter", " "), ("Escape", "two")):
        page.click("More about one")
        page.click("Rename")
        page.press(key, "rename", value=value)
        await page.tasks_started_are_done()
        assert page.titles() == ["one"]


async def test_archived_conversations_are_shown_when_asked_for(page: Page) -> None:
    one, _ = await titled(page, "one", "two")
    page.chat.archive(one, archived=True)
    await page.until(lambda: page.titles() == ["two"])
    page.chat.conversations.show_archived(True)
    await page.until(lambda: set(page.titles()) == {"one", "two"})
    assert page.texts(class_="tag") == ["archived"]
    page.click("More about one")
    page.click("Take back from the archive")
    await page.until(lambda: not find(page.draw(), class_="tag"))
    page.chat.conversations.show_archived(False)
    await page.until(lambda: set(page.titles()) == {"one", "two"})


async def test_searching_finds_titles_and_texts(page: Page) -> None:
    _, two, _ = await titled(page, "apple", "pear", "plum")
    await page.open(two)
    await page.say("a word in the text")
    page.type("word", "search")
    await page.until(lambda: page.titles() == ["pear"])
    page.type("appl", "search")
    await page.until(lambda: page.titles() == ["apple"])
    page.type("nowhere", "search")
    await page.until(lambda: "Nothing matches." in page.text(class_="sidebar"))
    page.press("Escape", "search")
    assert set(page.titles()) == {"apple", "pear", "plum"}
    assert page.field("search").attributes["value"] == ""


async def test_what_was_found_for_an_earlier_search_is_not_shown(page: Page) -> None:
    await titled(page, "apple", "pear")
    page.type("appl", "search")
    page.type("pear", "search")
    page.type("", "search")
    await page.tasks_started_are_done()
    assert len(page.titles()) == 2


async def test_searching_without_the_service_looks_at_titles(page: Page) -> None:
    await titled(page, "Apple", "pear")
    del page.client.welcome.features[:]
    page.type("aPP", "search")
    await page.until(lambda: page.titles() == ["Apple"])


# -- deleting --------------------------------------------------------------------------------


async def test_a_conversation_is_deleted_after_ten_seconds(windows: Pages) -> None:
    page, other = await windows.open(), await windows.open()
    one, _ = await titled(page, "one", "two")
    page.chat.delete(one)
    await page.until(lambda: page.titles() == ["two"])
    await page.until(lambda: page.notes.shown)
    assert page.texts(class_="note") == ["“one” will be deleted.Undo"]
    await other.until(lambda: other.titles() == ["two"])
    other.chat.conversations.show_archived(True)
    await other.until(lambda: set(other.titles()) == {"one", "two"})  # it is only archived
    await page.clock.advance(DELETED_AFTER - 0.1)
    assert len(page.notes.shown) == 1
    await page.clock.advance(0.2)
    assert page.notes.shown == []
    await other.until(lambda: other.titles() == ["two"])
    assert page.titles() == ["two"]


@pytest.mark.parametrize("archived", [False, True])
async def test_deleting_can_be_undone(windows: Pages, archived: bool) -> None:
    page = await windows.open()
    (one,) = await titled(page, "one")
    if archived:
        page.chat.conversations.show_archived(True)
        await page.chat.conversations.archive(one, archived=True)
    page.chat.delete(one)
    await page.until(lambda: page.notes.shown)
    page.click("Undo")
    assert page.notes.shown == []
    await page.until(lambda: page.titles() == ["one"])
    await page.clock.advance(2 * DELETED_AFTER)
    await page.tasks_started_are_done()
    assert page.titles() == ["one"]
    info = page.chat.conversations.get(one)
    assert info is not None
    assert info.archived is archived


async def test_a_page_that_is_closed_meanwhile_leaves_it_archived(windows: Pages) -> None:
    page, other = await windows.open(), await windows.open()
    (one,) = await titled(page, "one")
    await other.until(lambda: other.titles() == ["one"])
    page.chat.delete(one)
    await other.until(lambda: other.titles() == [])
    await windows.close(page)
    await page.clock.advance(2 * DELETED_AFTER)
    other.chat.conversations.show_archived(True)
    await other.until(lambda: other.titles() == ["one"])


async def test_deleting_what_is_gone_says_so_and_shows_nothing(page: Page) -> None:
    page.chat.delete("no such conversation")
    await page.until(lambda: page.notes.shown)
    assert page.find(class_="error", role="alert")
    assert page.chat.conversations.deleted == set()


async def test_deleting_the_open_conversation_shows_an_empty_thread(page: Page) -> None:
    (one,) = await titled(page, "one")
    await page.open(one)
    page.click("More about one")
    page.click("Delete")
    assert page.chat.thread is None
    assert page.window.address == ""


async def test_a_copy_is_opened(page: Page) -> None:
    (one,) = await titled(page, "one")
    await page.open(one)
    await page.say("hello")
    page.click("Fork")
    await page.until(lambda: page.chat.thread and page.open_id != one and page.chat.thread.loaded)
    assert "hello" in page.thread_text


async def test_the_list_goes_on_after_a_cut(windows: Pages) -> None:
    page, other = await windows.open(), await windows.open()
    windows.service.cut()
    await other.client.ready()
    await titled(other, "made meanwhile")
    await page.until(lambda: page.titles() == ["made meanwhile"])


async def test_what_was_found_and_is_archived_or_deleted_is_not_shown(windows: Pages) -> None:
    page, other = await windows.open(), await windows.open()
    one, two, _ = await titled(page, "word one", "word two", "word three")
    page.type("word", "search")
    await page.until(lambda: page.chat.conversations.found)
    assert len(page.titles()) == 3
    page.chat.archive(one, archived=True)
    await page.until(lambda: len(page.titles()) == 2)
    await page.tasks_started_are_done()
    await other.client.call(DeleteSessionRequest(session_id=two), SessionDeleted)
    await page.until(lambda: page.titles() == ["word three"])


async def test_the_list_is_watched_again_when_the_service_has_room(
    windows: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await windows.open()
    stream, refusals = page.client.stream, 2
    monkeypatch.setattr("transport.client.client.RETRY_AFTER", 0.0)

    def refuse(*arguments: Any, **options: Any) -> Any:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise RequestFailed(Code.UNAVAILABLE, "busy", retryable=True, retry_after_ms=1)
        return stream(*arguments, **options)

    monkeypatch.setattr(page.client, "stream", refuse)
    page.chat.conversations.watch()
    await titled(page, "one")
    await page.until(lambda: not refusals)
    assert page.notes.shown == []


async def test_a_list_that_cannot_be_watched_says_so(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise RequestFailed(Code.INTERNAL, "broken")

    monkeypatch.setattr(page.client, "stream", refuse)
    page.chat.conversations.watch()
    await page.until(lambda: page.notes.shown)
    assert page.texts(role="alert") == ["Broken."]
