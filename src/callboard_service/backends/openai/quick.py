"""Decodes the chunks that nearly all of a reply consists of: one token of text, and nothing else.

Such a chunk takes a sixth of the time that a general decoder takes. Anything else, in any form, is
for the general decoder: this one looks at the same keys and accepts a chunk only if all others that
could mean something are absent or null.
"""

from typing import Final

import msgspec


class _Delta(msgspec.Struct, gc=False):
    content: str
    reasoning_content: None = None
    reasoning: None = None
    refusal: None = None
    tool_calls: None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta
    error: None = None
    usage: None = None
    finish_reason: None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice]
    error: None = None
    errors: None = None
    base_resp: None = None
    usage: None = None
    type: None = None
    object: str = ""


_DECODER: Final = msgspec.json.Decoder(_Chunk)


def token_in(data: bytes) -> str:
    """Return the text of a chunk that is nothing but text; empty for any other."""
    try:
        chunk = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    if not chunk.choices or chunk.object == "error":
        return ""
    return chunk.choices[0].delta.content
