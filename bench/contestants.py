"""Who is measured."""

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server in one configuration.

    ours: it has sessions, so it is acknowledged to. credit: answers that a stream may be ahead; 0:
    as many as it likes. every: it takes part in each so-manieth round. streams: it has some, of its
    own. actors: MODULE or MODULE:FUNCTION with the actor types of one of ours.
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
        """What its interpreter is given."""
        if self.ours:  # the command that users run, with an actor type of the benchmark's own
            run = "from callboard_service.cli import main; main()"
            actors = ["--backend", "echo", "--actors", self.actors]
            return ["-c", run, "serve", *actors, "--loop", self.loop, "--ready-json"]
        return ["-m", f"bench.servers.{self.module}", self.loop]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Contestants with the same key are served by the same process."""
        return (self.module, self.loop, self.python, self.actors)


def _ours(name: str, loop: str, python: str, credit: int = 0) -> Contestant:
    return Contestant(name, "callboard", loop, python, ours=True, credit=credit)


def _with_coroutine(name: str, python: str) -> Contestant:
    """With a coroutine function for the handler of the unary request; all else is the same."""
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
