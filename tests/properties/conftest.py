from tests.support.actor_fixtures import (
    actor_events,
    actor_system,
    bound,
    ctrl_c_is_handled,
    ctrl_c_raises,
    fresh_counters,
    leak_check,
    manual_clock,
    pytest_runtest_setup,
    service,
)

__all__ = [
    "actor_events",
    "actor_system",
    "bound",
    "ctrl_c_is_handled",
    "ctrl_c_raises",
    "fresh_counters",
    "leak_check",
    "manual_clock",
    "pytest_runtest_setup",
    "service",
]
