"""What a session keeps of its client's Hello."""

from actors import ActorSystem
from actors.testing import actor_events, actor_system, manual_clock
from callboard.v1.session_pb2 import Hello, Resume
from tests.support.session_kit import FakeConnection, Service
from transport.server.join_session import (
    MAX_FEATURE_NAME,
    MAX_FEATURES,
    features_of,
    open_new,
    take_up,
)

__all__ = ["actor_events", "actor_system", "manual_clock"]


def test_features_are_a_set_of_names() -> None:
    """Each name counts once, in no order; no name is no feature."""
    assert features_of(Hello()) == frozenset()
    assert features_of(Hello(features=["follow", "steer", "follow"])) == {"follow", "steer"}


def test_no_more_names_are_kept_than_a_client_can_need() -> None:
    """Names beyond the first 64 are ignored, and so are long ones."""
    longest = "x" * MAX_FEATURE_NAME
    assert features_of(Hello(features=[longest, longest + "x"])) == {longest}
    names = [f"{number}" for number in range(10_000)]
    assert features_of(Hello(features=names)) == frozenset(names[:MAX_FEATURES])


async def test_a_session_has_the_features_of_the_hello_that_it_was_joined_with(
    actor_system: ActorSystem,
) -> None:
    """Both a new session and one that is resumed get the features of their Hello."""
    sessions = Service(actor_system).sessions
    opened = await open_new(sessions, Hello(features=["steer"]), FakeConnection())
    assert opened is not None
    session = opened.attached.outbox._session
    assert session.features == {"steer"}
    resume = Resume(resume_token=opened.resume_token)
    assert await take_up(sessions, Hello(features=["follow"], resume=resume), FakeConnection())
    assert session.features == {"follow"}
