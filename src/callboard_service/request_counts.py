"""Counts requests in plain numbers, which a scrape reads.

The counters of `prometheus_client` take a lock and look up their labels at each step, about 6 µs
for the five numbers of a request; these take about 0.5 µs. All updates come from one event loop, so
no lock is needed.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from actors import Failure, Message
from actors.protocol.frames import Completed
from callboard.v1.chat_pb2 import ChatCompleted

SECONDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the latency buckets."""


class _Kind:
    """The counts of one request type. only, first, last: requests per latency bucket."""

    __slots__ = (
        "failed", "first", "first_sum", "last", "last_sum", "only", "only_sum", "succeeded",
    )  # fmt: skip

    def __init__(self) -> None:
        self.succeeded = 0
        self.failed: dict[str, int] = {}
        # A request with a single answer is counted in `only`, which stands for first and last.
        self.only, self.first, self.last = ([0] * (len(SECONDS) + 1) for _ in range(3))
        self.only_sum = self.first_sum = self.last_sum = 0.0

    def codes(self) -> dict[str, int]:
        """Return how many requests ended with each code."""
        return {"OK": self.succeeded, **self.failed} if self.succeeded else self.failed


class RequestCounts(Collector):
    """Counts requests by type and code, their latencies, and the tokens of replies."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}
        self._tokens = {"input": 0, "output": 0}

    @property
    def ended(self) -> int:
        """How many requests have ended."""
        kinds = self._kinds.values()
        return sum(kind.succeeded + sum(kind.failed.values()) for kind in kinds)

    @property
    def tokens(self) -> Mapping[str, int]:
        """The tokens of completed replies: "input" and "output"."""
        return self._tokens

    def request_ended(
        self, message: str, said: Message | Failure | Completed, first: float, last: float, /
    ) -> None:
        """Count a request that has ended (see OnRequestEnd)."""
        kind = self._kinds.get(message)
        if kind is None:
            kind = self._kinds[message] = _Kind()
        bucket = bisect_left(SECONDS, last)
        if first == last:
            kind.only[bucket] += 1
            kind.only_sum += last
        else:
            kind.last[bucket] += 1
            kind.last_sum += last
            kind.first[bisect_left(SECONDS, first)] += 1
            kind.first_sum += first
        if type(said) is Failure:
            code = said.code.value
            kind.failed[code] = kind.failed.get(code, 0) + 1
            return
        kind.succeeded += 1
        if type(said) is ChatCompleted:
            self._tokens["input"] += said.input_tokens
            self._tokens["output"] += said.output_tokens

    def collect(self) -> Iterable[CounterMetricFamily | HistogramMetricFamily]:
        """Return all metrics for one scrape."""
        requests = CounterMetricFamily(
            "callboard_requests",
            "Requests ended, by request type and result code.",
            labels=["type", "code"],
        )
        first = HistogramMetricFamily(
            "callboard_first_answer_seconds",
            "Seconds from a request to its first answer.",
            labels=["type"],
        )
        last = HistogramMetricFamily(
            "callboard_last_answer_seconds",
            "Seconds from a request to its last answer.",
            labels=["type"],
        )
        for name, kind in self._kinds.items():
            for code, count in kind.codes().items():
                requests.add_metric([name, code], count)
            only, only_sum = kind.only, kind.only_sum
            first.add_metric([name], _cumulated(only, kind.first), only_sum + kind.first_sum)
            last.add_metric([name], _cumulated(only, kind.last), only_sum + kind.last_sum)
        tokens = CounterMetricFamily(
            "callboard_tokens", "Tokens of completed replies, by kind.", labels=["kind"]
        )
        for what, count in self._tokens.items():
            tokens.add_metric([what], count)
        return [requests, first, last, tokens]


def _cumulated(only: list[int], others: list[int]) -> list[tuple[str, float]]:
    """Return the sum of both in cumulative buckets, as Prometheus expects them."""
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count, more in zip((*SECONDS, float("inf")), only, others, strict=True):
        total += count + more
        buckets.append(("+Inf" if bound == float("inf") else str(bound), total))
    return buckets
