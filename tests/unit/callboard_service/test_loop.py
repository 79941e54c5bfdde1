import asyncio
import sys

import pytest
import uvloop

from callboard_service import loop
from callboard_service.errors import BadSettings


async def kind() -> type:
    return type(asyncio.get_running_loop())


def test_auto_takes_uvloop_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loop.run(kind(), "auto") is uvloop.Loop
    monkeypatch.setattr(loop, "find_spec", lambda name: None)
    assert loop.run(kind(), "auto") is not uvloop.Loop


def test_asyncio_can_be_chosen_by_name() -> None:
    assert loop.run(kind(), "asyncio") is not uvloop.Loop


def test_uvloop_that_is_not_installed_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "find_spec", lambda name: None)
    with pytest.raises(BadSettings, match="uvloop is not installed"):
        loop.run(kind(), "uvloop")


def test_a_waiting_thread_soon_requests_the_interpreter_lock() -> None:
    before = sys.getswitchinterval()
    try:
        sys.setswitchinterval(0.005)  # Python's default
        loop.share_interpreter()
        assert sys.getswitchinterval() == pytest.approx(loop.TURN_OF_A_THREAD)
    finally:
        sys.setswitchinterval(before)
