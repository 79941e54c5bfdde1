from collections.abc import Callable
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
        AlreadyRegistered, match=r"answered by .*test_registry\.Upper; .*\.Lower cannot"
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


class Stopping(Upper):
    """What a person must always be able to do."""

    beyond_limit = True


def crashing() -> Upper:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("made_by", "beyond"),
    [(Upper, False), (Stopping, True), (lambda: Stopping(), True), (lambda: Upper(), False)],
)
def test_the_registry_knows_which_types_are_admitted_beyond_the_limit(
    made_by: Callable[[], Upper], *, beyond: bool
) -> None:
    """A type is exempt if its actor type says so, whether that or a factory was registered."""
    registry = Registry()
    registry.register(Text, made_by)
    assert [Text in registry.beyond_limit, Text in registry.beyond_limit] == [beyond] * 2
    assert Ask not in registry.beyond_limit


def test_a_factory_is_called_once_to_know_whether_its_type_is_exempt() -> None:
    """What a factory makes is looked at once, and only when somebody asks."""
    made: list[Upper] = []

    def make() -> Upper:
        made.append(Stopping())
        return made[-1]

    registry = Registry()
    registry.register(Text, make)
    assert made == []
    assert Text in registry.beyond_limit
    assert Text in registry.beyond_limit
    assert len(made) == 1


def test_what_a_factory_that_crashes_makes_is_not_exempt() -> None:
    """A crash of the factory is no crash of whoever asks; it is asked again the next time."""
    ways: list[Callable[[], Upper]] = [crashing, Stopping]
    registry = Registry()
    registry.register(Text, lambda: ways.pop(0)())
    assert Text not in registry.beyond_limit
    assert Text in registry.beyond_limit
