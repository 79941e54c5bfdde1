"""The process that runs a GGUF model: chats in, tokens out, one JSON object per line, UTF-8.

    python -m callboard_service.backends.local.child --model FILE

Standard input takes

    {"op": "chat", "id": 1, "messages": [{"role": "user", "content": "..."}], "max_tokens": 1024}
    {"op": "cancel", "id": 1}

A chat may also have a `temperature` (0 to 2) and a `seed`. The last message must be the user's. Ids
are integers; an id may be reused once its chat has ended. A cancel of an unknown id is ignored.

Standard output gives

    {"event": "ready", "model": "SmolLM2-135M-Instruct.Q4_1", "context": 8192, "parallel": 2}
    {"event": "failed", "message": "..."}    instead of ready; the process ends with 2
    {"event": "trimmed", "id": 1, "messages": 4}    the number of oldest messages left out
    {"event": "progress", "id": 1, "tokens": 128, "total": 900}    after each batch of the prompt
    {"event": "thought", "id": 1, "text": "..."}    before the tokens, if the model thinks
    {"event": "token", "id": 1, "text": "..."}
    {"event": "done", "id": 1, "input_tokens": 12, "output_tokens": 34, "finish": "stop"}
    {"event": "error", "id": 1, "code": "INTERNAL", "message": "..."}

with a `finish` of stop, length or cancelled and a `code` of INVALID_ARGUMENT, INTERNAL or
RESOURCE_EXHAUSTED. Each chat gets exactly one done or error, and nothing after it. A line that
cannot be understood, or whose id is in use, gets an error with the id null. The process answers as
many chats at once as `--parallel` says, token by token in turn; the others wait in order. While it
works on a chat it writes a line for each batch of the prompt and for each token, so a long silence
means that it hangs.

At the end of standard input the process exits at once with 0, whatever it is doing, so it ends with
its parent, however that ends. It listens on nothing on POSIX (see `load`). If nobody reads its
output, it blocks; this costs no memory beyond the tokens of one reply per chat.
"""

import argparse
import json
import os
import signal
import sys
import threading
import traceback
from collections import deque
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, Literal, NoReturn

from callboard_service.backends.local.engine import (
    Chat,
    EngineError,
    EngineReply,
    LoadError,
    Message,
    ModelEngine,
    TooLargeError,
)
from callboard_service.descriptors import open_standard_descriptors

__all__ = ["main"]

_LINE_LIMIT = 16 * 1024 * 1024
_WAITING_LIMIT = 64
_ROLES = frozenset({"system", "user", "assistant"})
_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2

Code = Literal["INVALID_ARGUMENT", "INTERNAL", "RESOURCE_EXHAUSTED"]


class _RefusedError(Exception):
    """A line that is not carried out; `id` is that of the chat which gets the error, if any."""

    def __init__(
        self, message: str, *, id: int | None = None, code: Code = "INVALID_ARGUMENT"
    ) -> None:
        super().__init__(message)
        self.id = id
        self.code = code


class _Output:
    """Writes whole lines of the protocol, from any thread; blocks while the reader is slow."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def emit(self, event: dict[str, object]) -> None:
        line = json.dumps(event, ensure_ascii=False).encode(errors="replace") + b"\n"
        with self._lock:
            while line:
                try:
                    line = line[os.write(self._descriptor, line) :]
                except OSError:  # the reader is gone
                    os._exit(0)


def _error(id: int | None, code: Code, message: str) -> dict[str, object]:
    return {"event": "error", "id": id, "code": code, "message": message}


def _done(id: int, reply: EngineReply) -> dict[str, object]:
    return {"event": "done", "id": id, **asdict(reply)}


class _Job:
    """A chat that waits or runs, and the sink of its reply."""

    def __init__(self, id: int, chat: Chat, output: _Output) -> None:
        self.id = id
        self.chat = chat
        self._output = output
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def cancelled(self) -> bool:
        return self._cancelled

    def trimmed(self, messages: int) -> None:
        self._output.emit({"event": "trimmed", "id": self.id, "messages": messages})

    def progress(self, tokens: int, total: int) -> None:
        self._output.emit({"event": "progress", "id": self.id, "tokens": tokens, "total": total})

    def token(self, text: str) -> None:
        self._output.emit({"event": "token", "id": self.id, "text": text})

    def thought(self, text: str) -> None:
        self._output.emit({"event": "thought", "id": self.id, "text": text})

    def run(self, engine: ModelEngine) -> dict[str, object]:
        """Answer the chat and return the event that ends it."""
        try:
            reply = engine.reply(self.chat, self)
        except TooLargeError as error:
            return _error(self.id, "INVALID_ARGUMENT", str(error))
        except EngineError as error:
            return _error(self.id, "INTERNAL", str(error))
        except Exception:  # noqa: BLE001 - it must fail only this chat
            traceback.print_exc()
            return _error(self.id, "INTERNAL", "internal error in the model's process")
        return _done(self.id, reply)


class _Jobs:
    """The chats that wait and those that run."""

    def __init__(self, output: _Output) -> None:
        self._output = output
        self._changed = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._running: dict[int, _Job] = {}

    def add(self, job: _Job) -> None:
        """Queue a chat. Raises _RefusedError if its id is in use or too many wait."""
        with self._changed:
            if job.id in self._running or any(job.id == other.id for other in self._waiting):
                raise _RefusedError(f"a chat with the id {job.id} is already running")
            if len(self._waiting) >= _WAITING_LIMIT:
                raise _RefusedError(
                    "too many chats are waiting for the model", id=job.id, code="RESOURCE_EXHAUSTED"
                )
            self._waiting.append(job)
            self._changed.notify()

    def cancel(self, id: int) -> None:
        """Stop the chat with that id, if any; a waiting one gets its `done` at once."""
        with self._changed:
            if (running := self._running.get(id)) is not None:
                running.cancel()
                return
            job = next((job for job in self._waiting if job.id == id), None)
            if job is not None:
                self._waiting.remove(job)
        if job is not None:
            self._output.emit(_done(id, EngineReply(0, 0, "cancelled")))

    def work(self, engine: ModelEngine) -> NoReturn:
        """Answer one chat after another, forever."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                job = self._waiting.popleft()
                self._running[job.id] = job
            end = job.run(engine)
            with self._changed:
                del self._running[job.id]  # before the end is visible: the id may be reused then
            self._output.emit(end)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the process until it exits; this never returns."""
    open_standard_descriptors()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is meant for the parent
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    output = _Output(_claim_standard_output())
    try:
        options = _parse_arguments(arguments)
        engine = ModelEngine(
            options.model,
            context=options.context,
            threads=options.threads,
            parallel=options.parallel,
        )
    except LoadError as error:
        output.emit({"event": "failed", "message": str(error)})
        _exit(2)
    ready = {"event": "ready", "model": options.model.stem, "context": engine.context}
    output.emit({**ready, "parallel": options.parallel})
    jobs = _Jobs(output)
    for _ in range(options.parallel):
        threading.Thread(target=jobs.work, args=(engine,), daemon=True).start()
    _read(sys.stdin.buffer, jobs, output)
    _exit(0)


def _exit(code: int) -> NoReturn:
    """Exit at once, without waiting for native threads or running replies."""
    sys.stderr.flush()
    os._exit(code)


def _claim_standard_output() -> int:
    """Reserve standard output for the protocol; other prints to it go to standard error."""
    own = os.dup(_STANDARD_OUTPUT)
    os.dup2(_STANDARD_ERROR, _STANDARD_OUTPUT)
    return own


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise LoadError(message)


def _parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="model_child", description="Run a GGUF model over standard input.")
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file")
    parser.add_argument(
        "--context",
        type=_number,
        default=0,
        help="context size of a chat in tokens; 0: the model's own",
    )
    parser.add_argument(
        "--threads", type=_number, default=0, help="CPU threads; 0: leave room for other processes"
    )
    parser.add_argument("--parallel", type=_number, default=2, help="chats to answer at once")
    options = parser.parse_args(arguments)
    if options.parallel < 1:
        parser.error("argument --parallel: at least 1")
    return options


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def _read(source: BinaryIO, jobs: _Jobs, output: _Output) -> None:
    """Carry out each line until the end of the input."""
    while line := source.readline(_LINE_LIMIT):
        try:
            if not line.endswith(b"\n") and len(line) == _LINE_LIMIT:
                while (rest := source.readline(_LINE_LIMIT)) and not rest.endswith(b"\n"):
                    pass
                raise _RefusedError("the line is too long")
            _carry_out(line, jobs, output)
        except _RefusedError as refused:
            output.emit(_error(refused.id, refused.code, str(refused)))


def _carry_out(line: bytes, jobs: _Jobs, output: _Output) -> None:
    try:
        op = json.loads(line)
    except (ValueError, RecursionError):
        raise _RefusedError("the line is not JSON") from None
    if not isinstance(op, dict):
        raise _RefusedError("the line is not a JSON object")
    id = op.get("id")
    if type(id) is not int:
        raise _RefusedError("'id' is not an integer")
    match op.get("op"):
        case "chat":
            jobs.add(_Job(id, _parse_chat(id, op), output))
        case "cancel":
            jobs.cancel(id)
        case _:
            raise _RefusedError("'op' is neither chat nor cancel")


def _parse_chat(id: int, op: dict[str, object]) -> Chat:
    messages = op.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _RefusedError("'messages' is not a list of messages", id=id)
    parsed = [_parse_message(id, message) for message in messages]
    if parsed[-1]["role"] != "user":
        raise _RefusedError("the last message is not the user's", id=id)
    max_tokens, temperature, seed = (
        op.get("max_tokens", 1024),
        op.get("temperature", 0.7),
        op.get("seed"),
    )
    if type(max_tokens) is not int or max_tokens < 1:
        raise _RefusedError("'max_tokens' is not a number of 1 or more", id=id)
    if not isinstance(temperature, int | float) or not 0 <= temperature <= 2:
        raise _RefusedError("'temperature' is not a number from 0 to 2", id=id)
    # llama.cpp takes the largest value to mean no seed.
    if seed is not None and (type(seed) is not int or not 0 <= seed < 2**32 - 1):
        raise _RefusedError("'seed' is not a number from 0 to 4294967294", id=id)
    return Chat(parsed, max_tokens, float(temperature), seed)


def _parse_message(id: int, message: object) -> Message:
    match message:
        case {"role": str(role), "content": str(content)} if role in _ROLES:
            if any("\ud800" <= letter <= "\udfff" for letter in content):
                raise _RefusedError("a message has an unpaired surrogate", id=id)
            return Message(role=role, content=content)
        case _:
            raise _RefusedError("a message is not {'role', 'content'}", id=id)


if __name__ == "__main__":
    main()
