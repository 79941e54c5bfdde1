"""Conversations of any size are read in pages that every client accepts."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.e2e.contract_client import Contract, message
from tests.e2e.service_process import ServiceProcess, running, told

PAGE = 512 * 1024


async def _history(client: Contract, conversation: str) -> list[Any]:
    """Read all pages of a history, the newest first."""
    pages, before = [], ""
    while True:
        request = message("GetHistoryRequest", session_id=conversation, before=before)
        page = (await client.call(get_history=request)).history
        pages.append(page)
        if not page.more:
            return pages
        before = page.entries[0].id


async def test_a_history_of_megabytes_comes_in_pages_of_bounded_size(client: Contract) -> None:
    conversation = await client.conversation()
    for number in range(5):
        await client.reply(conversation, f"{number} " + "x" * 900_000 + "[[error:NOT_FOUND]]")
    await client.reply(conversation, "short")
    pages = await _history(client, conversation)
    assert all(len(page.entries) == 1 or page.ByteSize() <= PAGE for page in pages)
    texts = [entry.user_text for page in pages for entry in page.entries if entry.user_text]
    assert [text[:2] for text in reversed(texts) if len(text) > 100] == [f"{n} " for n in range(5)]
    assert "short" in texts


async def test_a_list_is_continued_by_its_token_with_the_same_parameters(client: Contract) -> None:
    for _ in range(5):
        await client.conversation()

    async def page(**fields: object) -> Any:
        return await client.call(list_sessions=message("ListSessionsRequest", limit=2, **fields))

    first = (await page()).session_list
    assert len(first.sessions) == 2
    second = (await page(page=first.next_page)).session_list
    ids = [info.id for info in [*first.sessions, *second.sessions]]
    assert len(set(ids)) == 4
    wrong = await page(page=first.next_page, archived=True)
    assert wrong.error.code == "INVALID_ARGUMENT"
    archived = (await page(archived=True)).session_list
    assert list(archived.sessions) == list(first.sessions)
    again = (await page(page=archived.next_page, archived=True)).session_list
    assert list(again.sessions) == list(second.sessions)
    assert (await page(page=archived.next_page)).error.code == "INVALID_ARGUMENT"
    for token in ("x", "a", "aa1.1", "1.1 ", "0" * 5000):
        assert (await page(page=token)).error.code == "INVALID_ARGUMENT"
    assert (await page(page=first.next_page, search="x")).error.code == "INVALID_ARGUMENT"


async def test_conversations_are_read_in_smaller_pages_while_memory_is_short(
    tmp_path: Path,
) -> None:
    flags = ("--backend", "echo", "--drain-ms", "100", "--max-answer-bytes", str(2 * PAGE))
    with running(tmp_path, *flags, "--memory-budget", str(4 * PAGE)) as service:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(service.connect())
            conversation = await client.conversation()
            for _ in range(5):
                await client.reply(conversation, "x" * 8_000)
            for _ in range(8):  # each takes all that it may: up to half of the memory that is left
                hog = await stack.enter_async_context(service.connect())
                waiting = await hog.conversation()
                texts = ["[[delay:3600000]]never", *["x" * 48_000] * 15]
                for text in texts:
                    send = message("SendMessageRequest", session_id=waiting, text=text)
                    await hog.open(send_message=send)
                await hog.call(create_session=message("CreateSessionRequest"))
            pages = await _history(client, conversation)
            assert sum(len(page.entries) for page in pages) == 10
            assert len(pages) > 1
            listed = await client.call(list_sessions=message("ListSessionsRequest"))
            assert len(listed.session_list.sessions) >= 9


async def test_a_conversation_of_many_megabytes_is_exported(
    shared: ServiceProcess, client: Contract, tmp_path: Path
) -> None:
    conversation = await client.conversation("large")
    for number in range(12):
        await client.reply(conversation, f"{number}-" + "x" * 1_000_000)
    code, out, err = await asyncio.to_thread(
        told, shared, tmp_path, "sessions", "export", conversation, "--format", "json"
    )
    assert (code, err) == (0, "")
    entries = json.loads(out)["entries"]
    assert [entry.get("user_text", "")[:3] for entry in entries[::2]] == [
        f"{number}-x"[:3] for number in range(12)
    ]
    assert sum(len(entry.get("assistant_text", "")) for entry in entries) > 12_000_000


async def test_an_exchange_of_600_kb_fits_the_usual_limit_of_a_megabyte(
    shared: ServiceProcess, client: Contract
) -> None:
    conversation = await client.conversation()
    await client.reply(conversation, "x" * 600_000)
    usual = Contract(shared.url, shared.token, max_frame=1024 * 1024)
    async with usual:
        pages = await _history(usual, conversation)
    assert sum(len(page.entries) for page in pages) == 2
