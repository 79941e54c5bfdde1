import json
from email.utils import formatdate
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from multidict import CIMultiDict

from callboard_service.backends.openai.refusals import Refusals, Refused

KEY = "sk-s3cr3t/with+odd=letters~"
NOW = 1_800_000_000.0


def refuse(status: int, body: Any = b"", **headers: str) -> Refused:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Refusals(KEY, lambda: NOW).of_status(status, named, data)


@pytest.mark.parametrize(
    ("status", "code", "retryable", "again"),
    [
        (400, "INVALID_ARGUMENT", False, False),
        (401, "UNAUTHENTICATED", False, False),
        (402, "FAILED_PRECONDITION", False, False),
        (403, "PERMISSION_DENIED", False, False),
        (404, "NOT_FOUND", False, False),
        (405, "FAILED_PRECONDITION", False, False),
        (408, "DEADLINE_EXCEEDED", True, False),
        (409, "ABORTED", True, False),
        (413, "INVALID_ARGUMENT", False, False),
        (422, "INVALID_ARGUMENT", False, False),
        (429, "RESOURCE_EXHAUSTED", True, True),
        (500, "UNAVAILABLE", True, False),
        (502, "UNAVAILABLE", True, True),
        (503, "UNAVAILABLE", True, True),
        (504, "DEADLINE_EXCEEDED", True, False),
        (599, "UNAVAILABLE", True, False),
        (204, "FAILED_PRECONDITION", False, False),
    ],
)
def test_statuses(status: int, code: str, retryable: bool, again: bool) -> None:
    refused = refuse(status, {"error": {"message": "because", "code": "any"}})
    assert (refused.code.value, refused.retryable, refused.again) == (code, retryable, again)
    assert refused.message.endswith(f"(HTTP {status}): because")


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        ({"type": "invalid_request_error", "code": "invalid_api_key"}, "UNAUTHENTICATED", False),
        ({"type": "no_db_connection", "code": "400"}, "UNAUTHENTICATED", False),
        ({"type": "invalid_request_error", "code": "model_not_found"}, "NOT_FOUND", False),
        ({"code": "rate_limit_exceeded"}, "RESOURCE_EXHAUSTED", True),
        ({"code": "something_else"}, "INVALID_ARGUMENT", False),
    ],
)
def test_the_name_of_the_error_in_a_400_decides_its_code(
    error: dict[str, str], code: str, retryable: bool
) -> None:
    refused = refuse(400, {"error": {"message": "because", **error}})
    assert (refused.code.value, refused.retryable) == (code, retryable)
    assert refused.message.endswith("(HTTP 400): because")


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "because"}},
        {"error": "because"},
        {"message": "because", "object": "error"},
        {"detail": "because"},
        [{"error": {"message": "because"}}],
        {"errors": [{"message": "because"}]},
        {"base_resp": {"status_code": 1004, "status_msg": "because"}},
        {"code": 40001, "msg": "because"},
        {"error": {"message": '{"error": {"message": "because"}}'}},
        {"error": {"message": [{"text": "no"}, {"message": "because"}]}},
        b"because",
        b'data: {"error": "because"}',
    ],
)
def test_the_message_is_found_wherever_a_server_puts_it(body: Any) -> None:
    assert refuse(400, body).message.endswith(": because")


def test_the_location_of_a_refused_field_is_shown() -> None:
    detail = [{"loc": ["body", "stream_options"], "msg": "extra"}]
    assert refuse(422, {"detail": detail}).message.endswith(": body.stream_options: extra")


@pytest.mark.parametrize("body", [b"<html>no</html>", b"", b"[" * 100_000, b"\xff", b"null"])
def test_a_body_that_is_no_error_object_is_not_shown(body: bytes) -> None:
    assert refuse(502, body).message == "the model server failed (HTTP 502)"


def test_a_long_message_is_shortened_and_made_one_line() -> None:
    message = refuse(400, {"error": f"first\n{'a ' * 1000}last"}).message
    assert len(message) < 500
    assert "\n" not in message
    assert "): first a a" in message
    assert message.endswith("a a last")


@pytest.mark.parametrize(
    "form",
    [
        KEY,
        quote(KEY),
        quote(KEY, safe="").lower(),
        quote_plus(KEY),
        quote(quote(KEY, safe=""), safe=""),
        "".join(f"%{ord(letter):02X}" for letter in KEY),
        f"Authorization: Bearer {KEY}",
    ],
)
def test_the_key_is_in_no_message(form: str) -> None:
    for filler in ("", "x" * 270):
        refused = refuse(401, {"error": {"message": f"{filler}no {form} here {form}"}})
        streamed = Refusals(KEY, lambda: NOW).of_error({"message": f"{filler}no {form} here"})
        for message in (refused.message, streamed.message):
            assert not {"sk-", "%2D", "s3c", "cr3"} & {message[i : i + 3] for i in range(999)}
            assert "***" in message


def test_the_key_is_not_in_what_a_redirect_says() -> None:
    refused = Refusals(KEY, lambda: NOW).of_redirect(307, f"https://{KEY}.example")
    assert refused.code.value == "FAILED_PRECONDITION"
    assert "CALLBOARD_OPENAI_BASE_URL" in refused.message
    assert "s3cr3t" not in refused.message


@pytest.mark.parametrize(
    ("headers", "milliseconds"),
    [
        ({}, 0),
        ({"Retry_After": "7"}, 7_000),
        ({"Retry_After": "0.5"}, 500),
        ({"Retry_After": formatdate(NOW + 90, usegmt=True)}, 90_000),
        ({"Retry_After": formatdate(NOW - 90, usegmt=True)}, 0),
        ({"Retry_After": "-3"}, 0),
        ({"Retry_After": "soon"}, 0),
        ({"Retry_After": "nan"}, 0),
        ({"Retry_After": "9" * 30}, 0),
        ({"Retry_After": "999999999999"}, 86_400_000),
        ({"Retry_After_Ms": "1250", "Retry_After": "2"}, 1_250),
        ({"X_RateLimit_Remaining_Requests": "0", "X_RateLimit_Reset_Requests": "1m30s"}, 90_000),
        ({"X_RateLimit_Remaining_Tokens": "0", "X_RateLimit_Reset_Tokens": "250ms"}, 250),
        ({"X_RateLimit_Remaining_Tokens": "9", "X_RateLimit_Reset_Tokens": "250ms"}, 0),
        ({"X_RateLimit_Reset_Requests": "2s", "X_RateLimit_Reset_Tokens": "5s"}, 5_000),
        ({"X_RateLimit_Reset": str(int((NOW + 12) * 1000))}, 12_000),
        ({"X_RateLimit_Reset": str(int(NOW + 12))}, 12_000),
        ({"X_RateLimit_Reset": "12"}, 12_000),
        ({"X_RateLimit_Reset": "12 parsecs"}, 0),
        ({"X_RateLimit_Reset": "9" * 400 + "h"}, 86_400_000),
    ],
)
def test_headers_say_when_to_try_again(headers: dict[str, str], milliseconds: int) -> None:
    assert refuse(429, **headers).retry_after_ms == milliseconds
    assert refuse(400, **headers).retry_after_ms == 0


def test_a_spent_account_is_not_tried_again() -> None:
    for kind in ("code", "type"):
        error = {"message": "no money", kind: "insufficient_quota"}
        streamed = Refusals(KEY, lambda: NOW).of_error(error)
        for refused in (refuse(429, {"error": error}, Retry_After="1"), streamed):
            assert refused.code.value == "RESOURCE_EXHAUSTED"
            assert not refused.retryable
            assert not refused.again


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": 401}, "UNAUTHENTICATED"),
        ({"code": "rate_limit_exceeded"}, "RESOURCE_EXHAUSTED"),
        ({"code": None, "type": "invalid_request_error"}, "INVALID_ARGUMENT"),
        ({"code": 7, "type": "server_error"}, "UNAVAILABLE"),
        ({}, "UNAVAILABLE"),
        (["odd"], "UNAVAILABLE"),
    ],
)
def test_error_objects_in_a_stream(error: Any, code: str) -> None:
    assert Refusals("", lambda: NOW).of_error(error).code.value == code
