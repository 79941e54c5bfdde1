"""The addresses of a service: `ws`, `wss`, and `ws+unix:/path/of/the/socket:/ws`.

The last has the form that clients in JavaScript know (the package `ws`).
"""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

SOCKET_PATH: Final = "/ws"
"""Where the WebSocket is, on every address."""

_UNIX: Final = "ws+unix:"


def unix_url(path: Path) -> str:
    """The URL of a service on this Unix socket."""
    return f"{_UNIX}{path}:{SOCKET_PATH}"


def route(url: str) -> tuple[Path | None, str]:
    """The Unix socket that leads to this URL, None for TCP; and the URL to ask for there."""
    if not url.startswith(_UNIX):
        return None, url
    path, _, target = url.removeprefix(_UNIX).rpartition(":")
    return Path(path), f"ws://localhost{target}"


def is_address(url: str) -> bool:
    """Whether this can be the URL of a service, of any of the three forms."""
    try:
        unix_socket, target = route(url)
        parts = urlsplit(target)
        return (
            parts.scheme in {"ws", "wss"}
            and bool(parts.hostname)
            and parts.port != 0
            and (unix_socket is None or unix_socket.is_absolute())
        )
    except ValueError:  # a port that is none, a bracket that is not closed
        return False
