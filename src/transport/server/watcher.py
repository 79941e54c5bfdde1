"""What the server reports to those who count its connections."""

from typing import Protocol


class Watcher(Protocol):
    """Counts connections, and renders the counts for a scrape."""

    def refused(self, status: int) -> None:
        """Count a connection that was refused before the upgrade."""

    def opened(self, *, resumed: bool) -> None:
        """Count a connection that has got a session, a new or a resumed one."""

    def closed(self, code: int) -> None:
        """Count an accepted connection that has ended."""

    def expose(self) -> bytes:
        """Return all counts in the Prometheus text format."""
