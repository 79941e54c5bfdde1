"""Identifies the user at the other end of a Unix socket, as reported by the system."""

import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import Final

from aiohttp import web

_UCRED: Final = struct.Struct("iII")  # Linux, unix(7): pid, uid, gid
_XUCRED: Final = struct.Struct("IIh2x16I")  # macOS, sys/ucred.h: version, uid, groups
_SOL_LOCAL: Final = 0


def peer_uid(request: web.BaseRequest) -> int | None:
    """Return the user who made this connection; None if the system does not say."""
    transport = request.transport
    connection: socket.socket | None = None
    if transport is not None:
        connection = transport.get_extra_info("socket")
    if sys.platform == "win32" or connection is None or connection.family != socket.AF_UNIX:
        return None
    try:
        return _ask(connection)
    except (OSError, struct.error):
        return None


def _ask(connection: socket.socket) -> int | None:
    form, level, option = _UCRED, socket.SOL_SOCKET, getattr(socket, "SO_PEERCRED", None)
    if sys.platform == "darwin":
        form, level, option = _XUCRED, _SOL_LOCAL, socket.LOCAL_PEERCRED
    if option is None:
        return None
    uid: int = form.unpack(connection.getsockopt(level, option, form.size))[1]
    return uid


def only(uid: int) -> Callable[[web.BaseRequest], bool]:
    """Return a check that admits only this user's connections."""
    return lambda request: peer_uid(request) == uid


def own_user() -> int:
    """Return the user of this process. Raises OSError if the system has no user ids."""
    if sys.platform == "win32":
        raise OSError("this system has no user ids")
    return os.getuid()
