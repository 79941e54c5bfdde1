"""Checks who else may use the service's files, and removes left-over scratch folders.

Files and folders that the service creates are accessible to its user only. Existing ones may be
more open, perhaps on purpose, so they are reported and left as they are.
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
"""Write permission of the group is allowed: on many systems each user has a private group."""


def look_after(settings: Settings, log: Log) -> None:
    """Log which files others may use, on one line, and remove what killed services have left."""
    if loose := list(loose_files(settings)):
        log.warning("other users may read or change files of the service", files=loose)
    if swept := sweep_scratch():
        log.info("removed what killed services left", folders=swept)


def loose_files(settings: Settings) -> Iterator[str]:
    """Yield each file or folder that others may use but should not, as `PATH (mode 0777)`.

    Checked are the data folder and the TLS key, for any access by others; the user's own settings
    file and its folder, for write access by everybody; and that file, if it holds a secret, for any
    access by others.
    """
    checked = [(settings.data_dir, _OTHERS), (user_file().parent, _ALL_WRITE)]
    checked.append((user_file(), _OTHERS if _holds_secret(user_file()) else _ALL_WRITE))
    if settings.tls_key is not None:
        checked.append((settings.tls_key, _OTHERS))
    for path, forbidden in checked:
        if (mode := mode_of(path)) is not None and mode & forbidden:
            yield f"{path} (mode {mode:04o})"


def mode_of(path: Path) -> int | None:
    """Return the permission bits of a file or folder, following links.

    Returns None if it cannot be found, or on systems without such bits.
    """
    if os.name == "posix":
        with suppress(OSError):
            return stat.S_IMODE(path.stat().st_mode)
    return None


def _holds_secret(path: Path) -> bool:
    try:
        return not SECRETS.isdisjoint(read(path))
    except BadSettings:
        return False  # unlikely: the settings were read from it just before
