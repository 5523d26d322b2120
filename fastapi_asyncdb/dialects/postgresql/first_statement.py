"""The first statement of a transaction, which psycopg sends together with BEGIN: a round trip less."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from functools import cache
from typing import Any

import psycopg

_IDLE = psycopg.pq.TransactionStatus.IDLE
_TESTED = (3, 3)
"""The version of psycopg whose pipelines are known here: they are not public."""


@cache
def begins_together() -> bool:
    """Return whether libpq has pipelines, and psycopg is of the version that the tests know.

    Any other sends BEGIN by itself.
    """
    version = tuple(map(int, psycopg.__version__.split(".")[:2]))
    return version == _TESTED and psycopg.AsyncPipeline.is_supported()


class BeginningCursor(psycopg.AsyncCursor[Any]):
    """Send BEGIN and the first statement of a transaction together, if the statement has parameters.

    A string without parameters may contain several statements, and libpq's pipelines take one.
    https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
    """

    def _execute_gen(
        self, query: Any, params: Any = None, **options: Any
    ) -> Generator[Any, Any, None]:
        connection, execution = self.connection, super()._execute_gen(query, params, **options)
        if connection.autocommit or connection.pgconn.transaction_status != _IDLE:
            return execution
        if params and begins_together():
            return self._begin_with(execution)
        return self._begin_before(execution)

    def _begin_before(self, execution: Generator[Any, Any, None]) -> Generator[Any, Any, None]:
        """Do not go on to the statement if BEGIN was cancelled.

        psycopg goes on, waits for the statement, and then closes the connection; the server runs the
        statement to its end.
        """
        connection: Any = self.connection
        connection.was_cancelled = False
        yield from connection._start_query()
        if connection.was_cancelled:
            raise psycopg.errors.QueryCanceled(
                "BEGIN was cancelled, and the statement was not sent."
            )
        yield from execution

    def _begin_with(self, execution: Generator[Any, Any, None]) -> Generator[Any, Any, None]:
        connection = self.connection
        connection.pgconn.enter_pipeline_mode()
        connection._pipeline = together = _Together(connection)
        try:
            yield from execution
        except BaseException:
            # psycopg counts a plan as made when it sends the statement.
            connection._prepared.clear()
            with suppress(psycopg.OperationalError):
                together.leave()
            raise


class _Together(psycopg.AsyncPipeline):
    """A pipeline with one end: when BEGIN fails, the server skips the statement.

    psycopg's own waits for the answer to BEGIN, and then saves no round trip.
    """

    _error: psycopg.Error | None = None

    def _sync_gen(self) -> Generator[Any, Any, None]:
        """Wait for nothing after BEGIN."""
        yield from ()

    def _communicate_gen(self) -> Generator[Any, Any, None]:
        """Send all, then read all answers."""
        self._enqueue_sync()
        while self.command_queue:
            self.command_queue.popleft()()
        try:
            yield from self._fetch_gen(flush=True)
        except psycopg.Error as error:
            raise self._error or error from None
        self.leave()

    def _process_results(self, queued: Any, results: Any) -> None:
        """Keep the first error, as the server's last words before it closes the connection."""
        try:
            super()._process_results(queued, results)
        except psycopg.Error as error:
            self._error = self._error or error
            raise

    def leave(self) -> None:
        """Leave libpq's pipeline mode, which it refuses while an answer is missing."""
        self._conn._pipeline = None
        self.pgconn.exit_pipeline_mode()
