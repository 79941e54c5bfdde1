"""What this machine offers: a small disk that can be mounted, and libfaketime."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

DISK_BYTES: Final = 48 * 1024 * 1024

HINTS: Final = {
    "mount": "a tmpfs cannot be mounted here (that needs root)",
    "faketime": "libfaketime was not found (Debian: apt-get install faketime)",
}


def fake_time_library() -> Path | None:
    """Return libfaketime, or None if it is not installed."""
    found = sorted(Path("/usr").glob("lib*/**/faketime/libfaketime.so.1"))
    return found[0] if found else None


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small tmpfs on the folder. Raises CalledProcessError or OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={DISK_BYTES},mode=0700"
    mount = ["mount", "-t", "tmpfs", "-o", options, "callboard-torture", str(folder)]
    subprocess.run(mount, check=True, capture_output=True, timeout=10)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False, timeout=10)


def available() -> frozenset[str]:
    """Return which of HINTS this machine has."""
    found = {"faketime"} if fake_time_library() is not None else set()
    if sys.platform == "linux" and os.geteuid() == 0:
        try:
            with tempfile.TemporaryDirectory() as folder, small_disk(Path(folder) / "disk"):
                found.add("mount")
        except (OSError, subprocess.SubprocessError):
            pass
    return frozenset(found)
