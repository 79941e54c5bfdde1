"""A token of text that is encoded as it is received, without a protobuf message in between.

Making a `ChatToken`, reading its text again and serializing it takes a fifth of what the service
spends on a relayed token when the processor's caches are cold, as between two tokens they are. This
is an optimization: `TEXT_TOKEN` is the switch (`ChatToken` itself turns it off), and docs/adr/0062
gives the reasons.
"""

from typing import Final

from actors import Shared
from callboard.v1.chat_pb2 import ChatToken

_TAG: Final = ChatToken.DESCRIPTOR.fields_by_name["text"].number << 3 | 2
_SHORT: Final = tuple(bytes((_TAG, size)) for size in range(128))
"""What precedes a text of this many bytes."""


class TextToken(Shared[ChatToken]):
    """A ChatToken of a text: an answer that is encoded once, and a message only if asked for."""

    __slots__ = ("text",)

    kind = ChatToken

    def __init__(self, text: str) -> None:
        self.text: str = text
        data = text.encode()
        size = len(data)
        if 0 < size < len(_SHORT):
            self.encoded: bytes = _SHORT[size] + data
        else:
            self.encoded = ChatToken(text=text).SerializeToString()

    @property
    def message(self) -> ChatToken:
        """The token as a message, made for each call."""
        return ChatToken(text=self.text)
