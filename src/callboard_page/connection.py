"""The state of the connection, for a person."""

from transport.client import Client
from transport.client.phase import Phase
from transport.codes import CloseCode

_WHY = {
    CloseCode.BAD_TOKEN: "This page's token is no longer valid: the service was restarted.",
    CloseCode.TAKEN_OVER: "This session was taken over by another page.",
}


class Connection:
    """Says what the client is doing. kind: "open", "waiting" or "over"."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def kind(self) -> str:
        """The class of the state."""
        match self._client.phase:
            case Phase.OPEN:
                return "open"
            case Phase.OVER:
                return "over"
            case _:
                return "waiting"

    @property
    def text(self) -> str:
        """The state in a word or two."""
        if self._client.phase is Phase.OPEN:
            return f"Connected · {self._client.welcome.backend}"
        if self._client.phase is Phase.OVER:
            return "Not connected"
        return "Connecting again …" if self._client.welcome.server_version else "Connecting …"

    @property
    def detail(self) -> str:
        """What else there is to know."""
        if self._client.phase is Phase.OPEN:
            return f"Callboard {self._client.welcome.server_version}"
        return self.reason

    @property
    def reason(self) -> str:
        """Why there is no connection."""
        closed = self._client.protocol.closed
        return _WHY.get(CloseCode(closed.code), closed.reason) if _known(closed.code) else ""

    @property
    def over(self) -> bool:
        """Whether the client has given up."""
        return self._client.phase is Phase.OVER


def _known(code: int) -> bool:
    return code in set(CloseCode)
