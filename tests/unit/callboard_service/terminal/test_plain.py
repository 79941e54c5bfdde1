import json
from math import inf, nan

import pytest

from callboard.v1.chat_pb2 import HistoryEntry, ToolCallEvent
from callboard_service.terminal.plain import as_dict


@pytest.mark.parametrize(
    ("value", "shown"), [(nan, "NaN"), (inf, "Infinity"), (-inf, "-Infinity"), (1.5, 1.5)]
)
def test_numbers_that_json_does_not_have_are_named(value: float, shown: object) -> None:
    call = ToolCallEvent(call_id="1")
    call.arguments.update({"deep": [{"value": value}], "beside": "text"})
    entry = as_dict(HistoryEntry(tool_call=call))
    assert json.loads(json.dumps(entry))["tool_call"]["arguments"] == {
        "deep": [{"value": shown}], "beside": "text",
    }  # fmt: skip


def test_times_that_json_does_not_have_are_left_out() -> None:
    entry = HistoryEntry(user_text="hello")
    entry.at.seconds = 10**12
    assert as_dict(entry) == {"user_text": "hello", "at": "1970-01-01T00:00:00Z"}
