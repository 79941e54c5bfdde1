import pytest

from actors.protocol.effects import draining, ends_session
from actors.protocol.failure import Code


@pytest.mark.parametrize(
    ("code", "by_service", "ended"),
    [
        (1000, False, True),
        (1001, False, False),
        (1005, False, True),
        (1005, True, False),
        (1006, False, False),
        (4500, False, False),
        (1000, True, False),
        (1003, True, False),
        (1009, True, False),
        (4001, True, False),
        (4002, True, False),
        (4499, True, False),
        (4500, True, True),
        (4504, True, False),
        (4505, True, True),
        (4599, True, True),
        (4600, True, False),
    ],
)
def test_which_close_codes_end_a_session(code: int, by_service: bool, ended: bool) -> None:
    assert ends_session(code, by_service=by_service) is ended


def test_what_a_shutdown_ends_may_be_tried_again_when_it_says() -> None:
    failure = draining(1500)
    assert (failure.code, failure.retryable) == (Code.UNAVAILABLE, True)
    assert failure.retry_after_ms == 1500
