"""Fixtures for conversation stores, each in the folder of its test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from callboard_service.store.store import ConversationStore
from tests.support.store_kit import Stores, stores_in


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    """Yield a factory of stores on one database; close them all at the end."""
    async with stores_in(tmp_path) as made:
        yield made


@pytest.fixture
async def store(stores: Stores) -> ConversationStore:
    """Return an open store."""
    return await stores.open()
