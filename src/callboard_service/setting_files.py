"""Reads the two settings files: the user's own, and the one in the working folder.

The working folder may be a clone of somebody else's repository, or a folder of downloads. So its
file may only hold settings that are harmless whoever wrote them (ADR 0033).
"""

import errno
import os
import shlex
import stat
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from platformdirs import user_config_path

from callboard_service.errors import BadSettings

FILE: Final = "callboard.toml"

HARMLESS: Final = frozenset(
    {
        "backend",  # see BACKENDS_ON_THIS_MACHINE
        "log_level",
        "loop",
        "drain_ms",
        "max_sessions",
        "max_handshakes",
        "handshake_timeout_ms",
        "heartbeat_interval_ms",
        "slow_consumer_ms",
        "max_requests_in_flight",
        "messages_per_second",
        "message_burst",
        "bytes_per_second",
        "byte_burst",
        "max_message_bytes",
        "max_answer_bytes",
        "max_session_bytes",
        "memory_budget",
        "resume_window_ms",
        "resume_buffer_messages",
        "resume_buffer_bytes",
    }
)
"""The settings that the working folder's file may hold. All others are refused there.

Add a setting only if no value of it can send a secret or a conversation anywhere, run or load code,
make a native library read a file, open the service to others, or choose where files are written.
"""

BACKENDS_ON_THIS_MACHINE: Final = ("echo", "local")
"""The backends that the working folder's file may choose. The others send the conversation to a
server, or start an agent that reads the folder."""

_LOADED: Final = ("acp_command", "opencode_command", "local_model")
"""The settings that name a program to run or a file for a native library to read."""

_MAX_BYTES: Final = 1024 * 1024
_NONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def user_file() -> Path:
    """Return the path of the user's own file, which may not exist."""
    return user_config_path("callboard", appauthor=False) / FILE


def read_user_file() -> dict[str, object]:
    """Return the settings in the user's own file. Raises BadSettings.

    The file applies in every folder, so it may not name a program or a model by a relative path.
    """
    path = user_file()
    if not path.is_absolute():  # a relative path would be in the working folder
        return {}
    content = read(path)
    for name in _LOADED:
        value = content.get(name)
        if not isinstance(value, str):
            continue
        if name == "acp_command":
            value = _program(value)
        bare = name.endswith("_command") and not os.path.dirname(value)  # found on PATH
        if not bare and not os.path.isabs(value):
            raise BadSettings(f"{name}: {path} applies in every folder; use an absolute path")
    return content


def _program(command: str) -> str:
    """Return the program of a command line; one that cannot be split is refused elsewhere."""
    try:
        return next(iter(shlex.split(command)), "")
    except ValueError:
        return ""


def read_working_folder_file(names: Iterable[str], secrets: Iterable[str]) -> dict[str, object]:
    """Return the settings in the working folder's file; none if that is the user's own file.

    names: the names of all settings; unknown keys are left to the caller. secrets: the names of
    the settings that have no flag. Raises BadSettings, which names each key that is not allowed.
    """
    path = Path(FILE)
    if _is_user_file(path):
        return {}
    content = read(path)
    refused = [name for name in content if name in names and name not in HARMLESS]
    problems = [_refusal(name, flag=name not in secrets) for name in refused]
    backend = content.get("backend")
    if backend is not None and backend not in BACKENDS_ON_THIS_MACHINE:
        problems.append(_refusal("backend", flag=True))
    if problems:
        raise BadSettings("; ".join(problems))
    return content


def read(path: Path) -> dict[str, object]:
    """Return the content of a TOML file with keys in lower case; empty if there is no file.

    pydantic ignores the case of keys, so no rule about a key may depend on it. Raises BadSettings.
    """
    try:
        # Non-blocking, since it may be a pipe.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return {}
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise BadSettings(f"{path}: larger than {_MAX_BYTES} bytes")
        content = tomllib.loads(text.decode())
    except OSError as error:
        if error.errno in _NONE or path.is_dir():
            return {}
        raise BadSettings(f"{path}: {error.strerror}") from None
    except RecursionError:
        raise BadSettings(f"{path}: nested too deeply") from None
    except ValueError as error:
        raise BadSettings(f"{path}: {error}") from None
    settings: dict[str, object] = {}
    for key, value in content.items():
        if settings.setdefault(key.lower(), value) is not value:
            raise BadSettings(f"{path}: {key.lower()} is set twice")
    return settings


def _is_user_file(path: Path) -> bool:
    try:
        return path.samefile(user_file())
    except OSError:
        return False


def _refusal(name: str, *, flag: bool) -> str:
    """Return one clause that says why the key is refused and where to set it instead."""
    only = f" to anything but {' or '.join(BACKENDS_ON_THIS_MACHINE)}" if name == "backend" else ""
    places = [f"--{name.replace('_', '-')}"] if flag else []
    places += [f"CALLBOARD_{name.upper()}", str(user_file())]
    return (
        f"{name}: {FILE} in the working folder {_here()} may not set it{only}, because anybody "
        f"may have written that file; set it with {' or '.join(places)}"
    )


def _here() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return "."
