import gc
from collections.abc import Generator

import pytest

from tests.support.bound import check_reason
from tests.support.hangups import stop_ignoring_hangups


def pytest_configure() -> None:
    """Make the tests behave the same under nohup."""
    stop_ignoring_hangups()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector off the modules and items of the tests, which stay to the end.

    Otherwise each full collection of a test walks through all of them, for 0.4 s of CPU time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check that each mark `own_bound` has a reason; in a worker, put the longest tests first."""
    for item in items:
        for mark in item.iter_markers("own_bound"):
            check_reason(mark)
    if hasattr(config, "workerinput"):
        from tests.support.sharing import rank_of

        items.sort(key=lambda item: rank_of(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Keep tests together that share something, with `--dist loadscope`."""
    if config.getvalue("dist") != "loadscope":
        return None  # xdist's own
    from tests.support.sharing import scheduler

    return scheduler(config, log)
