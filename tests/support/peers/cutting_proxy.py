"""A fault proxy in a thread of its own, for peers that outlive the loop of one test."""

from typing import Any
from urllib.parse import urlsplit

from tests.support.peers.background import Background
from tests.support.peers.fault_proxy import FaultProxy


class CuttingProxy:
    """A proxy that passes everything on until `cut`; a context manager.

    Without a target it passes nothing on until `lead_to`: for a service that must know the proxy.
    """

    def __init__(self, target: str = "http://127.0.0.1:1", *, as_host: str | None = None) -> None:
        url = urlsplit(target)
        assert url.hostname is not None
        assert url.port is not None
        self._proxy = FaultProxy(url.hostname, url.port, as_host=as_host)
        self._background = Background()
        self.url = ""
        self.port = 0

    def __enter__(self) -> "CuttingProxy":
        self._background.__enter__()
        self._background.run(self._proxy.__aenter__())
        self.port = self._proxy.port
        self.url = f"http://127.0.0.1:{self._proxy.port}"
        return self

    def lead_to(self, port: int) -> None:
        """Pass new connections on to this port from now on."""
        self._proxy.target = ("127.0.0.1", port)

    def __exit__(self, *error: Any) -> None:
        self._background.run(self._proxy.__aexit__())
        self._background.__exit__(None, None, None)

    def cut(self) -> None:
        """Cut every connection, and accept no new one until `mend`."""
        self._background.run(self._cut())

    async def _cut(self) -> None:
        self._proxy.refuses = True
        self._proxy.cut()

    def mend(self) -> None:
        """Accept connections again."""
        self._proxy.refuses = False
