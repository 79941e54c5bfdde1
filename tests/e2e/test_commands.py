"""`callboard sessions`, `callboard status` and /metrics, as a person and a scraper use them."""

import json
import os
import subprocess
from pathlib import Path

import aiohttp
import pexpect
import pytest

from tests.e2e.contract_client import Contract, message
from tests.e2e.service_process import ServiceProcess, command, environment, run, told
from tests.e2e.terminal import OPENED, of, spawned

RUNTIME = "CALLBOARD_RUNTIME_DIR"


async def test_conversations_are_listed_shown_exported_and_deleted(
    shared: ServiceProcess, client: Contract, tmp_path: Path
) -> None:
    conversation = await client.conversation("A \x1b[31mred\x1b[0m title")
    await client.reply(conversation, '[[tool:read {"path": "a.txt"}]]hello ```there``` \x1b[2J')

    code, out, _ = told(shared, tmp_path, "sessions", "list")
    assert code == 0
    assert "\x1b" not in out
    name = next(line.split()[0] for line in out.splitlines() if "red" in line)
    assert conversation.startswith(name)

    code, out, _ = told(shared, tmp_path, "sessions", "list", "--json")
    assert code == 0
    assert conversation in [info["id"] for info in json.loads(out)]

    code, out, _ = told(shared, tmp_path, "sessions", "show", name)
    assert code == 0
    assert "\x1b" not in out
    assert out.index("## You") < out.index('read {"path": "a.txt"}') < out.index("## Reply")

    target = tmp_path / "export.md"
    arguments = ("sessions", "export", name, "--output", str(target))
    assert told(shared, tmp_path, *arguments)[0] == 0
    assert "hello ```there``` \x1b[2J" in target.read_text()
    if os.name == "posix":
        assert target.stat().st_mode & 0o777 == 0o600
    before = target.read_text()
    code, _, err = told(shared, tmp_path, *arguments)
    assert code == 2
    assert str(target) in err
    assert target.read_text() == before

    code, out, _ = told(shared, tmp_path, "sessions", "export", name, "--format", "json")
    exported = json.loads(out)
    assert exported["id"] == conversation
    kinds = [sorted(entry.keys() - {"id", "at", "turn_id"}) for entry in exported["entries"]]
    assert kinds[:3] == [["user_text"], ["tool_call"], ["tool_result"]]
    assert kinds[3:] == [["assistant_text", "completed"]]
    assert len({entry["turn_id"] for entry in exported["entries"]}) == 1

    assert told(shared, tmp_path, "sessions", "delete", "--yes", name, "no such")[0] == 2
    assert told(shared, tmp_path, "sessions", "delete", "--yes", name, conversation)[0] == 0
    code, _, err = told(shared, tmp_path, "sessions", "show", name)
    assert code == 2
    assert name in err


async def test_conversations_are_searched_renamed_archived_and_copied(
    echo: ServiceProcess, tmp_path: Path
) -> None:
    async with echo.connect() as client:
        first = await client.conversation("Of apples")
        await client.reply(first, "a word about pears")
        await client.conversation("Of plums")

    def listed(*flags: str) -> list[str]:
        code, out, _ = told(echo, tmp_path, "sessions", "list", *flags)
        assert code == 0
        return [line.split("  ")[-1].strip() for line in out.splitlines()[1:]]

    assert sorted(listed()) == ["Of apples", "Of plums"]
    assert listed("--search", "PEARS") == ["Of apples"]
    code, out, err = told(echo, tmp_path, "sessions", "list", "--search", "x1")
    assert (code, out) == (0, "")
    assert err == "nothing was found; a search this short may look at titles only\n"

    code, out, err = told(echo, tmp_path, "sessions", "rename", first[:8], "Of both")
    assert (code, out, err) == (0, "", f"renamed {first}: Of both\n")
    code, _, err = told(echo, tmp_path, "sessions", "rename", first, " ")
    assert (code, err) == (2, "callboard: the title is empty\n")

    code, out, _ = told(echo, tmp_path, "sessions", "archive", first, "--json")
    assert code == 0
    assert json.loads(out)["archived"] is True
    assert listed() == ["Of plums"]
    assert sorted(listed("--archived")) == ["Of both", "Of plums"]
    assert "  archived  Of both" in told(echo, tmp_path, "sessions", "list", "--archived")[1]
    _, out, _ = told(echo, tmp_path, "sessions", "list", "--json", "--archived", "--search", "both")
    assert [info["id"] for info in json.loads(out)] == [first]
    code, _, err = told(echo, tmp_path, "sessions", "unarchive", first[:8])
    assert (code, err) == (0, f"brought back {first}: Of both\n")
    assert "Of both" in listed()

    code, out, err = told(echo, tmp_path, "sessions", "fork", first)
    copy = out.strip()
    assert (code, err) == (0, f"copied {first} to {copy}: Of both\n")
    assert copy != first
    assert "a word about pears" in told(echo, tmp_path, "sessions", "show", copy)[1]
    _, out, _ = told(echo, tmp_path, "sessions", "fork", copy, "--json")
    assert json.loads(out)["parent_id"] == copy
    code, _, err = told(echo, tmp_path, "sessions", "fork", "none")
    assert (code, len(err.splitlines())) == (2, 1)


async def test_nothing_is_deleted_by_a_slip_of_the_finger(
    echo: ServiceProcess, tmp_path: Path
) -> None:
    async with echo.connect() as client:
        conversation = await client.conversation("Of worth")
    code, _, err = told(echo, tmp_path, "sessions", "delete", "--yes", conversation[0])
    assert (code, len(err.splitlines())) == (2, 1)
    assert "too short" in err
    code, _, err = told(echo, tmp_path, "sessions", "delete", conversation)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "--yes" in err
    for typed, exit_code in (("", 2), ("n", 2), ("no", 2), ("y", 0)):
        code, out, _ = told(echo, tmp_path, "sessions", "list")
        assert "Of worth" in out
        asked = spawned("sessions", "delete", conversation[:8], env=of(tmp_path, echo))
        asked.expect_exact(f"{conversation}: Of worth")
        asked.expect_exact(OPENED)
        asked.send(typed + "\r")
        asked.expect(pexpect.EOF)
        asked.close()
        assert asked.exitstatus == exit_code
    assert "Of worth" not in told(echo, tmp_path, "sessions", "list")[1]


async def test_a_reply_that_was_cancelled_is_shown_as_such(
    shared: ServiceProcess, client: Contract, tmp_path: Path
) -> None:
    conversation = await client.conversation()
    request = await client.say(conversation, "one [[delay:60000]]two")
    await anext(client.answers(request))
    await client.send(request, cancel=message("CancelRequest"))
    await client.all(request)
    await client.reply(conversation, "three")  # takes its turn once the cancelled reply is stored
    _, out, _ = told(shared, tmp_path, "sessions", "show", conversation)
    cut = "*(cancelled: the reply was cut off before it was complete)*"
    assert [line for line in out.splitlines() if line and not line.startswith("#")] == [
        "one [[delay:60000]]two", "one ", cut, "three", "three",
    ]  # fmt: skip
    _, out, _ = told(shared, tmp_path, "sessions", "export", conversation, "--format", "json")
    assert json.loads(out)["entries"][2]["error"]["code"] == "CANCELLED"


async def test_a_long_conversation_is_exported_whole(
    shared: ServiceProcess, client: Contract, tmp_path: Path
) -> None:
    conversation = await client.conversation()
    for number in range(101):
        await client.reply(conversation, f"message {number}")
    code, out, _ = told(shared, tmp_path, "sessions", "export", conversation, "--format", "json")
    assert code == 0
    texts = [entry.get("user_text") for entry in json.loads(out)["entries"][::2]]
    assert texts == [f"message {number}" for number in range(101)]


def test_without_a_service_each_command_says_so_and_exits_3(tmp_path: Path) -> None:
    for arguments in (("status",), ("sessions", "list")):
        code, out, err = run(tmp_path, *arguments)
        assert (code, out) == (3, "")
        assert "callboard serve" in err
        assert len(err.splitlines()) == 1


async def test_status_tells_of_backend_sessions_requests_faults_and_actors(
    shared: ServiceProcess, client: Contract, tmp_path: Path
) -> None:
    conversation = await client.conversation()
    await client.reply(conversation, "[[crash]]")
    held = await client.say(conversation, "[[ask:question]]")
    await anext(client.answers(held))
    code, out, _ = told(shared, tmp_path, "status")
    assert code == 0
    for part in ("echo  ready", "sessions", "SessionActor", "SendMessage", "crashed"):
        assert part in out
    code, out, _ = told(shared, tmp_path, "status", "--json")
    status = json.loads(out)
    assert code == 0
    assert status["backend"] == "echo"
    assert status["backend_health"]["ready"] is True
    assert status["sessions"] >= 2
    assert status["requests"] >= 1  # the one that waits; the status request need not be an actor
    assert int(status["crashes"]) >= 1
    assert [child["name"] for child in status["root"]["children"]] == [
        "store",
        "extensions",
        "sessions",
    ]


async def test_status_is_a_call_like_any_other(client: Contract) -> None:
    packed = message("google.protobuf.Any")
    packed.Pack(message("ServiceStatusRequest", max_children=1))
    answer = await client.call(call=packed)
    status = message("ServiceStatus")
    assert answer.reply.Unpack(status)
    assert len(status.root.children) == 1
    assert status.root.more_children == 2


def test_status_watch_in_a_pipe_prints_one_after_the_other_until_nobody_reads(
    shared: ServiceProcess, tmp_path: Path
) -> None:
    runtime = str(Path(shared.ready["runtime_file"]).parent)
    watch = subprocess.Popen(
        command("status", "--watch"),
        stdout=subprocess.PIPE,
        env=environment(tmp_path, **{RUNTIME: runtime}),
    )
    assert watch.stdout is not None
    with watch:
        seen = 0
        while seen < 2:
            seen += watch.stdout.readline().startswith(b"callboard ")
        watch.stdout.close()
        assert watch.wait(30) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [("status",), ("sessions", "list"), ("chat", "hi")])
def test_a_full_disk_is_said_once(
    shared: ServiceProcess, tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert told(shared, tmp_path, "chat", "there is something to list")[0] == 0
    runtime = str(Path(shared.ready["runtime_file"]).parent)
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            command(*words),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(tmp_path, **{RUNTIME: runtime}),
            check=False,
        )
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert b"No space left on device" in ended.stderr


def test_status_watch_draws_until_ctrl_c(shared: ServiceProcess, tmp_path: Path) -> None:
    runtime = str(Path(shared.ready["runtime_file"]).parent)
    env = environment(tmp_path, **{RUNTIME: runtime})
    watch = spawned("status", "--watch", env=env, size=(40, 120))
    for _ in range(3):
        watch.expect("SessionActor")
    watch.sendintr()
    watch.expect(pexpect.EOF)
    watch.close()
    assert watch.exitstatus == 130


async def test_metrics_count_what_happened(shared: ServiceProcess, client: Contract) -> None:
    async def scrape() -> dict[str, float]:
        headers = {"Authorization": f"Bearer {shared.token}"}
        async with http.get(url, headers=headers) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            lines = (await answer.text()).splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    url = shared.ready["page"] + "metrics"
    async with aiohttp.ClientSession() as http:
        before = await scrape()
        conversation = await client.conversation()
        await client.reply(conversation, "one two three")
        await client.reply(conversation, "[[error:NOT_FOUND]]")
        await client.reply(conversation, "[[crash]]")
        cancelled = await client.say(conversation, "[[ask:question]]")
        await anext(client.answers(cancelled))
        await client.send(cancelled, cancel=message("CancelRequest"))
        await client.all(cancelled)
        await client.call(call=message("google.protobuf.Any", type_url="x/y"))
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await http.ws_connect(shared.url, headers={"Origin": "http://evil.example"})
        after = await scrape()

    def grown(name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    def requests(kind: str, code: str) -> float:
        return grown(f'callboard_requests_total{{code="{code}",type="{kind}"}}')

    assert after["callboard_connections"] >= 1
    assert requests("CreateSessionRequest", "OK") == 1
    for code in ("OK", "NOT_FOUND", "INTERNAL", "CANCELLED"):
        assert requests("SendMessageRequest", code) == 1
    assert requests("unknown", "UNIMPLEMENTED") == 1
    assert grown('callboard_last_answer_seconds_count{type="SendMessageRequest"}') == 4
    assert grown('callboard_tokens_total{kind="output"}') == 3
    assert grown("callboard_actor_crashes_total") == 1
    assert grown('callboard_connections_refused_total{status="403"}') == 1
    assert after['callboard_actors{type="SessionActor"}'] >= 1
    assert 'callboard_mailbox_messages{type="Sessions"}' in after


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", "Basic {token}", "{token}"])
async def test_metrics_need_the_token(shared: ServiceProcess, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.format(token=shared.token)}
    url = shared.ready["page"] + "metrics"
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as answer:
        assert answer.status == 401
        assert "callboard_" not in await answer.text()
