"""Load a GGUF model with xllamacpp without leaving an accessible listener behind.

xllamacpp's server opens an HTTP listener before it loads the model, and this cannot be turned off
(an empty list of host names causes a segmentation fault). So the listener gets a random key and, on
POSIX, a Unix socket in a private folder. Once the model is loaded, the listener is shut down and
the folder removed; on Windows it stays open on loopback TCP, protected by the key. Only the task
queue behind it is used, and that works without the listener.
"""

import contextlib
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import xllamacpp

__all__ = ["EngineError", "LoadError", "Server", "load_model", "one_line"]

# Tokens per step. On two cores a cancel in the prompt takes 0.2 s with 128 and 10 s with 2048.
_BATCH = 128
# When the oldest turns are dropped, a run of at least this many remaining tokens is shifted in the
# cache instead of being processed again: 0.3 s instead of 8 s for 1,300 tokens on two cores.
_SHIFTED_TOKENS = 256
# For prompts of conversations that lost their slot to another. llama.cpp's default is 8 GiB.
_PROMPT_CACHE_MIB = 512
_SOCKET = "unused.sock"
_UNIX_PATH_LIMIT = 90


class EngineError(Exception):
    """The model could not answer; the message is one line."""


class LoadError(EngineError):
    """The model cannot be loaded; the message is one line for a person."""


class Server(Protocol):
    """The part of `xllamacpp.Server` in use. It may be called from several threads at once."""

    def handle_chat_completions(
        self, request: dict[str, object], callback: Callable[[dict[str, Any]], bool], /
    ) -> object:
        """Run a task and call back with each result, until the last or until one returns True.

        An error is reported as a result with the key `error`, or as a RuntimeError if it is found
        at once.
        """
        ...


def load_model(model: Path, *, context: int, threads: int, parallel: int) -> Server:
    """Load the model for `parallel` concurrent chats with `context` tokens each.

    threads: 0 uses as many as do not slow down other processes. Loading a large model takes
    seconds, during which no other Python thread runs. Raises LoadError, whatever the cause.
    """
    _check_file(model)
    try:
        import xllamacpp
    except ImportError as error:
        reason = "is not installed" if error.name == "xllamacpp" else f"cannot be loaded: {error}"
        raise LoadError(
            f"xllamacpp {reason}; the backend local needs it (pip install 'callboard[local]')"
        ) from error
    with _private_folder() as folder:
        try:
            params = _params(model, context, threads or _cores(), parallel)
            _hide_listener(params, folder)
        except AttributeError as error:
            raise LoadError(f"this version of xllamacpp is not supported: {error}") from error
        try:
            server: Server = xllamacpp.Server(params)
        except (RuntimeError, MemoryError) as error:
            reason = _read_reason(params, folder)
            raise LoadError(f"the model {model} cannot be loaded: {reason}") from error
        _shut_listener(folder)
    return server


def one_line(text: str) -> str:
    """Return the message on one line, cut to 300 characters."""
    return " ".join(text.split())[:300]


def _params(model: Path, context: int, threads: int, parallel: int) -> "xllamacpp.CommonParams":
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_ctx, params.n_parallel = context * parallel, parallel
    params.n_batch = params.n_ubatch = _BATCH
    params.n_cache_reuse, params.cache_ram_mib = _SHIFTED_TOKENS, _PROMPT_CACHE_MIB
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = threads
        cpu.poll = 0  # waiting threads do not spin
    params.fit_params = False  # take the parameters as given or fail; halves the time to load
    params.ui = params.endpoint_slots = False
    params.sse_ping_interval, params.n_threads_http = -1, 1
    params.verbosity = -1
    return params


def _cores() -> int:
    """Return how many cores the model gets.

    Its threads wait for each other at each step by spinning, so a thread that loses its core to
    another process costs far more than having one thread less. On two cores under load, two threads
    made 11 to 26 tokens a second and one made 50 to 60; on an idle machine, 86 and 58. So a small
    machine keeps one core for others. A larger one usually has two threads per core, so half of the
    count is all of its cores.
    """
    if sys.platform == "linux":
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, count - 1) if count <= 4 else min(count // 2, 16)


def _check_file(model: Path) -> None:
    try:
        with model.open("rb") as file:
            magic = file.read(4)
    except FileNotFoundError:
        raise LoadError(f"there is no model file {model}") from None
    except OSError as error:
        raise LoadError(f"the model file {model} cannot be read: {error.strerror}") from error
    if magic != b"GGUF":
        raise LoadError(f"{model} is not a GGUF model file")


@contextlib.contextmanager
def _private_folder() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="callboard-")
    if len(folder) > _UNIX_PATH_LIMIT and os.name == "posix":
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="callboard-", dir="/tmp")  # mode 0700, as above
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _hide_listener(params: "xllamacpp.CommonParams", folder: str) -> None:
    """Make the server's unavoidable listener inaccessible.

    By default it is a TCP port without a key and with CORS for everyone.
    """
    params.api_keys = [secrets.token_urlsafe(32)]
    params.cors_origins = ""
    if os.name == "posix":
        params.hostnames = [str(Path(folder, _SOCKET))]


def _shut_listener(folder: str) -> None:
    """Shut the listener down; if that fails, its socket still loses its path with the folder."""
    with contextlib.suppress(OSError):
        for name in os.listdir("/dev/fd"):
            with contextlib.suppress(OSError), _borrowed_socket(int(name)) as listener:
                if str(listener.getsockname()).startswith(folder):
                    listener.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _borrowed_socket(descriptor: int) -> Iterator[socket.socket]:
    borrowed = socket.socket(fileno=descriptor)
    try:
        yield borrowed
    finally:
        borrowed.detach()


def _read_reason(params: "xllamacpp.CommonParams", folder: str) -> str:
    """Load again and read the cause from llama.cpp's log, because the exception lacks it."""
    import xllamacpp

    Path(folder, _SOCKET).unlink(missing_ok=True)
    params.verbosity = 1  # errors only
    log = Path(folder, "log")
    with log.open("wb") as file, _standard_error_to(file.fileno()):
        with contextlib.suppress(RuntimeError, MemoryError):
            xllamacpp.Server(params)
        deadline = time.monotonic() + 0.5  # the log is written by another thread
        while True:
            text = log.read_text(errors="replace")
            if re.search("bad_alloc|insufficient memory|[Cc]annot allocate|to allocate", text):
                return "not enough memory"
            for cause in (r"gguf_init\w+: (.+)\n", r"error loading model: (.+)\n"):
                if found := re.search(cause, text):
                    return one_line(found[1])
            if time.monotonic() > deadline:
                return "llama.cpp rejected it"


@contextlib.contextmanager
def _standard_error_to(descriptor: int) -> Iterator[None]:
    saved = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
