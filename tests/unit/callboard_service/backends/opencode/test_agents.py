"""The tool calls of agents that a reply starts are the reply's."""

from typing import Any

import pytest

from callboard.v1.chat_pb2 import AskEvent, ToolCallEvent, ToolResultEvent
from callboard_service.backends.opencode.hub import Hub
from callboard_service.backends.opencode.messages import Baseline, State
from callboard_service.backends.opencode.run import Run
from tests.unit.callboard_service.backends.opencode.events import (
    BEGUN,
    SESSION,
    Event,
    event,
    tool,
    user,
)

CHILD = "ses_child"


@pytest.fixture
def run() -> Run:
    run = Run(SESSION, Baseline())
    for each in BEGUN:
        run.feed(each)
    return run


def of_child(inner: Event) -> Event:
    """Return an event, as one of the agent's conversation."""
    properties = {**inner["properties"], "sessionID": CHILD}
    if "part" in properties:
        properties["part"] = {**properties["part"], "messageID": "msg_child"}
    return {**inner, "properties": properties}


def started(child: str = CHILD) -> Event:
    return event("session.created", info={"parentID": SESSION}) | {
        "properties": {"sessionID": child, "info": {"parentID": SESSION}}
    }


def called(child: str = CHILD) -> Event:
    """Return the event of the call that starts an agent."""
    return tool("task", "task", "running", metadata={"sessionId": child})


def names(events: list[Any]) -> list[str]:
    return [e.name if isinstance(e, ToolCallEvent) else type(e).__name__ for e in events]


def test_an_agent_s_calls_and_asks_belong_together(run: Run) -> None:
    """Its ask names its call."""
    events = run.feed(started()) + run.feed(called())
    events += run.feed(of_child(tool("p", "bash", "running", input={"command": "ls"})))
    asked = event("permission.asked", id="per_1", permission="bash")
    asked["properties"]["tool"] = {"messageID": "msg_child", "callID": "call_p"}
    events += run.feed(of_child(asked))
    events += run.feed(of_child(tool("p", "bash", "completed", output="done")))
    assert names(events) == ["task", "bash", "AskEvent", "ToolResultEvent"]
    (ask,) = (e for e in events if isinstance(e, AskEvent))
    (result,) = (e for e in events if isinstance(e, ToolResultEvent))
    assert ask.call_id == result.call_id == "call_p"


def test_an_agent_s_plan_and_text_are_not_the_reply_s(run: Run) -> None:
    """Its answer is the result of the call that has started it."""
    run.feed(called())
    done = tool("p", "todowrite", "completed", input={"todos": [{"content": "x"}]})
    assert names(run.feed(of_child(done))) == ["todowrite", "ToolResultEvent"]
    text = event("message.part.updated", part={"id": "t", "type": "text", "text": "said"})
    assert run.feed(of_child(text)) == []


def test_an_agent_of_another_conversation_is_ignored(run: Run) -> None:
    assert run.feed(of_child(tool("p", "bash", "running"))) == []


def test_calls_that_were_missed_are_found_in_the_agent_s_messages(run: Run) -> None:
    """Those of an earlier reply, which the agent may have worked for too, are not the reply's."""
    run.lose()
    now = {"time": {"start": user()["properties"]["info"]["time"]["created"]}}
    parts = [
        tool("old", "glob", "completed", time={"start": 1})["properties"]["part"],
        tool("new", "bash", "completed", output="x", **now)["properties"]["part"],
    ]
    message = {"info": {"id": "msg_child", "role": "assistant"}, "parts": parts}
    mine = {**BEGUN[-1]["properties"], "parts": [called()["properties"]["part"]]}
    busy = {"type": "busy"}
    assert names(run.resync(State([mine], busy))) == ["task"]
    assert run.agents == [CHILD]
    assert names(run.resync(State([mine], busy, of_agents=[message]))) == [
        "bash",
        "ToolResultEvent",
    ]
    assert run.resync(State([mine], busy, of_agents=[message])) == []
    assert not run.missed


def test_only_calls_of_agents_wait_for_a_reply() -> None:
    """Their texts are many, and nobody sees them."""
    hub = Hub(lambda name: None)
    with hub.listening(SESSION, [CHILD]) as inbox:
        for inner in (tool("p", "bash", "running"), event("message.part.updated", part={})):
            hub.route(of_child(inner), 1)
        hub.route(of_child(event("message.part.delta", delta="x")), 1)
        assert [item for item, _ in inbox._items] == [of_child(tool("p", "bash", "running"))]
