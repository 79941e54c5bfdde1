"""Fixtures for conversation stores, each in the folder of its test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from callboard_service.store.store import ConversationStore
from tests.support.store_kit import Stores, store_threads


@pytest.fixture
async def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stores]:
    """Yield a factory of stores on one database; close them all and their threads at the end."""
    for limit in ("CLOSE_GRACE", "_CLOSE_WITHIN"):  # a busy disk takes its time
        monkeypatch.setattr(f"callboard_service.store.database.{limit}", 30.0)
    threads = store_threads()
    made = Stores(tmp_path / "conversations.db")
    yield made
    await made.close()
    assert store_threads() == threads, "a thread was left"


@pytest.fixture
async def store(stores: Stores) -> ConversationStore:
    """Return an open store."""
    return await stores.open()
