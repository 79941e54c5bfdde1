"""Stores for the tests: every test that asks for one has a folder of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from callboard_service.store.store import ConversationStore
from tests.support.store_kit import Stores, stores_in


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    """A maker of stores on one database, which closes them at the end."""
    async with stores_in(tmp_path) as made:
        yield made


@pytest.fixture
async def store(stores: Stores) -> ConversationStore:
    """An open store."""
    return await stores.open()
