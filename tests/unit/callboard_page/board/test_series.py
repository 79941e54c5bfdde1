"""What the board remembers of the snapshots."""

from callboard.board.v1.board_pb2 import BoardActor, BoardSnapshot, BoardTotals
from callboard_page.board.series import MOST_POINTS, Memory, Series


def snapshot(up: float, handled: int = 0, **totals: float) -> BoardSnapshot:
    child = BoardActor(name="child", handled=handled)
    root = BoardActor(name="root", handled=10, children=[child])
    return BoardSnapshot(up_seconds=up, root=root, totals=BoardTotals(**totals))  # type: ignore[arg-type] # numbers


def values(memory: Memory, name: str) -> tuple[float, ...]:
    (found,) = (series.values for series in memory.series if series.name.startswith(name))
    return found


def test_counts_become_rates_and_levels_stay() -> None:
    memory = Memory()
    memory.add(snapshot(10, messages=100, actors=5, cpu_seconds=1.0))
    assert values(memory, "messages") == ()
    assert values(memory, "actors") == (5,)
    memory.add(snapshot(12, messages=150, actors=7, cpu_seconds=1.5))
    assert values(memory, "messages") == (25,)
    assert values(memory, "CPU") == (25,)
    assert values(memory, "actors") == (5, 7)


def test_each_actor_has_its_rate() -> None:
    memory = Memory()
    memory.add(snapshot(10, handled=4))
    memory.add(snapshot(14, handled=12))
    assert memory.rates == {"root": 0.0, "root/child": 2.0}
    memory.add(snapshot(15, handled=3))  # it was restarted
    assert memory.rates == {"root": 0.0}


def test_a_service_that_was_restarted_begins_anew() -> None:
    memory = Memory()
    memory.add(snapshot(100, messages=1000, actors=1))
    memory.add(snapshot(102, messages=1000, actors=2))
    memory.add(snapshot(1, messages=5, actors=3))
    assert values(memory, "actors") == (3,)
    assert values(memory, "messages") == ()
    assert memory.rates == {}


def test_only_the_newest_are_kept() -> None:
    memory = Memory()
    for second in range(MOST_POINTS + 20):
        memory.add(snapshot(second, actors=second))
    assert len(values(memory, "actors")) == MOST_POINTS
    assert values(memory, "actors")[-1] == MOST_POINTS + 19


def test_the_newest_value_of_none_is_zero() -> None:
    assert Series("x", "", ()).newest == 0
    assert Series("x", "", (1.0, 2.0)).newest == 2
