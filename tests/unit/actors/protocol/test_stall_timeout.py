from actors.protocol.stall_timeout import LOOKS, StallTimeout


def test_it_is_over_when_nothing_has_moved_for_the_whole_time() -> None:
    patience = StallTimeout(8.0, 5, 100.0)
    assert patience.interval == 8.0 / LOOKS
    assert not patience.is_over(5, 107.9)
    assert patience.is_over(5, 108.0)


def test_whatever_moves_begins_the_time_anew() -> None:
    patience = StallTimeout(8.0, 5, 100.0)
    assert not patience.is_over(6, 107.0)
    assert not patience.is_over(6, 114.9)
    assert patience.is_over(6, 115.0)
