"""Folders that are made for one user alone."""

import errno
import os
from pathlib import Path


def make_private(folder: Path) -> None:
    """Make the folder, and each missing one above it, with mode 0700. Raises OSError.

    Folders that are there already stay as they are. (`mkdir(mode, parents=True)` gives the mode to
    the last one alone.)
    """
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
