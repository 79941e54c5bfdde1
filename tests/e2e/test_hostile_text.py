"""No command lets the text of a service steer the terminal, whichever field it comes in."""

import contextlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pexpect
import pytest
from aiohttp import WSMsgType, web
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from callboard.v1.chat_pb2 import (
    AskClosed,
    AskEvent,
    ChatCompleted,
    ChatError,
    ChatNotice,
    ChatToken,
    CommandList,
    ConversationEvent,
    ConversationSnapshot,
    History,
    HistoryEntry,
    OpenTurn,
    OptionList,
    PlanEvent,
    ReasoningToken,
    SessionDeleted,
    SessionInfo,
    SessionList,
    SessionOption,
    SteerEvent,
    ToolCallEvent,
    ToolProgressEvent,
    ToolResultEvent,
    TurnInfo,
    TurnState,
    UsageEvent,
)
from callboard.v1.envelope_pb2 import ClientMessage
from callboard.v1.session_pb2 import Welcome
from callboard.v1.system_pb2 import ServiceStatus
from tests.e2e.service_process import environment
from tests.e2e.terminal import OPENED, TYPED, spawned
from tests.support.model_service import served
from tests.support.peers.socket_server import SocketServer, in_background

M = TypeVar("M", bound=Message)

HOSTILE = (
    "abcd-\x1b]52;c;SE9TVElMRQ==\x07\x1b[77;1H\x9b7m\x9d0;t\x9c\x08\x08\x08\x7f"
    "\u202eb\u2066c\rOVER\x1bP$q\x1b\\\nFORGED"
)

STEERS = re.compile(
    r"\x1b[\]P\\_^X]|\x1b\[77|\x08{3}|[\x07\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\rOVER"
)
"""Matches hostile text that is printed unescaped: no command prints any of these itself."""

SIZE = (30, 100)


def filled(message: Message, depth: int = 4) -> None:
    """Put the hostile text into every string field, also of nested messages up to this depth.

    Timestamps are set out of range.
    """
    if isinstance(message, Timestamp):
        message.seconds = 2**62
        return
    if isinstance(message, Struct):
        message.update({HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}]})
        return
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof is not None and message.WhichOneof(field.containing_oneof.name):
            continue
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].type != FieldDescriptor.TYPE_MESSAGE:
                value[HOSTILE] = 7
        elif field.type == FieldDescriptor.TYPE_STRING:
            if field.is_repeated:
                value.append(HOSTILE)
            else:
                setattr(message, field.name, HOSTILE)
        elif field.type == FieldDescriptor.TYPE_MESSAGE and depth:
            filled(value.add() if field.is_repeated else value, depth - 1)


def hostile(message: M) -> M:
    filled(message)
    return message


def entry(arm: str) -> HistoryEntry:
    """Make a hostile entry of this kind."""
    made = HistoryEntry(id=f"id-{arm}")
    value = getattr(made, arm)
    if isinstance(value, Message):
        filled(value)
        value.SetInParent()
    else:
        setattr(made, arm, HOSTILE)
    filled(made.attachments.add())
    return made


ARMS = [field.name for field in HistoryEntry.DESCRIPTOR.oneofs_by_name["entry"].fields]

REPLY: tuple[type[Message], ...] = (
    ReasoningToken, ChatToken, ToolCallEvent, ToolProgressEvent, ToolResultEvent, PlanEvent,
    UsageEvent, ChatNotice, AskEvent, AskClosed,
)  # fmt: skip

FEATURES = ("follow", "search", "steer", "fork", "options", "commands", "uploads")


class HostileService(SocketServer):
    """Answers every request of the commands with hostile text; with `error`, as an error."""

    def __init__(self, *, error: bool = False) -> None:
        self._error = error

    async def serve(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sequence = 0
        while (frame := await socket.receive()).type is WSMsgType.BINARY:
            message = ClientMessage.FromString(frame.data)
            if message.HasField("hello"):
                welcome = hostile(Welcome())
                welcome.protocol_version = 1
                welcome.features.extend(FEATURES)
                await socket.send_bytes(served(welcome).SerializeToString())
            elif message.request_id and message.WhichOneof("payload") not in ("credit", "answer"):
                answers = self._answers(message)
                for number, answer in enumerate(answers, 1):
                    sequence += 1
                    said = served(
                        answer, request_id=message.request_id, sequence=sequence,
                        end=number == len(answers) and not message.HasField("follow_session"),
                    )  # fmt: skip
                    await socket.send_bytes(said.SerializeToString())
        return socket

    def _answers(self, message: ClientMessage) -> list[Message]:
        if self._error:
            return [hostile(ChatError())]
        match message.WhichOneof("payload"):
            case "list_sessions":
                return [SessionList(sessions=[self._info()])]
            case "create_session" | "update_session" | "fork_session":
                return [self._info()]
            case "list_options" | "set_option":
                return [self._options()]
            case "list_commands":
                return [hostile(CommandList())]
            case "stop_turn" | "update_turn":
                return [hostile(TurnInfo())]
            case "get_history":
                return [History(entries=map(entry, ARMS))]
            case "delete_session":
                return [hostile(SessionDeleted())]
            case "send_message":
                return [*(hostile(kind()) for kind in REPLY), hostile(ChatCompleted())]
            case "follow_session":
                return self._followed()
            case _:
                return [hostile(ServiceStatus())]

    def _followed(self) -> list[Message]:
        """Return a snapshot with a turn that runs and one that waits, and the first one's end."""
        turn = OpenTurn(info=TurnInfo(state=TurnState.TURN_STATE_RUNNING))
        filled(turn.info)
        kinds: tuple[type[Message], ...] = (*REPLY, SteerEvent)
        for kind in kinds:
            event = turn.events.add()
            arm = next(f for f in event.DESCRIPTOR.fields if f.message_type is kind.DESCRIPTOR)
            getattr(event, arm.name).CopyFrom(hostile(kind()))
        waiting = OpenTurn(info=hostile(TurnInfo()))
        waiting.info.id, waiting.info.state = "waiting", TurnState.TURN_STATE_QUEUED
        snapshot = ConversationSnapshot(info=self._info(), turns=[turn, waiting])
        end = ConversationEvent(position=2, turn_id=turn.info.id)
        filled(end.completed)
        end.completed.SetInParent()
        return [ConversationEvent(position=1, snapshot=snapshot), end]

    def _options(self) -> OptionList:
        listed = OptionList()
        filled(listed)
        listed.options[0].category = SessionOption.CATEGORY_MODEL
        return listed

    def _info(self) -> SessionInfo:
        info = SessionInfo()
        filled(info)
        info.features.extend(FEATURES)
        return info


@contextlib.contextmanager
def on_a_terminal(folder: Path, url: str, *arguments: str) -> Iterator["pexpect.spawn[str]"]:
    settings = environment(folder, CALLBOARD_TOKEN="x" * 43)
    settings |= {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    child = spawned(
        *arguments, "--url", url, cwd=folder, env=settings, size=SIZE, codec_errors="replace",
    )  # fmt: skip
    try:
        yield child
    finally:
        child.close(force=True)


def assert_harmless(shown: str, *, lines: bool = False) -> None:
    """Check that the text was shown and steers nothing.

    lines: a line may begin with the text, as it comes from a model or a tool.
    """
    assert "abcd-" in shown, shown
    assert STEERS.findall(shown) == []
    assert lines or not re.search(r"[\r\n]FORGED", shown)


def with_an_error(*arguments: str) -> Any:
    """Make a parameter set in which the command gets an error."""
    return pytest.param(arguments, True, id=" ".join((*arguments, "error")))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        *(
            pytest.param(tuple(line.split()), False, id=line)
            for line in (
                "sessions list",
                "sessions list --json",
                "sessions list --search abcd --archived",
                "sessions rename abcd new",
                "sessions rename abcd new --json",
                "sessions archive abcd",
                "sessions unarchive abcd",
                "sessions fork abcd",
                "sessions show abcd",
                "sessions export abcd",
                "sessions export abcd --format json",
                "sessions delete abcd --yes",
                "status",
                "status --json",
                "chat --continue hi",
            )
        ),
        with_an_error("sessions", "list"),
        with_an_error("status"),
        with_an_error("chat", "hi"),
    ],
)
def test_a_command_that_ends(tmp_path: Path, arguments: tuple[str, ...], error: bool) -> None:
    with (
        in_background(HostileService(error=error)) as url,
        on_a_terminal(tmp_path, url, *arguments) as child,
    ):
        child.expect(pexpect.EOF)
        assert "Traceback" not in child.before
        foreign = ("chat", "sessions show", "sessions export")
        assert_harmless(child.before, lines=" ".join(arguments).startswith(foreign))


def test_a_question_before_deleting(tmp_path: Path) -> None:
    with (
        in_background(HostileService()) as url,
        on_a_terminal(tmp_path, url, "sessions", "delete", "abcd") as child,
    ):
        child.expect_exact("[y/N]")
        shown = child.before
        child.send("n\r")
        child.expect(pexpect.EOF)
        assert_harmless(shown + child.before)


def test_a_watched_status(tmp_path: Path) -> None:
    with (
        in_background(HostileService()) as url,
        on_a_terminal(tmp_path, url, "status", "--watch") as child,
    ):
        for _ in range(2):
            child.expect_exact("dead letters")
            assert_harmless(child.before)
        child.sendcontrol("c")
        child.expect(pexpect.EOF)
        assert STEERS.findall(child.before) == []


def test_a_conversation_that_is_taken_up(tmp_path: Path) -> None:
    with (
        in_background(HostileService()) as url,
        on_a_terminal(tmp_path, url, "chat", "--continue") as child,
    ):
        child.expect_exact("backend abcd-")
        child.expect_exact("Ctrl-D quits")
        assert_harmless("abcd-" + child.before)
        child.expect_exact(OPENED)
        shown = child.before
        assert "answered elsewhere" in shown
        assert "> abcd-" in shown
        child.sendcontrol("d")
        child.expect(pexpect.EOF)
        assert_harmless(shown + child.before, lines=True)


COMMANDS = (
    "/help", "/model abcd", "/model", "/options", "/set abcd", "/set abcd x", "/queue",
    "/queue edit 1 x", "/queue drop 1", "/rename x", "/archive", "/fork 99", "/fork", "/retry",
)  # fmt: skip


def test_the_commands_of_a_chat(tmp_path: Path) -> None:
    """What the service sends for a command is as harmless as a reply, and is no line of its own."""
    with (
        in_background(HostileService()) as url,
        on_a_terminal(tmp_path, url, "chat", "--continue") as child,
    ):
        child.expect_exact(OPENED)
        for typed in COMMANDS:
            child.send(typed + "\r")
            child.expect_exact(OPENED)
            shown = child.before.partition(TYPED)[2]
            assert STEERS.findall(shown) == [], typed
            if typed not in ("/fork", "/retry"):  # these show messages again, as lines
                assert not re.search(r"[\r\n]FORGED", shown), typed
            if typed in ("/help", "/model", "/options", "/queue", "/rename x", "/archive", "/fork"):
                assert "abcd-" in shown, typed


def run_on_a_terminal(folder: Path, *arguments: str, **settings: str) -> str:
    """Run a command that needs no service and return its output."""
    env = environment(folder, **settings)
    child = spawned(*arguments, cwd=folder, env=env, size=SIZE)
    try:
        child.expect(pexpect.EOF)
        assert isinstance(child.before, str)
        return child.before
    finally:
        child.close(force=True)


NAME = HOSTILE.replace("\n", "").replace("/", "")


def test_a_key_of_a_settings_file(tmp_path: Path) -> None:
    text = json.dumps({NAME: 1}).removeprefix("{").removesuffix("}").replace(": 1", " = 1")
    (tmp_path / "callboard.toml").write_text(text)
    assert_harmless(run_on_a_terminal(tmp_path, "serve", "--backend", "echo"))


def test_a_folder_with_a_hostile_name(tmp_path: Path) -> None:
    folder = tmp_path / NAME
    folder.mkdir()
    assert_harmless(run_on_a_terminal(folder, "new", str(folder / "some-name")))
    assert_harmless(run_on_a_terminal(folder, "new", NAME))
    (folder / "file").touch()
    shown = run_on_a_terminal(folder, "serve", "--backend", "echo", "--data-dir", "file")
    assert STEERS.findall(shown) == []
    model = str(folder / "none.gguf")
    assert_harmless(run_on_a_terminal(folder, "serve", "--local-model", model))


def test_the_output_of_a_program_that_is_not_an_opencode_server(tmp_path: Path) -> None:
    program = tmp_path / "opencode"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' {shlex.quote(NAME)} >&2\nexit 1\n")
    program.chmod(0o755)
    flags = ("--backend", "opencode", "--opencode-command", str(program))
    shown = run_on_a_terminal(tmp_path, "serve", *flags)
    assert STEERS.findall(shown) == []
