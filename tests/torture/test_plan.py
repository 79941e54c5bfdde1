"""The plans of `make torture` are the same for the same seed, and stay within their bounds."""

import pytest

from tests.torture.attacks import ATTACKS
from tests.torture.plan import CONDITIONS, LOGS, ROUND, Plan, make_plan

ALL = frozenset({"mount", "faketime"})


def plans(count: int = 200, available: frozenset[str] = ALL) -> list[Plan]:
    return [make_plan(7, number, available) for number in range(count)]


def test_a_seed_gives_the_same_plans_each_time() -> None:
    assert plans() == plans()
    assert make_plan(7, 1, ALL) != make_plan(8, 1, ALL)


def test_each_condition_is_drawn_sooner_or_later() -> None:
    drawn = {step.name for plan in plans() for step in plan.steps}
    drawn |= {"sighup", "sigint", "second-signal"}
    assert drawn == set(CONDITIONS)
    assert {name for plan in plans() for _, name in plan.signals} == {"SIGTERM", "SIGINT", "SIGHUP"}
    assert {len(plan.signals) for plan in plans()} == {1, 2}
    assert {plan.settle for plan in plans()} == {True, False}


def test_about_half_of_the_rounds_have_the_real_model() -> None:
    assert 70 < sum(plan.backend == "local" for plan in plans()) < 130


def test_conditions_fit_the_backend_and_there_is_one_log() -> None:
    for plan in plans():
        names = {step.name for step in plan.steps}
        assert all(plan.backend in CONDITIONS[name].backends for name in names)
        assert len(names & set(LOGS)) <= 1


def test_what_the_machine_lacks_is_left_out_and_named_and_the_rest_stays() -> None:
    for whole, poor in zip(plans(), plans(available=frozenset()), strict=True):
        lacking = {step.name for step in whole.steps if CONDITIONS[step.name].needs}
        assert set(poor.left_out) == lacking
        assert poor.steps == tuple(step for step in whole.steps if step.name not in lacking)
        assert (poor.settings, poor.signals) == (whole.settings, whole.signals)
        assert poor.clock is None
        assert not poor.on_small_disk


def test_steps_lie_within_their_round() -> None:
    for plan in plans():
        assert ROUND[0] <= plan.seconds <= ROUND[1]
        for step in plan.steps:
            assert 0.0 <= step.at < plan.seconds
            assert step.until is None or step.at <= step.until < plan.seconds


@pytest.mark.parametrize("name", sorted(CONDITIONS))
def test_a_condition_can_be_tried_alone(name: str) -> None:
    for number in range(20):
        plan = make_plan(7, number, ALL, only=(name,))
        assert {step.name for step in plan.steps} <= {name}
        assert plan.backend in CONDITIONS[name].backends
        assert not plan.settle


def test_each_hostile_condition_has_its_attack() -> None:
    assert {name for name, condition in CONDITIONS.items() if condition.hostile} == set(ATTACKS)
