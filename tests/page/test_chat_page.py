"""The chat in Chromium: what a person does and sees, with the echo backend."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.service_process import ServiceProcess
from tests.page.conftest import address
from tests.page.window import Window, window

pytestmark = pytest.mark.timeout(240)  # starting Python in the browser takes seconds


def test_a_message_is_answered_and_shown_as_markdown(tab: Window) -> None:
    tab.page.fill("#message", "# Heading\n\nsome **bold** and `code`\n\n- one\n- two")
    tab.page.press("#message", "Enter")
    expect(tab.last.locator(".markdown strong")).to_have_text("bold")
    expect(tab.last.locator(".markdown li")).to_have_text(["one", "two"])
    expect(tab.page.locator("#message")).to_have_value("")
    expect(tab.page.locator("#status")).to_have_text("Done")
    expect(tab.page.locator(".list .current .title")).to_contain_text("Heading")


def test_shift_enter_begins_a_line_and_code_can_be_copied(tab: Window) -> None:
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = tab.page
    page.fill("#message", "```python")
    page.press("#message", "Shift+Enter")
    page.type("#message", "x = 1")
    page.press("#message", "Shift+Enter")
    page.type("#message", "```")
    page.press("#message", "Enter")
    tab.idle()
    expect(tab.last.locator(".code .language")).to_have_text("python")
    expect(tab.last.locator(".code .mi")).to_have_text("1")
    tab.last.locator(".code .copy").click()
    assert page.evaluate("navigator.clipboard.readText()").strip() == "x = 1"


def test_html_of_a_model_stays_text(tab: Window) -> None:
    tab.say('<img src="https://example.org/x.png" onerror="alert(1)"> ![a](http://example.org/b)')
    assert tab.last.locator("img").count() == 0
    expect(tab.last.locator(".markdown")).to_contain_text("<img src=")
    tab.check()


def test_tools_thoughts_plan_and_usage(tab: Window) -> None:
    tab.say(
        "[[reasoning:I think about it]][[plan:look;mend]][[usage:1200/8000]]"
        'I look.[[tool:read {"path": "a.py"}]][[progress:line 1]] Done.'
    )
    last = tab.last
    expect(last.locator(".plan li")).to_contain_text(["look", "mend"])
    expect(last.locator(".tool .title")).to_contain_text("read")
    last.locator(".tool summary").click()
    expect(last.locator(".tool pre").first).to_contain_text("a.py")
    last.locator(".reasoning summary").click()
    expect(last.locator(".reasoning .text")).to_have_text("I think about it")
    expect(tab.page.locator(".usage")).to_contain_text("1.2k of 8.0k tokens")
    texts = last.locator(".reply").inner_text()
    assert texts.index("I look.") < texts.index("read") < texts.index("Done.")
    tab.axe()
    tab.shoot("tools")


def test_a_permission_is_a_choice_of_buttons(tab: Window) -> None:
    tab.write("[[ask:permission]] thanks")
    ask = tab.last.locator(".ask.open")
    expect(ask).to_be_visible()
    expect(tab.page.locator("#status")).to_have_text("Needs your answer")
    expect(tab.page.locator(".list .current .dot.waiting")).to_be_visible()
    tab.axe()
    tab.shoot("ask")
    ask.locator("button").first.click()
    tab.idle()
    expect(tab.last.locator(".ask .settled")).to_contain_text("Answered")
    expect(tab.last).to_contain_text("thanks")


def test_a_question_can_be_answered_or_declined(tab: Window) -> None:
    tab.write("[[ask:question]]")
    expect(tab.last.locator(".ask.open")).to_be_visible()
    tab.last.locator(".ask >> text=Decline").click()
    tab.idle()
    expect(tab.last.locator(".ask .settled")).to_have_text("Declined.")


def test_an_error_is_shown_and_the_message_can_be_sent_again(tab: Window) -> None:
    tab.say("[[error:UNAVAILABLE]]")
    expect(tab.last.locator(".ended.error")).to_be_visible()
    tab.shoot("error")
    tab.last.locator("text=Try again").click()
    expect(tab.page.locator(".turn")).to_have_count(1)
    expect(tab.last.locator(".ended.error")).to_be_visible()


def test_escape_stops_a_reply_and_what_was_said_stays(tab: Window) -> None:
    tab.write("[[delay:20]][[repeat:10000]]")
    expect(tab.last.locator(".markdown")).to_contain_text("3")
    expect(tab.page.locator("#status")).to_have_text("Generating")
    tab.page.press("#message", "Escape")
    tab.idle()
    expect(tab.last.locator(".ended")).to_have_text("Stopped.")
    expect(tab.last.locator(".markdown")).to_contain_text("3")


def test_messages_wait_in_a_queue_that_can_be_changed(tab: Window) -> None:
    page = tab.page
    tab.write("[[delay:50]][[repeat:10000]]")
    expect(tab.last.locator(".progress")).to_be_visible()
    for text in ("first", "second", "third"):
        tab.write(text)
    queue = page.locator(".queue li")
    expect(queue.locator(".title")).to_have_text(["first", "second", "third"])
    tab.axe()
    tab.shoot("queue")
    queue.nth(2).locator("[aria-label='Earlier']").click()
    expect(queue.locator(".title")).to_have_text(["first", "third", "second"])
    queue.nth(0).locator("[aria-label='Remove']").click()
    expect(queue.locator(".title")).to_have_text(["third", "second"])
    queue.nth(0).locator("[aria-label='Edit']").click()
    page.fill(".queue textarea", "changed")
    page.press(".queue textarea", "Enter")
    expect(queue.locator(".title")).to_have_text(["changed", "second"])
    page.click("[aria-label='Stop the reply']")
    expect(page.locator(".turn")).to_have_count(3)
    tab.idle()
    expect(page.locator(".turn .message .text")).to_have_text(
        [re.compile("repeat"), "changed", "second"]
    )


def test_a_running_reply_takes_a_message_or_gives_way_to_one(tab: Window) -> None:
    page = tab.page
    tab.write("[[steer]] and on")
    expect(tab.last.locator(".progress")).to_be_visible()
    page.fill("#message", "this way")
    page.click("button:text-is('Steer')")
    tab.idle()
    expect(tab.last.locator(".steered")).to_contain_text("this way")
    tab.write("[[delay:50]][[repeat:10000]]")
    expect(tab.last.locator(".progress")).to_be_visible()
    page.fill("#message", "now this")
    page.click("button:text-is('Interrupt')")
    expect(page.locator(".turn")).to_have_count(3)
    tab.idle()
    expect(tab.last.locator(".markdown")).to_have_text("now this")


def test_editing_a_message_continues_in_a_copy(tab: Window) -> None:
    page = tab.page
    tab.say("one")
    tab.say("two")
    tab.last.locator("[aria-label^='Edit in a copy']").click()
    expect(page.locator("#message")).to_have_value("two")
    expect(page.locator(".editing")).to_be_visible()
    tab.write("three")
    expect(page.locator(".turn .message .text")).to_have_text(["one", "three"])
    tab.idle()
    expect(page.locator(".list li")).not_to_have_count(1)


def test_a_conversation_is_renamed_archived_deleted_and_taken_back(tab: Window) -> None:
    page = tab.page
    tab.say("to be deleted")
    item = page.locator(".list .current")
    item.locator("[aria-label^='More about']").click()
    item.locator("text=Rename").click()
    page.fill("#rename", "A better title")
    page.press("#rename", "Enter")
    expect(page.locator(".list .current .title")).to_have_text("A better title")
    expect(page.locator("main header h2")).to_have_text("A better title")
    item.locator("[aria-label^='More about']").click()
    tab.shoot("menu")
    item.locator("text=Delete").click()
    expect(page.locator(".list >> text=A better title")).to_have_count(0)
    expect(page.locator(".hello")).to_be_visible()
    page.click(".note >> text=Undo")
    expect(page.locator(".list >> text=A better title")).to_be_visible()


def test_the_list_can_be_searched(tab: Window) -> None:
    page = tab.page
    tab.say("a needle in here")
    tab.begin()
    tab.say("only hay")
    page.fill("#search", "needle")
    expect(page.locator(".list li")).to_have_count(1)
    page.fill("#search", "nothing has this")
    expect(page.locator(".sidebar .empty")).to_have_text("Nothing matches.")
    page.press("#search", "Escape")
    expect(page.locator(".list li .title").first).to_be_visible()


def test_a_file_is_attached_sent_and_saved(tab: Window, tmp_path: Path) -> None:
    page = tab.page
    file = tmp_path / "notes.txt"
    file.write_text("hello file")
    page.set_input_files("input[type=file]", str(file))
    expect(page.locator(".uploads li .size")).to_have_text("10 B")
    tab.write("look at this")
    attachment = tab.page.locator(".message .attachment")
    expect(attachment).to_contain_text("notes.txt")
    with page.expect_download() as download:
        attachment.click()
    assert Path(download.value.path()).read_text() == "hello file"
    tab.idle()


@pytest.mark.parametrize(("kind", "event"), [("drop", "DragEvent"), ("paste", "ClipboardEvent")])
def test_files_are_dropped_and_pasted(tab: Window, kind: str, event: str) -> None:
    tab.page.locator("#message").evaluate(
        """(field, [kind, event]) => {
            const files = new DataTransfer();
            files.items.add(new File(["hello"], `${kind}.txt`, {type: "text/plain"}));
            const given = {dataTransfer: files, clipboardData: files};
            const how = {bubbles: true, cancelable: true};
            field.dispatchEvent(new window[event](kind, {...given, ...how}));
        }""",
        [kind, event],
    )
    expect(tab.page.locator(".uploads li .size")).to_have_text("5 B")
    tab.write("look")
    expect(tab.page.locator(".message .attachment")).to_contain_text(f"{kind}.txt")
    tab.idle()


def test_two_windows_show_the_same(chromium: Browser, service: ServiceProcess, tab: Window) -> None:
    tab.say("before")
    conversation = tab.page.url.partition("#")[2]
    with window(chromium) as other:
        other.open(f"{address(service)}&{conversation}")
        expect(other.last).to_contain_text("before")
        tab.write("[[delay:5]][[repeat:60]] end")
        expect(other.page.locator(".turn")).to_have_count(2)
        other.idle()
        tab.idle()
        assert other.thread() == tab.thread()
        other.write("[[ask:permission]] after")
        tab.last.locator(".ask.open button").first.click()
        other.idle()
        tab.idle()
        expect(other.last.locator(".ask .settled")).to_contain_text("Answered")
        assert other.thread() == tab.thread()


def test_a_reload_and_another_browser_join_a_reply_in_the_middle(
    chromium: Browser, service: ServiceProcess, tab: Window
) -> None:
    tab.write("[[delay:10]][[repeat:10000]]")
    expect(tab.last.locator(".markdown")).to_contain_text(" 20")
    conversation = tab.page.url.partition("#")[2]
    tab.page.reload()
    tab.ready()
    expect(tab.last.locator(".markdown")).to_contain_text(" 20")
    with window(chromium) as other:
        other.open(f"{address(service)}&{conversation}")
        expect(other.last.locator(".markdown")).to_contain_text(" 20")
        other.page.click("[aria-label='Stop the reply']")
        other.idle()
        tab.idle()
        assert other.thread() == tab.thread()


def test_the_keyboard_alone_is_enough(tab: Window) -> None:
    page = tab.page
    expect(page.locator("#message")).to_be_focused()
    page.keyboard.type("by keys")
    page.keyboard.press("Enter")
    tab.idle()
    expect(page.locator("#message")).to_be_focused()
    missing = {"search", "thread", "message"}
    for _ in range(200):  # two stops for each conversation in the list
        page.keyboard.press("Tab")
        missing.discard(page.evaluate("document.activeElement.id"))
        if not missing:
            break
    assert not missing


def test_the_empty_page_and_the_thread_pass_axe(tab: Window) -> None:
    tab.axe()
    tab.shoot("empty")
    tab.say(
        "## A reply\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\ndef f():\n    return 1\n```"
    )
    tab.axe()
    tab.shoot("reply")
    tab.page.emulate_media(color_scheme="dark")
    tab.axe()
    tab.page.emulate_media(color_scheme="light")
