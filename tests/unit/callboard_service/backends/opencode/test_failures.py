"""Errors of the server have their code, and their messages reveal no internals."""

from typing import Any

import pytest

from callboard_service.backends.opencode.failures import failure_of


def failed(name: str, message: str, **data: Any) -> tuple[str, str, bool]:
    failure = failure_of({"name": name, "data": {"message": message, **data}})
    return failure.code.value, failure.message, failure.retryable


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "INVALID_ARGUMENT", False),
        (401, "UNAUTHENTICATED", False),
        (403, "PERMISSION_DENIED", False),
        (404, "NOT_FOUND", False),
        (418, "FAILED_PRECONDITION", False),
        (429, "RESOURCE_EXHAUSTED", True),
        (500, "UNAVAILABLE", True),
        (0, "UNAVAILABLE", True),
    ],
)
def test_a_status_of_the_models_server_has_its_code(
    status: int, code: str, retryable: bool
) -> None:
    assert failed("APIError", "why", statusCode=status) == (code, "why", retryable)


@pytest.mark.parametrize(
    ("name", "message", "answer"),
    [
        ("MessageAbortedError", "Aborted", ("CANCELLED", "the reply was stopped", False)),
        ("ProviderAuthError", "no key", ("UNAUTHENTICATED", "no key", False)),
        (
            "ContextOverflowError",
            "",
            ("FAILED_PRECONDITION", "the conversation is too long", False),
        ),
        (
            *("UnknownError", "ProviderModelNotFoundError: Model not found: a/b.\n    at x (y.js)"),
            ("INVALID_ARGUMENT", "ProviderModelNotFoundError: Model not found: a/b.", False),
        ),
        (
            *("UnknownError", 'Failed query: insert into "part" values (?)\nparams: secret'),
            ("INTERNAL", "OpenCode failed", False),
        ),
        ("UnknownError", "", ("INTERNAL", "OpenCode failed", False)),
        ("Strange", "at Object.run (/x/y.js:1:2)", ("INTERNAL", "OpenCode failed", False)),
    ],
)
def test_an_error_is_classified_by_its_name_and_message(
    name: str, message: str, answer: tuple[str, str, bool]
) -> None:
    assert failed(name, message) == answer


@pytest.mark.parametrize(
    "secret", ["sk-proj-abcdef123456", "Bearer abc.def", "ghp_abcdefghijk", "api_key-12345678"]
)
def test_keys_are_taken_out(secret: str) -> None:
    _, message, _ = failed("APIError", f"Incorrect key: {secret}, see https://u:pw@host/x")
    assert secret not in message
    assert "pw@" not in message
    assert message.startswith(("Incorrect key: ***", "Incorrect key: Bearer ***"))


def test_a_message_is_one_short_printable_line() -> None:
    _, message, _ = failed("APIError", "\n\n  a\x1b[31m\tb " + "x" * 100_000)
    assert message.startswith("a [31m b xxx")
    assert len(message) <= 300


def test_fields_that_are_missing_or_odd_do_no_harm() -> None:
    for error in ({}, {"name": 3, "data": []}, {"name": "APIError", "data": {"statusCode": "x"}}):
        assert failure_of(error).message
