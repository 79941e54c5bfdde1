"""The merged state of a followed conversation: conversation_state.py."""

from callboard.v1.chat_pb2 import (
    ChatToken,
    ConversationEvent,
    ConversationSnapshot,
    OpenTurn,
    SessionInfo,
    TurnInfo,
    TurnState,
)
from transport.client.conversation_state import ConversationState

RUNNING = TurnInfo(id="t", state=TurnState.TURN_STATE_RUNNING)


def part(position: int, text: str, *, first: bool, more: bool) -> ConversationEvent:
    """Return a part of a snapshot of one running turn, with this text."""
    token = ConversationEvent(token=ChatToken(text=text))
    snapshot = ConversationSnapshot(turns=[OpenTurn(info=RUNNING, events=[token])], more=more)
    if first:
        snapshot.info.CopyFrom(SessionInfo(id="c"))
    return ConversationEvent(position=position, snapshot=snapshot)


def test_the_parts_of_a_snapshot_are_joined() -> None:
    """A snapshot in parts gives the whole text, and its position once the last part is there."""
    state = ConversationState()
    state.apply(part(5, "a", first=True, more=True))
    assert state.position == 0
    state.apply(part(5, "b", first=False, more=False))
    assert state.position == 5
    assert state.turns["t"].reply == "ab"


def test_a_snapshot_that_was_cut_off_is_replaced_by_the_next() -> None:
    """A snapshot after the first part of another one begins anew."""
    state = ConversationState()
    state.apply(part(5, "lost", first=True, more=True))
    state.apply(part(9, "a", first=True, more=True))
    state.apply(part(9, "b", first=False, more=False))
    assert state.turns["t"].reply == "ab"
    assert state.position == 9
