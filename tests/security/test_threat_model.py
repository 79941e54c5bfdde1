"""Each test that the threat model or the guarantees name exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@cache
def names_in(path: Path) -> set[str]:
    found = ast.walk(ast.parse(path.read_text()))
    return {one.name for one in found if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("page", ["threat-model.md", "guarantees.md"])
def test_every_test_that_is_named_exists(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 25
    missing = [f"{file}::{test}" for file, test in named if test not in names_in(ROOT / file)]
    assert missing == []


def test_every_row_names_a_test() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    threats = [row for row in rows if not row.startswith("| how |")]
    assert len(threats) > 25
    assert [row for row in threats if "::" not in row] == []


def test_every_attack_is_in_the_model() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text()
    files = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    assert {name for name in files if name not in text} == {Path(__file__).name}
