"""The service as a process of its own, for what is measured over a socket."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import psutil

TOKEN: Final = "t" * 32


@contextmanager
def service(*flags: str, **variables: str) -> Iterator[tuple[str, psutil.Process]]:
    """Yield the URL of a service with the echo backend, and its process.

    flags, variables: further ones. Its token is TOKEN.
    """
    with TemporaryDirectory() as folder:
        environment = os.environ | {"CALLBOARD_TOKEN": TOKEN, "CALLBOARD_RUNTIME_DIR": folder}
        program = str(Path(sys.executable).with_name("callboard"))
        child = subprocess.Popen(
            [program, "serve", "--ready-json", "--backend", "echo", *flags],
            env=environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )
        assert child.stdout is not None
        try:
            yield json.loads(child.stdout.readline())["url"], psutil.Process(child.pid)
        finally:
            child.terminate()
            child.wait(20)
