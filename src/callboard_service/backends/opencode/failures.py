"""Translate the OpenCode server's errors into the contract's codes, with readable messages.

Its errors contain responses of the model's server with headers, stack traces and SQL. Only the
first line of the message is passed on, shortened and with secrets removed.
"""

from typing import Final

from actors import Code, Failure
from callboard_service.backends.fields import Table, number, table, text
from callboard_service.backends.redaction import readable
from callboard_service.backends.statuses import CODES, RETRYABLE

STOPPED: Final = "MessageAbortedError"

_NAMES: Final = {
    "ProviderAuthError": (Code.UNAUTHENTICATED, "the model's server rejected the key"),
    "ContextOverflowError": (Code.FAILED_PRECONDITION, "the conversation is too long"),
    "MessageOutputLengthError": (Code.RESOURCE_EXHAUSTED, "the reply is too long"),
}


def failure_of(error: Table) -> Failure:
    """Translate an error of the form `{name, data: {message, statusCode?, isRetryable?}}`."""
    name, data = text(error, "name"), table(error, "data")
    message = text(data, "message")
    if name == STOPPED:
        return Failure(Code.CANCELLED, "the reply was stopped")
    if name in _NAMES:
        code, meaning = _NAMES[name]
        return Failure(code, readable(message, meaning), retryable=code in RETRYABLE)
    if name == "APIError":
        status = number(data, "statusCode")
        lost = status == 0 or status >= 500
        code = CODES.get(status, Code.UNAVAILABLE if lost else Code.FAILED_PRECONDITION)
        said = readable(message, "the model's server failed")
        return Failure(code, said, retryable=code in RETRYABLE)
    if "Model not found" in message:
        return Failure(Code.INVALID_ARGUMENT, readable(message, "there is no such model"))
    return Failure(Code.INTERNAL, readable(message, "OpenCode failed"))
