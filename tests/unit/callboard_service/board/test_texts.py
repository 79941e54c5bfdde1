from callboard_service.board.texts import NAME, PATH, bounded, bounded_path


def test_a_short_text_is_kept() -> None:
    assert bounded("name") == "name"
    assert bounded("é" * NAME) == "é" * NAME
    assert bounded_path("a/b") == "a/b"


def test_a_long_text_loses_its_end() -> None:
    assert bounded("a" * 100) == "a" * (NAME - 1) + "…"
    assert bounded("abcdef", 3) == "ab…"


def test_a_long_path_loses_its_middle() -> None:
    path = bounded_path("begin/" + "a" * 1000 + "/end")
    assert len(path) == PATH
    assert path.startswith("begin/aaa")
    assert path.endswith("aaa/end")


def test_what_cannot_be_encoded_is_replaced() -> None:
    assert bounded("a\ud800") == "a?"
    assert bounded_path("\ud800/b") == "?/b"
