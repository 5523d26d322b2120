"""The slots by themselves: who waits, who is served, and releases from another thread."""

import asyncio
import math
import threading
import time

import pytest

from fastapi_asyncdb.pool.waiters import Slots


async def test_as_many_as_it_is_wide_go_in_at_once():
    """The next one would have to wait."""
    slots = Slots(2)
    assert [slots.take_at_once() for _ in range(3)] == [True, True, False]
    slots.release()
    assert slots.take_at_once()


async def test_without_a_limit_nobody_waits():
    """SQLAlchemy's max_overflow=-1 is no limit."""
    slots = Slots(math.inf)
    assert all(slots.take_at_once() for _ in range(1000))


async def test_place_that_is_handed_over_is_not_free():
    """A newcomer stands behind the one whose turn it is."""
    slots = Slots(1)
    assert slots.take_at_once()
    waiter = asyncio.create_task(slots.take(10))
    await asyncio.sleep(0)
    slots.release()
    assert not slots.take_at_once()
    assert await waiter


async def test_turn_that_comes_too_late_goes_to_the_next():
    """Who has given up has no place that would have to be given back."""
    slots = Slots(1)
    assert slots.take_at_once()
    hasty = asyncio.create_task(slots.take(0.01))
    patient = asyncio.create_task(slots.take(10))
    assert await hasty is False
    assert slots.waiting == 1
    slots.release()
    assert await patient is True
    slots.release()
    assert slots.take_at_once()


async def test_who_had_to_leave_stands_before_those_who_were_never_in():
    """Among those who come back, the order is that of their first coming."""
    slots = Slots(0)
    served: list[str] = []

    async def enter(name: str, **since: float) -> None:
        assert await slots.take(10, **since)
        served.append(name)

    tasks = [asyncio.create_task(enter("new"))]
    tasks += [asyncio.create_task(enter(str(came), since=came)) for came in (2, 1, 3, 2.5)]
    await asyncio.sleep(0)
    for width in range(6):
        slots.resize(width)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert served == ["1", "2", "2.5", "3", "new"]


async def test_narrowed_gate_lets_nobody_in_until_enough_have_left():
    """Those who are in may stay, and when it is widened it counts them."""
    slots = Slots(3)
    assert [slots.take_at_once() for _ in range(3)] == [True] * 3
    slots.resize(1)
    waiter = asyncio.create_task(slots.take(10))
    await asyncio.sleep(0)
    slots.release()
    slots.release()
    assert not waiter.done()
    assert not slots.take_at_once()
    slots.release()
    assert await waiter
    slots.resize(3)
    assert [slots.take_at_once() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("woken", [False, True])
async def test_cancelled_turn_leaves_nothing_behind(woken: bool):
    """Before its turn and in the moment of it."""
    slots = Slots(1)
    assert slots.take_at_once()
    waiter = asyncio.create_task(slots.take(10))
    await asyncio.sleep(0)
    if woken:
        slots.release()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert slots.waiting == 0
    if not woken:
        slots.release()
    assert slots.take_at_once()
    assert not slots.take_at_once()


async def test_leaving_from_another_thread_wakes_the_loop():
    """A future's result that another thread sets would be seen at the loop's next event only."""
    slots = Slots(1)
    assert slots.take_at_once()
    waiter = asyncio.create_task(slots.take(50))
    await asyncio.sleep(0)
    seen = threading.Event()

    def leave_and_stay() -> None:
        time.sleep(0.2)  # by then the loop sleeps
        slots.release()
        seen.wait(20)  # the thread's own end would wake the loop

    thread = asyncio.create_task(asyncio.to_thread(leave_and_stay))
    started = time.monotonic()
    asyncio.get_running_loop().call_later(10, seen.set)
    assert await waiter
    assert time.monotonic() - started < 5
    seen.set()
    await thread


def test_leaving_after_the_loop_was_closed_is_no_error():
    """The garbage collector comes late, when no task waits any more."""

    async def enter() -> Slots:
        slots = Slots(1)
        assert slots.take_at_once()
        return slots

    slots = asyncio.run(enter())
    slots.release()
    asyncio.run(asyncio.to_thread(slots.release))
