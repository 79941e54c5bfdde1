"""What a service does about its files before it starts: looks who else may use them, and sweeps.

Files and folders that the service makes are its user's alone. Those that it finds may be looser; it
may be on purpose, so they are reported and left as they are.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from actors import Log
from callboard_service.errors import BadSettings
from callboard_service.scratch import sweep_scratch
from callboard_service.setting_files import read, user_file
from callboard_service.settings import SECRETS, Settings

_OTHERS: Final = 0o077
_ALL_WRITE: Final = 0o002
"""Not the group: in many systems each user has one alone, and shares all with it."""


def look_after(settings: Settings, log: Log) -> None:
    """Report in one line what others may use, and remove what services left that were killed."""
    if loose := list(loose_files(settings)):
        log.warning("other users may read or change files of the service", files=loose)
    if swept := sweep_scratch():
        log.info("removed what killed services left", folders=swept)


def loose_files(settings: Settings) -> Iterator[str]:
    """Yield each file or folder that others may use and should not, as `PATH (mode 0777)`.

    That is the data folder, the TLS key, and the user's own file of settings: if everybody may
    change it, or if it holds a secret that others may read.
    """
    checked = [(settings.data_dir, _OTHERS), (user_file().parent, _ALL_WRITE)]
    checked.append((user_file(), _OTHERS if _holds_secret(user_file()) else _ALL_WRITE))
    if settings.tls_key is not None:
        checked.append((settings.tls_key, _OTHERS))
    for path, forbidden in checked:
        if (mode := mode_of(path)) is not None and mode & forbidden:
            yield f"{path} (mode {mode:04o})"


def mode_of(path: Path) -> int | None:
    """Return who may do what with a file or folder; None if it is not there, or has no such mode.

    A link's own mode says nothing, so it is that of what the link leads to.
    """
    if os.name == "posix":
        with suppress(OSError):
            return stat.S_IMODE(path.stat().st_mode)
    return None


def _holds_secret(path: Path) -> bool:
    try:
        return not SECRETS.isdisjoint(read(path))
    except BadSettings:
        return False  # it was read a moment ago
