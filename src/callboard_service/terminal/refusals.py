"""Explains on one line why a service cannot be reached, and what to do about it."""

from typing import Final

from transport.address import SOCKET_PATH
from transport.codes import CloseCode
from transport.errors import ConnectionClosed

HOW_TO_START: Final = "start one with `callboard serve` (`make serve` in a checkout)"

_STATUSES: Final = {
    400: "rejects the URL: put the token in CALLBOARD_TOKEN, never in the URL",
    401: "requires a login that this client does not support: bypass the proxy in "
    "front of the service",
    403: "rejects this client: connect from the machine that the service runs on, as the "
    "user that runs it, or start the service with --expose",
    404: f"is not a service's WebSocket: the path must be {SOCKET_PATH}",
    421: "rejects this host name: use the URL that `callboard serve` prints, or start the service "
    "with --allowed-hosts",
    426: "received no WebSocket handshake: make the proxy in between forward upgrades",
    502: "is a proxy that cannot reach the service: start the service behind it",
    503: "is full or shutting down: try again later",
    504: "is a proxy that cannot reach the service: start the service behind it",
}

_OUR_OWN: Final = frozenset({400, 403, 421, 503})
"""HTTP statuses with which our service refuses a client; others more likely come from a proxy."""


def describe(url: str, closed: ConnectionClosed, token_remedy: str) -> str:
    """Return a line for a person about a connection that could not be made.

    token_remedy: what to do if the token was refused.
    """
    if closed.status:
        meaning = _STATUSES.get(closed.status, "does not open a WebSocket")
        subject = "the service" if closed.status in _OUR_OWN else "the server"
        return f"{subject} at {url} {meaning} (HTTP {closed.status})"
    match closed.code:
        case CloseCode.BAD_TOKEN:
            return f"the service at {url} rejects the token: {token_remedy}"
        case CloseCode.TLS_FAILED:
            return (
                f"no TLS with the server at {url}: either it does not use TLS (then the URL begins"
                f" with ws:), or its certificate is not trusted: {closed.reason}"
            )
        case CloseCode.GOING_AWAY:
            reason = closed.reason or "full or shutting down"
            return f"the service at {url} accepts no clients now: {reason}; try again later"
        case CloseCode.ABNORMAL:
            return f"no service answers at {url}: {HOW_TO_START}"
        case _:
            return f"the service at {url} rejects this client: {closed}"


def waiting(url: str, closed: ConnectionClosed) -> str:
    """Return a line for a person while the client tries to connect again."""
    if closed.busy:
        return f"the service at {url} is full or shutting down; trying again …"
    return f"no connection to the service at {url}; trying again …"
