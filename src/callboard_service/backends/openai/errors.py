"""Parse the errors of model servers from every form in which servers send them. No I/O."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from callboard_service.backends.redaction import redacted
from callboard_service.log_values import shorten

MAX_WORDS: Final = 400
"""Characters of a server's message that are shown."""

_MAX_DEPTH: Final = 4

# MiniMax answers with HTTP 200 and its own codes (platform.minimax.io, "Error Codes", 2026).
_BASE_RESPONSES: Final = {
    1000: 500, 1001: 504, 1002: 429, 1004: 401, 1008: 402, 1024: 500, 1026: 400, 1027: 400,
    1033: 500, 1039: 429, 1041: 429, 1042: 400, 2013: 400,
}  # fmt: skip

_CONTEXT: Final = re.compile(
    r"""(?xi)
    context [\s_-]* (?: length | window | size | limit ) | maximum\ context | exceed_context
    | exceeds?\ (?: the\ )? (?: available\ )? context | (?: prompt | input | request | messages? )
      \ (?: is | are | was )? \s* too\ (?: long | large ) | too\ many\ (?: input\ )? tokens
    | (?: input | prompt )\ (?: token | length ).{0,40} exceed | reduce\ the\ length
    | context_length_exceeded | context.{0,20} exceeded
    """
)
_LOADING: Final = re.compile(r"(?i)loading model|model is (?:currently )?loading|still loading")


_IMAGES: Final = re.compile(
    r"(?i)images?\b.{0,60}\b(?:not|only|require|unsupported)|\b(?:no|not)\b.{0,60}\bimages?\b"
    r"|image_url|image input|multi-?modal|mmproj|\bvision\b"
)


class ServerError(NamedTuple):
    """A server's error. status: in HTTP's terms, 0 if unknown; kinds: its codes and types."""

    words: str = ""
    status: int = 0
    kinds: tuple[str, ...] = ()

    @property
    def is_about_context(self) -> bool:
        """Whether the conversation is too long for the model."""
        texts = (self.words, *self.kinds)
        return any(_CONTEXT.search(text) for text in texts)

    @property
    def is_about_images(self) -> bool:
        """Whether the model takes no images, or not these."""
        return bool(_IMAGES.search(self.words))

    @property
    def is_loading(self) -> bool:
        """Whether the model is still being loaded."""
        return bool(_LOADING.search(self.words))


def error_in(value: object) -> ServerError | None:
    """Return the error in a decoded answer or chunk; None if it holds none."""
    if isinstance(value, list):
        return next((found for item in value[:4] if (found := error_in(item))), None)
    if not isinstance(value, dict):
        return None
    base = value.get("base_resp")
    if isinstance(base, dict) and _number(base.get("status_code")):
        code = _number(base.get("status_code"))
        return ServerError(
            _text(base.get("status_msg")), _BASE_RESPONSES.get(code, 500), (str(code),)
        )
    for key in ("error", "errors"):
        if inner := value.get(key):
            return error_of(inner)
    if value.get("object") == "error" or value.get("type") == "error":
        return error_of(value)
    if "choices" not in value and ("msg" in value or "message" in value or "detail" in value):
        return error_of(value)
    return None


def error_of(value: object) -> ServerError:
    """Parse a value that is known to be an error."""
    kinds = tuple(dict.fromkeys(_kinds(value, _MAX_DEPTH)))
    status = next((int(kind) for kind in kinds if re.fullmatch("[45][0-9]{2}", kind)), 0)
    return ServerError(_words(value, _MAX_DEPTH), status, kinds)


def error_in_body(body: bytes) -> ServerError:
    """Parse the body of a refusal; an HTML page yields an empty error."""
    text = body.decode(errors="replace").strip().removeprefix("data:").strip()
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        is_text = text[:1] not in ("<", "[", "{", "") and "\ufffd" not in text
        return ServerError(text if is_text else "")
    if isinstance(value, str):
        return error_of(value)
    return error_in(value) or error_of(value)


def shown(words: str) -> str:
    """Return a server's message on one line, shortened and with secrets removed.

    Shortening keeps both ends: a proxy puts its own message first, and that of the server behind it
    last.
    """
    return shorten(" ".join(redacted(words).split()), MAX_WORDS)


def _words(value: object, depth: int) -> str:
    """Return the message for a person, wherever it is in the value."""
    if isinstance(value, str):
        return _inner(value, depth)
    if not depth:
        return ""
    if isinstance(value, list):
        return next((found for item in value[:4] if (found := _words(item, depth - 1))), "")
    if not isinstance(value, dict):
        return ""
    place: object = value.get("loc")
    for key in ("message", "msg", "detail", "error", "errors", "error_description", "description"):
        if found := _words(value.get(key), depth - 1):
            if key == "msg" and isinstance(place, list):
                return f"{'.'.join(map(str, place[:6]))}: {found}"
            return found
    return ""


def _inner(text: str, depth: int) -> str:
    """Return the message in a text that is itself JSON, as proxies pass errors on."""
    if depth and text.lstrip()[:1] in ("{", "[") and len(text) < 100_000:
        try:
            value: object = json.loads(text)
        except (ValueError, RecursionError):
            return text
        if isinstance(value, dict | list):
            return _words(value, depth - 1) or text
    return text


def _kinds(value: object, depth: int) -> Iterator[str]:
    """Yield the statuses, codes and types of an error."""
    if isinstance(value, list) and depth:
        for item in value[:4]:
            yield from _kinds(item, depth - 1)
    if isinstance(value, Mapping):
        for key in ("status", "status_code", "code", "type", "param"):
            kind = value.get(key)
            if isinstance(kind, str | int) and not isinstance(kind, bool):
                yield str(kind)[:100]
        for key in ("error", "errors", "message", "detail"):
            inner = value.get(key)
            if depth and isinstance(inner, Mapping | list):
                yield from _kinds(inner, depth - 1)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
