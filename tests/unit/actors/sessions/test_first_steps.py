"""A coroutine function that begins in a spare task cannot tell it from a task of its own.

Every test with a client runs with spare tasks and without them, on every Python.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar, copy_context
from typing import ClassVar

import pytest

from actors import ActorSystem, Code, Failure, RequestActor
from actors.protocol.frames import Cancel
from actors.runtime.spare_task import SpareTask, SpareTasks, rest_of
from actors.testing import settle
from tests.support.kit import Boom, tasks_of_actors, working_tasks
from tests.support.session_kit import Client, Service, Text, client_of

VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")

Do = Callable[[], Awaitable[str]]


class Doing(RequestActor[Text, Text]):
    """Does what the test says, by the text of the request."""

    what: ClassVar[dict[str, Do]] = {}

    async def handle(self, request: Text) -> Text:
        return Text(await self.what[request.text]())


@pytest.fixture(params=[True, False], ids=["spare", "own"])
def spare(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr("actors.sessions.execution.STEPPED", request.param)
    monkeypatch.setattr(Doing, "what", {})
    return bool(request.param)


@pytest.fixture
async def client(spare: bool, service: Service, actor_system: ActorSystem) -> Client:
    actor_system.spare_tasks.take()
    await settle()
    return await client_of(service, Doing)


@pytest.fixture
def steps(spare: bool, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[SpareTask]]:
    """The spare tasks of the first steps, in their order; checks that there are some or none."""
    stepped: list[SpareTask] = []
    step = SpareTask.step

    def noted(self: SpareTask, function: object, argument: object) -> object:
        stepped.append(self)
        return step(self, function, argument)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(SpareTask, "step", noted)
    yield stepped
    assert bool(stepped) is spare


async def said(client: Client, *texts: str) -> list[list[str]]:
    """Return the answers to these requests, made at once."""
    ids = [client.request(Text(text)) for text in texts]
    await settle()
    return [await client.said(request_id) for request_id in ids]


def name() -> str:
    task = asyncio.current_task()
    return "" if task is None else task.get_name()


async def test_the_task_stays_the_same_across_waits(client: Client, steps: list[SpareTask]) -> None:
    async def wait() -> str:
        before = asyncio.current_task()
        assert before is not None
        await asyncio.sleep(0)
        first = asyncio.current_task()
        await asyncio.sleep(0)
        return str(before is first is asyncio.current_task())

    Doing.what["wait"] = wait
    assert await said(client, "wait", "wait") == [["True"], ["True"]]
    assert tasks_of_actors() == 0


async def test_one_task_serves_all_that_do_not_wait(
    client: Client, steps: list[SpareTask], spare: bool
) -> None:
    async def answer() -> str:
        return name()

    Doing.what["answer"] = answer
    names = await said(client, *["answer"] * 5)
    assert len({str(each) for each in names}) == (1 if spare else 5)
    assert len({id(step) for step in steps}) == (1 if spare else 0)


async def test_the_interrupted_task_is_the_current_one_again(
    client: Client, steps: list[SpareTask]
) -> None:
    async def answer() -> str:
        return "x"

    Doing.what["answer"] = answer
    own = asyncio.current_task()
    client.request(Text("answer"))
    await settle()
    assert asyncio.current_task() is own


@pytest.mark.parametrize("seconds", [0.0, 60.0])
async def test_a_timeout_around_what_waits(
    client: Client, steps: list[SpareTask], seconds: float
) -> None:
    async def limited() -> str:
        try:
            async with asyncio.timeout(seconds):
                await (asyncio.Event().wait() if not seconds else asyncio.sleep(0))
        except TimeoutError:
            return "too late"
        return "in time"

    Doing.what["limited"] = limited
    assert await said(client, "limited") == [["in time" if seconds else "too late"]]


async def test_a_timeout_and_a_group_that_need_not_wait(
    client: Client, steps: list[SpareTask]
) -> None:
    async def limited() -> str:
        async with asyncio.timeout(60.0), asyncio.TaskGroup():
            return "in time"

    Doing.what["limited"] = limited
    assert await said(client, "limited", "limited") == [["in time"], ["in time"]]


async def test_a_group_of_tasks(client: Client, steps: list[SpareTask]) -> None:
    async def part(number: int) -> int:
        await asyncio.sleep(0)
        if number > 2:
            raise Boom
        return number

    async def grouped() -> str:
        with suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(part(number)) for number in range(4)]
        return str([task.result() for task in tasks if not task.exception()])

    Doing.what["grouped"] = grouped
    assert await said(client, "grouped") == [["[0, 1, 2]"]]


async def test_context_variables_are_its_own(client: Client, steps: list[SpareTask]) -> None:
    async def set_it() -> str:
        VARIABLE.set("set")
        return VARIABLE.get()

    async def look() -> str:
        return VARIABLE.get()

    async def reset() -> str:
        token = VARIABLE.set("for a while")
        await asyncio.sleep(0)
        kept = VARIABLE.get()
        VARIABLE.reset(token)
        return f"{kept}, {VARIABLE.get()}"

    Doing.what |= {"set": set_it, "look": look, "reset": reset}
    assert await said(client, "set", "look") == [["set"], ["unset"]]
    assert await said(client, "look", "reset", "look") == [
        ["unset"],
        ["for a while, unset"],
        ["unset"],
    ]
    assert VARIABLE.get() == "unset"


async def test_a_spare_task_with_other_context_variables_is_not_used() -> None:
    tasks = SpareTasks()
    assert tasks.take() is None
    assert tasks.take() is None  # it is not ready yet
    await settle()
    spare = tasks.take()
    assert spare is not None
    other = copy_context()
    assert other.run(tasks.take) is spare
    other.run(VARIABLE.set, "other")
    assert other.run(tasks.take) is None
    assert other.run(tasks.take) is None
    await settle()
    assert other.run(tasks.take) not in (None, spare)
    await tasks.close()


async def test_what_one_leaves_does_not_reach_another(
    client: Client, steps: list[SpareTask], spare: bool
) -> None:
    kept: list[asyncio.Task[object]] = []
    called: list[str] = []

    def own() -> asyncio.Task[object]:
        task = asyncio.current_task()
        assert task is not None
        return task

    async def keep() -> str:
        kept.append(own())
        return "kept"

    async def call_back() -> str:
        own().add_done_callback(lambda _: called.append("called"))
        return "added"

    async def wait() -> str:
        await gate.wait()
        return "waited"

    gate = asyncio.Event()
    Doing.what |= {"keep": keep, "call back": call_back, "wait": wait}
    assert await said(client, "keep") == [["kept"]]
    await settle()
    waits = client.request(Text("wait"))
    await settle()
    kept[0].cancel()
    await settle()
    gate.set()
    await settle()
    assert await client.said(waits) == ["waited"]
    assert await said(client, "call back") == [["added"]]
    await settle()
    assert called == ["called"]
    assert len({id(step) for step in steps}) >= (2 if spare else 0)


@pytest.mark.parametrize("when", ["at once", "later"])
async def test_a_cancel_reaches_what_it_waits_for(
    client: Client, steps: list[SpareTask], when: str
) -> None:
    ends: list[str] = []

    async def inner() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("inner")
            raise

    async def wait() -> str:
        try:
            await asyncio.create_task(inner())
        except asyncio.CancelledError:
            ends.append("handler")
            raise
        return ""

    Doing.what["wait"] = wait
    request_id = client.request(Text("wait"))
    if when == "later":
        await settle()
    client.send(Cancel(request_id))
    await settle()
    assert await client.said(request_id) == ["!CANCELLED"]
    # If its first step has not been taken, it never is; nor is that of its inner task.
    assert ends in (["inner", "handler"], ["handler"], [])
    assert when == "at once" or ends == ["inner", "handler"]
    assert tasks_of_actors() == 0


async def test_one_that_cancels_itself(client: Client, steps: list[SpareTask]) -> None:
    async def cancel(then: Do) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return await then()

    async def nothing() -> str:
        return "answered"

    async def wait() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "cancelled"
        return ""

    async def yield_first() -> str:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return "cancelled, then " + await wait_a_turn()
        return ""

    async def wait_a_turn() -> str:
        await asyncio.sleep(0)
        return "waited"

    Doing.what |= {
        "end": lambda: cancel(nothing),
        "wait": lambda: cancel(wait),
        "yield": lambda: cancel(yield_first),
    }
    assert await said(client, "end") == [["answered"]]
    await settle()
    assert await said(client, "wait") == [["cancelled"]]
    await settle()
    assert await said(client, "yield") == [["cancelled, then waited"]]
    assert await said(client, "end") == [["answered"]]
    await settle()
    assert tasks_of_actors() == 0


async def test_an_error_and_a_failure(client: Client, steps: list[SpareTask]) -> None:
    async def fail() -> str:
        raise Failure(Code.NOT_FOUND, "no such city")

    async def crash() -> str:
        raise Boom

    async def crash_later() -> str:
        await asyncio.sleep(0)
        raise Boom

    Doing.what |= {"fail": fail, "crash": crash, "crash later": crash_later}
    assert await said(client, "fail", "crash", "fail") == [
        ["!NOT_FOUND"],
        ["!INTERNAL"],
        ["!NOT_FOUND"],
    ]
    await settle()
    assert await said(client, "crash later") == [["!INTERNAL"]]
    assert tasks_of_actors() == 0


async def test_a_request_that_comes_while_another_begins(
    client: Client, steps: list[SpareTask]
) -> None:
    inner: list[int] = []

    async def outer() -> str:
        inner.append(client.request(Text("inner")))
        return "outer"

    async def in_between() -> str:
        return "inner"

    Doing.what |= {"outer": outer, "inner": in_between}
    assert await said(client, "outer") == [["outer"]]
    await settle()
    assert await client.said(inner[0]) == ["inner"]


async def test_after_one_that_waits_each_has_a_task_of_its_own_until_one_does_not(
    client: Client, steps: list[SpareTask], spare: bool
) -> None:
    async def wait() -> str:
        await asyncio.sleep(0)
        return "waited"

    async def answer() -> str:
        return "answered"

    Doing.what |= {"wait": wait, "answer": answer}
    counts = []
    for text in ("wait", "wait", "answer", "answer", "answer"):
        await said(client, text)
        counts.append(len(steps))
    if spare:  # the first to wait has taken the spare task, and the next one is made at need
        assert counts[0] == counts[1] == counts[2] == 1
        assert counts[-1] > 1


async def test_no_task_is_left(actor_system: ActorSystem, client: Client) -> None:
    async def answer() -> str:
        return "answered"

    Doing.what["answer"] = answer
    await said(client, "answer")
    await actor_system.stop()
    assert working_tasks() == asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_step_within_a_task_interrupts_it() -> None:
    tasks = SpareTasks()
    tasks.take()
    await settle()
    spare = tasks.take()
    assert spare is not None

    async def current(_: None) -> object:
        return asyncio.current_task()

    own = asyncio.current_task()
    assert spare.step(current, None) is spare.task
    assert asyncio.current_task() is own
    await tasks.close()


async def test_the_rest_of_a_coroutine_may_catch_its_cancellation() -> None:
    async def wait() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "caught"
        return ""

    async def rest() -> str:
        return await rest_of(begun, waits_for)

    begun = wait()
    waits_for = begun.send(None)
    task = asyncio.create_task(rest())
    await settle()
    task.cancel()
    assert await task == "caught"


async def test_a_name_is_its_own(client: Client, steps: list[SpareTask]) -> None:
    async def rename() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("renamed")
        return "x"

    async def look() -> str:
        return str(name() == "renamed")

    Doing.what |= {"rename": rename, "look": look}
    assert await said(client, "rename", "look") == [["x"], ["False"]]


async def test_a_cancellation_keeps_its_message_and_its_count(
    client: Client, steps: list[SpareTask]
) -> None:
    async def cancelled() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel("why")
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            return f"{error.args} {task.cancelling()}"
        return "not cancelled"

    Doing.what["cancelled"] = cancelled
    assert await said(client, "cancelled") == [["('why',) 1"]]


class Equal:
    """A value that is equal to any other, or raises if it is asked."""

    raises: ClassVar[bool] = False

    def __eq__(self, other: object) -> bool:
        if self.raises:
            raise ValueError("equal in part")
        return True

    __hash__ = object.__hash__


@pytest.mark.parametrize("raises", [False, True])
async def test_values_of_variables_are_compared_as_objects(
    monkeypatch: pytest.MonkeyPatch, raises: bool
) -> None:
    variable: ContextVar[Equal] = ContextVar("variable")
    monkeypatch.setattr(Equal, "raises", raises)

    async def change(_: None) -> None:
        variable.set(Equal())

    def take() -> SpareTask | None:
        variable.set(Equal())
        return tasks.take()

    tasks, context = SpareTasks(), copy_context()
    context.run(take)
    await settle()
    first = context.run(tasks.take)
    assert first is not None
    first.step(change, None)
    first.take_back()
    assert not first.ready
    tasks.take()
    await settle()
    assert copy_context().run(take) is None
    await tasks.close()


async def test_one_that_was_cancelled_from_outside_is_not_taken() -> None:
    tasks = SpareTasks()
    assert tasks.take() is None
    await settle()
    spare = tasks.take()
    assert spare is not None
    spare.task.cancel()
    assert tasks.take() is None
    await asyncio.wait({spare.task})
    await tasks.close()
