from actors import ActorSystem
from actors.supervision import DEFAULT_LIFECYCLE
from tests.actors.kit import Bare
from tests.bound import BOUND


async def test_a_mailbox_holds_what_this_run_of_the_tests_allows(actor_system: ActorSystem) -> None:
    ref = actor_system.spawn(Bare)
    assert ref.statistics().capacity == (BOUND or DEFAULT_LIFECYCLE.capacity)
