from functools import partial

import pytest

from actors import AlreadyRegistered, Registry, RequestActor
from tests.support.session_kit import Ask, Text


class Upper(RequestActor[Text, Text]):
    async def handle(self, request: Text) -> Text:
        return Text(request.text.upper())


class Lower(RequestActor[Text, Text]):
    async def handle(self, request: Text) -> Text:
        return Text(request.text.lower())


def test_a_message_finds_its_actor() -> None:
    registry = Registry()
    registry.register(Text, Upper)
    registration = registry.by_message.get(Text)
    assert registration is not None
    assert registration.message is Text
    assert isinstance(registration.factory(), Upper)
    assert registry.by_message.get(Ask) is None
    assert list(registry.messages()) == [Text]
    assert list(registry.registrations()) == [registration]


def test_two_actors_for_one_message_are_refused_and_both_named() -> None:
    registry = Registry()
    registry.register(Text, Upper)
    with pytest.raises(
        AlreadyRegistered, match=r"answered by .*test_registry\.Upper, .*\.Lower cannot"
    ):
        registry.register(Text, Lower)


def test_a_factory_is_as_good_as_a_class() -> None:
    registry = Registry()
    registry.register(Text, lambda: Lower())
    registration = registry.by_message.get(Text)
    assert registration is not None
    assert isinstance(registration.factory(), Lower)
    assert registration.label.endswith("test_a_factory_is_as_good_as_a_class")


def test_a_factory_without_a_name_is_named_by_its_repr() -> None:
    registry = Registry()
    registry.register(Text, partial(Lower))
    with pytest.raises(AlreadyRegistered, match=r"answered by functools.partial\(<class .*Lower"):
        registry.register(Text, Upper)
