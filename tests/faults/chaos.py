"""Plans the faults of connections from a seed, and counts them."""

from collections import Counter
from random import Random

from tests.support.peers.fault_proxy import CLEAN, Direction, Fault, FaultProxy, Kind, Toxics

WEIGHTS = {Kind.CUT: 40, Kind.RESET: 35, Kind.HALF_CLOSE: 18, Kind.BLACK_HOLE: 7}
EARLY = 400
"""Bytes, each way, in which the upgrade, Hello and Welcome pass."""
LATE = 700


class Chaos:
    """Plans the toxics of each connection, from `begin` until `target` faults have happened."""

    def __init__(self, seed: int, target: int) -> None:
        self.target = target
        self.proxy: FaultProxy
        self._random = Random(seed)
        self._begun = False

    def begin(self) -> None:
        """Inject faults from now on, and cut all open connections."""
        self._begun = True
        self.proxy.cut()

    def through(self, host: str, port: int) -> FaultProxy:
        """Make the proxy that injects the faults, and return it."""
        self.proxy = FaultProxy(host, port, self.plan)
        return self.proxy

    @property
    def faults(self) -> Counter[Kind]:
        """The faults that have happened, by kind."""
        return self.proxy.faults

    @property
    def done(self) -> bool:
        """True once enough faults have happened."""
        return self.faults.total() >= self.target

    def plan(self) -> Toxics:
        """Return the toxics of the next connection."""
        if self.done or not self._begun:
            return CLEAN
        draw = self._random
        (kind,) = draw.choices(list(WEIGHTS), list(WEIGHTS.values()))
        early = draw.random() < 0.15
        after = draw.randrange(EARLY) if early else draw.randrange(EARLY, LATE)
        fault = Fault(kind, draw.choice(list(Direction)), after)
        match draw.random():
            case x if x < 0.04:
                return Toxics(slice=1, fault=fault)
            case x if x < 0.15:
                return Toxics(latency=draw.uniform(0.0002, 0.003), fault=fault)
            case x if x < 0.2:
                return Toxics(bandwidth=draw.uniform(50e3, 500e3), slice=64, fault=fault)
            case _:
                return Toxics(fault=fault)
