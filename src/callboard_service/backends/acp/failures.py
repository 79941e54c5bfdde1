"""Translate the errors that an agent answers with into the contract's codes. No I/O.

Agents put the status of the model's server into the place of JSON-RPC's code, or the cause into
`message`, `data` or `data.details`; only its first line is shown, without secrets.
"""

import re
from typing import Final

from actors import Code, Failure
from callboard_service.backends.acp.jsonrpc import RpcError
from callboard_service.backends.fields import Table, as_table, table, text
from callboard_service.backends.redaction import readable
from callboard_service.backends.statuses import CODES, RETRYABLE

LOGIN: Final = -32000
"""JSON-RPC's code for a missing login (ACP, "Authentication"); some agents use it for others."""

NOT_FOUND: Final = -32002

_CODES: Final = {
    LOGIN: Code.UNAUTHENTICATED,
    NOT_FOUND: Code.NOT_FOUND,
    -32601: Code.UNIMPLEMENTED,
    **CODES,
}
_STATUS: Final = re.compile(r"(?:error(?: code)?[: ]+)?([45]\d\d)\b", re.IGNORECASE)
_EMPTY_WORDS: Final = ("internal error", "")


def failure_of(error: RpcError) -> Failure:
    """Return the error as a Failure with a message for a person.

    An error of JSON-RPC says nothing of its cause: it is UNAVAILABLE, and retryable, unless the
    message begins with the status of an HTTP server.
    """
    said = readable(cause_of(error), f"it gave no reason (code {error.code})")
    status = _STATUS.match(said)
    code = _CODES.get(int(status[1]) if status else error.code, Code.UNAVAILABLE)
    return Failure(code, f"the agent failed: {said}", retryable=code in RETRYABLE)


def cause_of(error: RpcError) -> str:
    """Return what an error says of its cause: the longest of its texts that says anything."""
    data = as_table(error.data)
    texts = [error.message, error.data if isinstance(error.data, str) else ""]
    texts += [text(data, key) for key in ("details", "message", "reason")]
    texts.append(_nested(data))
    return max(
        (one for one in texts if one.strip().lower() not in _EMPTY_WORDS), key=len, default=""
    )


def _nested(data: Table) -> str:
    error = data.get("error")
    return error if isinstance(error, str) else text(table(data, "error"), "message")


def login_needed(methods: list[Table]) -> Failure:
    """Return the Failure of an agent that wants a login before it begins a session.

    methods: what the agent says of how to log in.
    """
    ways = [text(method, "description") or text(method, "name") for method in methods[:3]]
    how = readable("; ".join(filter(None, ways)), "see its documentation")
    return Failure(Code.UNAUTHENTICATED, f"log in to the agent first: {how}")
