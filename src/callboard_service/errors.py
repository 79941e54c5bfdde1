"""Every error of the service that a person gets to read as one line, with exit code 2.

ServiceError
├── BadSettings        a flag, a variable or a file says what cannot be
└── BackendFailed      the backend cannot be started
"""


class ServiceError(Exception):
    """Base; the text says what is wrong and where."""


class BadSettings(ServiceError):
    """A setting has a value that it cannot have."""


class BackendFailed(ServiceError):
    """What answers the chat requests cannot be started."""


def find_service_error(error: BaseException | None) -> ServiceError | None:
    """The line for a person that lies under an error of the runtime, if one does."""
    while error is not None:
        if isinstance(error, ServiceError):
            return error
        error = error.__cause__
    return None
