"""Runs tests on the compiled build: `make compiled`.

The wheel is built as `HATCH_BUILD_HOOKS_ENABLE=1` has it, into `.build/compiled-VERSION`, and
installed into an environment there, which borrows everything else from the one that runs this.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / ".build" / f"compiled-{sysconfig.get_python_version()}"
PYTHON: Final = FOLDER / "venv" / sysconfig.get_path("scripts", vars={"base": ""})[1:] / "python"

TESTS: Final = (
    "tests/compiled",
    "tests/unit/actors",
    "tests/unit/transport",
    "tests/properties/test_machine_properties.py",
    "tests/properties/test_supervision_properties.py",
    "tests/test_costs.py",
    "tests/e2e/test_credit.py",
    "tests/e2e/test_resume.py",
)
"""The tests of the compiled modules, of all that calls them, and a whole service through losses of
its connection. What is left out meets them only as messages of the contract, through code that is
the same in both builds: backends, store, terminal, commands."""


def make() -> None:
    """Build the wheel, and an environment in which it alone is Callboard."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(FOLDER)]
    subprocess.run(build, check=True, cwd=ROOT, env=os.environ | {"HATCH_BUILD_HOOKS_ENABLE": "1"})
    (wheel,) = FOLDER.glob("*.whl")
    venv = [sys.executable, "-m", "venv", "--without-pip", str(FOLDER / "venv")]
    subprocess.run(venv, check=True)
    ask = [str(PYTHON), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
    # Of what it leads to Python reads no .pth file, so not that of the editable install either.
    Path(own, "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed"]
    subprocess.run([str(PYTHON), *install, str(wheel)], check=True)


def main() -> None:
    """Build, and run the tests with what pytest is to be given beside."""
    make()
    environment = os.environ | {"COMPILED": "1"}
    tests = [str(PYTHON), "-m", "pytest", *sys.argv[1:], *TESTS]
    sys.exit(subprocess.run(tests, check=False, cwd=ROOT, env=environment).returncode)


if __name__ == "__main__":
    main()
