"""The statements that a test sends: how many, which, and from where.

Values of parameters may be secrets: none is kept, and none is in a message. A value that is written
into the text of a statement is part of the text, and shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.testing.queries.n_plus_one import suspected_loops
from fastapi_asyncdb.testing.queries.recorder import Recorder
from fastapi_asyncdb.testing.queries.statements import QueryCount


@contextmanager
def count_queries(database: Database[Any]) -> Iterator[QueryCount]:
    """Record the statements that the engines of a ``Database`` send inside the block.

    The statements of every task and thread count: a block around a request counts what the request does.
    ``BEGIN``, ``COMMIT``, savepoints, and statements by which the library begins a transaction or opens
    a connection, do not count. The ``Database`` may be started inside the block.

    Args:
        database: The ``Database``; statements of others do not count.

    Yields:
        The statements, which grow in number while the block runs.
    """
    recorder = Recorder(database)
    with recorder.listening():
        yield recorder.seen


@contextmanager
def assert_queries(
    database: Database[Any],
    *,
    max: int | None = None,  # noqa: A002 - what reads best
    exactly: int | None = None,
    n_plus_one: int = 5,
) -> Iterator[QueryCount]:
    """Fail the test if the block sends more statements than this, as ``count_queries`` counts.

    The message lists each statement with the line that sent it, without its parameters. It names
    statements that look like a query in a loop (N+1), and their cure. A block within its budget passes,
    with or without a loop. An exception in the block passes through.

    Args:
        database: The ``Database``; statements of others do not count.
        max: The largest number that is allowed.
        exactly: The only number that is allowed.
        n_plus_one: How often a statement is sent in one transaction, with different parameters, before
            the message names it.

    Yields:
        The statements, which grow in number while the block runs.

    Raises:
        AssertionError: there were more, or with ``exactly`` fewer.
        ValueError: neither ``max`` nor ``exactly`` is given, or both are.
    """
    __tracebackhide__ = True
    if (max is None) == (exactly is None):
        raise ValueError(
            "assert_queries needs to know what to expect, once: give it either max=... or exactly=..."
        )
    with count_queries(database) as seen:
        yield seen
    expected = f"exactly {exactly}" if exactly is not None else f"at most {max}"
    if (exactly is not None and seen.count != exactly) or (max is not None and seen.count > max):
        listed = [f"{number:3}. {each}" for number, each in enumerate(seen.statements, 1)]
        fact = f"Expected {expected} statements, and {seen.count} were sent{':' if listed else '.'}"
        loops = suspected_loops(seen.statements, n_plus_one)
        raise AssertionError("\n".join([fact, *listed, *loops]))
