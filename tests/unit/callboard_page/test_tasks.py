"""Background work."""

import asyncio
import gc

from callboard_page.tasks import Tasks


class Failures:
    """What has failed."""

    def __init__(self) -> None:
        self.seen: list[Exception] = []

    def __call__(self, error: Exception) -> None:
        self.seen.append(error)


async def test_work_is_kept_alive_until_it_ends() -> None:
    failures, gate, done = Failures(), asyncio.Event(), []
    tasks = Tasks(failures)

    async def work() -> None:
        await gate.wait()
        done.append(1)

    tasks.start(work())
    gc.collect()
    gate.set()
    await tasks.settle()
    assert done == [1]
    assert failures.seen == []


async def test_a_failure_is_told() -> None:
    failures = Failures()
    tasks = Tasks(failures)

    async def work() -> None:
        raise ValueError("no")

    tasks.start(work())
    await tasks.settle()
    assert [str(error) for error in failures.seen] == ["no"]


async def test_work_that_is_cancelled_is_no_failure() -> None:
    failures, ran = Failures(), []
    tasks = Tasks(failures)

    async def work() -> None:
        ran.append(1)
        await asyncio.Event().wait()

    one = tasks.start(work())
    one.cancel()  # before it has begun; its coroutine is closed
    await tasks.settle()
    assert ran == []
    two = tasks.start(work())
    await asyncio.sleep(0)
    tasks.start(work())
    tasks.stop()
    await tasks.settle()
    two.cancel()
    assert ran == [1]
    assert failures.seen == []
