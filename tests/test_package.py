"""The source distribution can be made, and has all files that a build from it needs."""

import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_source_distribution_has_what_is_built(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(build, check=True, cwd=ROOT)
    (archive,) = tmp_path.glob("callboard-*.tar.gz")
    with tarfile.open(archive) as inside:
        names = {name.partition("/")[2] for name in inside.getnames()}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for folder in ("proto", "src", "typings", "tools")
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not path.is_relative_to(ROOT / "src/callboard_service/page")  # `make page` builds it
    }
    assert wanted <= names
