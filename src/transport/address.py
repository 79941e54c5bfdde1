"""The addresses of a service: `ws`, `wss`, and `ws+unix:/path/of/the/socket:/ws`.

The last form is the one that the JavaScript package `ws` uses.
"""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

SOCKET_PATH: Final = "/ws"
"""The path of the WebSocket, on every address."""

_UNIX: Final = "ws+unix:"


def unix_url(path: Path) -> str:
    """Return the URL of a service on this Unix socket."""
    return f"{_UNIX}{path}:{SOCKET_PATH}"


def route(url: str) -> tuple[Path | None, str]:
    """Return the Unix socket for this URL, or None for TCP, and the URL to request there."""
    if not url.startswith(_UNIX):
        return None, url
    path, _, target = url.removeprefix(_UNIX).rpartition(":")
    return Path(path), f"ws://localhost{target}"


def is_address(url: str) -> bool:
    """Return whether this can be the URL of a service, in any of the three forms."""
    try:
        unix_socket, target = route(url)
        parts = urlsplit(target)
        return (
            parts.scheme in {"ws", "wss"}
            and bool(parts.hostname)
            and parts.port != 0
            and (unix_socket is None or unix_socket.is_absolute())
        )
    except ValueError:  # an invalid port, an unclosed bracket
        return False
