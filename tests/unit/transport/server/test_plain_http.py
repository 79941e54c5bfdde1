from transport.server.plain_http import PAGE_POLICY, page


def test_without_a_built_page_there_is_a_text_that_says_how_to_get_it() -> None:
    response = page("1.2", "<echo>", "ws://127.0.0.1:1/ws")

    assert response.headers["Content-Security-Policy"] == PAGE_POLICY
    assert response.text is not None
    for text in ("1.2", "&lt;echo&gt;", "ws://127.0.0.1:1/ws", "make page"):
        assert text in response.text
    assert "<script" not in response.text
