"""Work that is finished although its caller is cancelled."""

import asyncio
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any

import anyio
import pytest

from fastapi_asyncdb import finishing, finishing_cancelled
from fastapi_asyncdb.finishing import caller_of, finish, finish_here


async def here(work: Any, **options: Any) -> Any:
    """Make a coroutine of what drives its work in the caller's task."""
    return await finish_here(work, **options)


Finish = Callable[..., Any]


@pytest.fixture(params=[finish, here], ids=["in a task of its own", "in the caller's task"])
def run(request: pytest.FixtureRequest) -> Finish:
    """What finishes the work."""
    way: Finish = request.param
    return way


async def work(done: list[str]) -> str:
    """Wait for timers, and for rounds of the event loop."""
    for _ in range(5):
        await asyncio.sleep(0.001)
    for _ in range(3):
        await asyncio.sleep(0)
    done.append("done")
    return "result"


async def fail() -> None:
    """Fail after a round of the event loop."""
    await asyncio.sleep(0)
    raise ValueError("own failure")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    while not condition():
        await asyncio.sleep(0.001)


class Hanging:
    """Work without an end, which notes that it was cancelled."""

    def __init__(self) -> None:
        self.cancelled = 0

    async def __call__(self) -> None:
        """Hang."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def test_result_and_failure_come_through(run: Finish):
    """Without a cancellation it is a plain await."""
    assert await run(work([])) == "result"
    with pytest.raises(ValueError, match="own failure"):
        await run(fail())


@pytest.mark.parametrize("rounds", range(1, 25))
async def test_cancelled_task_finishes_first(run: Finish, rounds: int):
    """A task.cancel() at any moment is passed on when the work is done."""
    done: list[str] = []
    task = asyncio.create_task(run(work(done)))
    for _ in range(rounds):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["done"]


async def test_task_that_is_cancelled_as_its_work_goes_on(run: Finish):
    """What the work waits for is done, and the task has not heard of it yet."""
    future, done = asyncio.get_running_loop().create_future(), []

    async def wait() -> None:
        await future
        done.append("done")

    task = asyncio.create_task(run(wait()))
    for _ in range(3):
        await asyncio.sleep(0)
    future.set_result(None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["done"]


@pytest.mark.parametrize("times", [2, 7])
async def test_task_that_is_cancelled_again_and_again_finishes_first(run: Finish, times: int):
    """Further cancellations change nothing."""
    done: list[str] = []
    task = asyncio.create_task(run(work(done)))
    for _ in range(times):
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["done"]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_cancelled_scope_finishes_first(run: Finish, when: str):
    """An AnyIO cancel scope takes effect behind the work, which returns its result."""
    done: list[str] = []
    with anyio.CancelScope() as scope:
        if when == "before":
            scope.cancel()
        else:
            asyncio.get_running_loop().call_later(0.002, scope.cancel)
        assert await run(work(done)) == "result"
        done.append("reached")
        await anyio.lowlevel.checkpoint()
        done.append("never")
    assert done == ["done", "reached"]
    assert scope.cancelled_caught


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_cancelled_caller_waits_no_longer_than_the_grace_period(run: Finish, how: str):
    """Work that hangs is cancelled in the end, and the caller with it."""
    hanging = Hanging()
    if how == "scope":
        with anyio.move_on_after(0.01) as scope:
            await run(hanging(), grace=lambda: 0.05)
        assert scope.cancelled_caught
    else:
        task = asyncio.create_task(run(hanging(), grace=lambda: 0.05))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert hanging.cancelled == 1


async def test_limit_holds_without_a_cancellation(run: Finish):
    """What may take only so long is cancelled although its caller is not."""
    hanging = Hanging()
    with pytest.raises(TimeoutError):
        await run(hanging(), limit=0.05)
    assert hanging.cancelled == 1


@pytest.mark.parametrize("cancelled", [False, True])
async def test_time_in_which_the_event_loop_stood_still_is_not_the_works(
    run: Finish, cancelled: bool, monkeypatch: pytest.MonkeyPatch
):
    """A machine that stood still calls every timer at once: the work has had no chance."""
    monkeypatch.setattr(finishing_cancelled, "_STALL", 0.05)
    done: list[str] = []

    async def stall() -> None:
        await asyncio.sleep(0.01)
        time.sleep(0.3)  # noqa: ASYNC251 - it is to block the event loop
        await work(done)

    task = asyncio.create_task(run(stall(), limit=0.1, grace=lambda: 0.1))
    await asyncio.sleep(0)
    if cancelled:
        task.cancel()
    with pytest.raises(asyncio.CancelledError) if cancelled else nullcontext():
        await task
    assert done == ["done"]


async def test_work_that_needs_two_cancellations_gets_them(
    run: Finish, monkeypatch: pytest.MonkeyPatch
):
    """A driver may catch the first to close its connection to a server that does not answer."""
    periods = replace(finishing.GRACE, after_cancellation=(0.05, 0.05))
    monkeypatch.setattr(finishing, "GRACE", periods)
    first, second = Hanging(), Hanging()

    async def stubborn() -> None:
        try:
            await first()
        finally:
            await second()

    with pytest.raises(TimeoutError):
        await run(stubborn(), limit=0.01)
    assert (first.cancelled, second.cancelled) == (1, 1)


@pytest.mark.parametrize("nested", [False, True])
async def test_work_that_ignores_its_cancellations_is_left_alone(run: Finish, nested: bool):
    """Its caller goes on; the work ends when it likes to."""
    hanging, ended = [Hanging() for _ in range(3)], asyncio.Event()

    async def deaf() -> None:
        for each in hanging:
            with suppress(asyncio.CancelledError):
                await (here(each(), grace=lambda: 0.0) if nested else each())
        await asyncio.sleep(0.001)
        ended.set()

    with pytest.raises(TimeoutError):
        await run(deaf(), limit=0.01, after_cancellation=(0.01, 0.01))
    await ended.wait()
    assert [each.cancelled for each in hanging] == [1, 1, 1]


async def test_failure_matters_more_than_cancellation(run: Finish):
    """What went wrong in the work is not hidden behind the cancellation."""
    task = asyncio.create_task(run(fail()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(ValueError, match="own failure"):
        await task


async def test_failure_of_what_the_work_awaits_is_the_works(run: Finish):
    """The work may catch it and go on."""

    async def catch() -> str:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, ValueError("caught"))
        with suppress(ValueError):
            await future
        await asyncio.sleep(0.001)
        return "went on"

    assert await run(catch()) == "went on"


async def test_work_that_is_itself_cancelled_says_so(run: Finish):
    """What cancels the work cancels the caller, which does not hang."""

    async def cancelled() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    with pytest.raises(asyncio.CancelledError):
        await run(cancelled())


async def test_task_that_runs_already_is_waited_for():
    """Its cancellation is not held off: another task may cancel it, before its first step too."""
    for rounds in (0, 1):
        hanging = asyncio.create_task(Hanging()())
        waiting = asyncio.create_task(finish(hanging))
        for _ in range(rounds):
            await asyncio.sleep(0)
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


@pytest.mark.parametrize("inner", [finish, here])
async def test_nested(run: Finish, inner: Finish):
    """A commit may close a connection, which is finished as well."""
    done: list[str] = []
    may_end = asyncio.Event()

    async def outer() -> None:
        await inner(may_end.wait())
        await inner(work(done))
        done.append("outer")

    task = asyncio.create_task(run(outer()))
    for _ in range(2):
        await asyncio.sleep(0.001)
        task.cancel()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["done", "outer"]


@pytest.mark.parametrize("inner", [finish, here])
async def test_limit_of_nested_work(run: Finish, inner: Finish):
    """A connection that is closed during a commit has its own time, which the commit survives."""
    hanging = Hanging()

    async def outer() -> str:
        with pytest.raises(TimeoutError):
            await inner(hanging(), limit=0.01)
        await asyncio.sleep(0.001)
        return "went on"

    assert await run(outer()) == "went on"
    assert hanging.cancelled == 1


async def test_timeout_of_the_caller_counts_its_cancellations(run: Finish):
    """Behind the work asyncio knows that it was its own, and an outer timeout is not confused."""
    async with asyncio.timeout(10):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.002) as timeout:
                await run(until(timeout.expired))
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_caller_of_a_task_is_known():
    """So that the testing kit finds the code that has asked for a commit."""
    callers: list[object] = []

    async def note() -> None:
        task = asyncio.current_task()
        assert task is not None
        callers.append(caller_of(task))

    await finish(note())
    assert callers == [asyncio.current_task()]


async def test_work_that_has_come_further_has_the_time_that_it_has_there():
    """A commit that is cancelled while it connects is given up, unless it has got to its COMMIT."""
    reached, go_on = asyncio.Event(), asyncio.Event()
    steps: list[str] = []

    async def work() -> None:
        await reached.wait()
        steps.append("further")
        await go_on.wait()
        steps.append("done")

    async def call() -> None:
        await finish_here(work(), grace=lambda: 10.0 if steps else 0.0)

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    reached.set()
    task.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["further", "done"]
