"""No page of the documentation shows code that no test runs."""

import re
from pathlib import Path

import pytest

from tests.extend.pages import SERVES, Block, blocks, even, matches
from tests.extend.runners import NOT_RUN, READ_ELSEWHERE, is_listed, pages, runner_of
from tests.extend.wheel import ROOT


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_shows_code_that_nothing_runs(page: Path) -> None:
    for block in blocks(page):
        held = is_listed(block) or block.language in READ_ELSEWHERE
        assert held or runner_of(page, block), block.text
    # An indented command is not in a fenced block, so no test would run it.
    indented = re.compile(
        r"^(?: {4}|\t)(?:\$ |make |callboard [a-z]|python|pip |\. |\.venv|[A-Z_]+=)", re.MULTILINE
    )
    assert not indented.search(page.read_text(encoding="utf-8"))


def test_what_is_not_run_is_still_there() -> None:
    listed = [block for page in pages() for block in blocks(page) if is_listed(block)]
    assert len(listed) == len(NOT_RUN)


def test_the_shown_output_is_compared() -> None:
    assert matches("a\n...\nc\n", "a\nb\nc")
    assert not matches("a\n...\nc\n", "a\nb\nd")
    assert list(Block("console", "", "$ x\n1\n$ y\n").commands()) == [("x", "1\n"), ("y", "")]
    assert list(Block("sh", "", "x\ny\n").commands()) == [("x", "..."), ("y", "...")]
    assert SERVES.search("A=1 make serve")
    assert even("2026-11-22T22:30:01Z [info ] ready    pid=4") == even(
        "2026-01-01T00:00:00.123456Z [info ] ready pid=17"
    )
