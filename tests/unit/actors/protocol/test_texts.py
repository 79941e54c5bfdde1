"""Texts stand for messages, which are made while they are iterated over."""

from actors import Texts
from actors.protocol.encoding import Encoded
from callboard.v1.chat_pb2 import ChatToken


def test_texts_are_messages_to_whoever_iterates() -> None:
    texts = Texts[ChatToken](ChatToken, ["a", "", "b"])
    assert [*texts] == [ChatToken(text="a"), ChatToken(), ChatToken(text="b")]
    assert [*texts] == [*texts]


def test_what_is_left_begins_where_an_encoder_has_stopped() -> None:
    left = iter(Texts[ChatToken](ChatToken, ["a", "b", "c"]))
    left.at += 2
    assert [*left] == [ChatToken(text="c")]


def test_a_joined_piece_is_cut_too() -> None:
    encoded = Encoded()
    encoded.pieces, encoded.lengths = [b"aabbbcdddd"], [2, 3, 1, 4]
    assert encoded.cut_at(4) is None
    assert encoded.cut_at(2) == 3
    assert (encoded.pieces, encoded.lengths) == ([b"aa"], [2])
    assert encoded.cut_at(1) == 2
    assert encoded.lengths == []
