"""The page as a whole, as it is seen and as it is said."""

import pytest

from actors.protocol.failure import Code
from callboard.v1.chat_pb2 import AskEvent, ChatToken, TurnState
from callboard_page.nodes import find, text_of
from callboard_page.view.shell import fatal_view
from tests.support.still_page import StillPage, add, turn
from transport.errors import ConnectionClosed, RequestFailed


@pytest.fixture
def page() -> StillPage:
    return StillPage()


def status(page: StillPage) -> str:
    (shown,) = page.find(id="status")
    assert shown.attributes["role"] == "status"
    return text_of(shown)


def test_a_new_conversation_says_what_to_do(page: StillPage) -> None:
    assert page.texts(tag="h2") == ["New conversation"]
    assert "Enter sends it" in page.texts(tag="main")[0]
    assert status(page) == ""


def test_the_thread_is_a_log_without_announcements(page: StillPage) -> None:
    running = turn(ChatToken(text="a"), state=TurnState.TURN_STATE_RUNNING)
    page.show([running])
    (log,) = page.find(role="log")
    assert log.attributes["aria-live"] == "off"
    assert log.attributes["aria-busy"] == "true"
    assert log.attributes["tabindex"] == "0"
    assert status(page) == "Generating"
    add(running, AskEvent(ask_id="a", options=["x"]))
    assert status(page) == "Needs your answer"
    page.show([turn(ChatToken(text="a"))])
    assert page.find(role="log")[0].attributes["aria-busy"] == "false"
    assert status(page) == "Done"
    assert page.texts(tag="h2") == ["The title"]


def test_a_thread_that_loads_and_one_without_turns(page: StillPage) -> None:
    thread = page.show()
    assert "Nothing has been said yet." in page.texts(role="log")[0]
    thread.loaded = False
    assert page.texts(role="log") == ["Loading …"]
    assert status(page) == ""


def test_a_deleted_conversation_takes_no_message(page: StillPage) -> None:
    page.show().gone = True
    assert "This conversation has been deleted." in page.texts(tag="main")[0]
    assert not page.find(id="message")


def test_only_errors_are_assertive(page: StillPage) -> None:
    page.notes.tell("done")
    page.notes.fail(RequestFailed(Code.INTERNAL, "it broke"))
    roles = [(note.attributes["role"], text_of(note)) for note in page.find(class_="note")]
    assert roles == [("status", "done"), ("alert", "It broke.")]
    page.show([turn(ChatToken(text="a"))])
    assert [text_of(one) for one in page.find(role="alert")] == ["It broke."]


def test_every_button_and_field_has_a_name(page: StillPage) -> None:
    page.show([turn(ChatToken(text="a"))], features=("fork", "uploads"))
    page.notes.offer("x", "Undo", lambda: None)
    for button in page.find(tag="button"):
        assert button.attributes["type"] == "button"
        assert button.attributes.get("aria-label") or text_of(button)
    labelled = [text_of(label) for label in page.find(tag="label") if find(label, tag="input")]
    assert all(labelled)
    for field in page.find(tag="textarea"):
        assert field.attributes["aria-label"]
    for icon in page.find(tag="svg"):
        assert icon.attributes["aria-hidden"] == "true"


def test_the_state_of_the_connection_is_always_there(page: StillPage) -> None:
    (shown,) = page.find(id="connection")
    assert text_of(shown) == "Connecting …"
    assert "waiting" in shown.attributes["class"].split()
    page.client.protocol.welcome.server_version = "1"
    assert page.texts(id="connection") == ["Connecting again …"]


def test_a_page_that_cannot_connect() -> None:
    shown = fatal_view("The token is not valid", "It has a new one.")
    assert text_of(find(shown, tag="h1")[0]) == "The token is not valid"
    assert "callboard open" in text_of(shown)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionClosed(1006, ""), "There is no connection to the service."),
        (RequestFailed(Code.INTERNAL, ""), "It failed."),
        (RequestFailed(Code.UNAVAILABLE, "busy!", retryable=True), "Busy! You can try again."),
        (ValueError("x"), "The page has a fault: ValueError: x"),
    ],
)
def test_errors_are_said_in_plain_words(page: StillPage, error: Exception, said: str) -> None:
    page.notes.fail(error)
    assert page.texts(role="alert") == [said]
