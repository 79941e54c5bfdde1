"""What is counted of each request: plain numbers, which a scrape reads.

`prometheus_client`'s own counters take a lock and look up their labels at each step, some 6 µs for
the five numbers of a request; these take half of one. There is one event loop, and no lock.
"""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from actors import Failure
from actors.run import RequestEnd
from callboard.v1.chat_pb2 import ChatCompleted

SECONDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the buckets of the latencies."""


class _Kind:
    """The requests of one type."""

    __slots__ = ("codes", "first", "first_sum", "last", "last_sum")

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.first = [0] * (len(SECONDS) + 1)
        self.last = [0] * (len(SECONDS) + 1)
        self.first_sum = 0.0
        self.last_sum = 0.0


class RequestCounts(Collector):
    """Requests by type and code, their latencies, the tokens of replies."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}
        self._tokens = {"input": 0, "output": 0}

    def request_ended(self, end: RequestEnd) -> None:
        """A request has its last answer."""
        kind = self._kinds.get(end.message)
        if kind is None:
            kind = self._kinds[end.message] = _Kind()
        said = end.said
        code = said.code.value if type(said) is Failure else "OK"
        kind.codes[code] = kind.codes.get(code, 0) + 1
        bucket = bisect_left(SECONDS, end.last)
        kind.last[bucket] += 1
        if end.first != end.last:
            bucket = bisect_left(SECONDS, end.first)
        kind.first[bucket] += 1
        kind.first_sum += end.first
        kind.last_sum += end.last
        if type(said) is ChatCompleted:
            self._tokens["input"] += said.input_tokens
            self._tokens["output"] += said.output_tokens

    def collect(self) -> Iterable[CounterMetricFamily | HistogramMetricFamily]:
        """All of it, for one scrape."""
        requests = CounterMetricFamily(
            "callboard_requests",
            "Requests that ended, by what was asked and the code of the end.",
            labels=["type", "code"],
        )
        first = HistogramMetricFamily(
            "callboard_first_answer_seconds",
            "From a request to its first answer.",
            labels=["type"],
        )
        last = HistogramMetricFamily(
            "callboard_last_answer_seconds", "From a request to its last answer.", labels=["type"]
        )
        for name, kind in self._kinds.items():
            for code, count in kind.codes.items():
                requests.add_metric([name, code], count)
            first.add_metric([name], _cumulated(kind.first), kind.first_sum)
            last.add_metric([name], _cumulated(kind.last), kind.last_sum)
        tokens = CounterMetricFamily(
            "callboard_tokens", "Tokens of replies that were completed.", labels=["kind"]
        )
        for what, count in self._tokens.items():
            tokens.add_metric([what], count)
        return [requests, first, last, tokens]


def _cumulated(counts: list[int]) -> list[tuple[str, float]]:
    """Buckets as Prometheus has them: each with all that are below it."""
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*SECONDS, float("inf")), counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), total))
    return buckets
