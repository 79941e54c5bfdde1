"""Lists and histories are read page by page and exported: pages.py and export.py."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    Attachment,
    FileDiff,
    GetHistoryRequest,
    History,
    HistoryEntry,
    ListSessionsRequest,
    SessionInfo,
    SessionList,
    ToolResultEvent,
)
from callboard.v1.envelope_pb2 import ClientMessage
from callboard_service.terminal.conversation import Conversation
from callboard_service.terminal.export import as_json, as_markdown, json_list
from callboard_service.terminal.memory import Memory
from callboard_service.terminal.pages import (
    conversations,
    history,
    newest_entries,
    sent_messages,
    turn_entries,
)
from callboard_service.terminal.text import tame_json
from tests.support.archive import Archive
from tests.support.scripted_websocket import ScriptedDialer
from transport.client import Client, by_url
from transport.errors import RequestFailed


def client_of(archive: Archive) -> Client:
    return Client(by_url("ws://archive", ""), dialer=ScriptedDialer(archive.respond))


async def listed(archive: Archive) -> list[str]:
    async with client_of(archive) as client:
        return [info.id async for info in conversations(client)]


async def read(archive: Archive) -> list[str]:
    async with client_of(archive) as client:
        return [entry.id async for entry in history(client, "a")]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 20_000])
async def test_every_page_of_a_list_is_asked_for(count: int) -> None:
    archive = Archive(count, max_page=1000 if count > 4 else 3)
    assert await listed(archive) == [archive.info(number).id for number in range(count)]


async def test_a_conversation_that_comes_twice_is_listed_once() -> None:
    class Moving(Archive):
        def list(self, request: ListSessionsRequest) -> Message:
            page = super().list(request)
            assert isinstance(page, SessionList)
            if request.page:
                page.sessions.insert(0, self.info(0))
            return page

    assert len(await listed(Moving(9, max_page=3))) == 9


async def test_a_list_that_never_ends_is_an_error() -> None:
    class Endless(Archive):
        def list(self, request: ListSessionsRequest) -> Message:
            return SessionList(next_page="again")

    with pytest.raises(RequestFailed, match="the same page"):
        await listed(Endless())


@pytest.mark.parametrize("entries", [0, 1, 2, 3, 4, 7, 200, 201, 401])
@pytest.mark.parametrize("max_bytes", [1, 40, 512 * 1024])
async def test_a_history_is_read_whole_and_oldest_first(entries: int, max_bytes: int) -> None:
    archive = Archive(entries=entries, max_bytes=max_bytes)
    assert await read(archive) == [str(number) for number in range(entries)]


async def test_what_is_said_while_a_history_is_read_is_not_in_it() -> None:
    class Growing(Archive):
        def history(self, request: GetHistoryRequest) -> Message:
            page = super().history(request)
            self.entries += 1
            return page

    assert await read(Growing(entries=9, max_bytes=40)) == [str(number) for number in range(9)]


async def test_pages_that_are_smaller_the_second_time_lose_nothing() -> None:
    class Shrinking(Archive):
        def history(self, request: GetHistoryRequest) -> Message:
            self.max_bytes = max(self.max_bytes - 20, 1)
            return super().history(request)

    assert await read(Shrinking(entries=40, max_bytes=200)) == [str(n) for n in range(40)]


async def test_a_history_that_is_cut_short_while_it_is_read_is_an_error() -> None:
    class Cut(Archive):
        def history(self, request: GetHistoryRequest) -> Message:
            if len(self.requests) == 6:
                return History(entries=[HistoryEntry(id="another")])
            return super().history(request)

    with pytest.raises(RequestFailed, match="changed while it was being read"):
        await read(Cut(entries=5, max_bytes=1))


@pytest.mark.parametrize(
    "page", [History(more=True), History(more=True, entries=[HistoryEntry()])], ids=["empty", "id"]
)
async def test_a_page_that_leads_nowhere_is_an_error_and_not_an_end(page: History) -> None:
    class Dead(Archive):
        def history(self, request: GetHistoryRequest) -> Message:
            return page

    with pytest.raises(RequestFailed, match="without a position for the next page"):
        await read(Dead())


@pytest.mark.parametrize("max_bytes", [1, 512 * 1024])
async def test_the_newest_entries_are_collected_from_small_pages(max_bytes: int) -> None:
    archive = Archive(entries=9, max_bytes=max_bytes)
    async with client_of(archive) as client:
        assert [entry.id for entry in await newest_entries(client, "a", 4)] == ["5", "6", "7", "8"]
        assert len(await newest_entries(client, "a", 20)) == 9


@pytest.mark.parametrize(
    ("turn_id", "found", "pages"),
    [("c", ["6", "7", "8"], 2), ("b", ["3", "4", "5"], 4), ("x", [], 5)],
)
async def test_the_entries_of_a_turn_are_found_from_the_end(
    turn_id: str, found: list[str], pages: int
) -> None:
    """The history is read backwards, up to the beginning of the turn."""
    entries = [HistoryEntry(id=f"{n}", turn_id="abc"[n // 3]) for n in range(9)]
    asked: list[str] = []

    def respond(message: ClientMessage) -> History:
        before = message.get_history.before
        asked.append(before)
        end = int(before or "9")
        return History(entries=entries[max(end - 2, 0) : end], more=end > 2)

    async with Client(by_url("ws://archive", ""), dialer=ScriptedDialer(respond)) as client:
        assert [entry.id for entry in await turn_entries(client, "a", turn_id)] == found
    assert len(asked) == pages


async def test_a_conversation_of_a_later_page_is_taken_up(tmp_path: Path) -> None:
    archive = Archive(10, entries=9, max_page=3, max_bytes=1)
    Memory(tmp_path).remember("fake", archive.info(8).id)
    async with client_of(archive) as client:
        conversation = Conversation(Memory(tmp_path))
        info = await conversation.take_up(client)
        assert info == archive.info(8)
        assert [entry.id for entry in await conversation.recall(client)] == ["5", "6", "7", "8"]


INFO = SessionInfo(id="a", title="A [title]")


async def each(*entries: HistoryEntry) -> AsyncIterator[HistoryEntry]:
    for entry in entries:
        yield entry


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_json_in_pieces_is_the_json_of_the_whole(count: int) -> None:
    entries = [HistoryEntry(id=str(n), user_text="one\n\u2028two\x9b\x85") for n in range(count)]
    fields = [MessageToDict(entry, preserving_proto_field_name=True) for entry in entries]
    whole = MessageToDict(INFO, preserving_proto_field_name=True) | {"entries": fields}
    written = "".join([piece async for piece in as_json(INFO, each(*entries))])
    assert written == json.dumps(whole, ensure_ascii=False, indent=2) + "\n"
    harmless = tame_json(written)
    assert "\x9b" not in harmless
    assert json.loads(harmless) == whole
    written = "".join([piece async for piece in json_list(each(*entries))])
    assert written == json.dumps(fields, ensure_ascii=False, indent=2)


async def test_markdown_joins_the_parts_of_a_text_that_the_service_has_split() -> None:
    entries = (
        HistoryEntry(user_text="say it", turn_id="1"),
        HistoryEntry(reasoning_text="hm", turn_id="1"),
        HistoryEntry(assistant_text="one ", turn_id="1"),
        HistoryEntry(assistant_text="two", turn_id="1"),
        HistoryEntry(ask=AskEvent(title="May it?", detail="rm x", options=["yes", "no"])),
        HistoryEntry(ask_closed=AskClosed(answers=["yes"])),
        HistoryEntry(ask_closed=AskClosed()),
        HistoryEntry(assistant_text="old"),
        HistoryEntry(assistant_text="older"),
        HistoryEntry(),
    )
    written = "".join([piece async for piece in as_markdown(INFO, each(*entries))])
    assert written == (
        "# A [title]\n\n## You\n\nsay it\n\n## Reasoning\n\nhm\n\n## Reply\n\none two\n\n"
        "**Asked** May it?\n\n```\nrm x\n```\n\n1. yes\n2. no\n\n**Answered** yes\n\n"
        "**Not answered**\n\n## Reply\n\nold\n\n## Reply\n\nolder\n\n"
        "*(an entry that this version does not know)*\n"
    )


async def test_attachments_and_changes_of_files_are_exported() -> None:
    image = Attachment(name="a.png", media_type="image/png", size=2048)
    changed = FileDiff(path="x.py", patch="@@ -1 +1 @@\n-a\n+b\n")
    result = ToolResultEvent(output="done", diffs=[changed], attachments=[image])
    entries = (
        HistoryEntry(user_text="look", attachments=[image]),
        HistoryEntry(tool_result=result),
    )
    written = "".join([piece async for piece in as_markdown(INFO, each(*entries))])
    assert written == (
        "# A [title]\n\n## You\n\nlook\n\n[image a.png, 2.0 KiB]\n\n"
        "**Result**\n\n```\ndone\n```\n\n"
        "**Changed** x.py\n\n```diff\n@@ -1 +1 @@\n-a\n+b\n```\n\n[image a.png, 2.0 KiB]\n"
    )


class Turns(Archive):
    """Turns of three entries each, two entries per page: a message, one handed over, an end."""

    def entry(self, number: int) -> HistoryEntry:
        turn = number // 3
        made = HistoryEntry(id=str(number), turn_id=f"t{turn}")
        if number % 3 == 2:
            made.error.code = "CANCELLED" if turn % 2 else ""
            if not turn % 2:
                made.assistant_text = "reply"
        else:
            made.user_text = f"{turn}.{number % 3}"
        return made


@pytest.mark.parametrize("max_bytes", [1, 40, 512 * 1024])
async def test_the_messages_that_started_turns_are_found_newest_first(max_bytes: int) -> None:
    """Whatever the pages, messages that were handed to a running turn are not among them."""
    async with client_of(Turns(entries=12, max_bytes=max_bytes)) as client:
        found = [sent async for sent in sent_messages(client, "a")]
    assert [sent.entry.user_text for sent in found] == ["3.0", "2.0", "1.0", "0.0"]
    assert [sent.failed for sent in found] == [True, False, True, False]


async def test_messages_without_turns_are_each_their_own() -> None:
    """Conversations from before turns had ids have only messages and replies."""
    async with client_of(Archive(entries=3)) as client:
        found = [sent.entry.id async for sent in sent_messages(client, "a")]
    assert found == ["2", "1", "0"]


async def test_a_search_is_passed_on_with_every_page() -> None:
    archive = Archive(5, max_page=2)
    async with client_of(archive) as client:
        assert len([i async for i in conversations(client, search="x", archived=True)]) == 5
    lists = [request for request in archive.requests if isinstance(request, ListSessionsRequest)]
    assert [(request.search, request.archived) for request in lists] == [("x", True)] * 3
