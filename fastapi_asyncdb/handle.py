"""The handle that users hold: a database, and the dependencies that FastAPI takes from it."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Unpack

from fastapi_asyncdb.database import BaseDatabase
from fastapi_asyncdb.dependencies import SessionDependency, session_dependency
from fastapi_asyncdb.options import SessionOptions, transaction_options


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

    def dependency(self, **options: Unpack[SessionOptions]) -> SessionDependency:
        """Make a further dependency, with a session and a transaction of its own per request.

        The options hold for each transaction of that session, those of a stream or a background
        task included, and for no other's.

        Args:
            **options: ``isolation_level``, ``read_only``, ``statement_timeout``, ``lock_timeout``,
                ``deferrable``: see ``SessionOptions``.

        Raises:
            ConfigurationError: the options cannot mean anything, or not on this database. If the
                handle has no settings of its own, the start raises the latter.
            TypeError: there is no such option.
        """
        return session_dependency(partial(self._make, self._define(transaction_options(options))))
