"""The servers that are compared."""

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server in one configuration.

    ours: it has sessions, so the client acknowledges its answers. credit: how many answers a stream
    may be ahead; 0: no limit. every: it takes part in every n-th round. streams: the stream
    workloads are run on it. actors: MODULE or MODULE:FUNCTION with the actor types, if it is ours.
    """

    name: str
    module: str
    loop: str = "uvloop"
    python: str = "3.13"
    ours: bool = False
    credit: int = 0
    every: int = 1
    streams: bool = True
    actors: str = "bench.servers.ping"

    @property
    def arguments(self) -> list[str]:
        """The arguments for its interpreter."""
        if self.ours:  # the users' command, with an actor type of the benchmark
            run = "from callboard_service.cli import main; main()"
            actors = ["--backend", "echo", "--actors", self.actors]
            return ["-c", run, "serve", *actors, "--loop", self.loop, "--ready-json"]
        return ["-m", f"bench.servers.{self.module}", self.loop]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The identity of its process: contestants with the same key share one."""
        return (self.module, self.loop, self.python, self.actors)


def _ours(name: str, loop: str, python: str, credit: int = 0) -> Contestant:
    return Contestant(name, "callboard", loop, python, ours=True, credit=credit)


def _with_coroutine(name: str, python: str) -> Contestant:
    """Return ours with a coroutine function as the handler of the unary request."""
    actors = "bench.servers.ping:register_coroutine"
    return replace(_ours(name, "uvloop", python), actors=actors, streams=False)


BASELINE: Final = Contestant("plain handler", "plain")

CONTESTANTS: Final = (
    BASELINE,
    _ours("Callboard", "uvloop", "3.13"),
    _with_coroutine("Callboard, coroutines", "3.13"),
    _ours("Callboard, credit 256", "uvloop", "3.13", credit=256),
    _ours("Callboard, asyncio", "asyncio", "3.13"),
    Contestant("plain handler, asyncio", "plain", "asyncio"),
    _ours("Callboard, 3.11", "uvloop", "3.11"),
    _with_coroutine("Callboard, 3.11, coroutines", "3.11"),
    Contestant("plain handler, 3.11", "plain", "uvloop", "3.11"),
    _ours("Callboard, 3.11, asyncio", "asyncio", "3.11"),
    Contestant("no WebSocket, frames counted", "raw", streams=False),
    Contestant("picows", "picows_server"),
    Contestant("websockets", "websockets_server"),
    Contestant("FastAPI + uvicorn", "fastapi_server", every=2),
    Contestant("grpc.aio", "grpc_server", every=2),
)

OURS: Final = next(contestant for contestant in CONTESTANTS if contestant.ours)
"""The main line of this project."""
