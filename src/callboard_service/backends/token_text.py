"""A token of text that is encoded as it is received, without a protobuf message in between.

Making a `ChatToken`, reading its text again and serializing it touches much code, which is what a
token costs that comes when the processor's caches hold none of it. This is an optimization:
`token_of` is the switch, and docs/adr/0062 gives the reasons.
"""

from collections.abc import Callable
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


token_of: Final[Callable[[str], ChatToken | TextToken]] = TextToken
"""Makes the token of a text. A function that returns `ChatToken(text=text)` does the same."""
