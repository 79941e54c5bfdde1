"""The message that is written: sending it, its attachments, and what becomes of a refusal."""

from typing import Any

import pytest

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import CreateSessionRequest, ForkSessionRequest, SendMessageRequest
from callboard_page.composer import MAX_ATTACHMENTS, Composer
from callboard_page.nodes import Event
from tests.support.page_kit import FakeFile, Page, Pages
from transport.errors import RequestFailed, SessionLost


class Wrong:
    """Has the calls of some kinds go wrong. late: once the service has done what was asked.

    sent: the messages that were sent, refused ones included.
    """

    def __init__(self, page: Page) -> None:
        self._call = page.client.call
        self.sent: list[SendMessageRequest] = []
        self.errors: list[tuple[type, Exception]] = []
        self.late = False

    def next(self, kind: type, error: Exception) -> None:
        """Have the next call of this kind fail."""
        self.errors.append((kind, error))

    async def __call__(self, request: Any, answer: Any, **options: Any) -> Any:
        if isinstance(request, SendMessageRequest):
            self.sent.append(request)
        wrong = next((one for one in self.errors if isinstance(request, one[0])), None)
        if wrong is not None:
            self.errors.remove(wrong)
            if self.late:
                await self._call(request, answer, **options)
            raise wrong[1]
        return await self._call(request, answer, **options)


@pytest.fixture
def wrong(page: Page, monkeypatch: pytest.MonkeyPatch) -> Wrong:
    calls = Wrong(page)
    monkeypatch.setattr(page.client, "call", calls)
    return calls


def texts(page: Page) -> list[str]:
    return [turn.text for turn in page.chat.thread.turns] if page.chat.thread else []


def ended(page: Page) -> bool:
    thread = page.chat.thread
    return bool(thread and thread.turns and all(turn.ended for turn in thread.turns))


# -- sending ---------------------------------------------------------------------------------


async def test_the_first_message_begins_a_conversation(page: Page) -> None:
    page.type("  hello there\n")
    assert page.chat.composer.text == "  hello there\n"
    page.click("Send")
    assert page.field("message").attributes["value"] == ""
    await page.until(lambda: ended(page))
    assert texts(page) == ["hello there"]
    await page.until(lambda: page.titles() == ["hello there"])
    assert page.window.address == page.open_id


@pytest.mark.parametrize("text", ["", "  ", "\n"])
async def test_nothing_is_not_sent(page: Page, text: str) -> None:
    page.type(text, key="Enter")
    assert "disabled" in page.buttons("Send")[0].attributes
    assert page.chat.composer.sending == []
    assert page.chat.thread is None


async def test_shift_and_an_input_method_keep_the_enter_key(page: Page) -> None:
    page.type("a")
    page.press("Enter", shift=True)
    page.field("message").handlers["keydown"](Event("keydown", key="Enter", composing=True))
    page.field("message").handlers["keydown"](Event("keydown", key="Enter", plain=False))
    assert page.chat.composer.text == "a"
    assert page.chat.composer.sending == []


async def test_messages_that_are_sent_in_quick_succession_keep_their_order(page: Page) -> None:
    for text in ("one", "two", "three"):
        page.type(text, key="Enter")
    await page.until(lambda: len(texts(page)) == 3 and ended(page))
    assert texts(page) == ["one", "two", "three"]
    assert page.titles() == ["one"]


async def test_a_refused_message_comes_back_and_has_the_same_id(page: Page, wrong: Wrong) -> None:
    await page.say("before")
    wrong.next(SendMessageRequest, RequestFailed(Code.RESOURCE_EXHAUSTED, "too many wait"))
    page.type("keep me", key="Enter")
    await page.until(lambda: page.chat.composer.error)
    assert page.chat.composer.text == "keep me"
    assert page.texts(role="alert") == ["Too many wait."]
    page.press("Enter")
    await page.until(lambda: len(texts(page)) == 2 and ended(page))
    assert len({one.message_id for one in wrong.sent[1:]}) == 1
    assert not page.find(role="alert")


async def test_a_message_that_may_have_arrived_is_admitted_once(page: Page, wrong: Wrong) -> None:
    await page.say("before")
    wrong.next(SendMessageRequest, SessionLost())
    wrong.late = True
    page.type("only once", key="Enter")
    await page.until(lambda: page.chat.composer.error)
    page.press("Enter")
    await page.until(lambda: not page.chat.composer.sending and ended(page))
    await page.until(lambda: "only once" in texts(page))
    assert texts(page) == ["before", "only once"]
    assert len(wrong.sent) == 3


async def test_another_text_is_another_message(page: Page, wrong: Wrong) -> None:
    wrong.next(SendMessageRequest, SessionLost())
    wrong.late = True
    page.type("one", key="Enter")
    await page.until(lambda: page.chat.composer.error)
    page.type("two", key="Enter")
    await page.until(lambda: len(texts(page)) == 2 and ended(page))
    assert texts(page) == ["one", "two"]


async def test_what_was_written_meanwhile_stays_after_what_comes_back(
    page: Page, wrong: Wrong
) -> None:
    await page.say("before")
    wrong.next(SendMessageRequest, RequestFailed(Code.INTERNAL, "no"))
    page.type("one", key="Enter")
    page.type("two", key="Enter")
    page.type("half a th")
    await page.until(lambda: page.chat.composer.error)
    assert page.chat.composer.text == "one\n\ntwo\n\nhalf a th"
    assert page.chat.composer.sending == []


@pytest.mark.parametrize("kind", [CreateSessionRequest])
async def test_a_conversation_that_cannot_be_created_keeps_the_message(
    page: Page, wrong: Wrong, kind: type
) -> None:
    wrong.next(kind, RequestFailed(Code.UNAVAILABLE, "not now", retryable=True))
    page.type("hello", key="Enter")
    await page.until(lambda: page.chat.composer.error)
    assert page.chat.composer.error == "Not now. You can try again."
    assert page.chat.composer.text == "hello"
    page.click("Send")
    await page.until(lambda: ended(page))
    assert page.titles() == ["hello"]


async def test_each_conversation_keeps_what_is_being_written(windows: Pages) -> None:
    page = await windows.open()
    await page.say("one")
    first = page.open_id
    page.type("half of")
    page.click("New conversation")
    assert page.field("message").attributes["value"] == ""
    page.type("another")
    page.chat.open(first)
    assert page.field("message").attributes["value"] == "half of"
    page.chat.begin()
    assert page.field("message").attributes["value"] == "another"


# -- attachments -----------------------------------------------------------------------------


async def test_an_attachment_is_uploaded_and_sent(windows: Pages) -> None:
    page = await windows.open()
    file = FakeFile("a.txt", b"some content", hold=True)
    page.chat.composer.attach([file])
    assert page.texts(class_="uploads") == ["a.txtuploading …"]
    page.type("look")
    assert "disabled" in page.buttons("Send")[0].attributes
    page.press("Enter")
    assert page.chat.composer.text == "look"
    file.release()
    await page.until(lambda: page.chat.composer.can_send)
    assert page.texts(class_="uploads") == ["a.txt12 B"]
    page.click("Send")
    await page.until(lambda: ended(page))
    assert not page.find(class_="uploads")
    assert "[a.txt text/plain 12 bytes]" in page.thread_text
    other = await windows.open(page.open_id)
    for one in (page, other):
        one.click("Save a.txt")
        await one.tasks_started_are_done()
        assert one.window.saved == [("a.txt", "text/plain", b"some content")]


async def test_an_attachment_alone_is_a_message(page: Page) -> None:
    page.chat.composer.attach([FakeFile("x.bin", b"1", "")])
    await page.until(lambda: page.chat.composer.can_send)
    page.press("Enter")
    await page.until(lambda: ended(page))
    assert "[x.bin application/octet-stream 1 bytes]" in page.thread_text


async def test_an_upload_that_fails_says_so_and_can_be_removed(page: Page) -> None:
    page.chat.composer.attach(
        [FakeFile("gone.txt", error=OSError("it is gone")), FakeFile("b.txt")]
    )
    await page.until(lambda: page.texts(class_="error"))
    assert "it is gone" in page.text(class_="error")
    page.type("text")
    assert "disabled" in page.buttons("Send")[0].attributes
    page.click("Remove gone.txt")
    await page.until(lambda: page.chat.composer.can_send)
    assert page.texts(class_="uploads") == ["b.txt7 B"]


async def test_an_upload_that_is_removed_is_stopped(page: Page) -> None:
    file = FakeFile(hold=True)
    page.chat.composer.attach([file])
    page.click("Remove a.txt")
    assert not page.find(class_="uploads")
    await page.tasks_started_are_done()
    file.release()
    assert page.notes.shown == []


async def test_there_is_a_most_of_attachments(page: Page) -> None:
    page.chat.composer.attach([FakeFile(f"{n}.txt") for n in range(MAX_ATTACHMENTS + 1)])
    assert len(page.chat.composer.uploads) == MAX_ATTACHMENTS
    assert page.texts(role="alert") == ["A message takes at most 16 attachments."]
    await page.until(lambda: page.chat.composer.can_send)


async def test_other_attachments_make_another_message(page: Page, wrong: Wrong) -> None:
    await page.say("before")
    wrong.next(SendMessageRequest, SessionLost())
    wrong.late = True
    page.type("text", key="Enter")
    await page.until(lambda: page.chat.composer.error)
    page.chat.composer.attach([FakeFile()])
    await page.until(lambda: page.chat.composer.can_send)
    page.press("Enter")
    await page.until(lambda: len(texts(page)) == 3 and ended(page))
    assert "[a.txt text/plain 7 bytes]" in page.thread_text


@pytest.mark.parametrize("kind", ["drop", "paste"])
async def test_files_are_dropped_and_pasted(page: Page, kind: str) -> None:
    prevented: list[bool] = []

    def event(*files: FakeFile) -> Event:
        return Event(kind, files=files, prevent=lambda: prevented.append(True))

    (form,) = page.find(class_="composer")
    form.handlers[kind](event(FakeFile()))
    assert page.texts(class_="uploads")
    assert len(prevented) == 1
    form.handlers[kind](event())
    assert len(prevented) == (2 if kind == "drop" else 1)  # text is pasted as always
    await page.until(lambda: page.chat.composer.can_send)


async def test_a_picture_is_shown_once_it_is_loaded(windows: Pages) -> None:
    page = await windows.open()
    page.chat.composer.attach([FakeFile("p.png", b"12345", "image/png")])
    await page.until(lambda: page.chat.composer.can_send)
    page.press("Enter")
    await page.until(lambda: page.find(tag="img"))
    assert page.find(tag="img")[0].attributes["src"] == "blob:image/png:5"
    assert page.find(tag="img")[0].attributes["alt"] == "p.png"


async def test_a_large_picture_can_only_be_saved(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callboard_page.chat.MAX_PICTURE", 4)
    page.chat.composer.attach([FakeFile("p.png", b"12345", "image/png")])
    await page.until(lambda: page.chat.composer.can_send)
    page.press("Enter")
    await page.until(lambda: ended(page))
    assert not page.find(tag="img")
    assert page.buttons("Save p.png")


# -- editing ---------------------------------------------------------------------------------


async def test_an_edited_message_goes_into_a_copy(page: Page, wrong: Wrong) -> None:
    for text in ("one", "two", "three"):
        await page.say(text)
    original = page.open_id
    page.click("Edit in a copy of the conversation", 1)
    assert page.field("message").attributes["value"] == "two"
    assert page.find(class_="editing")
    wrong.next(ForkSessionRequest, RequestFailed(Code.UNAVAILABLE, "not now"))
    page.type("zwei", key="Enter")
    await page.until(lambda: page.chat.composer.error)
    assert page.open_id == original
    page.press("Enter")
    await page.until(lambda: page.open_id != original and len(texts(page)) == 2 and ended(page))
    assert texts(page) == ["one", "zwei"]
    assert not page.find(class_="editing")
    page.chat.open(original)
    await page.loaded()
    assert texts(page) == ["one", "two", "three"]
    assert page.field("message").attributes["value"] == ""


async def test_a_message_of_the_history_is_edited_too(windows: Pages) -> None:
    one = await windows.open()
    await one.say("one")
    await one.say("two")
    page = await windows.open(one.open_id)
    page.click("Edit in a copy of the conversation", 1)
    page.type("zwei", key="Enter")
    await page.until(lambda: page.open_id != one.open_id and len(texts(page)) == 2)
    await page.until(lambda: ended(page))
    assert texts(page) == ["one", "zwei"]


async def test_an_edited_message_keeps_its_attachments(page: Page) -> None:
    await page.say("before")
    page.chat.composer.attach([FakeFile("a.txt", b"some content")])
    await page.until(lambda: page.chat.composer.can_send)
    await page.say("look")
    original = page.open_id
    page.click("Edit in a copy of the conversation", 1)
    page.type("look again")
    await page.until(lambda: page.chat.composer.can_send)
    assert page.texts(class_="uploads") == ["a.txt12 B"]
    page.press("Enter")
    await page.until(lambda: page.open_id != original and len(texts(page)) == 2 and ended(page))
    assert "[a.txt text/plain 12 bytes]" in page.texts(class_="turn")[1]
    await page.open(original)
    page.click("Edit in a copy of the conversation", 1)
    page.press("Escape")
    assert not page.find(class_="uploads")
    await page.tasks_started_are_done()


@pytest.mark.parametrize("text", ["[[error:INTERNAL]]", ""])
async def test_trying_again_sends_the_attachments_again(windows: Pages, text: str) -> None:
    page = await windows.open()
    page.chat.composer.attach([FakeFile("[[error:INTERNAL]].txt", b"some"), FakeFile("b.txt")])
    await page.until(lambda: page.chat.composer.can_send)
    page.type(text or "[[ask:question]]", key="Enter")
    await page.until(lambda: page.chat.thread and page.chat.thread.turns)
    page.chat.stop()
    await page.until(lambda: ended(page))
    assert page.chat.thread is not None
    (failed,) = page.chat.thread.turns
    page.click("Try again")
    await page.until(lambda: failed not in page.chat.thread.turns if page.chat.thread else None)
    await page.until(lambda: texts(page))
    page.chat.stop()
    await page.until(lambda: ended(page))
    assert len(page.find(class_="attachment")) == 2
    page.click("Save b.txt")
    await page.tasks_started_are_done()
    assert page.window.saved == [("b.txt", "text/plain", b"content")]


async def test_a_message_that_is_gone_cannot_be_edited(page: Page) -> None:
    await page.say("one")
    failed = await page.say("[[error:INTERNAL]]")
    page.click("Edit in a copy of the conversation", 1)
    await page.send_behind("in its place", replaces=failed.info.id, message_id="new")
    page.type("two", key="Enter")
    await page.until(lambda: page.chat.composer.error)
    assert page.chat.composer.error == "This message is not in the conversation."
    assert page.chat.composer.text == "two"


async def test_escape_leaves_what_is_being_edited(page: Page) -> None:
    await page.say("one")
    page.click("Edit in a copy of the conversation")
    page.press("Escape")
    assert page.field("message").attributes["value"] == ""
    assert not page.find(class_="editing")
    page.click("Edit in a copy of the conversation")
    page.click("Keep as it is")
    assert not page.find(class_="editing")


async def test_nothing_is_left_to_send(page: Page) -> None:
    composer: Composer = page.chat.composer
    composer.send()
    composer.send("steer", "x")
    assert composer.sending == []
