"""Work that is finished although its caller is cancelled."""

import asyncio

import anyio
import pytest

from fastapi_asyncdb.shield import finish


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
    assert await finish(asyncio.create_task(work([]))) == "result"
    with pytest.raises(ValueError, match="own failure"):
        await finish(asyncio.create_task(fail()))


@pytest.mark.parametrize("times", [1, 3])
async def test_cancelled_task_finishes_first(times: int):
    """task.cancel(), once or again and again, is passed on when the work is done."""
    done: list[str] = []
    task = asyncio.create_task(finish(asyncio.create_task(work(done))))
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
        await finish(asyncio.create_task(work(done)))
        done.append("reached")
        await anyio.lowlevel.checkpoint()
        done.append("never")
    assert done == ["done", "reached"]


async def test_failure_matters_more_than_cancellation():
    """What went wrong in the work is not hidden behind the cancellation."""
    task = asyncio.create_task(finish(asyncio.create_task(fail())))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(ValueError, match="own failure"):
        await task


async def test_work_that_is_itself_cancelled_says_so():
    """If somebody cancels the work, the caller gets the cancellation and does not hang."""
    inner = asyncio.create_task(asyncio.sleep(60))
    outer = asyncio.create_task(finish(inner))
    await asyncio.sleep(0)
    inner.cancel()
    with pytest.raises(asyncio.CancelledError):
        await outer
