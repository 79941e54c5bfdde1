"""Tokens that are encoded without a message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.v1.chat_pb2 import ChatToken
from callboard_service.backends.token_text import TextToken


@given(st.text(max_size=300))
def test_a_text_token_is_encoded_as_the_message_is(text: str) -> None:
    token = TextToken(text)
    assert token.encoded == ChatToken(text=text).SerializeToString()
    assert (token.text, token.message) == (text, ChatToken(text=text))


@pytest.mark.parametrize("size", [0, 1, 127, 128, 129, 20_000])
def test_texts_of_all_lengths(size: int) -> None:
    token = TextToken("x" * size)
    assert ChatToken.FromString(token.encoded) == ChatToken(text="x" * size)
