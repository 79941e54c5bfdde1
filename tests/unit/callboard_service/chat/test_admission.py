"""A message is admitted once, in the transaction that writes it, and turns run in their order."""

from actors import ActorSystem
from actors.testing import ManualClock
from callboard.v1.chat_pb2 import ChatCompleted, ChatToken, TurnInfo, TurnState
from tests.support.chat_kit import ScriptedBackend
from tests.support.conversing import conversing, text_of
from tests.support.cues import Cues, begun, gate, send


async def test_a_message_sent_twice_is_admitted_once(actor_system: ActorSystem) -> None:
    """All its requests get the one turn: two at once, and a third one after the end."""
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        streams = [send(talk, "hi", message_id="m") for _ in range(2)]
        infos = [await begun(stream) for stream in streams]
        assert infos[0] == infos[1]
        cues.give(ChatToken(text="a"), ChatCompleted())
        streams.append(send(talk, "other", message_id="m"))
        for stream in streams:
            assert text_of([event async for event in stream]) == "a"
        stream = send(talk, "other", message_id="m")
        assert (await begun(stream)).id == infos[0].id
        assert text_of([event async for event in stream]) == "a"
        assert [prompt.text for prompt in talk.backend.prompts] == ["hi"]
        assert await talk.kept() == ["hi", "> a"]


async def test_a_message_is_stored_before_the_backend_gets_it(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        with gate(talk.backend.journal, "admit") as admission:
            stream = send(talk, "hi", message_id="m")
            await admission.reached.wait()
            await manual_clock.settle()
            assert talk.backend.prompts == []
        assert (await begun(stream)).state == TurnState.TURN_STATE_RUNNING
        cues.give(ChatCompleted())
        assert [type(event) async for event in stream] == [TurnInfo, ChatCompleted]
        assert len(talk.backend.prompts) == 1


async def test_a_queued_turn_is_stored_as_running_before_the_backend_gets_it(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    """The end of a turn starts the next one in its own transaction."""
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        for place, text in enumerate(("one", "two")):
            info = await begun(send(talk, text, message_id=text, admit_only=True))
            assert info.place == place
        with gate(talk.backend.journal, "end") as end:
            cues.give(ChatCompleted())
            await end.reached.wait()
            await manual_clock.settle()
            assert [prompt.text for prompt in talk.backend.prompts] == ["one"]
        while len(talk.backend.prompts) < 2:
            await talk.backend.journal.open_turns(talk.conversation)
        turn = await talk.backend.journal.find_turn(talk.conversation, message_id="two")
        assert turn is not None
        assert turn.state == TurnState.TURN_STATE_RUNNING
        cues.give(ChatCompleted())
        await talk.idle()


async def test_queued_messages_run_in_the_order_in_which_they_came(
    actor_system: ActorSystem,
) -> None:
    cues = Cues()
    async with conversing(ScriptedBackend(cues), actor_system) as talk:
        texts = ["one", "two", "three", "four"]
        streams = [send(talk, text, message_id=text) for text in texts]
        assert [(await begun(stream)).place for stream in streams] == [0, 1, 2, 3]
        for text in texts:
            cues.give(ChatToken(text=text.upper()), ChatCompleted())
        for text, stream in zip(texts, streams, strict=True):
            assert text_of([event async for event in stream]) == text.upper()
        assert [prompt.text for prompt in talk.backend.prompts] == texts
        said = [line for text in texts for line in (text, f"> {text.upper()}")]
        assert await talk.kept() == said
