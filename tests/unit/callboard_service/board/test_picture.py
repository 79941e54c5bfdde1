"""A snapshot is bounded in bytes, whatever the tree is like."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors import Actor, ActorSystem, ActorView
from actors.testing import ManualClock, running_system, settle
from callboard.board.v1.board_pb2 import BoardActor, BoardSession
from callboard_service.board.picture import TREE_BYTES, draw, in_words, listed
from callboard_service.board.survey import Survey
from tests.support.board_kit import Crowd, finished, walked
from tests.support.kit import Bare, Boom


class Branch(Actor[str]):
    """Has children with so many children each, and says something long about itself."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes

    def started(self) -> None:
        for number in range(self.sizes[0] if self.sizes else 0):
            self.context.spawn(lambda: Branch(*self.sizes[1:]), name=f"{'ü' * 90}{number}")

    def receive(self, message: str) -> None:
        """Do nothing."""

    def describe(self) -> str:
        return "ü" * 1000


def drawn(system: ActorSystem, room: int = TREE_BYTES) -> tuple[BoardActor, int]:
    """Return the picture of the tree, and how many actors it has."""
    survey = Survey()
    node, _ = walked(survey, system.root)
    return finished(draw(node, room))[0], survey.actors


def counted(actor: BoardActor) -> int:
    """Return how many actors the picture accounts for."""
    below = sum(counted(child) for child in actor.children)
    return 1 + below + sum(group.actors for group in actor.others)


def whole(actor: BoardActor) -> None:
    """Check that each actor's children are all shown or counted."""
    shown = len(actor.children) + sum(group.actors for group in actor.others)
    assert actor.children_now == shown or not (actor.children or actor.others)
    for child in actor.children:
        whole(child)


async def test_a_small_tree_is_shown_whole(actor_system: ActorSystem) -> None:
    await actor_system.start(lambda: Crowd(3), name="crowd")
    picture, actors = drawn(actor_system)
    assert counted(picture) == actors == 5
    (crowd,) = picture.children
    assert (crowd.name, crowd.type, crowd.children_now) == ("crowd", "Crowd", 3)
    assert [child.name for child in crowd.children] == ["c0", "c1", "c2"]
    assert crowd.others == picture.others == []


async def test_a_large_family_at_rest_is_a_group(actor_system: ActorSystem) -> None:
    await actor_system.start(lambda: Crowd(1000), name="crowd")
    (crowd,) = drawn(actor_system)[0].children
    assert (crowd.children_now, len(crowd.children)) == (1000, 0)
    (group,) = crowd.others
    assert (group.type, group.actors) == ("Bare", 1000)


async def test_the_parents_of_a_level_share_the_room(actor_system: ActorSystem) -> None:
    for number in range(10):
        await actor_system.start(lambda: Branch(40), name=f"b{number}")
    picture, _ = drawn(actor_system, 20_000)
    whole(picture)
    sizes = [len(branch.children) for branch in picture.children]
    assert len(sizes) == 10
    assert min(sizes) > 0
    assert max(sizes) - min(sizes) <= 1
    assert picture.ByteSize() <= 20_000


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.lists(st.integers(0, 60), max_size=2), max_size=4),
    st.integers(2000, TREE_BYTES),
)
async def test_any_tree_fits_and_every_actor_is_shown_or_counted(
    shapes: list[list[int]], room: int
) -> None:
    async with running_system(ManualClock()) as system:
        for sizes in shapes:
            await system.start(lambda sizes=sizes: Branch(*sizes))  # type: ignore[misc]  # its default
        await settle()
        picture, _ = drawn(system, room)
        whole(picture)
        assert picture.ByteSize() <= room


async def test_a_hundred_thousand_actors_fit(actor_system: ActorSystem) -> None:
    await actor_system.start(lambda: Branch(300, 300), name="branch")
    await actor_system.start(lambda: Crowd(10_000), name="crowd")
    picture, actors = drawn(actor_system)
    assert actors == 100_303
    assert TREE_BYTES / 2 < picture.ByteSize() <= TREE_BYTES
    whole(picture)


async def test_an_actor_says_what_it_likes_in_bounds(actor_system: ActorSystem) -> None:
    await actor_system.start(lambda: Branch(), name="branch")
    await actor_system.start(Bare, name="bare")
    branch, bare = drawn(actor_system)[0].children
    assert branch.details == "ü" * 199 + "…"
    assert bare.details == ""

    class Odd:
        def __str__(self) -> str:
            raise Boom

    assert in_words(Odd()) == ""


def test_a_list_ends_where_the_room_does() -> None:
    def describe(number: int, view: ActorView) -> BoardSession:
        return BoardSession(name=f"session {number}")

    found: list[tuple[int, ActorView]] = [(number, None) for number in range(100)]  # type: ignore[misc]  # unused
    size = BoardSession(name="session 1").ByteSize() + 8
    assert [one.name for one in listed(found, describe, 3 * size)] == [
        "session 0",
        "session 1",
        "session 2",
    ]
