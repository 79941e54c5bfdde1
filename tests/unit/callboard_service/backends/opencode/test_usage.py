"""Usage: the context of the newest message, and the cost of the conversation."""

from typing import Any

from callboard.v1.chat_pb2 import UsageEvent
from callboard_service.backends.opencode.messages import Baseline
from callboard_service.backends.opencode.run import Run
from callboard_service.backends.opencode.usage import Usage, cost_before
from tests.unit.callboard_service.backends.opencode.events import BEGUN, SESSION, model
from tests.unit.callboard_service.backends.opencode.recordings import conversations, recorded

MODEL = {"providerID": "p", "modelID": "m"}


def test_the_usage_of_a_recorded_reply_is_reported_once() -> None:
    """OpenCode reports each step more than once."""
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
    (last,) = usage.report({"cost": float("nan")})
    assert (last.context_used, last.context_size, last.cost) == (20, 0, 0.5)


def test_steps_cost_before_the_server_has_counted_them() -> None:
    """Its own count comes later, and may include more."""
    usage = Usage({}, cost=1.0)
    tokens = {"input": 1}
    for step, cost in (("a", 0.25), ("a", 0.5), ("b", 0.25)):
        usage.note({"id": step, "tokens": tokens, "cost": cost})
    assert [event.cost for event in usage.report({})] == [1.75]
    assert [event.cost for event in usage.report({"cost": 2.0})] == [2.0]
    assert usage.report({"cost": 1.75}) == []


def test_the_usage_is_reported_when_a_step_is_complete() -> None:
    """Whether or not OpenCode tells that the conversation has changed."""
    run = Run(SESSION, Baseline())
    for event in BEGUN:
        assert run.feed(event) == []
    done = model(completed=True, tokens={"input": 3}, cost=0.5)
    assert run.feed(done) == [UsageEvent(context_used=3, cost=0.5, currency="USD")]
    assert run.feed(done) == []


def test_the_cost_before_a_reply_that_has_begun_leaves_out_its_steps() -> None:
    steps: list[dict[str, Any]] = [{"info": {"cost": 0.25}}, {"info": {}}, {"info": {"cost": 0.5}}]
    assert cost_before({"cost": 2.0}, steps) == 1.25
    assert cost_before({"cost": 2.0}, []) == 2.0
    assert cost_before({}, steps) == 0.0
