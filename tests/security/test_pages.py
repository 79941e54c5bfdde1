"""Pages in the user's browser: foreign origins, near misses of ours, rebound names."""

import pytest

from tests.e2e.service_process import ServiceProcess
from tests.security.raw import frame, greeted, hello, plain, refused, upgrade

EVIL = [("Origin", "https://evil.example")]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://evil.example:{port}",
        "null",
        "",
        "*",
        "http://127.0.0.1:{port}.evil.example",
        "http://127.0.0.1.evil.example:{port}",
        "http://localhost.evil.example:{port}",
        "http://evil.example/127.0.0.1:{port}",
        "http://evil-localhost:{port}",
        "http://xlocalhost:{port}",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://127.0.0.1:{port}0",
        "http://127.0.0.1:{port}/",
        "http://127.0.0.1:{port}@evil.example",
        "http://user@127.0.0.1:{port}",
        "https://127.0.0.1:{port}",
        "HTTP://127.0.0.1:{port}",
        "http://LOCALHOST:{port}",
        "http://localhost.:{port}",
        "http://127.1:{port}",
        "http://0.0.0.0:{port}",
        "http://[::]:{port}",
        "file://",
        "chrome-extension://abcdefgh",
        "http://127.0.0.1:{port} http://evil.example",
    ],
)
async def test_a_foreign_page_gets_403(service: ServiceProcess, origin: str) -> None:
    assert await refused(service, [("Origin", origin.format(port=service.port))]) == 403


async def test_two_origins_get_403_though_both_are_ours(service: ServiceProcess) -> None:
    own = ("Origin", f"http://127.0.0.1:{service.port}")
    assert await refused(service, [own]) == 101
    assert await refused(service, [own, own]) == 403
    assert await refused(service, [own, ("Origin", "https://evil.example")]) == 403


async def test_no_origin_is_no_page_and_still_needs_the_token(service: ServiceProcess) -> None:
    async with greeted(service):
        pass
    async with plain(service) as raw:
        await raw.send(upgrade(f"127.0.0.1:{service.port}"))
        assert (await raw.response())[0] == 101
        await raw.send(frame(hello("")))
        assert await raw.close_code() == 4501


@pytest.mark.parametrize("path", ["/ws", "/", "/healthz", "/metrics"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1.evil.example:{port}",
        "localhost.evil.example:{port}",
        "127.0.0.1:{port}.evil.example",
        "0.0.0.0:{port}",
        "[::]:{port}",
        "127.1:{port}",
        "user@127.0.0.1:{port}",
        "",
    ],
)
async def test_a_rebound_name_gets_421(service: ServiceProcess, host: str, path: str) -> None:
    headers = [("Host", host.format(port=service.port))]
    assert await refused(service, headers, path, named=False) == 421


async def test_no_name_and_two_names_are_refused(service: ServiceProcess) -> None:
    own = ("Host", f"127.0.0.1:{service.port}")
    assert await refused(service, [], named=False) in (400, 421)
    assert await refused(service, [own, ("Host", "evil.example")], named=False) in (400, 421)
    assert await refused(service, [own, own], named=False) in (400, 421)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]", "LOCALHOST"])
async def test_our_own_names_are_served(service: ServiceProcess, name: str) -> None:
    host = f"{name}:{service.port}"
    headers = [("Host", host), ("Origin", f"http://{host.lower()}")]
    assert await refused(service, headers, named=False) == 101


@pytest.mark.parametrize("query", ["token", "Token", "access_token", "x=1&token"])
@pytest.mark.parametrize("path", ["/ws", "/", "/healthz", "/metrics"])
async def test_a_token_in_a_query_gets_400_though_it_is_right(
    service: ServiceProcess, path: str, query: str
) -> None:
    assert await refused(service, path=f"{path}?{query}={service.token}") == 400


async def test_a_page_may_not_read_anything_from_another_origin(service: ServiceProcess) -> None:
    for path in ("/", "/healthz", "/metrics"):
        async with plain(service) as raw:
            await raw.send(upgrade(f"127.0.0.1:{service.port}", EVIL, path))
            _, headers = await raw.response()
            assert not [name for name in headers if name.startswith("access-control-")]
    async with plain(service) as raw:
        preflight = upgrade(f"127.0.0.1:{service.port}", EVIL)
        await raw.send(preflight.replace(b"GET", b"OPTIONS", 1))
        status, headers = await raw.response()
        assert status == 405
        assert not [name for name in headers if name.startswith("access-control-")]


async def test_the_page_can_be_framed_by_nobody_and_runs_nothing_foreign(
    service: ServiceProcess,
) -> None:
    async with plain(service) as raw:
        await raw.send(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n\r\n".encode())
        status, headers = await raw.response()
        assert status == 200
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-inline" not in policy
        assert "'unsafe-eval'" not in policy
