"""A follower gets a snapshot in place of what it missed, and then every event, each once."""

from actors import ActorSystem
from actors.testing import ManualClock
from callboard.v1.chat_pb2 import (
    ChatCompleted,
    ChatNotice,
    ChatToken,
    ConversationEvent,
    GetHistoryRequest,
    History,
)
from callboard_service.chat.chat import IDLE
from tests.support.chat_kit import ScriptedBackend
from tests.support.conversing import conversing, failure_of
from tests.support.cues import Cues, follow, followed, gate, send, until


def text_of(*events: ConversationEvent) -> str:
    return "".join(event.token.text for event in events)


async def test_a_token_that_comes_while_a_snapshot_is_made_is_in_one_event(
    actor_system: ActorSystem,
) -> None:
    """It is in the snapshot or after it, and never in both."""
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        stream = send(talk, "hi")
        cues.give(ChatToken(text="a"))
        await anext(stream)
        with gate(talk.backend.journal, "newest_entry") as snapshot:
            following = follow(talk)
            await snapshot.reached.wait()
            cues.give(ChatToken(text="b"))
            await anext(stream)
        (turn,) = (await anext(following)).snapshot.turns
        cues.give(ChatToken(text="c"), ChatCompleted())
        after = await until(following, "completed")
        assert text_of(*turn.events) + text_of(*after) == "abc"
        _ = [event async for event in stream]


async def test_a_turn_that_ends_while_a_snapshot_is_made_is_among_the_ended_ones(
    actor_system: ActorSystem,
) -> None:
    """A turn that the snapshot does not have is in the history up to its newest entry."""
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        stream = send(talk, "hi")
        cues.give(ChatToken(text="a"))
        await anext(stream)
        with gate(talk.backend.journal, "newest_entry", late=True) as made:
            following = follow(talk)
            await made.reached.wait()
            cues.give(ChatCompleted())
            _ = [event async for event in stream]
        snapshot = (await anext(following)).snapshot
        assert list(snapshot.turns) == []
        assert snapshot.last_entry == (await talk.entries())[-1].id


async def test_a_snapshot_has_nothing_that_was_discarded(actor_system: ActorSystem) -> None:
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        stream = send(talk, "hi")
        cues.give(ChatToken(text="é"), ChatToken(text="wrong"), ChatToken(text=" too"))
        cues.give(ChatNotice(discard_tokens=2), ChatToken(text="b"))
        for _ in range(5):
            event = await anext(stream)
            if isinstance(event, ChatNotice):
                assert event.keep_text_bytes == len("é".encode())
        (turn,) = (await anext(follow(talk))).snapshot.turns
        assert text_of(*turn.events) == "éb"
        cues.give(ChatCompleted())
        _ = [event async for event in stream]
        assert await talk.kept() == ["hi", "> éb"]


async def test_a_position_that_is_not_kept_is_answered_with_a_snapshot(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """A position of a run that is over, or of events that are gone, leaves no gap."""
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        stream = send(talk, "hi")
        cues.give(ChatToken(text="a"))
        await anext(stream)
        following = follow(talk, after=1)
        await manual_clock.settle()
        cues.give(ChatToken(text="b"))
        first = await anext(following)
        assert first.HasField("snapshot")
        (turn,) = first.snapshot.turns
        cues.give(ChatToken(text="c"), ChatCompleted())
        after = await until(following, "completed")
        assert text_of(*turn.events) + text_of(*after) == "abc"
        _ = [event async for event in stream]


async def test_a_reply_is_followed_from_its_beginning_after_the_history_s_position(
    actor_system: ActorSystem,
) -> None:
    """The history has what has ended, and the events after its position have what is open."""
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        cues.give(ChatToken(text="old"), ChatCompleted())
        _ = [event async for event in send(talk, "before")]
        stream = send(talk, "now")
        cues.give(ChatToken(text="a"))
        await anext(stream)
        history = await talk.calls.call(GetHistoryRequest(session_id=talk.conversation), History)
        assert [entry.user_text for entry in history.entries if entry.user_text][-1] == "now"
        following = follow(talk, after=history.position)
        cues.give(ChatToken(text="b"), ChatCompleted())
        events = await until(following, "completed")
        assert events[0].turn.text == "now"
        assert text_of(*events) == "ab"
        _ = [event async for event in stream]


async def test_positions_go_on_where_an_earlier_actor_of_the_conversation_left_off(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """A client's position never means two things, also if the conversation left the memory."""
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        following = await followed(talk)
        cues.give(ChatToken(text="a"), ChatCompleted())
        _ = [event async for event in send(talk, "hi")]
        last = (await until(following, "info"))[-1].position
        following.cancel()
        await failure_of(following)
        await manual_clock.advance(2 * IDLE)
        with gate(talk.backend.journal, "open_turns") as start:
            start.open()
            again = await anext(follow(talk))
        assert start.reached.is_set(), "it is the same actor"
        assert again.HasField("snapshot")
        assert again.position >= last
