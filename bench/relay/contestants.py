"""The relays that are compared."""

from dataclasses import dataclass
from typing import Final

from bench.relay.workloads import FULL, SHORT, SPREAD

OPENCODE: Final = "opencode"
"""The backend whose scripted server is not the model server."""

LITELLM: Final = "litellm"
"""The name under which the interpreter with litellm is given."""


@dataclass(frozen=True, slots=True)
class Relay:
    """A server in one configuration.

    python: the name of its interpreter. base: the plain relay that its figures are divided by, on
    the same Python. kept: how a plain relay stores what is said; empty: not at all. credit: how
    many answers a reply may be ahead; 0: no limit. followed: another connection follows each
    conversation. workloads: the names of those that it takes part in. every: it takes part in every
    n-th round. variant: it is shown in the table of variants. backend: ours.
    """

    name: str
    module: str
    base: str
    python: str = "3.13"
    loop: str = "uvloop"
    kept: str = ""
    credit: int = 0
    followed: bool = False
    workloads: tuple[str, ...] = tuple(workload.name for workload in FULL)
    every: int = 1
    variant: bool = False
    backend: str = "openai"

    @property
    def ours(self) -> bool:
        """Whether it is Callboard, so that the client acknowledges its answers."""
        return self.module == "callboard"

    @property
    def http(self) -> bool:
        """Whether it is asked over HTTP, not over a WebSocket."""
        return self.module == "litellm_proxy"

    @property
    def arguments(self) -> list[str]:
        """The arguments for its interpreter."""
        if self.ours:
            run = "from callboard_service.cli import main; main()"
            choices = ["--backend", self.backend, "--loop", self.loop]
            return ["-c", run, "serve", *choices, "--ready-json"]
        kept = [self.kept] if self.kept else []
        return ["-m", f"bench.servers.{self.module}", self.loop, *kept]

    @property
    def key(self) -> tuple[str, ...]:
        """The identity of its process: contestants with the same key share one."""
        return (self.module, self.loop, self.python, self.kept, self.backend)


def environment(model_server: str, opencode: str) -> dict[str, str]:
    """Return the variables that name the scripted servers, by their URLs."""
    return {
        "BENCH_MODEL_SERVER": f"{model_server}/v1",
        "CALLBOARD_OPENCODE_URL": opencode,
        "CALLBOARD_OPENAI_BASE_URL": f"{model_server}/v1",
        "CALLBOARD_OPENAI_MODEL": "m",
    }


PLAIN: Final = "plain relay"
CALLBOARD: Final = "Callboard"
STORED: Final = "plain relay that stores"


def on(name: str, python: str, loop: str = "uvloop") -> str:
    """Return the name of a contestant on this Python and event loop."""
    named = name if loop == "uvloop" else f"{name}, {loop}"
    return named if python == "3.13" else f"{named}, {python}"


def _of(python: str, loop: str = "uvloop") -> list[Relay]:
    plain, ours, stored = (on(name, python, loop) for name in (PLAIN, CALLBOARD, STORED))
    short = (SHORT.name,)
    return [
        Relay(plain, "plain_relay", plain, python, loop),
        Relay(ours, "callboard", plain, python, loop),
        Relay(stored, "plain_relay", plain, python, loop, kept="stored", workloads=short),
    ]


def _variant(
    name: str,
    *,
    credit: int = 0,
    followed: bool = False,
    backend: str = "openai",
) -> Relay:
    return Relay(
        f"{CALLBOARD}, {name}",
        "callboard",
        PLAIN,
        credit=credit,
        followed=followed,
        workloads=(SPREAD.name,),
        variant=True,
        backend=backend,
    )


RELAYS: Final = (
    *_of("3.13"),
    Relay(f"{STORED}, in a thread", "plain_relay", PLAIN, kept="threaded", workloads=(SHORT.name,)),
    *_of("3.11"),
    *_of("3.13", "asyncio"),
    *_of("3.11", "asyncio"),
    _variant("one follower", followed=True),
    _variant("credit 64", credit=64),
    _variant("OpenCode", backend=OPENCODE),
    Relay("litellm's proxy", "litellm_proxy", PLAIN, LITELLM, every=2),
)


@dataclass(frozen=True, slots=True)
class ScriptedServer:
    """A scripted server that the relays ask: `model_server` or `opencode_server`."""

    module: str

    @property
    def arguments(self) -> list[str]:
        """The arguments for its interpreter."""
        return ["-m", f"bench.servers.{self.module}", "uvloop"]
