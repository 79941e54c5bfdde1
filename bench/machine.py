"""Describe the machine and the software that the figures were measured with."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import psutil

_PACKAGES: Final = (
    "aiohttp", "uvloop", "protobuf", "picows", "websockets", "fastapi", "uvicorn", "grpcio",
)  # fmt: skip


def describe(interpreters: dict[str, Path]) -> dict[str, str]:
    """Return the machine, the versions and the commit."""
    facts = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "commit": _commit(),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }
    for name, path in interpreters.items():
        facts[f"Python {name}"] = subprocess.run(
            [str(path), "-c", "import platform; print(platform.python_version())"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "none"
    return facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "?")


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
