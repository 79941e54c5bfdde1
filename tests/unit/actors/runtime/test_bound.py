import pytest

from actors import ActorSystem
from actors.runtime.supervision import DEFAULT_LIFECYCLE
from tests.support.bound import BOUND, check_reason
from tests.support.kit import Bare


async def test_a_mailbox_holds_what_this_run_of_the_tests_allows(actor_system: ActorSystem) -> None:
    ref = actor_system.spawn(Bare)
    assert ref.statistics().capacity == (BOUND or DEFAULT_LIFECYCLE.capacity)


@pytest.mark.parametrize(
    "mark", [pytest.mark.own_bound, pytest.mark.own_bound(""), pytest.mark.own_bound(reason="x")]
)
def test_the_mark_own_bound_must_say_why(mark: pytest.MarkDecorator) -> None:
    with pytest.raises(pytest.UsageError, match="one string"):
        check_reason(mark.mark)
    check_reason(pytest.mark.own_bound("two wait").mark)
