"""How other programs are started: nothing of the working folder is found, or imported, by them.

That folder may be a clone of somebody else's repository (ADR 0033).
"""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import callboard_service

_ROOT: Final = Path(callboard_service.__file__).parents[1]
"""The folder from which this package was imported."""


def python_module(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of ours with this Python.

    It is found as this process finds it: in the same environment, installed for a user or editable.
    The working folder is not on its path.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def python_script(path: str, *arguments: str) -> list[str]:
    """Return the command that runs a script that needs the standard library alone.

    Neither the script's folder, nor the working folder, nor a variable adds anything to its path.
    """
    return [sys.executable, "-I", "-S", path, *arguments]


def own_environment() -> dict[str, str]:
    """Return our environment without our settings, the token among them.

    In any case of letters, since settings are read that way.
    """
    return {
        key: value for key, value in os.environ.items() if not key.upper().startswith("CALLBOARD_")
    }


def python_environment() -> dict[str, str]:
    """Return the environment for a Python process of ours that works in another folder.

    Its own children leave the working folder out as well. Relative entries of PYTHONPATH are left
    out (an empty one is the working folder), except the one that this package comes from.
    """
    kept = own_environment() | {"PYTHONSAFEPATH": "1"}
    entries = kept.pop("PYTHONPATH", "").split(os.pathsep)
    absolute = [os.path.abspath(entry) for entry in entries if _is_ours(entry)]
    return kept | ({"PYTHONPATH": os.pathsep.join(absolute)} if absolute else {})


def _is_ours(entry: str) -> bool:
    if not entry:
        return False
    return os.path.isabs(entry) or Path(os.path.abspath(entry)) == _ROOT


def leave_working_folder_out() -> None:
    """Take the working folder off our own path if a relative entry of PYTHONPATH put it there.

    What was imported before stays: Python itself reads the variable before any code of ours runs.
    But nothing is imported from there later, and no package there counts as installed.
    """
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    try:
        here = os.getcwd()
    except OSError:
        return
    relative = any(os.path.abspath(entry) == here for entry in entries if not os.path.isabs(entry))
    absolute = {os.path.abspath(entry) for entry in entries if os.path.isabs(entry)}
    if os.environ.get("PYTHONPATH") and relative and here not in {*absolute, str(_ROOT)}:
        sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]


def find_program(name: str, environment: Mapping[str, str] | None = None) -> str | None:
    """Return the absolute path of a program; None if there is none.

    A bare name is looked for in the absolute folders of PATH alone: an empty entry is the working
    folder, which Windows searches without being asked. A path is taken as it is.
    """
    variables = os.environ if environment is None else environment
    if os.path.dirname(name):
        found = shutil.which(name)
        return None if found is None else os.path.abspath(found)
    for folder in variables.get("PATH", os.defpath).split(os.pathsep):
        for candidate in _file_names(name, variables):
            path = os.path.join(folder, candidate)
            if os.path.isabs(folder) and shutil.which(path) is not None:
                return path
    return None


def _file_names(name: str, environment: Mapping[str, str]) -> Sequence[str]:
    """Return the names under which a program may be in a folder."""
    if sys.platform == "win32":
        endings = environment.get("PATHEXT", ".COM;.EXE;.BAT;.CMD").split(os.pathsep)
        if not any(name.lower().endswith(ending.lower()) for ending in endings):
            return [name + ending for ending in endings]
    return [name]
