"""Builds commands and environments for child processes that ignore the working folder.

No program is found in it and no module imported from it: it may be a clone of somebody else's
repository (ADR 0033).
"""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import callboard_service

_ROOT: Final = Path(callboard_service.__file__).parents[1]
"""The folder on the import path that contains this package."""


def python_module(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of ours with this Python.

    The module is found as in this process, also in a user or editable installation. The working
    folder is not on the child's path.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def python_script(path: str, *arguments: str) -> list[str]:
    """Return the command that runs a script that needs only the standard library.

    Its path contains neither the script's folder nor the working folder, nor anything from
    environment variables.
    """
    return [sys.executable, "-I", "-S", path, *arguments]


def own_environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment without the `CALLBOARD_` settings, such as the token.

    variables: the environment; None means that of this process. Names are compared without regard
    to case, as settings are.
    """
    chosen = os.environ if variables is None else variables
    return {key: value for key, value in chosen.items() if not key.upper().startswith("CALLBOARD_")}


def python_environment() -> dict[str, str]:
    """Return the environment for a Python process of ours that runs in another folder.

    Python children of that process ignore their working folder as well. Relative entries of
    PYTHONPATH are dropped (an empty one is the working folder), except the one that this package
    comes from, which becomes absolute.
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
    """Remove the working folder from `sys.path` if a relative entry of PYTHONPATH put it there.

    Modules imported before remain, since Python reads the variable before our code runs. From now
    on nothing is imported from there, and no package there counts as installed.
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
    """Return the absolute path of a program; None if it is not found.

    A bare name is searched for only in the absolute folders of PATH: an empty entry means the
    working folder, which Windows searches by default. A path is taken as it is.
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
    """Return the file names that a program may have: on Windows with the endings in PATHEXT."""
    if sys.platform == "win32":
        endings = environment.get("PATHEXT", ".COM;.EXE;.BAT;.CMD").split(os.pathsep)
        if not any(name.lower().endswith(ending.lower()) for ending in endings):
            return [name + ending for ending in endings]
    return [name]
