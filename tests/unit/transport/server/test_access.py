"""Own hosts and origins are served, and near misses are refused."""

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from transport.server.access import Access, anyone, parse_host, parse_origin

OWN = ("127.0.0.1", "localhost", "[::1]")
ACCESS = Access.at(OWN, 4100)


def status(
    *headers: tuple[str, str], peer: str = "127.0.0.1", path: str = "/ws", access: Access = ACCESS
) -> int | None:
    request = make_mocked_request("GET", path, CIMultiDict(headers)).clone(remote=peer)
    refusal = access.check(request)
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
     "http://[::1", "http://127.0.0.1:99999", "vscode-webview://127.0.0.1:4100",
     "HTTP://127.0.0.1:4100", "http://LOCALHOST:4100", "http://127.0.0.1:4100/",
     "http://127.0.0.1:4100 http://127.0.0.1:4100", "http://127.0.0.1.:4100", "http://127.1:4100",
     "http://2130706433:4100", "http://[0:0:0:0:0:0:0:1]:4100", "http://localhost.:4100"],
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
    for path in ("/ws?token=right", "/ws?Token=right", "/ws?a=b&access_token=right"):
        assert status(HOST, path=path) == 400
    assert status(HOST, path="/ws?other=1") is None


def test_allowed_names_and_pages_are_served_beside_our_own() -> None:
    access = Access.at(
        OWN,
        4100,
        names=("board.example", "Other.Example:9000"),
        origins=("https://App.example:443",),
    )
    for host in ("board.example", "board.example:4100", "other.example:9000", "localhost:4100"):
        assert status(("Host", host), access=access) is None
    for host in ("other.example", "other.example:4100", "board.example:9000", "app.example"):
        assert status(("Host", host), access=access) == 421
    for origin in ("https://app.example", "http://board.example:4100", "http://localhost:4100"):
        assert status(HOST, ("Origin", origin), access=access) is None
    for origin in (
        "http://app.example", "https://app.example:443", "https://app.example.", "https://x.app.example",
        "http://board.example", "http://other.example:9000", "https://board.example:4100", "null",
    ):  # fmt: skip
        assert status(HOST, ("Origin", origin), access=access) == 403


ORIGINS = (
    "VSCode-WebView://*",
    "https://app.example",
    "safari-web-extension://140BB581-A2C0-4B5F",
)


def test_a_scheme_may_be_allowed_whole() -> None:
    access = Access.at(OWN, 4100, origins=ORIGINS)
    for origin in (
        "vscode-webview://0abcdefghij1klmnopq2", "vscode-webview://1f0c4bd2-92ac-4f43-8f3c-1f0a8a1f2b11",
        "vscode-webview://panel:81", "https://app.example", "http://localhost:4100",
        "vscode-webview://140BB581-A2C0-4b5f", "safari-web-extension://140BB581-A2C0-4B5F",
    ):  # fmt: skip
        assert status(HOST, ("Origin", origin), access=access) is None, origin
    for origin in (
        "vscode-webview://*", "vscode-webview://", "vscode-webview:", "vscode-webview://a/b",
        "vscode-webview://a b", "VSCode-webview://a", "vscode-webview://u@a",
        "vscode-webview-x://a", "vscode-file://a", "safari-web-extension://140BB581-A2C0-4B50",
        "https://App.example", "HTTPS://app.example",
        "https://vscode-webview.example", "https://vscode-webview://a", "http://a", "null", "", "*",
    ):  # fmt: skip
        assert status(HOST, ("Origin", origin), access=access) == 403, origin


def test_what_is_served_with_tls_has_other_origins() -> None:
    access = Access.at(OWN, 443, scheme="https")
    host = ("Host", "localhost")
    assert status(host, ("Origin", "https://localhost"), access=access) is None
    assert status(("Host", "localhost:443"), access=access) is None
    assert status(host, ("Origin", "http://localhost"), access=access) == 403


def test_a_service_for_other_machines_takes_their_peers_and_nothing_else() -> None:
    access = Access.at(OWN, 4100, names=("board.example",), admits=anyone)
    assert status(("Host", "board.example:4100"), peer="192.0.2.1", access=access) is None
    assert status(("Host", "192.0.2.7:4100"), peer="192.0.2.1", access=access) == 421


@pytest.mark.parametrize(
    "text", ["*", "", "*.example", "http://board.example", "a b", "board:0", "[::1", "a/b", "a:b"]
)
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(ValueError, match="is not a host"):
        parse_host(text)


@pytest.mark.parametrize(
    "text", ["*", "null", "app.example", "https://*", "https://a/", "https://a/b", "file://x",
             "https://u@a", "https://", "https://a:0", "https://a?b", "http://*", "HTTPS://*", "ws://*",
             "wss://*", "ftp://*", "file://*", "ipfs://*", "https://*.example", "vscode-webview://*:80",
             "*://*",
             "://*", "vscode-webview:*", "vscode-webview://*/"],
)  # fmt: skip
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        parse_origin(text)
