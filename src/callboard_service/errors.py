"""Defines the errors that end a command with one line for a person.

They end it with exit code 2, except OutageTooLong, which ends a running service with exit code 1.

ServiceError
├── BadSettings        a flag, a variable or a file has an invalid setting
├── BadExtension       actor types cannot be registered, or do not start
├── BadPath            a project cannot be created at this path
├── BackendFailed      the backend cannot be started
├── FolderInUse        another service uses the data folder
└── OutageTooLong      a part of the service was down for longer than a setting allows
"""

import errno
import os


class ServiceError(Exception):
    """Base class. The text says what is wrong and where."""


class BadSettings(ServiceError):
    """A setting is unknown, not allowed in its place, or has an invalid value."""


class BadExtension(ServiceError):
    """An extension's actor types cannot be served. The text names both sides of a conflict."""


class BadPath(ServiceError):
    """A project cannot be created at this path."""


class BackendFailed(ServiceError):
    """The chat backend cannot be started."""


class FolderInUse(ServiceError):
    """Another service uses the data folder. The text names it."""


class OutageTooLong(ServiceError):
    """A part of the service has been down for longer than `max_outage_ms`."""


def find_service_error(error: BaseException | None) -> ServiceError | None:
    """Return the ServiceError in the chain of causes that begins with `error`, or None."""
    while error is not None:
        if isinstance(error, ServiceError):
            return error
        error = error.__cause__
    return None


def describe_os_error(error: OSError) -> str:
    """Return a one-line description of what went wrong, and with which file."""
    reason = error.strerror or str(error)
    if error.filename is not None:
        return f"{error.filename}: {reason}"
    if error.errno in (errno.ENOENT, errno.EACCES):
        try:
            os.getcwd()
        except OSError as missing:
            return f"the working folder: {missing.strerror}"
    return reason
