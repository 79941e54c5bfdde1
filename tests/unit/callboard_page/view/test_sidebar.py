"""The list of conversations, as it is seen."""

import pytest

from callboard.v1.chat_pb2 import ConversationState, SessionInfo
from callboard_page.nodes import Element, Event, find, text_of
from tests.support.still_page import StillPage


@pytest.fixture
def page() -> StillPage:
    return StillPage()


def listed(page: StillPage, *infos: SessionInfo) -> list[Element]:
    """Show these conversations; return their items."""
    conversations = page.chat.conversations
    conversations.loaded = True
    conversations._known = {info.id: info for info in infos}
    return [one for shown in page.find(class_="list") for one in find(shown, tag="li")]


def test_what_there_is_to_say_while_there_is_nothing(page: StillPage) -> None:
    sidebar = page.find(tag="nav")[0]
    assert sidebar.attributes["aria-label"] == "Conversations"
    assert "Loading …" in text_of(sidebar)
    listed(page)
    assert "Write a message to begin one." in page.texts(tag="nav")[0]
    page.chat.conversations.found = []
    assert "Nothing matches." in page.texts(tag="nav")[0]


@pytest.mark.parametrize(
    ("state", "said", "title"),
    [
        (ConversationState.CONVERSATION_STATE_RUNNING, "replying: t", "A reply is running"),
        (
            ConversationState.CONVERSATION_STATE_WAITING,
            "needs your answer: t",
            "It needs your answer",
        ),
        (ConversationState.CONVERSATION_STATE_IDLE, "t", ""),
    ],
)
def test_its_state_is_seen_and_said(
    page: StillPage, state: ConversationState.ValueType, said: str, title: str
) -> None:
    (item,) = listed(page, SessionInfo(id="1", title="t", state=state))
    assert text_of(find(item, class_="pick")[0]) == said
    assert [dot.attributes["title"] for dot in find(item, class_="dot")] == [title] * bool(title)


def test_one_without_a_title(page: StillPage) -> None:
    (item,) = listed(page, SessionInfo(id="1"))
    assert text_of(find(item, class_="title")[0]) == "Untitled"
    assert find(item, aria_label="More about Untitled")


def test_the_newest_first(page: StillPage) -> None:
    infos = [SessionInfo(id=name, title=name) for name in "abc"]
    for info, seconds in zip(infos, (2, 3, 1), strict=True):
        info.updated_at.seconds = seconds
    assert [text_of(find(item, class_="title")[0]) for item in listed(page, *infos)] == [
        "b",
        "a",
        "c",
    ]


def test_the_menu_has_what_can_be_done(page: StillPage) -> None:
    plain, forks = SessionInfo(id="1", title="a"), SessionInfo(id="2", title="b", features=["fork"])
    listed(page, plain, forks)
    for info in (plain, forks):
        page.chat.toggle_menu(info.id)
        (menu,) = page.find(class_="menu")
        labels = [text_of(one) for one in find(menu, tag="button")]
        wanted = ["Rename", "Fork", "Archive", "Delete"]
        assert labels == [one for one in wanted if one != "Fork" or info.features]
    page.find(class_="menu")[0].handlers["keydown"](Event("keydown", key="Escape"))
    assert not page.find(class_="menu")


def test_a_title_that_is_edited(page: StillPage) -> None:
    listed(page, SessionInfo(id="1", title="old"))
    page.chat.rename("1")
    (field,) = page.find(id="rename")
    assert field.attributes["aria-label"] == "New title"
    assert "value" not in field.attributes  # drawing again must not undo what is typed
    field.handlers["keydown"](Event("keydown", key="Enter", value="new", composing=True))
    assert page.chat.renaming == "1"
    field.handlers["keydown"](Event("keydown", key="Escape", value="new"))
    assert page.chat.renaming == ""
    assert page.chat._tasks._running == set()


def test_the_link_to_the_board_has_a_name(page: StillPage) -> None:
    (link,) = page.find(href="/board")
    assert link.attributes["aria-label"].startswith("Board")
