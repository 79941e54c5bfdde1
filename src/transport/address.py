"""The addresses of a service: `ws`, `wss`, and `ws+unix:/path/of/the/socket:/ws`.

The last has the form that clients in JavaScript know (the package `ws`).
"""

from pathlib import Path
from typing import Final

from aiohttp import BaseConnector, TCPConnector, UnixConnector

SOCKET_PATH: Final = "/ws"
"""Where the WebSocket is, on every address."""

_UNIX: Final = "ws+unix:"


def unix_url(path: Path) -> str:
    """The URL of a service on this Unix socket."""
    return f"{_UNIX}{path}:{SOCKET_PATH}"


def dial(url: str) -> tuple[BaseConnector, str]:
    """What connects to this URL, and the URL to ask it for. Inside the event loop."""
    if not url.startswith(_UNIX):
        return TCPConnector(), url
    path, _, target = url.removeprefix(_UNIX).rpartition(":")
    return UnixConnector(path), f"ws://localhost{target}"
