"""For each backend, the process and its children listen on the expected sockets and no other."""

from collections import Counter
from pathlib import Path

import psutil

from tests.e2e.service_process import ServiceProcess, running
from tests.e2e.test_openai import service_for
from tests.support.openai.scripted_server import scripted
from tests.support.peers.opencode_server import PROGRAM, isolated, need_opencode, server_of

NOWHERE = "http://127.0.0.1:9/v1"


def open_sockets(service: ServiceProcess) -> Counter[tuple[str, str, str]]:
    """Count the sockets that accept input, by owner, kind and address."""
    found: Counter[tuple[str, str, str]] = Counter()
    main = psutil.Process(service.process.pid)
    for process in (main, *main.children(recursive=True)):
        who = "service" if process.pid == main.pid else "child"
        for socket in process.net_connections("inet"):
            if socket.status == psutil.CONN_LISTEN:
                found[who, "tcp", socket.laddr.ip] += 1
            elif socket.status == psutil.CONN_NONE:
                found[who, "udp", socket.laddr.ip] += 1
        for socket in process.net_connections("unix"):
            if socket.laddr:  # one without a name cannot be connected to
                found[who, "unix", str(socket.laddr)] += 1
    return found


OURS = Counter({("service", "tcp", "127.0.0.1"): 1})


async def used(service: ServiceProcess) -> ServiceProcess:
    """Make the service do some work, and return it."""
    async with service.connect() as client:
        await client.conversation()
    return service


async def test_echo(service: ServiceProcess) -> None:
    assert open_sockets(await used(service)) == OURS


async def test_local(tmp_path: Path) -> None:
    with running(tmp_path, "--backend", "local", CALLBOARD_TOKEN="not-for-the-child-1") as service:
        (child,) = service.children()
        assert not [name for name in child.environ() if name.startswith("CALLBOARD_")]
        assert "not-for-the-child-1" not in str(child.environ()) + str(child.cmdline())
        assert open_sockets(await used(service)) == OURS


async def test_openai(tmp_path: Path) -> None:
    async with scripted() as server, service_for(tmp_path, server.url) as service:
        assert open_sockets(await used(service)) == OURS
        assert service.children() == []


async def test_opencode_as_a_child(tmp_path: Path) -> None:
    need_opencode()
    project = tmp_path / "project"
    project.mkdir()
    settings = {
        **isolated(tmp_path / "opencode", NOWHERE),
        "CALLBOARD_OPENCODE_COMMAND": str(PROGRAM),
        "CALLBOARD_OPENCODE_DIRECTORY": str(project),
        "CALLBOARD_TOKEN": "not-for-the-child-2",
    }
    with running(tmp_path / "service", **settings) as service:
        child = server_of(service)
        environment = child.environ()
        assert not [name for name in environment if name.startswith("CALLBOARD_")]
        assert "not-for-the-child-2" not in str(environment) + str(child.cmdline())
        assert len(environment["OPENCODE_SERVER_PASSWORD"]) >= 43
        assert environment["OPENCODE_SERVER_PASSWORD"] not in str(child.cmdline())
        (listening,) = [one for one in child.net_connections("inet") if one.status == "LISTEN"]
        assert listening.laddr.port != 4096
        assert open_sockets(await used(service)) == OURS + Counter(
            {("child", "tcp", "127.0.0.1"): 1}
        )
