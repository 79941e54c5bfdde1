"""The build hook that compiles the inner modules with mypyc: docs/adr/0025-a-compiled-build.md.

Off, unless HATCH_BUILD_HOOKS_ENABLE=1 is in the environment of the build. The wheel then has,
beside each module that pyproject.toml lists, what Python loads in its place. Nothing is written
into the source tree, where it would be loaded too.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CHECKS: Final = (
    "--config-file=",  # `make check` is strict; here other versions of what is imported are met
    "--strict",
    "--no-warn-unused-ignores",
    "--follow-imports=silent",
    "--ignore-missing-imports",
    "--explicit-package-bases",
)


class CompileHook(BuildHookInterface[Any]):
    """Compiles for the wheel, in a folder that goes when the wheel is there."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and have what came of it put into the wheel."""
        if version != "standard":
            raise ValueError("an editable install is not compiled: it would not be editable")
        self._folder = tempfile.mkdtemp(prefix="callboard-")
        work, root = Path(self._folder), Path(self.root)
        done = subprocess.run(
            [sys.executable, __file__, self._folder, *modules_of(self.config, root / "src")],
            cwd=root / "src",
            env={**os.environ, "MYPYPATH": os.pathsep.join([str(root / "typings"), "."])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            self.finalize(version, build_data, "")
            raise RuntimeError(f"mypyc failed:\n{done.stdout}")
        built = work / "built"
        for path in (path for path in built.rglob("*") if path.is_file()):
            build_data["force_include"][str(path)] = path.relative_to(built).as_posix()
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Take the folder away."""
        shutil.rmtree(self._folder)


def modules_of(config: dict[str, list[str]], source: Path) -> list[str]:
    """Return the names of the modules to compile: all in `packages`, but those in `except`."""
    names = [
        f"{package}.{path.stem}"
        for package in config["packages"]
        for path in sorted((source / package.replace(".", "/")).glob("*.py"))
        if path.stem != "__init__"
    ]
    return [name for name in names if name not in config["except"]]


def compile_modules(folder: Path, modules: list[str]) -> None:
    """Compile modules of the working directory: into `built`, below the folder."""
    from mypyc.build import mypycify
    from setuptools import setup

    files = [f"{module.replace('.', '/')}.py" for module in modules]
    extensions = mypycify(
        [*CHECKS, f"--cache-dir={folder / 'cache'}", *files],
        opt_level="3",
        debug_level="0",
        target_dir=str(folder / "c"),
        group_name="callboard",
    )
    into = [f"--build-lib={folder / 'built'}", f"--build-temp={folder / 'o'}"]
    setup(
        name="callboard",
        packages=[],
        ext_modules=extensions,
        script_args=["--quiet", "build_ext", *into],
    )


if __name__ == "__main__":
    compile_modules(Path(sys.argv[1]), sys.argv[2:])
