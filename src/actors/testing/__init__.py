"""Test support for actors: a manual clock, random orders, a leak check and a probe.

Extensions can use it too. In a `conftest.py`, with pytest-asyncio in its auto mode:

    from actors.testing import actor_events, actor_system, leak_check, manual_clock

    __all__ = ["actor_events", "actor_system", "leak_check", "manual_clock"]

and then a test, in which an hour takes no real time:

    async def test_it(actor_system: ActorSystem, manual_clock: ManualClock) -> None:
        ref = actor_system.spawn(Mine)
        await manual_clock.advance(3600)
"""

from actors.testing.calls import Answers, Calls, LogLines, serving
from actors.testing.interleavings import interleaved
from actors.testing.kit import (
    LeakCheck,
    ManualClock,
    ManualTimer,
    Probe,
    actor_events,
    actor_system,
    leak_check,
    manual_clock,
    running_system,
    settle,
)

__all__ = [
    "Answers",
    "Calls",
    "LeakCheck",
    "LogLines",
    "ManualClock",
    "ManualTimer",
    "Probe",
    "actor_events",
    "actor_system",
    "interleaved",
    "leak_check",
    "manual_clock",
    "running_system",
    "serving",
    "settle",
]
