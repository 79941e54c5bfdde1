"""Read JSON fields that may be missing or of an unexpected type; such fields read as empty."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, TypeGuard, cast

from callboard_service.backends.foreign import clean

Table: TypeAlias = Mapping[str, object]

_LONGEST_NAME: Final = 256
_EMPTY: Final[Table] = {}


def table(data: Table, key: str) -> Table:
    """Return the object under a key."""
    return as_table(data.get(key))


def as_table(value: object) -> Table:
    """Return the value if it is an object, otherwise an empty object."""
    return cast("Table", value) if isinstance(value, dict) else _EMPTY


def tables(data: Table, key: str) -> list[Table]:
    """Return the objects in the list under a key."""
    return as_tables(data.get(key))


def as_tables(value: object) -> list[Table]:
    """Return the objects in the list `value`."""
    return [as_table(item) for item in value if isinstance(item, dict)] if _listed(value) else []


def text(data: Table, key: str) -> str:
    """Return the string under a key, made valid for the contract."""
    return clean(raw_text(data, key))


def raw_text(data: Table, key: str) -> str:
    """Return the string under a key unchanged: a piece may end within a surrogate pair."""
    value = data.get(key)
    return value if isinstance(value, str) else ""


def name(data: Table, key: str) -> str:
    """Return the id under a key; empty if it is too long to be remembered."""
    value = text(data, key)
    return value if len(value) <= _LONGEST_NAME else ""


def texts(value: object) -> list[str]:
    """Return the strings in the list `value`, made valid for the contract."""
    return [clean(item) for item in value if isinstance(item, str)] if _listed(value) else []


def number(data: Table, key: str) -> int:
    """Return the number under a key as an integer; 0 unless it is from 0 to 2**63 - 1."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 0 <= value < 2**63 else 0


def amount(data: Table, key: str) -> float:
    """Return the number under a key; 0 unless it is finite and not negative."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if 0 <= value < 2**63 else 0.0


def items(data: Table, key: str) -> Sequence[object]:
    """Return the list under a key, with items of any type."""
    value = data.get(key)
    return value if _listed(value) else ()


def _listed(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)
