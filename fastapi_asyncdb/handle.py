"""The handle that users hold: a database, and the dependencies that FastAPI takes from it."""

from __future__ import annotations

from functools import cached_property

from fastapi_asyncdb.database import BaseDatabase
from fastapi_asyncdb.dependencies import SessionDependency, session_dependency


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

    def dependency(self, *, read_only: bool = False) -> SessionDependency:
        """Make a further dependency, with a session and a transaction of its own per request.

        Args:
            read_only: Autocommit, and writes refused.
        """
        return session_dependency(self.read_session if read_only else self.session)
