"""When a request to a model server is sent again, if nothing of its reply has come."""

from typing import Final

from tenacity import RetryCallState, wait_exponential, wait_random

from callboard_service.backends.openai.refusals import Refused

MAX_PAUSE: Final = 10.0
"""Seconds; if a server asks for a longer pause, the request fails and its client is told."""

_BACKOFF: Final = wait_exponential(multiplier=0.5, max=8.0) + wait_random(0.0, 0.25)


def failure_of(state: RetryCallState) -> Refused | None:
    """Return what the last try was refused with; None if it was not."""
    error = state.outcome.exception() if state.outcome is not None else None
    return error if isinstance(error, Refused) else None


def is_worth_another(error: BaseException) -> bool:
    """Return whether the same request may succeed soon."""
    return isinstance(error, Refused) and error.again and error.retry_after_ms <= MAX_PAUSE * 1000


def pause_before_next(state: RetryCallState) -> float:
    """Return the seconds until the next try: those that the server asks for, or growing ones."""
    failure = failure_of(state)
    if failure is not None and failure.retry_after_ms:
        return failure.retry_after_ms / 1000
    return _BACKOFF(state)
