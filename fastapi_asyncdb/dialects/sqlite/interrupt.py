"""Interrupts the query that a SQLite connection's thread is busy with, and frees its lock."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from threading import Event
from typing import Any

_PAUSE = 0.005
"""Seconds between two attempts to interrupt a query, which may not have begun at the first."""


async def interrupt(driver: Any) -> None:
    """Interrupt the query that runs on a connection, if any, and wait until its thread is free.

    Args:
        driver: aiosqlite's connection.
    """
    # The thread does one thing after the other: when it comes to this, the query is over. The thread
    # itself sets the event, since a busy event loop hears of it late, and an interrupt that comes too
    # late would hit the next query.
    over = Event()
    last = asyncio.ensure_future(driver._execute(over.set))
    while not (await asyncio.wait([last], timeout=_PAUSE))[0]:
        if not over.is_set():
            with suppress(ValueError):
                await driver.interrupt()
    await last


async def close_cursor(driver: Any, cursor: Any) -> None:
    """Close the cursor of a cancelled query, on the connection's own thread.

    The garbage collector resets the query of one that has rows left. It does so in the thread that it
    runs in, most often the event loop's, which then waits for the query that the connection is busy
    with; and no other task can interrupt that.

    Args:
        driver: aiosqlite's connection.
        cursor: SQLAlchemy's adapter of its cursor.
    """
    # SQLAlchemy 2.0 keeps the cursor of a stream only: it fetches all other rows in the same call.
    opened = getattr(cursor, "_cursor", None)
    if opened is not None:
        await driver._execute(opened._cursor.close)


async def roll_back(driver: Any) -> None:
    """Roll back after an interrupt, and so give up the write lock.

    A connection that is closed in the middle of a query keeps its lock until the garbage collector
    finds the query's cursor.
    """
    try:
        await driver.rollback()
    except sqlite3.OperationalError:
        # While a cursor has rows that were not fetched, an interrupt hits the next statement too.
        # https://sqlite.org/c3ref/interrupt.html
        await driver._execute(driver._conn.close_cursors)
        await driver.rollback()
