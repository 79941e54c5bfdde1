"""The codes with which a connection is closed.

A client comes back on 4000-4499 and gives up on 4500-4999 (`transport.client.comeback`); 4500-4599,
but for 4504, end its session too (`actors.protocol.effects.ends_session`).
"""

from enum import IntEnum
from typing import Final

NEVER_SENT: Final = frozenset({1005, 1006, 1015})
"""Codes that report what was observed and are never in a frame (RFC 6455, section 7.4.1)."""


class CloseCode(IntEnum):
    """Callboard's own codes, and those of RFC 6455, section 7.4.1, that it uses."""

    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_CODE = 1005
    ABNORMAL = 1006
    INVALID_TEXT = 1007
    TOO_BIG = 1009
    TLS_FAILED = 1015

    GOING_AWAY = 4001
    SLOW_CONSUMER = 4002
    HEARTBEAT_LOST = 4003
    SESSION_CRASHED = 4004

    PROTOCOL_VIOLATION = 4500
    BAD_TOKEN = 4501
    NO_HELLO = 4502
    TAKEN_OVER = 4504
    ABUSE = 4505
