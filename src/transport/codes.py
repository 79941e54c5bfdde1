"""The protocol's version, and the close codes, which the session protocol defines."""

from typing import Final

from actors.protocol.close_codes import NEVER_SENT, CloseCode

__all__ = ["NEVER_SENT", "PROTOCOL_VERSION", "CloseCode"]

PROTOCOL_VERSION: Final = 1
"""The version that a Hello and a Welcome carry."""
