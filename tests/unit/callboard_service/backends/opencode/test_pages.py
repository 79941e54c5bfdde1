"""Pages of an OpenCode server's list and histories are bounded in bytes, whatever it sends."""

import asyncio
from typing import Any, TypeAlias

import pytest
from aiohttp import web

from actors import Code, Failure
from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ConversationState,
    History,
    HistoryEntry,
    TurnState,
)
from callboard_service.backends.opencode import api as opencode_api
from callboard_service.backends.opencode.backend import OpenCodeBackend
from callboard_service.backends.opencode.sharing import Shared
from callboard_service.store.kept_turns import NewTurn
from callboard_service.store.turn_store import TurnOutputPieces
from tests.unit.callboard_service.backends.opencode.odd_server import backend_at

State: TypeAlias = ConversationState.ValueType

NAME = "ses_1"
KIB = 1024


class Kept:
    """A fake server with conversations and messages, which records the requests for them."""

    def __init__(self) -> None:
        self.sessions: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self.lists = 0
        self.counts: list[int] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        match request.path.split("/"):
            case ["", "session"]:
                self.lists += 1
                return web.json_response(self.sessions)
            case ["", "session", _]:
                return web.json_response({"id": NAME})
            case _:
                limit = int(request.query["limit"])
                self.counts.append(limit)
                end = int(request.query.get("before", len(self.messages)))
                begin = max(end - limit, 0)
                headers = {"x-next-cursor": str(begin)} if begin else {}
                return web.json_response(self.messages[begin:end], headers=headers)

    def say(self, *texts: str) -> None:
        for text in texts:
            number = f"{len(self.messages):05}"
            part = {"id": f"p{number}", "type": "text", "text": text}
            info = {"role": "user", "id": f"m{number}", "time": {"created": 1}}
            self.messages.append({"info": info, "parts": [part]})


async def test_the_list_is_paged_newest_first_with_tokens() -> None:
    kept = Kept()
    kept.sessions = [
        {"id": f"ses_{n}", "title": "t", "time": {"created": 1, "updated": n // 2}}
        for n in range(7)
    ]
    async with backend_at(kept.answer) as backend:
        found, page = [], ""
        while True:
            answer = await backend.conversations(3, page)
            found.append([info.id for info in answer.sessions])
            page = answer.next_page
            if not page:
                break
        assert found == [["ses_6", "ses_5", "ses_4"], ["ses_3", "ses_2", "ses_1"], ["ses_0"]]
        whole = await backend.conversations(0, "", 100)
        assert whole.ByteSize() <= 130
        assert whole.next_page
        with pytest.raises(Failure) as caught:
            await backend.conversations(0, "?")
        assert caught.value.code is Code.INVALID_ARGUMENT


async def test_many_lists_at_once_share_few_calls_to_the_server() -> None:
    kept = Kept()
    async with backend_at(kept.answer) as backend:
        await asyncio.gather(*(backend.conversations() for _ in range(100)))
    assert kept.lists <= 2


async def test_a_shared_answer_is_never_older_than_the_question() -> None:
    state, release = [0], asyncio.Event()

    async def query() -> int:
        seen = state[0]
        await release.wait()
        return seen

    shared = Shared(query)
    first = asyncio.create_task(shared.get())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    state[0] = 1
    later = [asyncio.create_task(shared.get()) for _ in range(5)]
    later[0].cancel()  # does not affect the others
    release.set()
    assert await first in (0, 1)
    assert await asyncio.gather(*later[1:]) == [1] * 4


async def test_a_history_is_paged_in_bytes_and_all_of_it_is_reached() -> None:
    kept = Kept()
    kept.say(*("x" * 200 * KIB for _ in range(7)), "y" * 900 * KIB, *("z" for _ in range(120)))
    async with backend_at(kept.answer) as backend:
        sizes, before = [], ""
        while True:
            history = await backend.history(NAME, 100, before)
            sizes.append(len(history.entries))
            if not history.more:
                break
            assert len(history.entries) == 1 or history.ByteSize() <= 513 * KIB
            before = history.entries[0].id
    assert sizes == [100, 20, 1, 2, 2, 2, 1]


async def test_messages_that_are_too_long_for_one_answer_are_read_in_smaller_portions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opencode_api, "MAX_BODY", 300 * KIB)
    kept = Kept()
    kept.say(*("x" * 200 * KIB for _ in range(5)))
    async with backend_at(kept.answer) as backend:
        history = await backend.history(NAME, 2, "")
        assert len(history.entries) == 2
        assert history.more
    assert kept.counts[:3] == [50, 6, 1]


async def test_an_unknown_entry_is_an_invalid_argument() -> None:
    kept = Kept()
    kept.say("hello")
    async with backend_at(kept.answer) as backend:
        with pytest.raises(Failure) as caught:
            await backend.history(NAME, 0, "nothing")
        assert caught.value.code is Code.INVALID_ARGUMENT


TURN = "0123456789abcdef" * 2


def reply(kept: Kept, parent: str, *texts: str, **info: Any) -> None:
    """Add the model's messages that answer the message `parent`."""
    kept.say(*texts)
    for message in kept.messages[len(kept.messages) - len(texts) :]:
        message["info"] |= {"role": "assistant", "parentID": parent, **info}


def ask(kept: Kept, message_id: str, text: str, **part: Any) -> None:
    """Add a user's message with this id."""
    kept.say(text)
    kept.messages[-1]["info"]["id"] = message_id
    kept.messages[-1]["parts"][0] |= part


async def admit(backend: OpenCodeBackend) -> None:
    """Start a turn of this service."""
    await backend._turns.write(lambda store: store.ensure(NAME))
    await backend.journal.admit(NAME, NewTurn(TURN, "ours", starts=True))


async def end(backend: OpenCodeBackend) -> None:
    """End the turn with a reply and an ask."""
    asked = AskEvent(ask_id="per_1"), AskClosed(ask_id="per_1", answered=True)
    await backend.journal.end(
        NAME,
        TURN,
        TurnState.TURN_STATE_COMPLETED,
        [
            HistoryEntry(reasoning_text="hm"),
            HistoryEntry(ask=asked[0]),
            HistoryEntry(ask_closed=asked[1]),
            HistoryEntry(assistant_text="kept reply"),
        ],
        completed=ChatCompleted(output_tokens=1),
    )


def short(history: History) -> list[str]:
    return [
        entry.user_text
        or entry.assistant_text
        or entry.reasoning_text
        or str(entry.WhichOneof("entry"))
        for entry in history.entries
    ]


async def test_a_turn_of_this_service_is_shown_as_it_was_kept() -> None:
    """With its reasoning and asks, once, among the messages of other clients."""
    kept = Kept()
    ask(kept, "msg_theirs", "theirs")
    reply(kept, "msg_theirs", "their reply")
    ask(kept, f"msg_{TURN}", "ours")
    reply(kept, f"msg_{TURN}", "half of it")
    ask(kept, "msg_added", "go on", synthetic=True)
    reply(kept, "msg_added", "the other half")
    ask(kept, "msg_later", "later")
    whole = [
        *("theirs", "their reply"),
        *("ours", "hm", "ask", "ask_closed", "kept reply"),
        "later",
    ]
    async with backend_at(kept.answer) as backend:
        await admit(backend)
        await end(backend)
        history = await backend.history(NAME, 0, "")
        assert short(history) == whole
        assert [bool(entry.turn_id) for entry in history.entries] == [False] * 2 + [True] * 5 + [
            False
        ]
        assert history.entries[6].completed.output_tokens == 1
        pages, before = list[str](), ""
        for _ in whole:
            page = await backend.history(NAME, 1, before)
            before = page.entries[0].id
            pages = [*short(page), *pages]
            assert page.more == (len(pages) < len(whole))
        assert pages == whole


async def test_the_reply_of_a_running_turn_is_not_in_the_history_yet() -> None:
    """The user's message is; the newest entry of an ended turn is the one before."""
    kept = Kept()
    ask(kept, "msg_theirs", "theirs")
    ask(kept, f"msg_{TURN}", "ours")
    reply(kept, f"msg_{TURN}", "half of it")
    async with backend_at(kept.answer) as backend:
        await admit(backend)
        half = TurnOutputPieces(NAME, TURN, [HistoryEntry(assistant_text="half")])
        await backend.journal.add_output([half])
        history = await backend.history(NAME, 0, "")
        assert short(history) == ["theirs", "ours"]
        assert await backend.journal.newest_entry(NAME) == history.entries[0].id
        await end(backend)
        newest = (await backend.history(NAME, 0, "")).entries[-1]
        assert await backend.journal.newest_entry(NAME) == newest.id


async def test_a_turn_of_a_service_with_other_data_is_shown_as_the_server_has_it() -> None:
    """Nothing is hidden because the data folder was lost."""
    kept = Kept()
    ask(kept, f"msg_{TURN}", "ours")
    reply(kept, f"msg_{TURN}", "a reply")
    async with backend_at(kept.answer) as backend:
        history = await backend.history(NAME, 0, "")
    assert short(history) == ["ours", "a reply"]
    assert {entry.turn_id for entry in history.entries} == {""}


async def test_a_conversation_s_state_is_that_of_its_turns() -> None:
    """It is in lists, and where one conversation is asked for."""
    kept = Kept()
    kept.sessions = [{"id": NAME, "time": {}}, {"id": "ses_2", "time": {}}]
    idle = ConversationState.CONVERSATION_STATE_IDLE
    running = ConversationState.CONVERSATION_STATE_RUNNING
    waiting = ConversationState.CONVERSATION_STATE_WAITING
    async with backend_at(kept.answer) as backend:

        async def states() -> tuple[set[State], State]:
            found = {info.state for info in (await backend.conversations()).sessions}
            return found, (await backend.get(NAME)).state

        assert await states() == ({idle}, idle)
        await admit(backend)
        assert await states() == ({idle, running}, running)
        await backend.journal.set_state(NAME, TURN, TurnState.TURN_STATE_WAITING)
        assert await states() == ({idle, waiting}, waiting)
        await end(backend)
        assert await states() == ({idle}, idle)
