"""The built wheel in an environment of its own, in which the source tree cannot be imported.

The packages that the wheel requires come from the environment of the tests, by a .pth file. Python
reads no .pth files in folders that it found by one, so the editable install there has no effect,
and `callboard` is the wheel's; a test in test_new.py checks that.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]

OFFLINE = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INDEX": "1",
    "PIP_NO_DEPS": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # with this value pip uses no isolation
}
"""With these, pip installs only local files, without dependencies, and downloads nothing."""


def make_venv(folder: Path) -> Path:
    """Make a virtual environment without its own pip; return its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    lend(folder)
    return folder / "bin"


def lend(venv: Path) -> None:
    """Let a virtual environment find the packages of the tests' environment, including pip."""
    python = str(venv / "bin" / "python")
    ask = [python, "-c", "import site; print(site.getsitepackages()[0])"]
    site = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
    Path(site, "of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # pip would have installed it there.
    shutil.copy(Path(sys.executable).with_name("protoc-gen-mypy"), venv / "bin")


_CALLERS = ("ARGS", "CALLBOARD_", "COV", "MAKE", "MFLAGS", "PIP_", "PYTEST", "PYTHON", "VENV")
"""Prefixes of variables that change how programs run; `make` passes on its own, too."""


def own_environment(programs: Path, folder: Path) -> dict[str, str]:
    """Make an environment without the caller's Python settings, and with these programs first.

    folder: for the files of services.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_CALLERS)}
    (folder / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
    return (
        kept
        | OFFLINE
        | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "CALLBOARD_DATA_DIR": str(folder / "data"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            # All tests of a run share mypy's cache, which covers the lent packages.
            "MYPY_CACHE_DIR": str(folder.parent / "mypy"),
        }
    )


class Installed:
    """A virtual environment with the wheel in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "venv" / "bin"
        self.python = self.bin / "python"

    @classmethod
    def make(cls, folder: Path) -> "Installed":
        """Build the wheel and install it."""
        made = cls(folder)
        build = ("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
        made.out(sys.executable, *build, cwd=ROOT)
        make_venv(folder / "venv")
        made.install(str(made.wheel))
        return made

    @property
    def wheel(self) -> Path:
        """The path of the wheel."""
        (wheel,) = self.folder.glob("callboard-*.whl")
        return wheel

    def install(self, *what: str) -> None:
        """Run `pip install` offline and without dependencies."""
        self.out(str(self.python), "-m", "pip", "install", "--quiet", *what)

    def out(self, *command: str, cwd: Path | None = None) -> str:
        """Run a command that must succeed and return its standard output."""
        done = self.run(*command, cwd=cwd)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def environment(self) -> dict[str, str]:
        """Make the environment for its programs."""
        return own_environment(self.bin, self.folder)

    def run(self, *command: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command in that environment."""
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd or self.folder,
            env=self.environment(),
        )
