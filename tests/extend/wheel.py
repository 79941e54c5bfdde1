"""The built wheel in an environment of its own, in which the source tree cannot be imported.

What the wheel requires comes from the environment of the tests by a .pth file. Python reads no
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
        (folder / "run").mkdir(mode=0o700)
        build = ("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
        made._run(sys.executable, *build, cwd=ROOT)
        made._run(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
        (wheel,) = folder.glob("callboard-*.whl")
        made.install(str(wheel))
        site = made.out(str(made.python), "-c", "import site; print(site.getsitepackages()[0])")
        Path(site.strip(), "of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
        # Where pip would have put it.
        shutil.copy(Path(sys.executable).with_name("protoc-gen-mypy"), made.bin)
        return made

    def install(self, *what: str) -> None:
        """As `pip install`, without what the test environment has already."""
        self._run(
            sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet",
            "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation", *what,
        )  # fmt: skip

    def out(self, *command: str, cwd: Path | None = None) -> str:
        """The standard output of a command that must succeed."""
        return self._run(*command, cwd=cwd).stdout

    def environment(self) -> dict[str, str]:
        """Nothing of the caller's Python, and service files below the folder."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("CALLBOARD_", "PYTHON", "PYTEST", "COV_", "COVERAGE_"))
        }
        return kept | {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "CALLBOARD_DATA_DIR": str(self.folder / "data"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
        }

    def _run(self, *command: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        done = self.run(*command, cwd=cwd)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def run(self, *command: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            cwd=cwd or self.folder,
            env=self.environment(),
        )
