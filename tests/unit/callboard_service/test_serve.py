"""The service finds out whether its parent process still runs."""

import errno
import os

import psutil
import pytest

from callboard_service.serve import _is_alive


def test_a_parent_that_cannot_be_looked_at_counts_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status cannot be read when connections use up all file descriptors."""
    parent = psutil.Process(os.getpid())

    def status(_: psutil.Process) -> str:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(psutil.Process, "status", status)
    assert _is_alive(parent)
