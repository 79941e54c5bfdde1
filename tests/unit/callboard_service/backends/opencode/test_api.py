"""HTTP calls to misbehaving servers are bounded, and their failures reveal no secret."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from actors import Failure
from callboard_service.backends.opencode import api as module
from callboard_service.backends.opencode.api import Address, Api
from tests.unit.callboard_service.backends.opencode.odd_server import Answer, answering, fixed

PASSWORD = "the-password-of-the-test"


@asynccontextmanager
async def talking_to(
    answer: Answer, directory: str = "", call_timeout: float = 30.0
) -> AsyncIterator[Api]:
    async with answering(answer) as url:
        api = Api(Address(url, PASSWORD), directory, call_timeout)
        try:
            yield api
        finally:
            await api.close()


async def failure_for(answer: Answer, call_timeout: float = 30.0) -> Failure:
    async with talking_to(answer, "", call_timeout) as api:
        with pytest.raises(Failure) as raised:
            await api.version()
    assert PASSWORD not in raised.value.message
    assert "secret" not in raised.value.message
    assert raised.value.__cause__ is None
    return raised.value


@pytest.mark.parametrize(
    ("answer", "code", "retryable"),
    [
        (fixed(400, "secret"), "INVALID_ARGUMENT", False),
        (fixed(401, "secret"), "UNAUTHENTICATED", False),
        (fixed(403, "secret"), "PERMISSION_DENIED", False),
        (fixed(404, '{"secret": 1}'), "NOT_FOUND", False),
        (fixed(418, "secret"), "FAILED_PRECONDITION", False),
        (fixed(500, "secret"), "UNAVAILABLE", True),
        (fixed(200, "<html>secret</html>", "text/html"), "FAILED_PRECONDITION", False),
        (fixed(200, "[" * 100_000), "FAILED_PRECONDITION", False),
        (fixed(200, '["secret"]'), "FAILED_PRECONDITION", False),
        (fixed(200, '{"healthy": "secret"}'), "FAILED_PRECONDITION", False),
    ],
)
async def test_each_unusable_answer_has_its_code(
    answer: Answer, code: str, retryable: bool
) -> None:
    failure = await failure_for(answer)
    assert (failure.code.value, failure.retryable) == (code, retryable)


async def test_a_redirect_does_not_get_the_password() -> None:
    asked: list[str] = []

    async def other(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Authorization", ""))
        return web.json_response({"healthy": True})

    async with answering(other) as url:
        failure = await failure_for(fixed(302, Location=url))
    assert failure.code.value == "FAILED_PRECONDITION"
    assert asked == []


async def test_a_body_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BODY", 1_000_000)
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)
            sent += 65536

    assert (await failure_for(endless)).code.value == "RESOURCE_EXHAUSTED"
    assert sent < 10_000_000


async def test_a_server_that_never_answers_is_given_up() -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    failure = await failure_for(never, call_timeout=0.05)
    assert (failure.code.value, failure.retryable) == ("UNAVAILABLE", True)


async def test_a_server_that_does_not_listen_is_unavailable() -> None:
    async with answering(fixed(200)) as url:
        pass
    api = Api(Address(url, PASSWORD))
    with pytest.raises(Failure) as raised:
        await api.version()
    await api.close()
    assert (raised.value.code.value, raised.value.retryable) == ("UNAVAILABLE", True)


async def test_user_password_and_directory_go_with_every_call() -> None:
    seen: list[tuple[str, str, str]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append((request.path, request.query["directory"], request.headers["Authorization"]))
        return web.json_response({"id": "ses_1", "directory": "/a b/ü"})

    async with talking_to(answer, "/a b/ü") as api:
        await api.session("ses_1")
        api.directory = "/elsewhere"
        with pytest.raises(Failure) as raised:
            await api.session("ses_1")
    assert raised.value.code.value == "NOT_FOUND"
    assert seen[0][:2] == ("/session/ses_1", "/a b/ü")
    assert seen[0][2].startswith("Basic ")
    assert PASSWORD not in repr(Address("http://x", PASSWORD))


@pytest.mark.parametrize(
    "name", ["", "x", "ses_", "ses_../x", "ses_a/b", "ses_a?b", "ses_" + "a" * 99]
)
async def test_what_cannot_be_a_conversation_is_not_asked_for(name: str) -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        raise AssertionError("it was asked for")

    async with talking_to(never) as api:
        for call in (api.session, api.delete, api.abort):
            with pytest.raises(Failure, match="no conversation"):
                await call(name)
