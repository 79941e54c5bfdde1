"""The failure that a handler ends a request with: a code, a message and retry advice."""

from enum import Enum


class Code(Enum):
    """The gRPC status names (`google.rpc.Code`) that the contract uses."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    ABORTED = "ABORTED"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"


class Failure(Exception):
    """An answer that ends a request with an error.

    `message` is meant for people and goes to the client unchanged: it must contain no secret and no
    stack trace. `retryable`: the same request may succeed if it is sent again, but not before
    `retry_after_ms` milliseconds have passed (0: no advice).
    """

    def __init__(
        self, code: Code, message: str, *, retryable: bool = False, retry_after_ms: int = 0
    ) -> None:
        super().__init__(code, message)
        self.code: Code = code
        self.message: str = message
        self.retryable: bool = retryable
        self.retry_after_ms: int = retry_after_ms

    def __str__(self) -> str:
        return f"{self.code.value}: {self.message}"

    def alone(self) -> "Failure":
        """Clear this failure's traceback, context and cause, and return it.

        The traceback's frames refer to the request, which refers to its answer: a reference cycle
        that would keep a request of any size alive until the garbage collector runs.
        """
        _detach(self)
        return self


def _detach(error: BaseException) -> None:
    error.__traceback__ = error.__context__ = error.__cause__ = None
