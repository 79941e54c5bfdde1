"""Six type checkers agree about code that uses the package.

They see the installed package, with its stubs beside its code, and not this source tree.
"""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.typing.checkers import CHECKERS, ROOT, Checker, needs_pyright

TYPING = ROOT / "tests" / "typing"
MARK = re.compile(r"# error: ([a-z-]+)$")

all_checkers = pytest.mark.parametrize(
    "checker",
    [
        pytest.param(
            checker, id=checker.name, marks=needs_pyright if checker.name == "pyright" else ()
        )
        for checker in CHECKERS
    ],
)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as it is in the wheel."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, check=True, cwd=ROOT, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as inside:
        inside.extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with only the file to accept and the file to reject."""
    for name in ("accepted", "rejected"):
        text = (TYPING / name / "kinds.py").read_text()
        text = text.replace("tests.typing.accepted.kinds", "accepted")
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


@all_checkers
def test_each_accepts_what_fits_and_rejects_what_does_not(
    checker: Checker, files: Path, site: Path
) -> None:
    lines = (files / "rejected.py").read_text().splitlines()
    wrong = {("rejected.py", number) for number, line in enumerate(lines, 1) if MARK.search(line)}
    found = checker.check(files, site)
    assert found - wrong == set(), "what fits is rejected"
    assert [lines[number - 1].strip() for _, number in sorted(wrong - found)] == []


@all_checkers
def test_each_accepts_a_new_package(checker: Checker, tmp_path: Path, site: Path) -> None:
    new = [str(Path(sys.executable).with_name("callboard")), "new", "my-weather"]
    subprocess.run(new, check=True, cwd=tmp_path, capture_output=True)
    assert checker.check(tmp_path / "my-weather", site) == set()


def test_the_types_of_protobuf_are_installed_with_the_package(site: Path) -> None:
    (metadata,) = site.glob("callboard-*.dist-info/METADATA")
    assert "Requires-Dist: types-protobuf>=" in metadata.read_text()
