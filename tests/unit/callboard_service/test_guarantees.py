"""The tests that docs/guarantees.md names for the service exist; those with mutants can fail."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tools.mutants import ROOT, Mutant, read_service_mutants

PAGE = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
CONVERSATIONS = PAGE.partition("\n## Conversations\n")[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py::\w+)`")


def rows_of(section: str) -> list[str]:
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    assert rows[0] == "| guarantee | verified by |"
    return rows[1:]


@cache
def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_each_named_test_exists() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) > 100
    split = (test.split("::") for test in named)
    assert [test for file, test in split if test not in functions_of(ROOT / file)] == []


def test_each_test_with_a_change_is_named() -> None:
    named = set(NAMED.findall(PAGE))
    assert {mutant.test for mutant in read_service_mutants()} - named == set()


def test_each_row_about_conversations_has_a_change() -> None:
    changed = {mutant.test for mutant in read_service_mutants()}
    rows = rows_of(CONVERSATIONS)
    assert len(rows) > 20
    assert [row for row in rows if changed.isdisjoint(NAMED.findall(row))] == []


@pytest.mark.parametrize("mutant", read_service_mutants(), ids=lambda mutant: mutant.test)
def test_each_change_can_be_made(mutant: Mutant) -> None:
    text = (ROOT / "src" / mutant.file).read_text("utf-8")
    assert text.count(mutant.old) == 1
    assert mutant.new != mutant.old
    ast.parse(text.replace(mutant.old, mutant.new))
