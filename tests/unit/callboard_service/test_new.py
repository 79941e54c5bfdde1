"""`callboard new` refuses a path that cannot be a package.

What it makes is tested as it is installed, in tests/extend/test_new.py.
"""

from pathlib import Path

import pytest

from callboard_service.errors import BadPath
from callboard_service.new import create


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("json", "a module json exists already"),
        ("actors", "a module actors exists already"),
        ("class", "is not a package name"),
        ("3d", "is not a package name"),
        ("full", "exists and is not an empty folder"),
    ],
)
def test_an_unsuitable_path_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(BadPath, match=message):
        create(tmp_path / name)
    assert not (tmp_path / name / "README.md").exists()
