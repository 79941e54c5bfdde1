"""No position is issued twice, whatever service issues it."""

import pytest

from callboard_service.chat.log import Positions
from callboard_service.store.run import LARGEST_RUN


@pytest.mark.parametrize("run", [1, 2, LARGEST_RUN - 1])
def test_the_positions_of_a_run_are_above_all_of_the_runs_before(run: int) -> None:
    before, after = Positions(lambda: run), Positions(lambda: run + 1)
    first, last = before.next(), before.next(2**30)
    assert 0 < first < last == before.last < after.last < after.next() < 2**64
