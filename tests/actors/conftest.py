import coverage
import pytest

from actors import ActorSystem
from actors.testing import actor_events, actor_system, leak_check, manual_clock
from tests.actors.session_kit import Counting, Service

__all__ = ["actor_events", "actor_system", "leak_check", "manual_clock"]


@pytest.fixture
def service(actor_system: ActorSystem) -> Service:
    """Sessions, with no actor type registered yet."""
    return Service(actor_system)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """`make coverage` looks at each module through its own test files."""
    if (measuring := coverage.Coverage.current()) is not None:
        measuring.switch_context(item.path.stem)


@pytest.fixture(autouse=True)
def fresh_counters() -> None:
    Counting.pulls = Counting.closed = 0
