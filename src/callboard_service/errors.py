"""Every error of the service that a person gets to read as one line, with exit code 2.

ServiceError
├── BadSettings        a flag, a variable or a file says what cannot be
├── BadExtension       actor types that cannot be registered, or do not start
├── BadPath            a project cannot be made there
├── BackendFailed      the backend cannot be started
└── OutageTooLong      a part of the service was down for longer than a setting allows
"""

import errno
import os


class ServiceError(Exception):
    """Base; the text says what is wrong and where."""


class BadSettings(ServiceError):
    """A setting has a value that it cannot have."""


class BadExtension(ServiceError):
    """Actor types that were asked for cannot be served; both sides of a conflict are named."""


class BadPath(ServiceError):
    """A project cannot be made at this path."""


class BackendFailed(ServiceError):
    """What answers the chat requests cannot be started."""


class OutageTooLong(ServiceError):
    """A part of the service has been down for longer than `max_outage_ms`."""


def find_service_error(error: BaseException | None) -> ServiceError | None:
    """The line for a person that lies under an error of the runtime, if one does."""
    while error is not None:
        if isinstance(error, ServiceError):
            return error
        error = error.__cause__
    return None


def describe_os_error(error: OSError) -> str:
    """Return what went wrong, and with which file, for a person to read."""
    reason = error.strerror or str(error)
    if error.filename is not None:
        return f"{error.filename}: {reason}"
    if error.errno in (errno.ENOENT, errno.EACCES):
        try:
            os.getcwd()
        except OSError as missing:
            return f"the working folder: {missing.strerror}"
    return reason
