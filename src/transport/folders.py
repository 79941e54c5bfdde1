"""Creates folders that are private to one user."""

import errno
import os
from pathlib import Path


def make_private(folder: Path) -> None:
    """Create the folder, and each missing one above it, with mode 0700. Raises OSError.

    Existing folders are not changed. (`mkdir(mode, parents=True)` applies the mode to the last one
    only.)
    """
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
