"""Whatever happens to connections, every request ends once, and no answer is lost or comes twice.

`FAULTS` sets how many faults (cuts, resets, half-closes, black holes) are injected, and `SEED`
which ones. `make faults` injects 10,000, any other run of the tests 300.
"""

import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random, randrange

import pytest

from tests.e2e.service_process import running
from tests.faults.chaos import Chaos
from tests.faults.traffic import Ledger, User, all_of
from tests.faults.watched import Record, WatchedSockets
from tests.support.peers.fault_proxy import Kind
from transport.client import Client, by_url
from transport.client.calls import ClientSettings

FAULTS = int(os.environ.get("FAULTS", "300"))
SEED = int(os.environ.get("SEED", str(randrange(2**32))))
CLIENTS = 40
USERS = 3
"""Concurrent requests per client."""

SERVICE = (
    "--backend", "echo", "--drain-ms", "0", "--log-level", "warning",
    "--heartbeat-interval-ms", "250", "--max-sessions", "10000", "--messages-per-second", "0",
)  # fmt: skip
CLIENT = ClientSettings(
    name="faults", window=16, handshake=1.0,
    backoff_initial=0.002, backoff_maximum=0.02, give_up=60.0,
)  # fmt: skip


@pytest.mark.timeout(300)
async def test_every_request_ends_once_whatever_happens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def tell(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{line}")

    tell(f"SEED={SEED} FAULTS={FAULTS}")
    chaos, ledger, record = Chaos(SEED, FAULTS), Ledger(), Record()
    draw = Random(SEED)
    with running(tmp_path, *SERVICE) as service:
        async with chaos.through("127.0.0.1", service.port) as proxy, AsyncExitStack() as stack:
            find = by_url(f"ws://localhost:{service.port}/ws", service.token)
            clients = [
                Client(find, CLIENT, random=draw.random, dialer=WatchedSockets(record, proxy.port))
                for _ in range(CLIENTS)
            ]
            for client in clients:
                await stack.enter_async_context(client)
            chaos.begin()
            users = [User(client, Random(draw.random()), ledger) for client in clients * USERS]
            await all_of(users, lambda: chaos.done)
            in_flight = sum(client.protocol.in_flight for client in clients)
    happened = ", ".join(f"{count} {kind.value}" for kind, count in chaos.faults.items())
    tell(f"{chaos.faults.total()} faults ({happened}), {proxy.connections} connections")
    tell(f"{record.resumes} resumes, {record.outstanding} with answers outstanding")
    tell(f"{ledger.opened} requests, {ledger.tokens} tokens checked: {dict(ledger.ended)}")
    assert in_flight == 0
    assert ledger.ended.total() == ledger.opened
    assert set(chaos.faults) == set(Kind)
    assert chaos.faults.total() >= FAULTS
    assert record.outstanding >= FAULTS // 10
    log = service.log.read_text()
    assert "Traceback" not in log, log[log.index("Traceback") :][:4000]
