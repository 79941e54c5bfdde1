"""The page's views of what a test writes: no service, and no connection."""

from collections.abc import Iterable

from actors.testing import ManualClock
from callboard.v1.chat_pb2 import ConversationEvent, TurnInfo, TurnState
from callboard_page.chat import Chat
from callboard_page.connection import Connection
from callboard_page.nodes import Element, find, text_of
from callboard_page.notes import Notes
from callboard_page.tasks import Tasks
from callboard_page.thread import Thread
from callboard_page.view.shell import ChatView
from tests.support.page_kit import FakeWindow
from transport.client import Client, by_url
from transport.client.followed_turn import FollowedTurn


class StillPage:
    """A page that is drawn, and on which nothing happens but what the test does."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.window = FakeWindow()
        self.client = Client(by_url("ws://nowhere.invalid", "token"))
        self.notes = Notes(self.clock, lambda: None)
        self.tasks = Tasks(self.notes.fail)
        self.chat = Chat(self.client, self.window, self.tasks, self.notes, self.clock, lambda: None)
        self.view = ChatView(self.chat, Connection(self.client), self.notes)

    def show(self, turns: Iterable[FollowedTurn] = (), features: tuple[str, ...] = ()) -> Thread:
        """Show a thread with these turns, of a conversation with these features."""
        thread = Thread(self.client, "conversation", self.tasks, lambda: None)
        thread.loaded = True
        thread.state.info.title = "The title"
        thread.state.info.features.extend(features)
        thread.state.turns = {turn.info.id: turn for turn in turns}
        thread._see()
        self.chat.thread = thread
        return thread

    def find(self, **attributes: str) -> list[Element]:
        """Return the elements that are shown and have these attributes."""
        return find(self.view.view(), **attributes)

    def texts(self, **attributes: str) -> list[str]:
        """Return the texts of these elements."""
        return list(map(text_of, self.find(**attributes)))

    def button(self, label: str) -> Element | None:
        """Return the button that is named so, or None."""
        for element in self.find(tag="button"):
            if (element.attributes.get("aria-label") or text_of(element)) == label:
                return element
        return None


def turn(
    *events: object,
    state: TurnState.ValueType = TurnState.TURN_STATE_COMPLETED,
    text: str = "the message",
    name: str = "t1",
) -> FollowedTurn:
    """Return a turn with these events (messages of the contract) and this state."""
    made = FollowedTurn(TurnInfo())
    made.set_info(TurnInfo(id=name, state=state, text=text))
    add(made, *events)
    return made


def add(made: FollowedTurn, *events: object) -> None:
    """Add events to a turn."""
    fields = {
        field.message_type.name: field.name
        for field in ConversationEvent.DESCRIPTOR.fields
        if field.message_type is not None
    }
    for event in events:
        kind = fields[type(event).__name__]
        made.apply(ConversationEvent(**{kind: event}))  # type: ignore[arg-type] # by its name
