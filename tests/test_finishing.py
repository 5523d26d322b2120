"""Work that is finished although its caller is cancelled."""

import asyncio
import time

import anyio
import pytest

from fastapi_asyncdb import finishing
from fastapi_asyncdb.finishing import Shielded, finish


async def work(done: list[str]) -> str:
    """Take a few turns of the event loop."""
    for _ in range(5):
        await asyncio.sleep(0.001)
    done.append("done")
    return "result"


async def fail() -> None:
    """Fail after a turn."""
    await asyncio.sleep(0)
    raise ValueError("own failure")


async def test_result_and_failure_come_through():
    """Without a cancellation it is a plain await."""
    assert await finish(work([])) == "result"
    with pytest.raises(ValueError, match="own failure"):
        await finish(fail())


@pytest.mark.parametrize("times", [1, 3])
async def test_cancelled_task_finishes_first(times: int):
    """task.cancel(), once or again and again, is passed on when the work is done."""
    done: list[str] = []
    task = asyncio.create_task(finish(work(done)))
    for _ in range(times):
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["done"]


async def test_cancelled_scope_finishes_first():
    """An AnyIO cancel scope takes effect behind the work."""
    done: list[str] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        await finish(work(done))
        done.append("reached")
        await anyio.lowlevel.checkpoint()
        done.append("never")
    assert done == ["done", "reached"]


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_cancelled_caller_waits_no_longer_than_its_patience(how: str):
    """Work that hangs is cancelled in the end, and the caller with it."""
    hanging = Shielded(asyncio.sleep(60))
    started = time.monotonic()
    if how == "scope":
        with anyio.move_on_after(0.01) as scope:
            await finish(hanging, patience=lambda: 0.05)
        assert scope.cancelled_caught
    else:
        task = asyncio.create_task(finish(hanging, patience=lambda: 0.05))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert hanging.task.cancelled()
    assert time.monotonic() - started < 1


async def test_limit_holds_without_a_cancellation():
    """What may take only so long is cancelled although nobody else was."""
    hanging = Shielded(asyncio.sleep(60))
    with pytest.raises(TimeoutError):
        await finish(hanging, limit=0.05)
    assert hanging.task.cancelled()


async def test_work_that_needs_two_cancellations_gets_them(monkeypatch: pytest.MonkeyPatch):
    """A driver may catch the first to say goodbye to a server that does not listen."""
    monkeypatch.setattr(finishing, "_LAST_WORDS", (0.05, 0.05))

    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(60)

    hanging = Shielded(stubborn())
    with pytest.raises(TimeoutError):
        await finish(hanging, limit=0.01)
    assert hanging.task.cancelled()


async def test_failure_matters_more_than_cancellation():
    """What went wrong in the work is not hidden behind the cancellation."""
    task = asyncio.create_task(finish(fail()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(ValueError, match="own failure"):
        await task


async def test_work_that_is_itself_cancelled_says_so():
    """If somebody cancels the work, the caller gets the cancellation and does not hang."""
    inner = Shielded(asyncio.sleep(60))
    outer = asyncio.create_task(finish(inner))
    await asyncio.sleep(0)
    inner.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await outer


async def test_work_that_is_cancelled_before_it_starts_hangs_nobody():
    """Somebody may cancel every task that he finds, and leave out the one that waits."""
    shielded = Shielded(work([]))
    waiting = asyncio.create_task(finish(shielded))
    shielded.task.cancel()
    async with asyncio.timeout(1):
        with pytest.raises(asyncio.CancelledError):
            await waiting
