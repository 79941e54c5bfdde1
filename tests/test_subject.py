import pytest

from tools.subject import MOST, fault_of


@pytest.mark.parametrize(
    "message", ["actors: keep one table", "store: open 2 files\n\nWhy: a body.\n", "a.b/c-d: do it"]
)
def test_these_subjects_are_right(message: str) -> None:
    assert fault_of(message) == ""


@pytest.mark.parametrize(
    "message", ["no area", "actors:no space", "actors: ends with a stop.", "", "\n\nactors: late"]
)
def test_these_subjects_are_wrong(message: str) -> None:
    assert "area: imperative" in fault_of(message)


def test_a_long_subject_is_counted() -> None:
    assert fault_of("a: " + "b" * (MOST - 3)) == ""
    assert "73 characters" in fault_of("a: " + "b" * (MOST - 2))
