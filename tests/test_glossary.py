"""The glossary names code that exists."""

import re
from importlib import import_module
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "glossary.md"
NAMED = sorted(
    set(
        re.findall(
            r"`((?:actors|transport|callboard|callboard_service)\.[\w.]+)`", PAGE.read_text()
        )
    )
)


def test_the_glossary_names_code() -> None:
    assert len(NAMED) > 30


@pytest.mark.parametrize("name", NAMED)
def test_what_the_glossary_names_exists(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    if attribute[0].isupper():
        assert hasattr(import_module(module), attribute)
    else:
        import_module(name)
