import pytest

from tests.support.bound import check_reason
from tests.support.hangups import stop_ignoring_hangups


def pytest_configure() -> None:
    """Make the tests behave the same under nohup."""
    stop_ignoring_hangups()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Check that each mark `own_bound` has a reason."""
    for item in items:
        for mark in item.iter_markers("own_bound"):
            check_reason(mark)
