"""The result of one workload on one server."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Sample:
    """cpu, client, model_server: CPU seconds of each process. wall: seconds.

    first: seconds from asking for each reply to its first token. latencies: microseconds from the
    model server's write of each paced token to its arrival at the client.
    """

    tokens: int = 0
    cpu: float = 0.0
    client: float = 0.0
    model_server: float = 0.0
    wall: float = 0.0
    first: list[float] = field(default_factory=list)
    latencies: list[int] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Return what is kept: microseconds and milliseconds, as the names say, and seconds.

        client and model_server are the shares of a core that they used.
        """
        latencies, first = sorted(self.latencies), sorted(self.first)
        found = {
            "tokens": float(self.tokens),
            "token_us": self.cpu / self.tokens * 1e6,
            "first_ms": _at(first, 0.5) * 1e3,
            "wall_s": self.wall,
            "client": self.client / self.wall,
            "model_server": self.model_server / self.wall,
        }
        if latencies:
            found["p50_ms"] = _at(latencies, 0.5) / 1e3
            found["p99_ms"] = _at(latencies, 0.99) / 1e3
        return {name: round(value, 4) for name, value in found.items()}


def _at(ordered: list[float] | list[int], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
