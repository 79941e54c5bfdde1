"""Decides who may open a WebSocket, before the upgrade: aiohttp itself admits everyone.

A page in the user's browser can reach loopback under any name that it makes resolve there (DNS
rebinding). So the Host must be one of the service's names, and an Origin, which every browser
sends, must be the service's own or one that was explicitly allowed (WebSocket handshake: RFC 6455,
section 10.2).
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from aiohttp import web

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_NAME: Final = r"(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)"
_PORT: Final = r"(?::[1-9][0-9]{0,4})?"
_HOST: Final = re.compile(_NAME + _PORT)
_SCHEME: Final = r"(?P<scheme>[a-z][a-z0-9+.-]*)"
_ORIGIN: Final = re.compile(rf"{_SCHEME}://(?P<host>{_NAME})(?P<port>{_PORT})")
_GIVEN_ORIGIN: Final = re.compile(rf"{_SCHEME}://(?i:{_NAME}){_PORT}")
_ANY_HOST: Final = re.compile(rf"{_SCHEME}://\*")
_WEB: Final = frozenset({"http", "https", "ws", "wss", "ftp", "ipfs", "ipns", "hyper", "dat"})
"""Schemes under which anyone can publish a page; allowing one as a whole would admit all pages."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP response sent instead of the upgrade."""

    status: int
    reason: str


def parse_host(text: str) -> str:
    """Return a name for the service, `name` or `name:port`, in lower case. Raises ValueError."""
    host = text.strip().lower()
    if not _HOST.fullmatch(host):
        raise ValueError(f"{text!r} is not a host: a name or an address, with a port or without")
    return host


def parse_origin(text: str) -> str:
    """Return an origin as browsers write it (RFC 6454, section 6.2), or a scheme with any host.

    `vscode-webview://*` allows every host of a scheme that belongs to one application, which makes
    up the hosts: an editor's panel gets a new one each time. Raises ValueError.
    """
    text = text.strip().lower()
    any_host = _ANY_HOST.fullmatch(text)
    if any_host is not None and any_host["scheme"] not in {*_WEB, "file"}:
        return text
    match = _ORIGIN.fullmatch(text)
    if match is None or match["scheme"] == "file":
        raise ValueError(
            f"{text!r} is not an origin: scheme://host, with a port or without;"
            " or scheme://* for a scheme that is not the web's, such as vscode-webview"
        )
    default = f":{_DEFAULT_PORTS.get(match['scheme'])}"
    port = "" if match["port"] == default else match["port"]
    return f"{match['scheme']}://{match['host']}{port}"


@dataclass(frozen=True, slots=True)
class Access:
    """The names (Host header), origins (Origin header) and peers that are admitted.

    An Origin with a web scheme must match exactly: no browser on one of the service's pages writes
    it differently. `scheme://*` among the origins allows every host of that scheme (ADR 0043).
    """

    hosts: frozenset[str]
    origins: frozenset[str]
    admits: Callable[[web.BaseRequest], bool]

    @classmethod
    def at(
        cls,
        own: Iterable[str],
        port: int,
        *,
        scheme: str = "http",
        names: Iterable[str] = (),
        origins: Iterable[str] = (),
        admits: "Callable[[web.BaseRequest], bool] | None" = None,
    ) -> "Access":
        """Return the access rules of a service on this port. Raises ValueError.

        own: the service's own names. names, origins: further ones. A further name with a port is
        taken as it is. One without is accepted with this port and without any, as a proxy may pass
        it on.
        """
        further = [parse_host(name) for name in names]
        at_port = {*map(parse_host, own), *(name for name in further if not _has_port(name))}
        hosts = {f"{name}:{port}" for name in at_port} | set(further)
        if port == _DEFAULT_PORTS[scheme]:
            hosts |= at_port
        pages = {f"{scheme}://{name}:{port}" for name in at_port}
        allowed = frozenset(map(parse_origin, (*pages, *origins)))
        return cls(frozenset(hosts), allowed, admits or is_loopback)

    def check_address(self, request: web.BaseRequest) -> Refusal | None:
        """Refuse a peer, Host or URL that is not admitted; used for what any page may be shown."""
        if not self.admits(request):
            return Refusal(403, "this service does not accept this peer")
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return Refusal(421, "this service does not accept this host name")
        if any("token" in name.lower() for name in request.query):
            return Refusal(400, "the token belongs in the first message, never in a URL")
        return None

    def check(self, request: web.BaseRequest) -> Refusal | None:
        """Also refuse a page that may not connect."""
        refusal = self.check_address(request)
        if refusal is not None:
            return refusal
        origins = request.headers.getall("Origin", [])
        if len(origins) > 1 or (origins and not self._allows(origins[0])):
            return Refusal(403, "this page may not connect")
        return None

    def _allows(self, origin: str) -> bool:
        match = _GIVEN_ORIGIN.fullmatch(origin)
        if match is None:
            return False
        if match["scheme"] not in _WEB:  # browsers keep the case of an extension's host
            origin = origin.lower()
        return origin in self.origins or f"{match['scheme']}://*" in self.origins


def host_without_port(host: str) -> str:
    """Return the name alone."""
    return re.sub(r":[0-9]+$", "", host)


def _has_port(host: str) -> bool:
    return host != host_without_port(host)


def anyone(_: web.BaseRequest) -> bool:
    """Admit any peer, for a service that was deliberately exposed beyond loopback."""
    return True


def is_loopback(request: web.BaseRequest) -> bool:
    """Return whether the peer is on this machine."""
    try:
        address = ip_address(request.remote or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
