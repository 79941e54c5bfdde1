"""The fields of a form that an agent shows to a person: what may be answered to each. No I/O.

The form is a restricted JSON Schema: an object of strings, numbers, booleans, and choices.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from callboard_service.backends.bounds import MAX_OPTIONS
from callboard_service.backends.fields import Table, as_table, as_tables, items, table, text
from callboard_service.backends.foreign import clean

Value: TypeAlias = str | int | float | bool | list[str]
Kind: TypeAlias = Literal["string", "number", "integer", "boolean", "array"]

MAX_FIELDS: Final = 50
MAX_DIGITS: Final = 100
"""Characters of a number."""

MAX_TEXT: Final = 16 * 1024
"""Characters of a text."""

LEAVE_OUT: Final = "Leave empty"
"""The option that leaves a choice out that is not required."""

NOTHING: Final = "-"
"""The text that leaves a field out, or stands for its default, in place of free text."""

_YES_NO: Final[Mapping[str, Value]] = {"Yes": True, "No": False}


class Unfit(Exception):
    """An answer does not fit its field; the text is for a person."""


@dataclass(frozen=True, slots=True)
class FormField:
    """A field.

    key: its name in the form. heading: for a person. hints: likewise, a line each. choices: values
    by what a person chooses; empty: free text. default: None: it has none. low, high: bounds of a
    number, of the length of a text, or of the number of choices.
    """

    key: str
    kind: Kind
    heading: str
    required: bool
    hints: Sequence[str] = ()
    choices: Mapping[str, Value] = field(default_factory=dict)
    default: Value | None = None
    low: float = -math.inf
    high: float = math.inf

    @property
    def options(self) -> list[str]:
        """What a person may choose from; empty: free text."""
        if not self.choices:
            return []
        return [*self.choices, *([] if self.required else [LEAVE_OUT])]

    def detail(self) -> str:
        """Return what a person should know before answering."""
        lines = [self.heading, *self.hints]
        if self.default is not None:
            lines.append(f"Default: {self.show(self.default)}")
        if not self.choices and self.default is not None:
            lines.append(f"Answer {NOTHING} for the default.")
        elif not self.choices and not self.required:
            lines.append(f"Not required: answer {NOTHING} to leave it empty.")
        return "\n".join(filter(None, lines))

    def read(self, answers: Sequence[str]) -> Value | None:
        """Return the value of an answer; None: the field is left out. Raises Unfit."""
        if self.choices:
            return self._chosen(answers)
        said = answers[0].strip()
        if said == NOTHING and (self.default is not None or not self.required):
            return self.default
        if self.kind == "string":
            self._check(len(answers[0]), "characters")
            return answers[0]
        return self._number(said)

    def show(self, value: Value) -> str:
        """Return a value for a person."""
        values = value if isinstance(value, list) else [value]
        labels = {repr(one): label for label, one in self.choices.items()}
        return ", ".join(labels.get(repr(one), clean(str(one))) for one in values)

    def _chosen(self, answers: Sequence[str]) -> Value | None:
        if list(answers) == [LEAVE_OUT] and not self.required:
            return None
        chosen = [self.choices.get(answer) for answer in answers]
        if None in chosen:
            raise Unfit("That is not one of the choices.")
        if self.kind != "array":
            return chosen[0]
        self._check(len(chosen), "choices")
        return [str(one) for one in chosen]

    def _number(self, said: str) -> Value:
        whole = self.kind == "integer"
        try:
            number = int(said[:MAX_DIGITS]) if whole else float(said[:MAX_DIGITS])
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise Unfit("That is not a whole number." if whole else "That is not a number.")
        self._check(number, "")
        return number

    def _check(self, number: float, what: str) -> None:
        """Raise Unfit if a number is out of bounds."""
        unit = f" {what}" if what else ""
        if number < self.low:
            raise Unfit(f"The least is {self.low:g}{unit}.")
        if number > self.high:
            raise Unfit(f"The most is {self.high:g}{unit}.")


def fields_of(schema: Table) -> list[FormField] | None:
    """Return the fields of a form; None if a field cannot be shown, or if there are too many."""
    properties = table(schema, "properties")
    required = items(schema, "required")
    if len(properties) > MAX_FIELDS:
        return None
    fields: list[FormField] = []
    for key, described in properties.items():
        made = _field(key, as_table(described), required=key in required)
        if made is None:
            return None
        fields.append(made)
    labels = sum(len(label) for one in fields for label in one.choices)
    return fields if labels <= MAX_OPTIONS else None


def _field(key: str, described: Table, *, required: bool) -> FormField | None:
    kind = described.get("type")
    listed = table(described, "items") if kind == "array" else described
    bounds: tuple[str, str]
    choices: Mapping[str, Value]
    match kind:
        case "string":
            bounds, choices = ("minLength", "maxLength"), _labelled(listed)
        case "number" | "integer":
            bounds, choices = ("minimum", "maximum"), {}
        case "boolean":
            bounds, choices = ("", ""), _YES_NO
        case "array" if choices := _labelled(listed):
            bounds = ("minItems", "maxItems")
        case _:
            return None
    hints = [text(described, "description")]
    hints += [f"Format: {said}" for name in ("format", "pattern") if (said := text(listed, name))]
    default = described.get("default")
    return FormField(
        key, kind, text(described, "title") or clean(key), required, hints, choices,
        default if isinstance(default, _PLAIN) and type(default) in _TYPES[kind] else None,
        _bound(described, bounds[0], -math.inf),
        min(_bound(described, bounds[1], math.inf), MAX_TEXT if kind == "string" else math.inf),
    )  # fmt: skip


_PLAIN: Final = (str, int, float, bool)
_TYPES: Final[Mapping[Kind, tuple[type[str | int | float | bool], ...]]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "array": (),
}
"""What a default may be; that of several choices is not shown."""


def _labelled(listed: Table) -> dict[str, Value]:
    """Return the values of choices by what a person chooses, which is unique."""
    titled = as_tables(listed.get("oneOf")) or as_tables(listed.get("anyOf"))
    pairs = [(one.get("const"), text(one, "title")) for one in titled]
    if not pairs:
        names = [clean(str(one)) for one in items(listed, "enumNames")]
        values = items(listed, "enum")
        names += [""] * (len(values) - len(names))
        pairs = list(zip(values, names[: len(values)], strict=True))
    choices: dict[str, Value] = {}
    for value, title in pairs:
        if isinstance(value, str):
            label = title.strip() or clean(value)
            label = f"{label} ({clean(value)})" if label in (*choices, LEAVE_OUT, "") else label
            choices[label] = value
    return choices


def _bound(described: Table, key: str, otherwise: float) -> float:
    value = described.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return otherwise
    return max(min(float(value), 1e300), -1e300) if abs(value) < 2**1000 else otherwise
