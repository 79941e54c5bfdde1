from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import Code, Failure
from actors.protocol.effects import Limit
from actors.protocol.limits import FLOOD, Gate, Meter, Rates, SessionLimits

LIMITS = SessionLimits(
    messages_per_second=10.0, message_burst=3, bytes_per_second=100.0, byte_burst=200
)


class TokenBucket:
    """A Meter with only a bucket of bytes."""

    def __init__(self, rate: float, size: int) -> None:
        self._meter = Meter(Rates(0, 1, rate, size))

    def draw(self, cost: int, now: float) -> bool:
        return self._meter.draw(cost, now)

    def wait(self, cost: int, now: float) -> float:
        by_count, by_bytes = self._meter.wait(cost, now)
        assert by_count == 0
        return by_bytes


def test_a_bucket_starts_full_and_is_refilled_up_to_its_size() -> None:
    bucket = TokenBucket(2.0, 3)
    assert [bucket.draw(1, 5.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.wait(1, 5.0) == pytest.approx(0.5)
    assert bucket.wait(1, 5.25) == pytest.approx(0.25)
    assert bucket.wait(3, 100.0) == 0
    assert bucket.draw(3, 100.0)
    assert bucket.wait(1, 100.0) == pytest.approx(0.5)


def test_a_clock_that_stands_still_refills_nothing() -> None:
    bucket = TokenBucket(1.0, 1)
    assert bucket.draw(1, 10.0)
    assert not bucket.draw(1, 10.0)
    assert bucket.wait(1, 10.0) == pytest.approx(1.0)


def test_what_has_room_in_one_bucket_only_takes_from_neither() -> None:
    meter = Meter(Rates(1.0, 2, 1.0, 4))
    assert meter.draw(4, 0.0)
    assert not meter.draw(1, 0.0), "the bytes are spent"
    assert meter.draw(1, 1.0)
    assert meter.draw(0, 1.0), "the count of the refused one was not"
    assert not meter.draw(0, 1.5), "the count is spent"
    assert list(meter.wait(1, 1.5)) == pytest.approx([0.5, 0.5])
    assert meter.draw(1, 2.0)


def test_what_costs_more_than_the_bucket_holds_needs_a_full_one() -> None:
    bucket = TokenBucket(1.0, 4)
    assert bucket.draw(100, 0.0)
    assert bucket.wait(100, 0.0) == pytest.approx(4.0)
    assert not bucket.draw(100, 3.9)
    assert bucket.wait(100, 4.0) == 0
    assert bucket.draw(100, 4.0)


def test_a_rate_of_0_is_no_limit() -> None:
    bucket = TokenBucket(0, 1)
    assert all(bucket.draw(100, 0.0) for _ in range(10))
    assert bucket.wait(100, 0.0) == 0


@given(
    st.floats(0.01, 1e6),
    st.integers(1, 10**6),
    st.lists(st.tuples(st.integers(1, 10**6), st.floats(0, 10)), max_size=20),
    st.floats(0, 1e7),
)
def test_after_the_wait_that_it_names_the_tokens_are_there(
    rate: float, size: int, costs: list[tuple[int, float]], now: float
) -> None:
    bucket = TokenBucket(rate, size)
    for cost, later in costs:
        now += later
        wait = bucket.wait(cost, now)
        now += ceil(wait * 1000) / 1000
        assert bucket.wait(cost, now) == 0
        assert bucket.draw(cost, now)


@given(
    st.integers(1, 64),
    st.integers(1, 100),
    st.lists(st.tuples(st.integers(1, 120), st.integers(0, 6400)), max_size=40),
)
def test_a_bucket_agrees_with_one_that_counts_tokens(
    rate: int, size: int, draws: list[tuple[int, int]]
) -> None:
    """It agrees with an exact model, which is refilled up to its size at every draw."""
    bucket = TokenBucket(rate, size)
    tokens, at = Fraction(size), Fraction(0)
    for cost, later in draws:
        now = at + Fraction(later, 64)
        tokens, at = min(Fraction(size), tokens + (now - at) * rate), now
        enough = tokens >= min(cost, size)
        assert bucket.draw(cost, float(now)) == enough
        if enough:
            tokens -= min(cost, size)


def refuse(gate: Gate, size: int, now: float) -> tuple[Failure, Limit] | None:
    return None if gate.requests.draw(size, now) else gate.refusal(size, now)


def test_requests_are_refused_by_count_with_advice_that_is_exact() -> None:
    gate = Gate(LIMITS)
    assert [refuse(gate, 1, 0.0) for _ in range(3)] == [None] * 3
    for now, advice in ((0.0, 100), (0.05, 50), (0.0991, 1)):
        refusal = refuse(gate, 1, now)
        assert refusal is not None
        failure, limit = refusal
        assert (failure.code, failure.retryable) == (Code.RESOURCE_EXHAUSTED, True)
        assert (failure.retry_after_ms, limit) == (advice, Limit.MESSAGES)
    assert refuse(gate, 1, 0.1) is None


def test_requests_are_refused_by_bytes_and_a_refused_one_costs_nothing() -> None:
    gate = Gate(LIMITS)
    assert refuse(gate, 150, 0.0) is None
    refusal = refuse(gate, 100, 0.0)
    assert refusal is not None
    assert (refusal[0].retry_after_ms, refusal[1]) == (500, Limit.BYTES)
    assert "bytes" in refusal[0].message
    assert refuse(gate, 50, 0.0) is None
    assert refuse(gate, 1, 1.0) is None


def test_other_frames_have_ten_times_as_much() -> None:
    gate = Gate(LIMITS)
    assert all(gate.frames.draw(1, 0.0) for _ in range(3 * FLOOD))
    assert not gate.frames.draw(1, 0.0)
    assert gate.frames.draw(1, 0.01)
    gate = Gate(LIMITS)
    assert gate.frames.draw(200 * FLOOD, 0.0)
    assert not gate.frames.draw(1, 0.0)
