"""Conversations of any size are read in pages that every client can take."""

from typing import Any

from tests.e2e.contract_client import Contract, message

PAGE = 512 * 1024


async def _history(client: Contract, conversation: str) -> list[Any]:
    """All pages, the newest first."""
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
    assert (await page(search="x")).error.code == "UNIMPLEMENTED"
