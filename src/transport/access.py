"""Who may open a WebSocket: checked before the upgrade, since aiohttp itself lets all in.

A page in the user's browser can reach loopback, under any name that it makes resolve there (DNS
rebinding). So the Host must be one of ours, and an Origin, which every browser sends, must be the
service's own (WebSocket handshake: RFC 6455, section 10.2).
"""

from dataclasses import dataclass
from ipaddress import ip_address

from aiohttp import web
from yarl import URL


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP answer in place of the upgrade."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Access:
    """The hosts (`name:port`) and origins (`scheme://name:port`) that are this service's own."""

    hosts: frozenset[str]
    origins: frozenset[str]

    @classmethod
    def at(cls, host: str, port: int) -> "Access":
        """What a service on this address is called."""
        names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host}
        hosts = frozenset(f"{name}:{port}" for name in names)
        return cls(hosts, frozenset(f"http://{host}" for host in hosts))

    def check_host(self, request: web.Request) -> Refusal | None:
        """Refuse a name that is not ours."""
        hosts = request.headers.getall("Host", [])
        if len(hosts) == 1 and hosts[0].lower() in self.hosts:
            return None
        return Refusal(421, "this service has another name")

    def check(self, request: web.Request) -> Refusal | None:
        """Refuse a peer, a name, a page or a URL that may not connect."""
        if not _is_loopback(request.remote):
            return Refusal(403, "this service is for this machine alone")
        refusal = self.check_host(request)
        if refusal is not None:
            return refusal
        origins = request.headers.getall("Origin", [])
        if len(origins) > 1 or (origins and not self._is_own(origins[0])):
            return Refusal(403, "this page may not connect")
        if "token" in request.query:
            return Refusal(400, "the token belongs into the first message, never into a URL")
        return None

    def _is_own(self, origin: str) -> bool:
        try:
            url = URL(origin)
        except ValueError:
            return False
        if url.raw_path not in ("", "/") or url.query_string or url.raw_fragment or url.user:
            return False
        if not url.scheme or not url.raw_host or not url.explicit_port:
            return False
        name = f"[{url.raw_host}]" if ":" in url.raw_host else url.raw_host
        return f"{url.scheme}://{name}:{url.explicit_port}" in self.origins


def _is_loopback(remote: str | None) -> bool:
    if remote is None:
        return False
    try:
        address = ip_address(remote)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
