"""Decide which tests run in the same worker process, and in which order workers take them.

xdist's own `loadgroup` does nothing with this pytest (findings/pytest-xdist-groups-ignored.sh), and
says nothing about it: what the tests of a group share was started once in each worker.
"""

import re
from typing import Final

import pytest
from xdist.scheduler import LoadScopeScheduling

TOGETHER: Final = re.compile(
    r"tests/e2e/opencode/(?!test_child)|tests/agents/.*\[(?:fast-agent|\w+)"
)
"""What all tests of a unit begin with, if tests of several files share a server, or those of a
file share agents."""

FIRST: Final = (
    "tests/e2e/opencode/test_child.py",
    "tests/extend/test_docs.py",
    "tests/e2e/acp/test_opencode_agent.py",
    "tests/agents/",
    "tests/e2e/opencode/",
    "tests/extend/test_new.py",
    "tests/e2e/test_process.py",
    "tests/e2e/",
    "tests/extend/",
    "tests/typing/",
    "tests/security/",
    "tests/properties/",
    "tests/unit/actors/requests/test_named_model.py",
    "tests/unit/callboard_service/backends/",
)
"""The beginnings of tests that take long, the longest first. With the short ones at the end, the
workers end at about the same time."""


def unit_of(test: str) -> str:
    """Return what this test shares a worker with: the beginning of the ids, or the file."""
    together = TOGETHER.match(test)
    return together[0] if together else test.partition("::")[0]


def rank_of(test: str) -> int:
    """Return when this test is taken, among all tests; the lowest number is the first."""
    ranks = (rank for rank, start in enumerate(FIRST) if test.startswith(start))
    return next(ranks, len(FIRST))


class _Scheduler(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Gives each worker one unit after the other, in their order."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def scheduler(config: pytest.Config, log: object) -> object:
    """Return the scheduler for a run with `--dist loadscope`."""
    config.option.loadscopereorder = False  # it would take the units with most tests first
    return _Scheduler(config, log)
