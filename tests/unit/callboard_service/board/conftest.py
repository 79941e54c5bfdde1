from tests.support.actor_fixtures import *  # noqa: F403 - fixtures, which pytest finds by name
