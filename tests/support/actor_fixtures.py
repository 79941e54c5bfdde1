"""Fixtures and hooks for the tests of `actors`, which their conftest.py files import."""

import coverage
import pytest

from actors import ActorSystem, Mailbox
from actors.runtime import crashes
from actors.testing import actor_events, actor_system, leak_check, manual_clock
from tests.support.bound import BOUND, bounded
from tests.support.session_kit import Counting, Service

__all__ = [
    "actor_events",
    "actor_system",
    "bound",
    "ctrl_c_is_handled",
    "ctrl_c_raises",
    "fresh_counters",
    "leak_check",
    "manual_clock",
    "pytest_runtest_setup",
    "service",
]


@pytest.fixture
def service(actor_system: ActorSystem) -> Service:
    """Sessions, with no actor type registered yet."""
    return Service(actor_system)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """`make coverage` counts for each module only what its own test files cover."""
    if (measuring := coverage.Coverage.current()) is not None:
        measuring.switch_context(item.path.stem)


@pytest.fixture(autouse=True)
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under `make bound`, limit each mailbox to one message."""
    if BOUND:
        monkeypatch.setattr(Mailbox, "__init__", bounded)


@pytest.fixture(autouse=True)
def fresh_counters() -> None:
    Counting.pulls = Counting.closed = 0


@pytest.fixture
def ctrl_c_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C raises KeyboardInterrupt, as in a program without a handler of its own."""
    monkeypatch.setattr(crashes, "interrupts_raise", lambda: True)


@pytest.fixture
def ctrl_c_is_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C raises nothing, as in the service: only code raises KeyboardInterrupt."""
    monkeypatch.setattr(crashes, "interrupts_raise", lambda: False)
