"""What the store keeps of attachments, and what a service that was killed leaves of their files."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from callboard.v1.chat_pb2 import Attachment, ChatError, HistoryEntry, TurnState
from callboard_service.backends.attachments import KeptAttachments
from callboard_service.backends.stored import StoredConversations
from callboard_service.store.attachment_files import NewFile
from callboard_service.store.store import ConversationStore, NewTurn, UnknownUpload
from callboard_service.store.turn_store import UPLOAD_LIFE
from tests.support.store_kit import Clock, Stores

FAILED = TurnState.TURN_STATE_FAILED


def attachment(name: str, *, size: int = 3, uploaded: bool = False) -> Attachment:
    made = Attachment(id=name, name=f"{name}.txt", media_type="text/plain", size=size)
    if uploaded:
        made.upload_id = name
    return made


async def admit(
    store: ConversationStore, conversation: str, turn: str, *attachments: Attachment, **fields: Any
) -> None:
    """Admit a message with attachments and no text, and end its turn."""
    made = NewTurn(id=turn, text="", starts=True, attachments=attachments, **fields)
    await store.admit(conversation, made)
    error = ChatError(message="no", code="INTERNAL")
    await store.end(conversation, turn, FAILED, [], completed=None, error=error)


async def names(store: ConversationStore) -> list[str]:
    return sorted(await store.attachment_ids())


async def test_an_attachment_ends_with_the_last_conversation_that_uses_it(
    store: ConversationStore,
) -> None:
    first = (await store.create("")).id
    await admit(store, first, "1", attachment("a"), attachment("b"))
    second = (await store.fork(first)).id
    await admit(store, first, "2", attachment("c"))
    assert await store.attachment_bytes() == 9
    await store.delete(first)
    assert await names(store) == ["a", "b"]
    assert await store.end_attachments() == ["c"]
    await store.forget_ended(["c"])
    described = await store.attachment(second, "a")
    assert described == attachment("a")
    await store.delete(second)
    assert await names(store) == []
    assert sorted(await store.end_attachments()) == ["a", "b"]


async def test_a_copy_uses_the_attachments_of_its_own_messages_only(
    store: ConversationStore,
) -> None:
    first = (await store.create("")).id
    for turn, name in (("1", "a"), ("2", "b")):
        await admit(store, first, turn, attachment(name))
    entries = (await store.history(first)).entries
    (before,) = [entry.id for entry in entries if entry.attachments and entry.turn_id == "2"]
    copy = (await store.fork(first, before)).id
    assert await store.attachment(copy, "a") is not None
    assert await store.attachment(copy, "b") is None
    await store.delete(first)
    assert await names(store) == ["a"]


async def test_an_upload_is_used_once_and_within_its_hour(
    stores: Stores, store: ConversationStore
) -> None:
    conversation = (await store.create("")).id
    for name in ("a", "b"):
        await store.add_upload(attachment(name))
    assert await store.upload("a") == attachment("a")
    await admit(store, conversation, "1", attachment("a", uploaded=True))
    assert await store.upload("a") is None
    stores.clock.now += UPLOAD_LIFE + timedelta(microseconds=1)
    assert await store.upload("b") is None
    for turn, name in (("2", "a"), ("3", "b"), ("4", "none")):
        with pytest.raises(UnknownUpload, match=name):
            await admit(store, conversation, turn, attachment(name, uploaded=True))
    assert await store.find_turn(conversation, turn_id="2") is None
    assert await store.end_attachments() == ["b"]
    assert await names(store) == ["a"]


async def test_what_is_withdrawn_gives_its_uploads_back(store: ConversationStore) -> None:
    conversation = (await store.create("")).id
    await store.add_upload(attachment("a"))
    queued = (attachment("a", uploaded=True), attachment("b"))
    await store.admit(conversation, NewTurn(id="1", text="", starts=False, attachments=queued))
    assert await names(store) == ["a", "b"]
    await store.withdraw(conversation, "1")
    assert await names(store) == ["a"]
    assert await store.end_attachments() == ["b"]
    assert await store.upload("a") is not None


async def test_a_replaced_turn_takes_its_attachments_along(store: ConversationStore) -> None:
    conversation = (await store.create("")).id
    await admit(store, conversation, "1", attachment("a"), message_id="m")
    await admit(store, conversation, "2", attachment("b"), message_id="n", replaces="1")
    assert await names(store) == ["b"]


async def test_a_text_that_is_said_again_replaces_no_message_with_attachments(
    store: ConversationStore,
) -> None:
    conversation = (await store.create("")).id
    for turn, attachments in (("1", (attachment("a"),)), ("2", ()), ("3", (attachment("b"),))):
        made = NewTurn(id=turn, text="same", starts=True, attachments=attachments)
        await store.admit(conversation, made)
        await store.end(conversation, turn, FAILED, [], completed=None, error=None)
    entries = (await store.history(conversation)).entries
    assert [len(entry.attachments) for entry in entries] == [1, 0, 1]


async def test_texts_for_a_model_count_the_bytes_of_attachments(store: ConversationStore) -> None:
    conversation = (await store.create("")).id
    await store.append(conversation, HistoryEntry(user_text="old"))
    kept = [attachment("a", size=100), attachment("b", size=100)]
    await store.append(conversation, HistoryEntry(user_text="new", attachments=kept))
    await store.append(conversation, HistoryEntry(assistant_text="reply"))
    for limit, count in ((300, 3), (210, 2), (207, 1)):
        turns = await store.turns(conversation, limit)
        assert (len(turns), turns.left_out) == (count, 3 - count)
    turns = await store.turns(conversation, 300)
    assert turns.sizes() == [3, 203, 5]
    joined = turns.joined()
    assert joined == [("user", "old\n\nnew"), ("assistant", "reply")]
    assert [list(each) for each in joined.attached] == [kept, []]
    assert turns.since(2).attached == [[]]


# -- files -----------------------------------------------------------------------------------


@asynccontextmanager
async def opened(folder: Path, clock: Clock) -> AsyncIterator[StoredConversations]:
    """Open the conversations in a folder, as a service does at its start."""
    conversations = StoredConversations(folder / "c.sqlite3", pytest.fail)
    original = ConversationStore.__init__

    def with_clock(self: ConversationStore, database: Any, _: Any, *rest: Any) -> None:
        original(self, database, clock, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConversationStore, "__init__", with_clock)
        await conversations.open()
    try:
        yield conversations
    finally:
        await conversations.close()


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("attachments/*/*"))


async def written(kept: KeptAttachments, data: bytes = b"abc") -> NewFile:
    file = kept.new()
    await kept.write(file, data)
    return file


async def partial(conversations: StoredConversations) -> None:
    await written(conversations.attachments)


async def whole(conversations: StoredConversations) -> None:
    await conversations.attachments.finish(await written(conversations.attachments))


async def unused(conversations: StoredConversations) -> None:
    file = await written(conversations.attachments)
    await conversations.attachments.finish(file)
    await conversations.attachments.add_upload(attachment(file.name))


async def ended(conversations: StoredConversations) -> None:
    file = await written(conversations.attachments)
    await conversations.attachments.finish(file)
    conversation = (await conversations.create("")).id

    async def use(store: ConversationStore) -> None:
        await admit(store, conversation, "1", attachment(file.name))
        await store.delete(conversation)  # and no file is removed yet

    await conversations.write(use)


@pytest.mark.parametrize("leave", [partial, whole, unused, ended])
async def test_what_a_killed_service_leaves_at_any_step_is_removed(
    tmp_path: Path, leave: Callable[[StoredConversations], Awaitable[None]]
) -> None:
    """At the next start, or an hour later if a client may still use it. The rest stays."""
    clock = Clock()
    async with opened(tmp_path, clock) as conversations:
        conversation = (await conversations.create("")).id
        file = await written(conversations.attachments, b"kept")
        await conversations.attachments.finish(file)
        kept = attachment(file.name)
        await conversations.write(lambda store: admit(store, conversation, "1", kept))
        await leave(conversations)
        assert len(files_in(tmp_path)) == 2
    if leave is unused:
        async with opened(tmp_path, clock):
            assert len(files_in(tmp_path)) == 2
        clock.now += UPLOAD_LIFE + timedelta(microseconds=1)
    async with opened(tmp_path, clock) as conversations:
        assert files_in(tmp_path) == [file.name]
        assert await conversations.attachments.bytes_used() == 3
        assert await conversations.attachments.read(file.name) == b"kept"


async def test_a_row_without_a_file_goes_after_an_hour(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock) as conversations:
        conversation = (await conversations.create("")).id
        lost = attachment("lost")
        await conversations.write(lambda store: admit(store, conversation, "1", lost))
    async with opened(tmp_path, clock) as conversations:
        assert await conversations.attachments.bytes_used() == 3
    clock.now += UPLOAD_LIFE + timedelta(microseconds=1)
    async with opened(tmp_path, clock) as conversations:
        assert await conversations.attachments.bytes_used() == 0


async def test_each_database_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """One that takes the place of another, which was damaged, removes nothing of it."""
    async with opened(tmp_path, Clock()) as conversations:
        await unused(conversations)
    for name in ("c.sqlite3", "c.sqlite3-wal", "c.sqlite3-shm"):
        if (tmp_path / name).exists():
            (tmp_path / name).rename(tmp_path / f"aside-{name}")
    async with opened(tmp_path, Clock()) as conversations:
        await unused(conversations)
        assert len(files_in(tmp_path)) == 2
    folders = [path.name for path in (tmp_path / "attachments").iterdir()]
    assert len(folders) == 2
    assert {name.partition("-")[0] for name in folders} == {"c"}


async def test_files_that_are_being_written_survive_a_reopened_store(tmp_path: Path) -> None:
    async with opened(tmp_path, Clock()) as conversations:
        kept = conversations.attachments
        file = await written(kept)
        assert conversations._store is not None
        assert await kept.open(conversations._store) == ""
        await kept.finish(file)
        assert await kept.open(conversations._store) == ""
        await kept.add_upload(attachment(file.name))
        file.keep()
        assert await kept.open(conversations._store) == ""
        assert await kept.read(file.name) == b"abc"


async def test_only_the_user_can_read_the_files(tmp_path: Path) -> None:
    async with opened(tmp_path, Clock()) as conversations:
        await whole(conversations)
        paths = [tmp_path / "attachments", *(tmp_path / "attachments").rglob("*")]
        modes = {path.is_dir(): path.stat().st_mode & 0o777 for path in paths}
    assert modes == {True: 0o700, False: 0o600}
