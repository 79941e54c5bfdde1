"""Copies of conversations: the agent copies its session, or is given the text."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from callboard.v1.chat_pb2 import Attachment, ChatToken, ForkSessionRequest, SessionInfo
from callboard_service.backends.acp.agent import FORGOTTEN
from callboard_service.backends.acp.transcript import COPIED, MAX_BYTES, transcript
from callboard_service.store.histories import RecentTurns
from tests.support.conversing import failure_of, text_of
from tests.support.scripted_agent import Traits, fail, pause, say, script
from tests.unit.callboard_service.backends.acp.talking import Talk, notices, talking, until

FORKS = Traits(loads=True, can=("fork", "close"))
COPY = replace(FORKS, session="session-1-copy")


async def fork(talk: Talk, **fields: str) -> SessionInfo:
    """Copy the conversation, and go on in the copy."""
    request = ForkSessionRequest(session_id=talk.conversation, **fields)
    info = await talk.calls.call(request, SessionInfo)
    talk.conversation = info.id
    return info


def given(talk: Talk) -> list[Any]:
    """Return what the last prompt had besides the message."""
    blocks = talk.agents.sent("session/prompt")[-1]["prompt"][1:]
    return [block.get("text") or block["resource"]["text"] for block in blocks]


async def test_an_idle_agent_copies_its_session_and_the_copy_loads_that(tmp_path: Path) -> None:
    async with talking(tmp_path, FORKS) as talk:
        await talk.say(say("one"))
        copy = await fork(talk)
        assert "fork" in copy.features
        place = {"cwd": str(tmp_path), "mcpServers": []}
        assert talk.agents.sent("session/fork") == [{"sessionId": "session-1", **place}]
        assert talk.agents.sent("session/close") == [{"sessionId": "session-1-copy"}]
        talk.agents.traits = COPY
        events = await talk.say(say("two"))
        assert (text_of(events), notices(events), given(talk)) == ("two", [], [])
        assert [one["sessionId"] for one in talk.agents.sent("session/load")] == ["session-1-copy"]


async def test_a_request_that_is_sent_again_copies_no_session(tmp_path: Path) -> None:
    async with talking(tmp_path, FORKS) as talk:
        await talk.say(say("one"))
        source = talk.conversation
        copy = await fork(talk, create_id="c")
        talk.conversation = source
        assert (await fork(talk, create_id="c")).id == copy.id
        assert len(talk.agents.sent("session/fork")) == 1


@pytest.mark.parametrize("why", ["before", "cannot", "fails", "ended", "busy"])
async def test_otherwise_a_new_session_is_given_the_text(tmp_path: Path, why: str) -> None:
    """The first reply begins with a notice of it; the next one has nothing of that."""
    traits = replace(FORKS, can=()) if why == "cannot" else FORKS
    traits = replace(traits, refuses=("fork",)) if why == "fails" else traits
    async with talking(tmp_path, traits) as talk:
        await talk.say(say("one"))
        await talk.say(say("two"))
        source, entries = talk.conversation, await talk.entries()
        running = None
        if why == "ended":
            talk.agents.last.end(0)
        if why == "busy":
            running = talk.begin(say("three"), pause())
            await until(running, ChatToken)
        await fork(talk, before=entries[2].id if why == "before" else "")
        talk.agents.traits = replace(traits, session="session-2")
        events = await talk.say(say("copy"))
        assert (text_of(events), notices(events)) == ("copy", [COPIED])
        (text,) = given(talk)
        told = [script(say("one")), "one"]
        told += [] if why == "before" else [script(say("two")), "two"]
        assert [line for line in text.splitlines() if line in told] == told
        assert "three" not in text
        events = await talk.say(say("more"))
        assert (text_of(events), notices(events), given(talk)) == ("more", [], [])
        if running is not None:
            talk.conversation = source
            await talk.stop(running)


async def test_the_text_is_given_until_a_prompt_with_it_is_completed(tmp_path: Path) -> None:
    """It is not known whether an agent keeps a prompt that has failed, also over its end."""
    async with talking(tmp_path, replace(FORKS, can=())) as talk:
        await talk.say(say("one"))
        await fork(talk)
        talk.agents.traits = replace(FORKS, can=(), session="session-2")
        _, events = await failure_of(talk.begin(fail(-32603, "no model")))
        assert (notices(events), len(given(talk))) == ([COPIED], 1)
        talk.agents.last.end(0)
        assert notices(await talk.say(say("two"))) == [COPIED]
        assert [one["sessionId"] for one in talk.agents.sent("session/load")] == ["session-2"]
        talk.agents.last.end(0)
        assert notices(await talk.say(say("three"))) == []
        talk.agents.last.end(0)
        talk.agents.traits = Traits(session="session-3")
        assert notices(await talk.say(say("four"))) == [FORGOTTEN], "it is no copy any more"


async def test_a_copy_without_messages_begins_like_a_new_conversation(tmp_path: Path) -> None:
    async with talking(tmp_path, FORKS) as talk:
        await talk.say(say("one"))
        await fork(talk, before=(await talk.entries())[0].id)
        talk.agents.traits = replace(FORKS, session="session-2")
        for text in ("two", "three"):
            events = await talk.say(say(text))
            assert (text_of(events), notices(events), given(talk)) == (text, [], [])


async def test_a_copy_keeps_the_folder_and_the_options(tmp_path: Path) -> None:
    async with talking(tmp_path, FORKS) as talk:
        own = tmp_path / "own"
        own.mkdir()
        talk.conversation = (await talk.backend.create("", "", str(own))).id
        await talk.say(say("one"))
        await fork(talk)
        talk.agents.traits = COPY
        await talk.say(say("two"))
        assert talk.agents.sent("session/load")[-1]["cwd"] == str(own)


def test_a_text_of_earlier_messages_says_what_it_lacks() -> None:
    files = [Attachment(name="a.png")]
    turns = RecentTurns(
        [("user", "look"), ("assistant", "I see"), ("user", "now")], 3, [files, [], []]
    )
    block: Any = transcript(turns, embeds=False)
    assert block["type"] == "text"
    assert block["text"].endswith(
        "[Older messages are left out]\n\n## User\n[File: a.png]\nlook\n\n## Assistant\nI see\n\n"
        "[End of the earlier messages]"
    )
    embedded: Any = transcript(turns, embeds=True)
    assert embedded["resource"]["text"] == block["text"]
    assert transcript(RecentTurns([("user", "now")], 0), embeds=True) is None


async def test_the_text_is_bounded(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        for _ in range(3):
            await talk.say(say("x" * (MAX_BYTES // 2)))
        await fork(talk)
        talk.agents.traits = Traits(session="session-2")
        await talk.say(say("two"))
        (text,) = given(talk)
        assert len(text) < MAX_BYTES + 1000
        assert "[Older messages are left out]" in text
