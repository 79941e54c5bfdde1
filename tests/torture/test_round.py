"""One short round with a real service: the processes of `make torture` find each other."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.torture.plan import make_plan
from tests.torture.rounds import Round

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="make torture is for Linux")


async def test_a_round_sends_requests_that_end_and_sees_the_service_end(tmp_path: Path) -> None:
    plan = make_plan(1, 1, frozenset(), seconds=3.0, only=("takeovers",), backend="echo")
    plan = replace(plan, steps=tuple(replace(step, at=0.2, until=None) for step in plan.steps[:1]))
    result = await Round(plan, 1, tmp_path / "round").run()
    assert result.ends["OK"] > 0
    assert result.end is not None
    assert (result.end.code, result.end.runtime_file_left, result.end.children) == (0, False, ())
    assert result.applied["takeovers"] == 1
    assert 0 < result.base <= result.peak < result.bound
    assert (tmp_path / "round" / "trace.jsonl").exists()
