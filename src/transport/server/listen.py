"""Listens for connections: on loopback by default, elsewhere only if explicitly configured.

There are three ways: a TCP port, a TCP port with TLS, and a Unix socket. All of them require the
token, and each admits only the names, origins and peers that are meant for it.
"""

import asyncio
import os
import socket
import ssl
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeAlias

from transport.address import SOCKET_PATH, unix_url
from transport.errors import CannotListen
from transport.server.access import (
    Access,
    anyone,
    host_without_port,
    is_loopback,
    parse_host,
    parse_origin,
)
from transport.server.peer import only, own_user

BACKLOG: Final = 1024
"""Connections that the system holds until they are accepted: as many as sessions are allowed."""

LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")
_Address: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, tuple[object, ...]]
_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  # recognised, not bound


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen.

    port: 0 lets the system choose. unix_socket: used instead of host and port. certificate, key:
    PEM files. names, origins: further names and origins to accept, besides the service's own.
    exposed: must be set for a host that is not loopback.
    """

    host: str = "127.0.0.1"
    port: int = 0
    unix_socket: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    names: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    exposed: bool = False


@dataclass(slots=True)
class Listener:
    """An address at which the service listens. page: empty if no browser can reach it."""

    url: str
    page: str
    access: Access
    _server: asyncio.Server
    _forget: Callable[[], None] = field(default=lambda: None)

    def close(self) -> None:
        """Accept no more connections."""
        self._server.close()
        self._forget()


async def listen(
    protocol: Callable[[], asyncio.BaseProtocol], place: Place, handshake: float
) -> Listener:
    """Listen at `place`. handshake: seconds allowed for TLS. Raises CannotListen."""
    if place.unix_socket is not None:
        return await _listen_unix(protocol, place, place.unix_socket.absolute())
    return await _listen_tcp(protocol, place, handshake)


def is_loopback_host(host: str) -> bool:
    """Return whether a listener on this host can be reached only from this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


# -- TCP, with TLS or without --------------------------------------------------------------------


async def _listen_tcp(
    protocol: Callable[[], asyncio.BaseProtocol], place: Place, handshake: float
) -> Listener:
    tls = _tls(place)
    loop = asyncio.get_running_loop()
    try:
        bound = await _bind(place)
        server = await loop.create_server(
            protocol,
            sock=bound,
            ssl=tls,
            ssl_handshake_timeout=handshake if tls is not None else None,
            backlog=BACKLOG,
        )
    except OSError as error:
        reason = error.strerror or str(error)
        raise CannotListen(f"cannot listen on {place.host}:{place.port}: {reason}") from error
    port: int = bound.getsockname()[1]
    scheme = "http" if tls is None else "https"
    access = Access.at(
        _own_names(place.host),
        port,
        scheme=scheme,
        names=place.names,
        origins=place.origins,
        admits=anyone if place.exposed else is_loopback,
    )
    authority = f"{_shown(place)}:{port}"
    web_socket = "ws" if tls is None else "wss"
    url = f"{web_socket}://{authority}{SOCKET_PATH}"
    return Listener(url, f"{scheme}://{authority}/", access, server)


async def _bind(place: Place) -> socket.socket:
    """Return a bound socket, on the first address if a name has several. Raises CannotListen."""
    family, kind, number, address = await _resolve(place.host, place.port)
    if not place.exposed and not is_loopback_host(str(address[0])):
        raise CannotListen(f"{place.host} is not a loopback address, which requires `expose`")
    bound = socket.socket(family, kind, number)
    try:
        if os.name == "posix":  # elsewhere it would let two services share a port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


async def _resolve(host: str, port: int) -> _Address:
    try:
        ip_address(host)
    except ValueError:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    else:  # no lookup: avoids a thread that the loop would keep
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    family, kind, number, _, address = found[0]
    return family, kind, number, address


def _own_names(host: str) -> tuple[str, ...]:
    return LOOPBACK_NAMES if host in _WILDCARDS else (*LOOPBACK_NAMES, _bracketed(host))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _shown(place: Place) -> str:
    """Return the host for the URL: with TLS the first name given, otherwise the address."""
    if place.certificate is not None and place.names:
        return host_without_port(place.names[0])
    match place.host:
        case "0.0.0.0":  # noqa: S104  # recognised, not bound
            return "127.0.0.1"
        case "::":
            return "[::1]"
        case host:
            return _bracketed(host)


def _tls(place: Place) -> ssl.SSLContext | None:
    if place.certificate is None or place.key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2

    def no_password() -> str:
        raise CannotListen(
            f"the key {place.key} is encrypted; a key without a password is required"
        )

    try:
        context.load_cert_chain(place.certificate, place.key, password=no_password)
    except OSError as error:  # ssl.SSLError is a subclass
        reason = error.strerror or str(error)
        files = f"{place.certificate} and {place.key}"
        raise CannotListen(f"cannot use the certificate and key {files}: {reason}") from error
    return context


# -- a Unix socket -------------------------------------------------------------------------------


async def _listen_unix(
    protocol: Callable[[], asyncio.BaseProtocol], place: Place, path: Path
) -> Listener:
    if sys.platform == "win32":
        raise CannotListen("Unix sockets are not supported on this system")
    try:
        bound, inode = _bind_unix(path)
        server = await asyncio.get_running_loop().create_server(
            protocol, sock=bound, backlog=BACKLOG
        )
    except OSError as error:
        reason = error.strerror or str(error)
        raise CannotListen(f"cannot listen on {path}: {reason}") from error

    def forget() -> None:
        with suppress(OSError):
            if path.lstat().st_ino == inode:
                path.unlink()

    # Without a port it has no page of its own, so an Origin must be among those allowed.
    hosts = frozenset(map(parse_host, ("localhost", *place.names)))
    access = Access(hosts, frozenset(map(parse_origin, place.origins)), only(own_user()))
    return Listener(unix_url(path), "", access, server, forget)


def _bind_unix(path: Path) -> tuple[socket.socket, int]:
    """Return a socket bound to `path` and its inode; it has mode 0600 from the start."""
    if sys.platform == "win32":
        raise AssertionError("refused before")
    _check_folder(path.parent)
    _clear(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        bound.bind(str(path))
    except BaseException:
        bound.close()
        raise
    finally:
        os.umask(before)
    return bound, path.lstat().st_ino


def _check_folder(folder: Path) -> None:
    """Refuse a folder in which others could replace our socket with theirs."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = folder.stat().st_mode
    if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
        raise CannotListen(f"others may write to {folder}, so no socket is created there")


def _clear(path: Path) -> None:
    """Remove a socket left by a dead process, and nothing else. Raises CannotListen."""
    if sys.platform == "win32":
        raise AssertionError("refused before")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListen(f"cannot listen on {path}: it exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise CannotListen(f"cannot listen on {path}: another process already does")
