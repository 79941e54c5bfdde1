"""A lock on an open file keeps others out until the file is closed."""

import os
from pathlib import Path

from transport import locks


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def test_a_file_is_held_by_one_until_it_is_closed(tmp_path: Path) -> None:
    """A second one is refused at once, and can still read and write the file."""
    path = tmp_path / "file"
    first, second = _open(path), _open(path)
    assert locks.hold(first)
    assert not locks.hold(second)
    assert os.write(second, b"text") == 4
    os.close(first)
    assert locks.hold(second)
    os.close(second)
    assert path.read_bytes() == b"text"
