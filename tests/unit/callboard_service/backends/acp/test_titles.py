"""The title that an agent gives to its session, and what followers learn of it and of options."""

from pathlib import Path
from typing import Any

import pytest

from callboard.v1.chat_pb2 import (
    ChatCompleted,
    ConversationEvent,
    FollowSessionRequest,
    OptionList,
)
from callboard_service.backends.acp.titles import MAX_TITLE, title_of
from tests.support.scripted_agent import Step, Traits, end, option, pause, say, update
from tests.unit.callboard_service.backends.acp.talking import Talk, eventually, talking, until

MODES = Traits(options=[option("mode", "mode", "build", "plan")])


def titled(title: Any) -> Step:
    return update("session_info_update", title=title)


async def title(talk: Talk) -> str:
    return (await talk.backend.get(talk.conversation)).title


async def test_an_agent_s_title_takes_the_place_of_the_first_message(tmp_path: Path) -> None:
    """It may come after the end of the turn, and is replaced by the agent's next one."""
    told: list[str] = []
    async with talking(tmp_path) as talk:
        talk.backend.watch(lambda name, options=None: told.append(name) if not options else None)
        await talk.say(titled("One\n title"), say("hi"))
        await eventually(lambda: len(told) == 1)
        assert await title(talk) == "One title"
        await talk.say(say("hi"), end("end_turn"), titled("Another"))
        await eventually(lambda: len(told) == 2)
        assert await title(talk) == "Another"


async def test_a_title_of_a_person_stays(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        await talk.backend.update(talk.conversation, "Mine", None)
        await talk.say(titled("One"), say("hi"))
        await talk.say(titled("One"), say("hi"))
        await eventually(lambda: not talk.backend._news._tasks)
        assert await title(talk) == "Mine"


async def test_a_title_for_a_conversation_that_is_gone_is_ignored(tmp_path: Path) -> None:
    async with talking(tmp_path) as talk:
        stream = talk.begin(say("hi"), pause(), titled("One"))
        await anext(stream)
        await talk.backend.delete(talk.conversation)
        talk.backend._news.of(talk.conversation).titled("One")
        await eventually(lambda: not talk.backend._news._tasks)


@pytest.mark.parametrize(
    ("given", "taken"), [(None, ""), (" \n", ""), ("a\tb", "a b"), ("x" * 999, "x" * MAX_TITLE)]
)
def test_a_title_is_one_short_line(given: Any, taken: str) -> None:
    assert title_of(titled(given)) == taken
    assert title_of(say("hi")) == ""


async def test_followers_learn_of_titles_and_options(tmp_path: Path) -> None:
    async with talking(tmp_path, MODES) as talk:
        request = FollowSessionRequest(session_id=talk.conversation)
        following = talk.calls.stream(request, ConversationEvent)
        shown = (await anext(following)).snapshot
        assert [one.current for one in shown.options.options] == ["build"]
        stream = talk.begin(say("hi"), end("end_turn"), titled("T"))
        await until(stream, ChatCompleted)
        async for event in following:
            if event.info.title == "T":
                break
        stream = talk.begin(update("current_mode_update", currentModeId="plan"), say("hi"))
        await until(stream, ChatCompleted)
        assert [one.current for one in (await options(following)).options] == ["plan"]


async def options(following: Any) -> OptionList:
    """Return the next options whose mode is not the first one."""
    async for event in following:
        assert isinstance(event, ConversationEvent)
        if event.HasField("options") and event.options.options[0].current != "build":
            return event.options
    raise AssertionError("no options came")
