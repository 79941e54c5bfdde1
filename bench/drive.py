"""The hot loop of unary requests in C, which keeps every socket busy; a client in Python cannot.

A server whose client lags is idle in between, and finds more work at once when it wakes. `drive.c`
is compiled when it is first needed, into `.build`.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from bench.process import ROOT
from bench.websocket import Lost

SOURCE: Final = Path(__file__).with_name("drive.c")

_LAST: Final = 256
"""Bytes that are kept of the last message of a socket."""


class Frames:
    """Encoded frames that follow one another, as `drive` takes them."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        self.bytes: bytes = b"".join(frames)
        self.count: int = len(frames)
        self.ends: ctypes.Array[ctypes.c_uint32] = (ctypes.c_uint32 * max(len(frames), 1))()
        end = 0
        for place, frame in enumerate(frames):
            end += len(frame)
            self.ends[place] = end


@cache
def _library() -> ctypes.CDLL:
    """Compile and load `drive.c`. Raises RuntimeError without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("the benchmark's client needs a C compiler: `cc` was not found")
    built = ROOT / ".build" / "drive.so"
    if not built.exists() or built.stat().st_mtime < SOURCE.stat().st_mtime:
        built.parent.mkdir(exist_ok=True)
        options = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run([compiler, *options, "-o", str(built), str(SOURCE)], check=True)
    return ctypes.CDLL(str(built))


def drive(
    sockets: Sequence[int], requests: Frames, in_flight: int, acks: Frames, ack_every: int
) -> list[bytes]:
    """Send all requests on each socket, and return the last message of each.

    Each socket has `in_flight` requests open until all are answered. acks: sent on a socket after
    each `ack_every` answers; 0: none. Raises Lost.
    """
    count = len(sockets)
    lasts, sizes = ctypes.create_string_buffer(count * _LAST), (ctypes.c_uint32 * count)()
    failed = _library().drive(
        (ctypes.c_int * count)(*sockets), count, in_flight,
        requests.bytes, requests.ends, requests.count,
        acks.bytes, acks.ends, acks.count, ack_every, lasts, sizes,
    )  # fmt: skip
    if failed:
        raise Lost(f"the client stopped: {os.strerror(-failed)}")
    kept = lasts.raw
    return [kept[_LAST * i : _LAST * i + sizes[i]] for i in range(count)]
