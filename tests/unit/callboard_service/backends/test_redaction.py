"""Secrets are removed from the error messages of foreign servers."""

import pytest

from callboard_service.backends.redaction import redacted


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdef123456",
        "ghp_abcdefghijk",
        "api_key-12345678",
        "token-abcdefgh1234",
        "AIzaabcdefghijklmnopqrstuvwxyz",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.abc",
    ],
)
def test_text_that_looks_like_a_key_is_redacted(secret: str) -> None:
    assert redacted(f"Incorrect key: {secret}, try again") == "Incorrect key: ***, try again"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Bearer abc.def.ghi", "Authorization: Bearer ***"),
        ("bearer abcdefgh", "bearer ***"),
        ('{"api_key": "abcdefgh"}', '{"api_key": "***"}'),
        ("https://user:password@host/x", "https://***@host/x"),
        ("password=abcdefgh&x=1", "password=***&x=1"),
    ],
)
def test_a_value_named_as_a_secret_is_redacted(text: str, left: str) -> None:
    assert redacted(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens must be at least 1",
        "see https://example.test/docs/errors",
        "the key is missing",
        "tokens: 1531, key-value cache full",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text
