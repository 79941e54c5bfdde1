import ast
import re
import tomllib
from pathlib import Path
from typing import Literal, assert_type

import pytest

from callboard.v1 import chat_pb2, envelope_pb2, session_pb2

ROOT = Path(__file__).parents[1]
GENERATED = sorted((ROOT / "src/callboard").rglob("*_pb2.py"))


def required_runtime(module: Path) -> tuple[int, int, int]:
    """Return the oldest protobuf runtime with which the module can be imported."""
    for node in ast.walk(ast.parse(module.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "ValidateProtobufRuntimeVersion"
        ):
            major, minor, patch = (ast.literal_eval(argument) for argument in node.args[1:4])
            return major, minor, patch
    raise AssertionError(f"{module.name} does not check its runtime")


def declared_floor() -> tuple[int, int, int]:
    """Return the oldest protobuf that pyproject.toml allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        if found := re.match(r"protobuf>=(\d+)\.(\d+)\.(\d+),", requirement):
            return int(found[1]), int(found[2]), int(found[3])
    raise AssertionError("protobuf has no floor in pyproject.toml")


def test_every_proto_has_its_module() -> None:
    protos = {path.relative_to(ROOT / "proto") for path in (ROOT / "proto").rglob("*.proto")}
    modules = (path.relative_to(ROOT / "src") for path in GENERATED)
    made = {path.with_name(f"{path.stem.removesuffix('_pb2')}.proto") for path in modules}
    assert protos == made != set()


@pytest.mark.parametrize("module", GENERATED, ids=lambda path: path.stem)
def test_generated_code_demands_the_declared_floor(module: Path) -> None:
    assert required_runtime(module) == declared_floor()


def test_floor_has_a_lock_of_its_own() -> None:
    floor = ".".join(map(str, declared_floor()))
    lock = (ROOT / "requirements-floor.lock").read_text()
    assert lock.startswith(f"protobuf=={floor} ")


def test_messages_survive_the_wire() -> None:
    message = envelope_pb2.ClientMessage(
        request_id=7, send_message=chat_pb2.SendMessageRequest(session_id="s", text="a word")
    )
    assert envelope_pb2.ClientMessage.FromString(message.SerializeToString()) == message
    assert session_pb2.Hello.FromString(b"") == session_pb2.Hello()


def test_an_arm_is_a_literal_for_the_type_checker() -> None:
    arm = chat_pb2.HistoryEntry(user_text="a word").WhichOneof("entry")
    assert_type(
        arm,
        Literal[
            "user_text", "assistant_text", "tool_call", "tool_result", "error",
            "reasoning_text", "ask", "ask_closed",
        ]
        | None,
    )  # fmt: skip
    assert arm == "user_text"
