"""What a handler says when the answer is no: a code, a sentence, advice."""

from enum import Enum


class Code(Enum):
    """The status names of gRPC (`google.rpc.Code`) that the contract uses."""

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

    `message` is for a person to read and goes to the client as it is: no secret and no stack
    trace belongs in it. `retryable`: the same request may succeed if it is sent again, not
    before `retry_after_ms` milliseconds (0: no advice).
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
        """This failure, without the frames that it came through and what was raised before it.

        Those frames hold the request, which holds what it was answered with: a circle that would
        keep a request of any size until the garbage collector comes by.
        """
        _detach(self)
        return self


def _detach(error: BaseException) -> None:
    error.__traceback__ = error.__context__ = error.__cause__ = None
