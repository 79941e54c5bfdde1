"""Conversations are listed, searched, renamed, archived, forked, and given options."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors import ActorSystem, Code, Failure
from actors.testing import ManualClock, serving
from callboard.v1.chat_pb2 import (
    CommandList,
    ConversationEvent,
    CreateSessionRequest,
    FollowSessionRequest,
    ForkSessionRequest,
    ListCommandsRequest,
    ListOptionsRequest,
    ListSessionsRequest,
    OptionList,
    SessionChanged,
    SessionInfo,
    SessionList,
    SetOptionRequest,
    UpdateSessionRequest,
    WatchSessionsRequest,
)
from callboard_service.backends.echo.backend import EchoBackend
from callboard_service.backends.store_keeper import INDEX_AFTER
from callboard_service.chat.listing import MAX_SEARCH
from callboard_service.chat.reporting import AFTER
from callboard_service.store import conversations
from tests.support.chat_kit import ScriptedBackend
from tests.support.conversing import Talk, conversing, text_of
from tests.support.cues import Cues

Echo = Talk[EchoBackend]


@pytest.fixture
async def talk(actor_system: ActorSystem) -> AsyncIterator[Echo]:
    async with conversing(EchoBackend(pytest.fail), actor_system) as talk:
        yield talk


async def updated(talk: Echo, **fields: Any) -> SessionInfo:
    request = UpdateSessionRequest(session_id=talk.conversation, **fields)
    return await talk.calls.call(request, SessionInfo)


async def listed(talk: Echo, **fields: Any) -> SessionList:
    return await talk.calls.call(ListSessionsRequest(**fields), SessionList)


async def failure(talk: Echo, request: Any, reply: type[Any]) -> Code:
    with pytest.raises(Failure) as caught:
        await talk.calls.call(request, reply)
    return caught.value.code


async def test_a_new_title_reaches_followers_and_watchers(talk: Echo) -> None:
    watch = talk.calls.stream(WatchSessionsRequest(), SessionChanged)
    while not (await anext(watch)).listed:
        pass
    following = talk.calls.stream(
        FollowSessionRequest(session_id=talk.conversation), ConversationEvent
    )
    assert not (await anext(following)).snapshot.info.archived
    assert (await updated(talk, title="new")).title == "new"
    assert (await updated(talk, archived=True)).archived
    for stream, name in ((following, "info"), (watch, "info")):
        infos = [getattr(await anext(stream), name) for _ in range(2)]
        assert [(info.title, info.archived) for info in infos] == [("new", False), ("new", True)]


async def test_what_the_backend_changes_by_itself_reaches_followers_and_watchers(
    actor_system: ActorSystem, manual_clock: ManualClock
) -> None:
    async with conversing(ScriptedBackend(Cues()), actor_system) as talk:
        other = (await talk.backend.create("")).id
        watch = talk.calls.stream(WatchSessionsRequest(), SessionChanged)
        while not (await anext(watch)).listed:
            pass
        following = talk.calls.stream(
            FollowSessionRequest(session_id=talk.conversation), ConversationEvent
        )
        assert (await anext(following)).snapshot.info.title == ""
        for name in (talk.conversation, other, "unknown"):
            if name != "unknown":
                await talk.backend.update(name, "late", None)
            talk.backend.changed(name)
        await manual_clock.advance(AFTER)
        assert (await anext(following)).info.title == "late"
        changes = [(await anext(watch)).info for _ in range(2)]
        assert {(info.id, info.title) for info in changes} == {
            (talk.conversation, "late"), (other, "late"),
        }  # fmt: skip


async def test_archived_conversations_are_listed_and_watched_if_asked_for(talk: Echo) -> None:
    other = await talk.calls.call(CreateSessionRequest(title="other"), SessionInfo)
    await updated(talk, archived=True)
    for archived, expected in ((False, [other.id]), (True, [other.id, talk.conversation])):
        page = await listed(talk, archived=archived)
        assert [info.id for info in page.sessions] == expected
        watch = talk.calls.stream(WatchSessionsRequest(archived=archived), SessionChanged)
        seen = [await anext(watch) for _ in range(len(expected) + 1)]
        assert [change.info.id for change in reversed(seen[:-1])] == expected
        assert seen[-1].listed


async def test_a_page_token_fits_its_own_list_only(talk: Echo) -> None:
    for _ in range(3):
        await talk.calls.call(CreateSessionRequest(title="same"), SessionInfo)
    lists: list[dict[str, Any]] = [
        {}, {"archived": True}, {"search": "same"}, {"search": "sam"},
        {"search": "same", "archived": True},
    ]  # fmt: skip
    pages = [(await listed(talk, limit=1, **fields)).next_page for fields in lists]
    assert len(set(pages)) == len(pages)
    for fields in lists:
        for other, page in zip(lists, pages, strict=True):
            request = ListSessionsRequest(limit=1, page=page, **fields)
            if other == fields:
                assert len((await talk.calls.call(request, SessionList)).sessions) == 1
            else:
                code = await failure(talk, request, SessionList)
                assert code is Code.INVALID_ARGUMENT


async def test_a_search_finds_what_was_said(talk: Echo) -> None:
    await talk.all("an unusual word")
    page = await listed(talk, search="UNUSUAL")
    assert [info.id for info in page.sessions] == [talk.conversation]
    with pytest.raises(Failure, match="NUL") as caught:
        await listed(talk, search="a\0bcd")
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert talk.backend.store_health().ready
    request = ListSessionsRequest(search="x" * (MAX_SEARCH + 1))
    assert await failure(talk, request, SessionList) is Code.INVALID_ARGUMENT


async def test_each_conversation_tells_its_features(talk: Echo) -> None:
    features = {"follow", "fork", "search", "options", "commands", "steer"}
    made = await talk.calls.call(CreateSessionRequest(title="t"), SessionInfo)
    infos = [made, await updated(talk, title="x"), *(await listed(talk)).sessions]
    assert all(features <= set(info.features) for info in infos)
    assert await listed(talk) == await listed(talk)


async def test_a_fork_is_told_to_watchers_and_goes_its_own_way(talk: Echo) -> None:
    await talk.all("one")
    await talk.all("two")
    watch = talk.calls.stream(WatchSessionsRequest(), SessionChanged)
    while not (await anext(watch)).listed:
        pass
    before = (await talk.entries())[2].id
    request = ForkSessionRequest(session_id=talk.conversation, before=before, title="copy")
    copy = await talk.calls.call(request, SessionInfo)
    assert (await anext(watch)).info == copy
    assert (copy.title, copy.parent_id) == ("copy", talk.conversation)
    talk.conversation = copy.id
    await talk.all("three")
    assert await talk.kept() == ["one", "> one", "three", "> three"]


async def test_a_change_that_makes_no_sense_is_refused(talk: Echo) -> None:
    await talk.all("one")
    entries, name = await talk.entries(), talk.conversation
    for request, reply, code in (
        (UpdateSessionRequest(session_id="no", title="x"), SessionInfo, Code.NOT_FOUND),
        (
            UpdateSessionRequest(session_id=name, title="x" * 1001),
            SessionInfo,
            Code.INVALID_ARGUMENT,
        ),
        (ForkSessionRequest(session_id="no"), SessionInfo, Code.NOT_FOUND),
        (
            ForkSessionRequest(session_id=name, before=entries[1].id),
            SessionInfo,
            Code.INVALID_ARGUMENT,
        ),
        (
            ForkSessionRequest(session_id=name, create_id="x" * 65),
            SessionInfo,
            Code.INVALID_ARGUMENT,
        ),
        (SetOptionRequest(session_id="no", option_id="model"), OptionList, Code.NOT_FOUND),
        (
            SetOptionRequest(session_id=name, option_id="model", value="none"),
            OptionList,
            Code.INVALID_ARGUMENT,
        ),
        (ListOptionsRequest(session_id="no"), OptionList, Code.NOT_FOUND),
        (ListCommandsRequest(session_id="no"), CommandList, Code.NOT_FOUND),
    ):
        assert await failure(talk, request, reply) is code, request


async def test_a_choice_holds_for_the_conversation_and_reaches_followers(talk: Echo) -> None:
    new = await talk.calls.call(ListOptionsRequest(), OptionList)
    assert new.options[0].current == "echo"
    following = talk.calls.stream(
        FollowSessionRequest(session_id=talk.conversation), ConversationEvent
    )
    first = (await anext(following)).snapshot
    assert first.options == new
    assert [command.name for command in first.commands.commands] == ["shout"]
    request = SetOptionRequest(session_id=talk.conversation, option_id="model", value="loud")
    chosen = await talk.calls.call(request, OptionList)
    assert chosen.options[0].current == "loud"
    assert (await anext(following)).options == chosen
    assert text_of(await talk.all("word")) == "WORD"
    assert text_of(await talk.all("word", model="echo")) == "word"
    assert text_of(await talk.all("/shout word", model="echo")) == "WORD"


async def test_a_snapshot_has_the_latest_usage(talk: Echo, actor_system: ActorSystem) -> None:
    await talk.all("[[usage:5/100]]")
    await talk.all("[[usage:7/100]] and [[usage:9/100]]")
    request = FollowSessionRequest(session_id=talk.conversation)
    following = talk.calls.stream(request, ConversationEvent)
    usage = (await anext(following)).snapshot.usage
    assert (usage.context_used, usage.context_size) == (9, 100)


async def test_what_a_backend_lacks_is_unimplemented(actor_system: ActorSystem) -> None:
    plain = ScriptedBackend(Cues())
    plain.features = ()
    async with (
        plain.opened() as backend,
        serving(actor_system, backend.register) as calls,
    ):
        made = await calls.call(CreateSessionRequest(title="t"), SessionInfo)
        for request, reply in (
            (ForkSessionRequest(session_id=made.id), SessionInfo),
            (ListSessionsRequest(search="x"), SessionList),
            (ListOptionsRequest(), OptionList),
            (SetOptionRequest(session_id=made.id, option_id="model"), OptionList),
            (ListCommandsRequest(), CommandList),
        ):
            with pytest.raises(Failure) as caught:
                await calls.call(request, reply)
            assert caught.value.code is Code.UNIMPLEMENTED


async def test_new_texts_are_indexed_within_a_minute(talk: Echo, manual_clock: ManualClock) -> None:
    async def unindexed() -> bool:
        return await talk.backend.read(
            lambda store: store._database.read(conversations.has_unindexed)
        )

    for text in ("one", "two"):
        await talk.all(text)
        assert await unindexed()
        await manual_clock.advance(INDEX_AFTER)
        async with asyncio.timeout(10):
            while await unindexed():
                pass


async def test_a_keeper_that_is_busy_is_told_once_of_texts_to_index(talk: Echo) -> None:
    keeper = talk.backend.keeper
    assert keeper is not None
    for _ in range(keeper.statistics().capacity + 1):
        talk.backend.index_later()
    assert keeper.statistics().messages == 1
