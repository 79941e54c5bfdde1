"""Hosts and origins: ours, and near misses."""

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from transport.access import Access

ACCESS = Access.at("127.0.0.1", 4100)


def status(
    *headers: tuple[str, str], peer: str | None = "127.0.0.1", path: str = "/ws"
) -> int | None:
    request = make_mocked_request("GET", path, CIMultiDict(headers)).clone(remote=peer or "")
    refusal = ACCESS.check(request)
    return None if refusal is None else refusal.status


HOST = ("Host", "127.0.0.1:4100")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:4100", "localhost:4100", "[::1]:4100", "LOCALHOST:4100"]
)
def test_own_names(host: str) -> None:
    assert status(("Host", host)) is None
    assert status(("Host", host), ("Origin", f"http://{host.lower()}")) is None


@pytest.mark.parametrize(
    "host",
    ["", "127.0.0.1", "127.0.0.1:41000", "127.0.0.1:4100.evil.example", "evil.example:4100",
     "localhost:4100@evil.example", "127.0.0.1:4100,127.0.0.1:4100", "::1:4100"],
)  # fmt: skip
def test_other_names_get_421(host: str) -> None:
    assert status(("Host", host)) == 421


def test_no_name_and_two_names_get_421() -> None:
    assert status() == 421
    assert status(HOST, HOST) == 421


@pytest.mark.parametrize(
    "origin",
    ["", "null", "http://127.0.0.1", "http://127.0.0.1:80", "https://127.0.0.1:4100", "*",
     "http://127.0.0.1:41001", "http://evil.example:4100", "http://127.0.0.1:4100.evil.example",
     "http://127.0.0.1:4100@evil.example", "http://a@127.0.0.1:4100", "http://127.0.0.1:4100/x",
     "http://127.0.0.1:4100?x", "http://127.0.0.1:4100#x", "file://", "127.0.0.1:4100",
     "http://[::1", "http://127.0.0.1:99999", "vscode-webview://127.0.0.1:4100"],
)  # fmt: skip
def test_other_origins_get_403(origin: str) -> None:
    assert status(HOST, ("Origin", origin)) == 403


def test_two_origins_get_403() -> None:
    own = ("Origin", "http://127.0.0.1:4100")
    assert status(HOST, own) is None
    assert status(HOST, own, own) == 403


@pytest.mark.parametrize("peer", ["192.0.2.1", "::ffff:192.0.2.1", "", "nonsense"])
def test_a_peer_elsewhere_gets_403(peer: str) -> None:
    assert status(HOST, peer=peer) == 403


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_a_peer_here_is_served(peer: str) -> None:
    assert status(HOST, peer=peer) is None


def test_a_token_in_the_query_gets_400() -> None:
    assert status(HOST, path="/ws?token=right") == 400
    assert status(HOST, path="/ws?other=1") is None
