"""The built wheel in an environment of its own, in which the source tree cannot be imported.

What the wheel requires is lent by the environment of the tests, by a .pth file. Python reads no
.pth files in folders that it was led to by one, so the editable install there leads nowhere, and
`callboard` is the wheel's; a test looks.
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
    "PIP_NO_BUILD_ISOLATION": "0",  # pip's word for: none
}
"""With these pip installs what is there, takes for installed what is lent, and fetches nothing."""


def make_venv(folder: Path) -> Path:
    """A virtual environment without pip of its own; its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    lend(folder)
    return folder / "bin"


def lend(venv: Path) -> None:
    """Have a virtual environment find the packages that the tests have, pip too."""
    python = str(venv / "bin" / "python")
    ask = [python, "-c", "import site; print(site.getsitepackages()[0])"]
    site = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
    Path(site, "of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # Where pip would have put it.
    shutil.copy(Path(sys.executable).with_name("protoc-gen-mypy"), venv / "bin")


_CALLERS = ("ARGS", "CALLBOARD_", "COV", "MAKE", "MFLAGS", "PIP_", "PYTEST", "PYTHON", "VENV")
"""What tells programs how to run: what make was given, it hands on too."""


def own_environment(programs: Path, folder: Path) -> dict[str, str]:
    """Nothing of the caller's Python; these programs first; service files below the folder."""
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
            # What mypy knows of the packages that are lent, for all tests of a run.
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
        """The wheel itself."""
        (wheel,) = self.folder.glob("callboard-*.whl")
        return wheel

    def install(self, *what: str) -> None:
        """As `pip install`, without what the test environment has already."""
        self.out(str(self.python), "-m", "pip", "install", "--quiet", *what)

    def out(self, *command: str, cwd: Path | None = None) -> str:
        """The standard output of a command that must succeed."""
        done = self.run(*command, cwd=cwd)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def environment(self) -> dict[str, str]:
        """What its programs are started with."""
        return own_environment(self.bin, self.folder)

    def run(self, *command: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd or self.folder,
            env=self.environment(),
        )
