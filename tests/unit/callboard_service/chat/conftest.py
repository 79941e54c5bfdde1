"""The test kit of the actors."""

from actors.testing import actor_events, actor_system, leak_check, manual_clock

__all__ = ["actor_events", "actor_system", "leak_check", "manual_clock"]
