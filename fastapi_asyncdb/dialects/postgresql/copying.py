"""COPY as a statement of SQLAlchemy's: events, logs, errors and cancellation are those of any other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, cast

from sqlalchemy import Connection, Table
from sqlalchemy.sql.expression import TableClause

from fastapi_asyncdb.concurrency import await_only
from fastapi_asyncdb.dialects.postgresql.errors import comes_from_server
from fastapi_asyncdb.dialects.stream_cursors import CursorProxy

Records = Sequence[Sequence[Any]]
_RECORDS = "fastapi_asyncdb_copied_records"


def copy_into(
    connection: Connection, table: Table | TableClause, columns: Sequence[str], records: Records
) -> None:
    """Copy records into a table, in the connection's transaction.

    ``exec_driver_sql()`` does the same for any other text; it has no parameter for records.

    Args:
        connection: In a transaction that has begun, since asyncpg's COPY begins none.
        table: The table.
        columns: The names of the columns that the records fill.
        records: Values as the driver takes them.
    """
    quote = connection.dialect.identifier_preparer
    names = ", ".join(map(quote.quote, columns))
    statement = f"COPY {quote.format_table(table)} ({names}) FROM STDIN"
    plain: Any = connection.dialect.execution_ctx_cls
    context: Any = _copying(plain)
    copied = {_RECORDS: (table, list(columns), records)}
    options: Any = connection.get_execution_options()
    options = options.union(copied)
    connection._execute_context(
        connection.dialect, context._init_statement, statement, None, options, statement, ()
    )


@cache
def _copying(context: Any) -> Any:
    """Return a class of execution contexts whose cursors copy."""
    create = context.create_cursor

    def create_cursor(self: Any) -> Any:
        copied = self.execution_options[_RECORDS]
        return _COPIES[self.dialect.driver](create(self), self.root_connection, *copied)

    return type(context.__name__, (context,), {"create_cursor": create_cursor})


class _CopyCursor(CursorProxy):
    """A cursor that copies records when it executes the statement."""

    _OWN = CursorProxy._OWN | {"_table", "_columns", "_records"}

    def __init__(
        self,
        cursor: Any,
        connection: Connection,
        table: Table,
        columns: list[str],
        records: Records,
    ) -> None:
        super().__init__(cursor, connection)
        self._table, self._columns, self._records = table, columns, records

    def execute(self, statement: str, parameters: object = ()) -> None:
        """Copy."""
        try:
            await_only(self._copy(statement, self._connection.connection.driver_connection))
        except Exception as error:
            raise self._failure(self._translated(error)) from error

    async def _copy(self, statement: str, driver: Any) -> None:
        raise NotImplementedError

    def _translated(self, error: Exception) -> Exception:
        """Return the error as the driver's cursor would raise it."""
        return error

    def _failure(self, error: Exception) -> Exception:
        """Return the error to raise; for a value that cannot be sent one of the driver's own.

        The server has ended the transaction then too, since it was told that the COPY has failed: the
        error counts as one of the server's.
        """
        dbapi: Any = self._connection.dialect.loaded_dbapi
        if comes_from_server(error) or isinstance(
            error, (dbapi.OperationalError, dbapi.InterfaceError)
        ):
            return error
        failure: Any = error
        if not isinstance(error, dbapi.Error):
            failure = dbapi.DataError(f"A value cannot be copied: {error}")
        failure.severity = "ERROR"
        return cast(Exception, failure)


class _AsyncpgCursor(_CopyCursor):
    async def _copy(self, statement: str, driver: Any) -> None:
        # The lock of SQLAlchemy's adapter: while it is held, the connection counts as busy.
        async with self._cursor._adapt_connection._execute_mutex:
            await driver.copy_records_to_table(
                self._table.name,
                schema_name=self._table.schema,
                columns=self._columns,
                records=self._records,
            )

    def _translated(self, error: Exception) -> Exception:
        try:
            self._cursor._handle_exception(error)
        except Exception as translated:
            return translated
        return error


class _PsycopgCursor(_CopyCursor):
    async def _copy(self, statement: str, driver: Any) -> None:
        # SQLAlchemy doubles a % for psycopg, which reads it so in statements with parameters only.
        text = statement.replace("%%", "%")
        async with driver.cursor() as cursor, cursor.copy(text) as copy:
            for record in self._records:
                await copy.write_row(record)


_COPIES: dict[str, type[_CopyCursor]] = {"asyncpg": _AsyncpgCursor, "psycopg": _PsycopgCursor}
DRIVERS = frozenset(_COPIES)
"""The drivers that can copy."""
