"""BENCH_ACTORS idle actors of one parent, a request that is answered at once and one that waits."""

import os

from google.protobuf.wrappers_pb2 import StringValue

from actors import Actor, Registry
from bench.servers.many import Wait
from bench.servers.ping import register as register_ping


class Idler(Actor[str]):
    """Does nothing."""

    def receive(self, message: str) -> None:
        """Do nothing."""


class Crowd(Actor[str]):
    """The parent of all idlers."""

    def started(self) -> None:
        """Start them."""
        for _ in range(int(os.environ["BENCH_ACTORS"])):
            self.context.spawn(Idler)

    def receive(self, message: str) -> None:
        """Do nothing."""


def register(registry: Registry) -> None:
    """Register all of them; the service calls this before it starts."""
    register_ping(registry)
    registry.register(StringValue, Wait)
    registry.supervise("crowd", Crowd)
