import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from callboard.v1.chat_pb2 import History, HistoryEntry, ToolCallEvent
from callboard_service.backends.foreign import RAW, as_struct, clean


def test_an_object_is_kept_and_no_text_is_an_empty_one() -> None:
    struct = as_struct('{"a": [1, 2.5, "x", null, true, {"b": {}}]}')
    assert MessageToDict(struct) == {"a": [1.0, 2.5, "x", None, True, {"b": {}}]}
    assert as_struct("") == as_struct(" {} ") == Struct()


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1',
        "[1]",
        "null",
        "plain words",
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": 1' + "0" * 400 + "}",
        '{"a": "\\ud800"}',
        '{"\\udc00": 1}',
        '{"a": ' * 25 + "1" + "}" * 25,
        "[" * 100_000,
    ],
)
def test_what_is_no_object_of_the_contract_is_shown_as_it_is(text: str) -> None:
    assert MessageToDict(as_struct(text)) == {RAW: text}


def test_the_deepest_arguments_are_read_by_the_strictest_reader() -> None:
    text = '{"a": ' * 24 + "1" + "}" * 24
    struct = as_struct(text)
    assert RAW not in struct.fields
    call = HistoryEntry(tool_call=ToolCallEvent(arguments=struct))
    wire = History(entries=[call]).SerializeToString()
    assert History.FromString(wire).entries[0].tool_call.arguments == struct


def test_lone_surrogates_are_replaced() -> None:
    assert clean("a\ud83db") == "a�b"
    assert clean("a😀b") == "a😀b"
