"""Each test that docs/guarantees.md names exists, and has a mutant under which it must fail."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tools.mutants import ROOT, Mutant, path_of, read_mutants

PAGE = ROOT / "docs" / "guarantees.md"
NAMED = re.compile(r"`(test_\w+::test_\w+)`")


def named_tests() -> list[str]:
    return NAMED.findall(PAGE.read_text("utf-8"))


@cache
def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_each_named_test_exists() -> None:
    missing = [
        test
        for test in named_tests()
        for file, _, name in [test.partition("::")]
        if name not in functions_of(path_of(file))
    ]
    assert missing == []


def test_each_sentence_names_a_test() -> None:
    sentences = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("- ")]
    assert len(sentences) == len(named_tests()) > 50


def test_each_named_test_has_its_change() -> None:
    assert sorted(mutant.test for mutant in read_mutants()) == sorted(named_tests())


@pytest.mark.parametrize("mutant", read_mutants(), ids=lambda mutant: mutant.test)
def test_each_change_can_be_made(mutant: Mutant) -> None:
    text = (ROOT / "src" / mutant.file).read_text("utf-8")
    assert text.count(mutant.old) == 1
    assert mutant.new != mutant.old
    ast.parse(text.replace(mutant.old, mutant.new))
