import pytest

from tests.support.bound import check_reason
from tests.support.hangups import stop_ignoring_hangups


def pytest_configure() -> None:
    """Nohup changes nothing."""
    stop_ignoring_hangups()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who needs its own bound says why."""
    for item in items:
        for mark in item.iter_markers("own_bound"):
            check_reason(mark)
