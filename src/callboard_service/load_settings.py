"""Loads the settings and turns pydantic's errors into messages for a person."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from callboard_service.errors import BadSettings
from callboard_service.setting_files import FILE, user_file
from callboard_service.settings import PREFIX, Settings


def nearest(name: str) -> str | None:
    """Return the setting with the most similar name, or None."""
    return next(iter(get_close_matches(name, Settings.model_fields, 1)), None)


def unknown_variables(environment: Mapping[str, str]) -> list[tuple[str, str | None]]:
    """Return the unknown variables with our prefix, each with the nearest known one or None."""
    names = sorted(key for key in environment if key.upper().startswith(PREFIX))
    asked = [(key, key.upper().removeprefix(PREFIX).lower()) for key in names]
    unknown = [(key, nearest(name)) for key, name in asked if name not in Settings.model_fields]
    return [(key, None if near is None else PREFIX + near.upper()) for key, near in unknown]


def load(flags: dict[str, object]) -> Settings:
    """Return the effective settings. Raises BadSettings, which names each invalid one."""
    try:
        _check_files()
        settings = Settings(**flags)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        raise BadSettings("; ".join(map(_line, error.errors()))) from None
    except (ValueError, OSError) as error:
        raise BadSettings(str(error)) from None
    except RuntimeError as error:  # the user has no home directory
        raise BadSettings(str(error)) from None
    _check_paths(settings)
    variables = {name.upper() for name, value in os.environ.items() if value}
    asked_for = "actors" in flags or f"{PREFIX}ACTORS" in variables
    settings.note_source_of_actors(asked_for=asked_for)
    return settings


def _check_files() -> None:
    """Raise BadSettings if a settings file is a directory, which would otherwise be ignored."""
    for file in (Path(FILE), user_file()):
        if file.is_dir():
            raise BadSettings(f"{file}: is a directory")


def _check_paths(settings: Settings) -> None:
    """Raise BadSettings for a path with a null character, which no system call accepts."""
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, Path) and "\0" in str(value):
            raise BadSettings(f"{name}: a path must not contain a null character")


def _line(problem: ErrorDetails) -> str:
    """Return a pydantic error in our words: `max_sesions: there is no such setting; ...`."""
    name = ".".join(map(str, problem["loc"]))
    reason = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        near = nearest(name)
        meant = f"; did you mean {near}?" if near else ""
        reason = f"there is no such setting{meant}"
    return f"{name}: {reason}" if name else reason
