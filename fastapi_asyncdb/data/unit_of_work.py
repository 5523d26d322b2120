"""``UnitOfWork``: several repositories over one session, in one transaction."""

# No __future__ annotations: FastAPI reads those of __init__.
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from types import TracebackType
from typing import Any, Self, Unpack, get_type_hints

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from fastapi_asyncdb.data.injectable import Injectable
from fastapi_asyncdb.data.read_repository import ReadRepository
from fastapi_asyncdb.database import Database
from fastapi_asyncdb.default import DB
from fastapi_asyncdb.finishing import finish
from fastapi_asyncdb.options import SessionOptions


class UnitOfWork(Injectable):
    """Several repositories over one session. They are declared as annotations.

    ``Annotated[Shop, Depends()]`` is the transaction of the request: FastAPI commits it before the
    response, and rolls it back if the handler raises. Outside of requests use ``async with
    Shop.begin(database) as shop:``, or ``async with Shop(session) as shop:`` over any ``AsyncSession``.
    Both commit when the block ends and roll back on any exception. For example::

        class Shop(UnitOfWork):
            users: UserRepository
            orders: Repository[Order]

    Args:
        session: Any ``AsyncSession``; in FastAPI the session of ``DB``. For another dependency give your
            class an ``__init__(self, session: MyDB)`` that calls this one.
    """

    def __init__(self, session: DB) -> None:
        self.session: AsyncSession = session

    @classmethod
    @asynccontextmanager
    async def begin(
        cls,
        database: Database[Any] | async_sessionmaker[Any],
        **options: Unpack[SessionOptions],
    ) -> AsyncIterator[Self]:
        """Open a session of its own, commit when the block ends, roll back on any exception.

        Args:
            database: The ``Database``, or SQLAlchemy's ``async_sessionmaker``, which has no options.
            **options: Of the transaction: see ``SessionOptions``.
        """
        opened = database.session(**options) if isinstance(database, Database) else database.begin()
        async with opened as session:
            yield cls(session)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A cancellation must not leave the connection in the middle of either, also with a session that
        # is not managed.
        await finish(self._end(commits=type_ is None))

    async def _end(self, *, commits: bool) -> None:
        try:
            if commits:
                await self.session.commit()
                return
        except BaseException:
            await self.session.rollback()
            raise
        await self.session.rollback()

    def __getattr__(self, name: str) -> Any:
        """Make a repository when it is used for the first time."""
        unit: Any = type(self)
        repository = _repositories(unit).get(name)
        if repository is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        made = repository(self.session)
        setattr(self, name, made)
        return made


@cache
def _repositories(cls: type[UnitOfWork]) -> dict[str, type[ReadRepository[Any]]]:
    """Return the repositories among the annotations, those of base classes included."""
    return {
        name: hint
        for name, hint in get_type_hints(cls).items()
        if isinstance(hint, type) and issubclass(hint, ReadRepository)
    }
