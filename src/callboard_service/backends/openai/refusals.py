"""Translate a model server's errors and refusals into the contract's codes, with readable messages.

The server's own message is shortened and the key removed from it, because servers echo the key.
"""

import math
import re
import ssl
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from actors import Code, Failure
from callboard_service.backends.foreign import clean
from callboard_service.backends.openai.errors import ServerError, error_in_body, error_of, shown

BASE_URL: Final = "CALLBOARD_OPENAI_BASE_URL"
API_KEY: Final = "CALLBOARD_OPENAI_API_KEY"

_MAX_ADVICE: Final = 24 * 3600.0
_AGAIN: Final = frozenset({429, 502, 503})

_CODES: Final = {
    401: (Code.UNAUTHENTICATED, f"the model server rejected the key ({API_KEY})"),
    402: (Code.FAILED_PRECONDITION, "the model server requires payment"),
    403: (Code.PERMISSION_DENIED, "the model server denied access"),
    404: (Code.NOT_FOUND, "the model server does not know the model or the URL"),
    405: (Code.FAILED_PRECONDITION, f"the URL is not a chat-completions endpoint ({BASE_URL})"),
    408: (Code.DEADLINE_EXCEEDED, "the model server timed out"),
    409: (Code.ABORTED, "the model server reported a conflict"),
    413: (Code.INVALID_ARGUMENT, "the conversation is too large for the model server"),
    429: (Code.RESOURCE_EXHAUSTED, "the model server accepts no more requests for now"),
    504: (Code.DEADLINE_EXCEEDED, "the model behind the server did not answer in time"),
}
_RETRYABLE: Final = frozenset(
    {Code.DEADLINE_EXCEEDED, Code.ABORTED, Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE}
)
# Values of `code` or `type`, used if there is no HTTP status or only 400.
_KINDS: Final = {
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "exceed_context_size_error": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "no_db_connection": 401,  # litellm, for a key that it does not know
    "permission_error": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 429,
    "timeout_error": 504,
}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{1,9})?")


class Refused(Failure):
    """A Failure of a model server.

    again: the request is worth another try if nothing of the reply has come yet. loading: the
    server reports that it is loading the model. too_long: the conversation does not fit into the
    model's context. about_images: if the request has images, the model does not take them.
    mentions_usage: the server may not know `stream_options`.
    """

    loading = False
    too_long = False
    about_images = False
    mentions_usage = False

    def __init__(
        self, code: Code, message: str, *, retry_after: float = 0.0, again: bool = False
    ) -> None:
        super().__init__(
            code,
            message,
            retryable=code in _RETRYABLE,
            retry_after_ms=math.ceil(min(retry_after, _MAX_ADVICE) * 1000),
        )
        self.again = again


class Refusals:
    """Makes Failures whose messages never contain the key.

    wall_clock: returns seconds since 1970, for advice given as a date.
    """

    def __init__(self, key: str, wall_clock: Callable[[], float]) -> None:
        self._key = _pattern(key) if key else None
        self._wall_clock = wall_clock

    def of_status(self, status: int, headers: Mapping[str, str], body: bytes) -> Refused:
        """Return the failure for an answer with an HTTP status other than 200."""
        error = error_in_body(body)
        code, meaning = _meaning((_kind(error) or status) if status == 400 else status)
        message = self._sentence(f"{meaning} (HTTP {status})", error)
        advice = self._advice(headers) if status in (429, 503) else 0.0
        refused = Refused(code, message, retry_after=advice, again=status in _AGAIN)
        # Search the whole body: some quote the request, some mention it after 300 characters.
        refused.mentions_usage = status in (400, 422) and any(
            word in body for word in (b"stream_options", b"include_usage")
        )
        return _judged(refused, error)

    def of_redirect(self, status: int, target: str) -> Refused:
        """Return the failure for a redirect, which would take the key to the origin `target`."""
        where = self._scrub(target) or "another address"
        message = f"the model server redirects to {where} (HTTP {status})"
        return Refused(Code.FAILED_PRECONDITION, f"{message}; set {BASE_URL} to the final address")

    def of_page(self) -> Refused:
        """Return the failure for a web page in place of an answer."""
        message = f"the model server answered with a web page; check {BASE_URL}"
        return Refused(Code.FAILED_PRECONDITION, message)

    def of_error(self, error: object) -> Refused:
        """Return the failure for an error within an answer."""
        found = error if isinstance(error, ServerError) else error_of(error)
        status = found.status or _kind(found) or 500
        code, meaning = _meaning(status)
        refused = Refused(code, self._sentence(meaning, found), again=status in _AGAIN)
        return _judged(refused, found)

    def of_reason(self, reason: str) -> Refused:
        """Return the failure for a `finish_reason` that means that the server failed."""
        message = self._sentence(
            "the model server ended the reply with an error", ServerError(reason)
        )
        return Refused(Code.UNAVAILABLE, message, again=True)

    def empty(self) -> Refused:
        """Return the failure for an empty answer, with which some servers refuse long prompts."""
        message = "the model server sent an empty answer; the conversation may be too long for it"
        return Refused(Code.UNAVAILABLE, message)

    def of_exception(self, error: Exception, silence: float) -> Refused:
        """Return the failure for an exception of aiohttp; silence: the seconds of a timeout."""
        match error:
            case aiohttp.ClientConnectorCertificateError() | ssl.CertificateError():
                refused = Refused(Code.UNAVAILABLE, "the model server's certificate is not trusted")
                refused.retryable = False
                return refused
            case aiohttp.ConnectionTimeoutError():
                return Refused(Code.UNAVAILABLE, "connecting to the model server timed out")
            case TimeoutError():
                message = f"the model server sent nothing for {silence:g} seconds"
                return Refused(Code.DEADLINE_EXCEEDED, message)
            case aiohttp.ClientSSLError():
                return Refused(Code.UNAVAILABLE, "TLS with the model server failed")
            case aiohttp.ClientConnectorDNSError():
                return Refused(
                    Code.UNAVAILABLE,
                    f"the model server's host name cannot be resolved ({BASE_URL})",
                )
            case aiohttp.ClientConnectorError():
                return Refused(Code.UNAVAILABLE, f"the model server cannot be reached ({BASE_URL})")
            case aiohttp.ClientResponseError() | aiohttp.InvalidURL():
                return Refused(
                    Code.UNAVAILABLE, f"the model server does not speak HTTP ({BASE_URL})"
                )
            case _:
                message = "the connection to the model server was lost"
                return Refused(Code.UNAVAILABLE, message, again=True)

    def malformed(self, what: str) -> Refused:
        """Return the failure for data that the API does not allow: the server's fault."""
        refused = Refused(Code.UNAVAILABLE, f"the model server sent {what}")
        refused.retryable = False
        return refused

    def too_long(self, what: str, limit: int) -> Refused:
        """Return the failure for a reply longer than `limit` bytes."""
        refused = Refused(Code.RESOURCE_EXHAUSTED, f"the {what} is longer than {limit} bytes")
        refused.retryable = False
        return refused

    def no_content(self, seconds: float) -> Refused:
        """Return the failure for a server that sends data, but nothing of the reply."""
        message = f"the model server sent nothing of the reply for {seconds:g} seconds"
        return Refused(Code.DEADLINE_EXCEEDED, message)

    def cut(self) -> Refused:
        """Return the failure for an answer that broke off."""
        message = "the model server broke off the reply"
        return Refused(Code.UNAVAILABLE, message, again=True)

    def _sentence(self, meaning: str, error: ServerError) -> str:
        words = shown(self._scrub(clean(error.words)))
        return f"{meaning}: {words}" if words else meaning

    def _scrub(self, text: str) -> str:
        return self._key.sub("***", text) if self._key is not None else text

    def _advice(self, headers: Mapping[str, str]) -> float:
        """Return the advised seconds to wait; 0 if there is no advice."""
        precise = headers.get("retry-after-ms", "").strip()
        if _NUMBER.fullmatch(precise):
            return float(precise) / 1000
        after = headers.get("retry-after", "").strip()
        if _NUMBER.fullmatch(after):
            return float(after)
        if after:
            try:
                return max(0.0, parsedate_to_datetime(after).timestamp() - self._wall_clock())
            except (ValueError, OverflowError, OSError):
                pass
        return max(self._reset(headers, kind) for kind in ("", "-requests", "-tokens"))

    def _reset(self, headers: Mapping[str, str], kind: str) -> float:
        """Return the seconds until a used-up limit is reset; 0 if it is not used up or unknown."""
        remaining = headers.get(f"x-ratelimit-remaining{kind}", "0").strip()
        reset = headers.get(f"x-ratelimit-reset{kind}", "").strip()
        if remaining not in ("0", "0.0"):
            return 0.0
        if _NUMBER.fullmatch(reset):
            number = float(reset)
            if number > 1e11:  # milliseconds since 1970
                number /= 1000
            return max(0.0, number - self._wall_clock()) if number > 1e9 else number
        parts = _DURATION.findall(reset)
        if "".join(number + unit for number, unit in parts) != reset:
            return 0.0
        return sum(min(float(number), 1e9) * _SECONDS[unit] for number, unit in parts)


def _pattern(key: str) -> re.Pattern[str]:
    """Match the key, with any of its characters percent-encoded once or repeatedly."""
    return re.compile(
        "".join(f"(?:{re.escape(letter)}|(?i:%(?:25)*{ord(letter):02x}))" for letter in key)
    )


def _judged(refused: Refused, error: ServerError) -> Refused:
    """Adjust a refusal by the codes and the message of its error."""
    if "insufficient_quota" in error.kinds:  # the paid quota is used up
        refused = Refused(Code.RESOURCE_EXHAUSTED, refused.message)
        refused.retryable = False
    elif error.is_about_context:
        mentions_usage = refused.mentions_usage
        refused = Refused(Code.INVALID_ARGUMENT, refused.message)
        refused.too_long, refused.mentions_usage = True, mentions_usage
    refused.about_images = error.is_about_images
    refused.loading = error.is_loading and refused.code is Code.UNAVAILABLE
    refused.again = refused.again or refused.loading
    return refused


def _kind(error: ServerError) -> int:
    """Return the HTTP status for an error's codes and types; 0 if none is known."""
    kinds = (_KINDS[kind.lower()] for kind in error.kinds if kind.lower() in _KINDS)
    return max(kinds, default=0)


def _meaning(status: int) -> tuple[Code, str]:
    if status in _CODES:
        return _CODES[status]
    if status >= 500:
        return Code.UNAVAILABLE, "the model server failed"
    if status >= 400:
        return Code.INVALID_ARGUMENT, "the model server rejected the request"
    return Code.FAILED_PRECONDITION, f"the model server sent an unexpected answer; check {BASE_URL}"
