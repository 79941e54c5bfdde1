"""The list of models, in the forms of several servers."""

import json

import pytest

from callboard_service.backends.openai.listing import listed_models


@pytest.mark.parametrize(
    ("model", "context"),
    [
        ({"meta": {"n_ctx_train": 8192, "n_ctx": 512}}, 512),  # llama.cpp
        ({"max_model_len": 32768}, 32768),  # vLLM
        ({"context_length": 131072, "top_provider": {"context_length": 8192}}, 131072),
        ({"max_context_length": 32768, "loaded_context_length": 4096}, 4096),  # LM Studio
        ({"context_length": "many", "meta": None}, 0),
        ({"context_length": True}, 0),
        ({"context_length": -1}, 0),
        ({"context_length": 10**30}, 0),
        ({}, 0),
    ],
)
def test_the_size_of_a_context(model: dict[str, object], context: int) -> None:
    body = json.dumps({"data": [{"id": "small", **model}]}).encode()
    assert listed_models(body) == {"small": context}


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"data": [{"id": "b"}, {"id": "a"}, {"id": "b"}]}', ["b", "a"]),
        (b'[{"id": "a"}, {"id": ""}, {"id": 7}, null, {}]', ["a"]),
        (b'{"data": []}', []),
    ],
)
def test_names_in_their_order(body: bytes, names: list[str]) -> None:
    assert list(listed_models(body) or {}) == names


@pytest.mark.parametrize("body", [None, b"", b"no", b"{}", b'{"data": {}}', b"[" * 100_000])
def test_a_body_that_is_not_a_list_yields_none(body: bytes | None) -> None:
    assert listed_models(body) is None
