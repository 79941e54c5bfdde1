"""Usage: the context of the newest message, and the cost of the conversation."""

from callboard.v1.chat_pb2 import UsageEvent
from callboard_service.backends.opencode.run import Baseline, Run
from callboard_service.backends.opencode.usage import Usage
from tests.unit.callboard_service.backends.opencode.recordings import conversations, recorded

MODEL = {"providerID": "p", "modelID": "m"}


def test_the_usage_of_a_recorded_reply_is_reported_once() -> None:
    """OpenCode updates the conversation after each step, and more often."""
    events = recorded("b_tool_write_read")
    run = Run(conversations(events)[0], Baseline())
    output = [said for event in events for said in run.feed(event)]
    assert [said.context_used for said in output if isinstance(said, UsageEvent)] == [18]


def test_only_what_is_new_is_reported() -> None:
    """The size of the context is that of the model; a summary is not part of the context."""
    usage = Usage({("p", "m"): 1000})
    assert usage.report({"cost": 0.5}) == []
    tokens = {"input": 1, "output": 2, "reasoning": 3, "cache": {"read": 4, "write": 5}}
    usage.note({**MODEL, "tokens": tokens})
    usage.note({**MODEL, "tokens": {"input": 999}, "summary": True})
    first = UsageEvent(context_used=15, context_size=1000, cost=0.5, currency="USD")
    assert usage.report({"cost": 0.5}) == [first]
    assert usage.report({"cost": 0.5}) == []
    usage.note({"tokens": {"input": 20}})
    assert usage.report({"cost": float("nan")}) == [UsageEvent(context_used=20)]
