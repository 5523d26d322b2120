"""Batches: rows from any source, some at a time, so that the memory they need does not grow."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

Progress = Callable[[int], Awaitable[object] | object]
"""Called after each batch with the number of rows so far; may be a coroutine function."""

BATCH_SIZE = 5000
"""Rows. Larger batches are not written faster; a statement of this size takes a fraction of a second."""


async def batches(rows: Iterable[T] | AsyncIterable[T], size: int | None) -> AsyncIterator[list[T]]:
    """Yield the rows in lists.

    Args:
        rows: Where they come from; read no further than the batch.
        size: Rows in each list, at least one; ``None`` is 5,000.

    Raises:
        ValueError: the size is below one.
    """
    size = BATCH_SIZE if size is None else size
    if size < 1:
        raise ValueError(
            f"batch_size={size} is no number of rows. Give one or more, or leave it out."
        )
    if isinstance(rows, AsyncIterable):
        batch: list[T] = []
        async for row in rows:
            batch.append(row)
            if len(batch) >= size:
                yield batch
                batch = []
        if batch:
            yield batch
        return
    for batch in slices(rows, size):
        yield batch


async def write_batches(
    rows: Iterable[T] | AsyncIterable[T],
    write: Callable[[list[T]], Awaitable[object]],
    *,
    batch_size: int | None,
    progress: Progress | None,
) -> int:
    """Write the rows batch by batch, and return their number.

    Args:
        rows: Where they come from.
        write: Writes a batch.
        batch_size: As in ``batches``.
        progress: Called after each batch with the number of rows so far.
    """
    done = 0
    async for batch in batches(rows, batch_size):
        await write(batch)
        done += len(batch)
        if progress is not None:
            await tell(progress, done)
    return done


def slices(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the values in lists of this size, the last one shorter."""
    iterator = iter(values)
    while some := list(islice(iterator, size)):
        yield some


async def tell(callback: Callable[..., Awaitable[object] | object], *values: object) -> None:
    """Call a function, and wait for it if it is a coroutine function."""
    result = callback(*values)
    if inspect.isawaitable(result):
        await result
