"""The handle that users hold: a database, and the dependencies that FastAPI takes from it."""

from __future__ import annotations

from functools import cached_property, partial

from fastapi_asyncdb.database import BaseDatabase
from fastapi_asyncdb.dependencies import SessionDependency, session_dependency
from fastapi_asyncdb.transaction_options import IsolationLevel, TransactionOptions


class Database(BaseDatabase):
    """A ``BaseDatabase`` whose sessions FastAPI can inject: ``Depends(database.get_db)``."""

    @cached_property
    def get_db(self) -> SessionDependency:
        """The dependency for writing: ``DB = Annotated[AsyncSession, Depends(database.get_db)]``."""
        return self.dependency()

    @cached_property
    def get_read_db(self) -> SessionDependency:
        """The dependency for reading: ``Annotated[AsyncSession, Depends(database.get_read_db)]``."""
        return self.dependency(read_only=True)

    @cached_property
    def get_snapshot_db(self) -> SessionDependency:
        """The dependency for reports: all statements see one state, and writes are refused."""
        return self.dependency(isolation_level="REPEATABLE READ", read_only=True)

    def dependency(
        self,
        *,
        isolation_level: IsolationLevel | None = None,
        read_only: bool = False,
        statement_timeout: float | None = None,
        lock_timeout: float | None = None,
        deferrable: bool = False,
    ) -> SessionDependency:
        """Make a further dependency, with a session and a transaction of its own per request.

        The options hold for each transaction of that session, those of a stream or a background
        task included, and for no other's.

        Args:
            isolation_level: ``READ COMMITTED``, ``REPEATABLE READ`` or ``SERIALIZABLE``; ``None`` is
                the database's default.
            read_only: Refuse writes. With an isolation level a read-only transaction, without one
                autocommit, as in ``get_read_db``.
            statement_timeout: Cancel a statement that runs longer (PostgreSQL); seconds, 0 is no
                limit, ``None`` is what the settings say.
            lock_timeout: Give up waiting for a lock (PostgreSQL); seconds, likewise.
            deferrable: Wait at the start until no serialization failure can come (PostgreSQL); with
                ``SERIALIZABLE`` and ``read_only`` only.
                https://www.postgresql.org/docs/current/sql-set-transaction.html

        Raises:
            ConfigurationError: the options cannot mean anything, or not on this database. If the
                handle has no settings of its own, the start raises it.
        """
        options = TransactionOptions(
            isolation_level, read_only, statement_timeout, lock_timeout, deferrable
        )
        return session_dependency(partial(self._open, self._define(options)))
