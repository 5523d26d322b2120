"""SQLite's cursors: the garbage collector finds none that has to wait for a query."""

import sqlite3
import threading
from contextlib import closing

import pytest

from fastapi_asyncdb.dialects.sqlite.connection import Connection

SLOW = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000000) "
    "SELECT count(*) FROM n"
)


@pytest.mark.parametrize("many", [False, True])
def test_cursor_of_failed_statement_does_not_wait_for_a_query(many: bool):
    """The event loop's thread may drop it while the connection's own thread runs the next query."""
    with closing(
        sqlite3.connect(":memory:", factory=Connection, check_same_thread=False)
    ) as driver:
        driver.execute("CREATE TABLE t (i INTEGER PRIMARY KEY)")
        failed = driver.cursor()
        with pytest.raises(sqlite3.IntegrityError):
            if many:
                failed.executemany("INSERT INTO t VALUES (?)", [(1,), (1,)])
            else:
                failed.execute("INSERT INTO t VALUES (1), (1)")

        runs = threading.Event()
        driver.set_progress_handler(runs.set, 1000)
        query = threading.Thread(target=_run, args=[driver])
        query.start()
        assert runs.wait(30)
        end = threading.Timer(5, driver.interrupt)  # of a cursor that waits
        end.start()
        del failed
        still_runs = query.is_alive()
        end.cancel()
        driver.interrupt()
        query.join()
    assert still_runs


def _run(driver: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        driver.execute(SLOW)
