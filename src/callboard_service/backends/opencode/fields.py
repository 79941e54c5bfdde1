"""Fields of JSON that may be missing or of another type than expected: then they are empty."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, TypeGuard, cast

from callboard_service.backends.foreign import clean

Table: TypeAlias = Mapping[str, object]

_LONGEST_NAME: Final = 256
_EMPTY: Final[Table] = {}


def table(data: Table, key: str) -> Table:
    """An object."""
    return as_table(data.get(key))


def as_table(value: object) -> Table:
    """The object that it is, or an empty one."""
    return cast(Table, value) if isinstance(value, dict) else _EMPTY


def tables(data: Table, key: str) -> list[Table]:
    """The objects of a list."""
    return as_tables(data.get(key))


def as_tables(value: object) -> list[Table]:
    """The objects of the list that it is."""
    return [as_table(item) for item in value if isinstance(item, dict)] if _listed(value) else []


def text(data: Table, key: str) -> str:
    """A string, fit for the contract."""
    return clean(raw_text(data, key))


def raw_text(data: Table, key: str) -> str:
    """A string as it came: a piece of a text may end in half a character."""
    value = data.get(key)
    return value if isinstance(value, str) else ""


def name(data: Table, key: str) -> str:
    """An id; empty if it is longer than any that is worth remembering."""
    value = text(data, key)
    return value if len(value) <= _LONGEST_NAME else ""


def texts(value: object) -> list[str]:
    """The strings of the list that it is."""
    return [clean(item) for item in value if isinstance(item, str)] if _listed(value) else []


def number(data: Table, key: str) -> int:
    """A whole number that is not negative."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 0 <= value < 2**63 else 0


def items(data: Table, key: str) -> Sequence[object]:
    """A list, of whatever."""
    value = data.get(key)
    return value if _listed(value) else ()


def _listed(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)
