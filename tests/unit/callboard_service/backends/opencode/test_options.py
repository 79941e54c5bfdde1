"""What can be chosen is what the server offers; other choices count as none."""

from typing import Any

import pytest

from actors import Code, Failure
from callboard.v1.chat_pb2 import SessionOption
from callboard_service.backends.opencode.options import MAX_CHOICES, Catalog, Selection

PROVIDERS: dict[str, Any] = {
    "providers": [
        {
            "id": "p",
            "models": {
                "big": {
                    "name": "Big",
                    "limit": {"context": 9},
                    "variants": {"low": {}, "high": {}},
                },
                "org/small": {},
            },
        }
    ],
    "default": {"p": "org/small"},
}
AGENTS: list[dict[str, Any]] = [
    {"name": "build", "mode": "primary"},
    {"name": "any", "mode": "all", "model": {"providerID": "p", "modelID": "big"}},
    {"name": "helper", "mode": "subagent"},
    {"name": "title", "mode": "primary", "hidden": True},
]
SESSION = {"id": "ses_1", "model": {"providerID": "p", "id": "big"}}


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(PROVIDERS, AGENTS, {})


def shown(options: Any) -> dict[str, tuple[str, list[str]]]:
    return {o.id: (o.current, [c.value for c in o.choices]) for o in options.options}


def test_a_new_conversation_has_the_server_s_defaults() -> None:
    """The configuration's come first."""
    for config, model, agent in (
        ({}, "p/org/small", "build"),
        ({"model": "p/big", "default_agent": "any"}, "p/big", "any"),
        ({"model": "p/none", "default_agent": "helper"}, "", "build"),
    ):
        current = shown(Catalog(PROVIDERS, AGENTS, config).options({}, {}))
        assert (current["model"][0], current["agent"][0]) == (model, agent)


def test_only_agents_that_a_user_may_choose_are_offered(catalog: Catalog) -> None:
    options = shown(catalog.options({}, {}))
    assert options == {
        "model": ("p/org/small", ["p/big", "p/org/small"]),
        "agent": ("build", ["build", "any"]),
    }


def test_a_model_comes_from_the_choice_then_the_agent_then_the_conversation(
    catalog: Catalog,
) -> None:
    """OpenCode looks for it in this order, too."""
    small = {"providerID": "p", "id": "org/small"}
    copied = {"metadata": {"callboard": {"model": {"providerID": "p", "id": "big"}}}}
    for session, choices, model in (
        ({"model": small}, {"agent": "any", "model": "p/org/small"}, "p/org/small"),
        ({"model": small}, {"agent": "any"}, "p/big"),
        (SESSION, {}, "p/big"),
        (copied, {}, "p/big"),
        ({**copied, "model": small}, {}, "p/org/small"),
        (SESSION, {"model": "p/gone"}, "p/big"),
    ):
        assert catalog.model_of(session, choices) == model


def test_the_effort_is_an_option_of_models_that_have_it(catalog: Catalog) -> None:
    """A choice that the model does not have counts as none."""
    for chosen, current in (("high", "high"), ("gone", "default"), ("", "default")):
        options = catalog.options(SESSION, {"effort": chosen})
        assert shown(options)["effort"] == (current, ["default", "low", "high"])
        assert options.options[-1].category == SessionOption.CATEGORY_EFFORT
    assert "effort" not in shown(catalog.options({}, {"effort": "high"}))


@pytest.mark.parametrize(
    ("model", "choices", "selection"),
    [
        ("", {}, Selection()),
        ("", {"model": "p/org/small", "agent": "any"}, Selection("p/org/small", "any")),
        ("p/org/small", {"model": "p/big", "effort": "low"}, Selection("p/org/small")),
        ("p/big", {"effort": "low"}, Selection("p/big", "", "low")),
        ("", {"effort": "low"}, Selection("", "", "low")),
        ("", {"model": "p/gone", "agent": "gone", "effort": "gone"}, Selection()),
    ],
)
def test_a_message_is_sent_with_what_is_chosen(
    catalog: Catalog, model: str, choices: dict[str, str], selection: Selection
) -> None:
    """Its own model comes first; what the server does not offer is left to the server."""
    assert catalog.select(model, SESSION, choices) == selection


def test_a_selection_has_the_form_of_what_is_posted() -> None:
    selection = Selection("p/org/small", "any", "low")
    model = {"providerID": "p", "modelID": "org/small"}
    assert selection.of_prompt() == {"model": model, "agent": "any", "variant": "low"}
    assert selection.of_command() == {"model": "p/org/small", "agent": "any", "variant": "low"}
    assert Selection().of_prompt() == Selection().of_command() == {}


def test_what_is_not_offered_cannot_be_chosen(catalog: Catalog) -> None:
    """The default effort is no choice of its own."""
    assert catalog.check(SESSION, {}, "effort", "default") == ""
    assert catalog.check(SESSION, {}, "effort", "low") == "low"
    assert catalog.check(SESSION, {}, "agent", "any") == "any"
    for option, value in (
        ("model", "big"),
        ("agent", "helper"),
        ("agent", ""),
        ("effort", "gone"),
        ("none", "x"),
    ):
        with pytest.raises(Failure) as caught:
            catalog.check(SESSION, {}, option, value)
        assert caught.value.code is Code.INVALID_ARGUMENT
    with pytest.raises(Failure):
        catalog.check(SESSION, {"model": "p/org/small"}, "effort", "low")


def test_a_long_list_has_the_current_choice() -> None:
    """However many models a server has."""
    models: dict[str, Any] = {f"m{n}": {} for n in range(3000)}
    providers = {"providers": [{"id": "p", "models": models}]}
    catalog = Catalog(providers, [], {"model": "p/m2999"})
    current, choices = shown(catalog.options({}, {}))["model"]
    assert current == choices[-1] == "p/m2999"
    assert len(choices) == MAX_CHOICES + 1


def test_odd_answers_offer_nothing() -> None:
    odd = Catalog({"providers": [1, {"id": 2, "models": [3]}], "default": 4}, [{"name": 5}], {})
    assert shown(odd.options({"model": 6}, {}))["model"] == ("", [])
