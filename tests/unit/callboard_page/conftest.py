"""The page's fixtures: the service in memory, and one page on it."""

from collections.abc import AsyncIterator

import pytest

from tests.support.page_kit import Page, Pages, pages


@pytest.fixture
async def windows() -> AsyncIterator[Pages]:
    """Return a service, whose pages are opened as windows."""
    async with pages() as made:
        yield made


@pytest.fixture
async def page(windows: Pages) -> Page:
    """Return a page that is open, without a conversation."""
    return await windows.open()
