"""``ReadRepository``: queries for the rows of one model, over one session."""

# No __future__ annotations: FastAPI reads those of __init__.
from collections.abc import AsyncGenerator, Sequence
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar, Unpack

from sqlalchemy import Select, func, inspect, literal, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapper

from fastapi_asyncdb.data.injectable import Injectable
from fastapi_asyncdb.data.keys import equals_key, is_impossible
from fastapi_asyncdb.data.loading import (
    Condition,
    Loading,
    OrderBy,
    arguments_of_get,
    hides,
    loaded,
)
from fastapi_asyncdb.data.pages.cursor import CursorPage, paginate_cursor
from fastapi_asyncdb.data.pages.offset import Page, Total, paginate
from fastapi_asyncdb.data.pages.queries import CursorQuery, PageQuery
from fastapi_asyncdb.default import ReadDB
from fastapi_asyncdb.errors import ConfigurationError, NotFoundError, TooManyRows
from fastapi_asyncdb.session.managed import execute
from fastapi_asyncdb.signatures import Secret

M = TypeVar("M")


class ReadRepository(Injectable, Generic[M]):
    """Queries for the rows of one model: ``Users = Annotated[ReadRepository[User], Depends()]``.

    Name your own with ``class UserQueries(ReadRepository[User])`` and add methods. Any mapped class will
    do. Rows that ``SoftDeleteMixin`` marks as deleted are left out of everything, unless the execution
    option ``include_deleted`` is true.

    Args:
        session: Any ``AsyncSession``; in FastAPI the session of ``ReadDB``. For another dependency give
            your class an ``__init__(self, session: MyReadDB)`` that calls this one.
    """

    model: ClassVar[type[Any]]
    """The mapped class."""
    max_rows: ClassVar[int] = 1000
    """The most rows that ``list()`` returns; your class may set another bound."""

    def __init__(self, session: ReadDB) -> None:
        if not hasattr(type(self), "model"):
            name = type(self).__name__
            raise ConfigurationError(
                f"{name} has no model. Write a mapped class in brackets: {name}[User], or "
                f"class Users({name}[User]). A class is mapped if it is declared on Base, or on a "
                "declarative base of your own."
            )
        self.session: AsyncSession = session

    def __class_getitem__(cls, model: Any) -> Any:
        """Return the class for a mapped class; for a type variable what ``Generic`` returns."""
        if isinstance(model, type) and inspect(model, raiseerr=False) is not None:
            generic: Any = cls
            return _of_model(generic, model)
        return super().__class_getitem__(model)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.model.__name__}>"

    def conditions(self) -> Sequence[Condition]:
        """Return the conditions of each statement; for your class to override.

        With ``return [Post.author_id == self.user_id]`` no verb reads, changes or deletes rows of other
        users by conditions or keys. Inserts, and objects that you pass, do not apply them.
        """
        return ()

    def select(
        self, *where: Condition, order_by: OrderBy = (), **loading: Unpack[Loading]
    ) -> Select[M]:
        """Return the statement that the reading verbs start from, to go on with.

        Args:
            *where: Conditions; all of them hold.
            order_by: One expression, or several.
            **loading: See ``Loading``.
        """
        statement = select(self.model)
        if conditions := self._where(where):
            statement = statement.where(*conditions)
        if ordering := order_by if isinstance(order_by, Sequence) else (order_by,):
            statement = statement.order_by(*ordering)
        return loaded(statement, self.model, loading)

    async def get(self, key: Any, **loading: Unpack[Loading]) -> M | None:
        """Return the row with the key, or ``None``; an object that the session has costs no statement.

        Args:
            key: The primary key; of several columns a tuple, or a mapping by attribute name.
            **loading: See ``Loading``.
        """
        mapper = self._mapper()
        if is_impossible(self.session, mapper, key):
            return None
        if self.conditions():
            return await self.find_one(*equals_key(mapper, key), **loading)
        arguments = arguments_of_get(self.model, loading) if loading else {}
        found = await self.session.get(self.model, key, **arguments)
        return None if found is None or hides(loading, found) else found

    async def get_or_raise(self, key: Any, **loading: Unpack[Loading]) -> M:
        """Return the row with the key.

        Args:
            key: As for ``get()``.
            **loading: See ``Loading``.

        Raises:
            NotFoundError: there is none. FastAPI answers 404.
        """
        found = await self.get(key, **loading)
        if found is None:
            name = self.model.__name__
            message = f"There is no {name} with the key {key!r}. It was deleted or never stored."
            raise NotFoundError(message, model=name)
        return found

    async def find_one(self, *where: Condition, **loading: Unpack[Loading]) -> M | None:
        """Return the only row for which the conditions hold, or ``None``.

        Args:
            *where: Conditions, such as ``User.email == email``.
            **loading: See ``Loading``.

        Raises:
            sqlalchemy.exc.MultipleResultsFound: there are several.
        """
        rows = (await execute(self.session, self.select(*where, **loading).limit(2))).scalars()
        return rows.unique().one_or_none()

    async def list(
        self,
        *where: Condition,
        order_by: OrderBy = (),
        limit: int | None = None,
        offset: int = 0,
        **loading: Unpack[Loading],
    ) -> Sequence[M]:
        """Return the rows for which the conditions hold, at most ``max_rows``.

        Args:
            *where: Conditions; none for all rows.
            order_by: One expression, or several.
            limit: How many rows at most. Without it more than ``max_rows`` rows are an error.
            offset: How many rows to leave out first.
            **loading: See ``Loading``.

        Raises:
            TooManyRows: there are more, and no ``limit`` was given.
            ConfigurationError: the ``limit`` is negative, or above ``max_rows``.
        """
        if limit is not None and not 0 <= limit <= self.max_rows:
            raise ConfigurationError(
                f"limit={limit} is not between 0 and the {self.max_rows} rows that "
                f"{type(self).__name__}.list() may return. Read page by page, use stream(), or set "
                "max_rows in your repository class."
            )
        statement = self.select(*where, order_by=order_by, **loading).offset(offset or None)
        statement = statement.limit(self.max_rows + 1 if limit is None else limit)
        rows = (await execute(self.session, statement)).scalars().unique().all()
        if len(rows) > self.max_rows:
            raise TooManyRows(
                f"There are more than the {self.max_rows} rows that {type(self).__name__}.list() may "
                "return. Pass a limit, read page by page, use stream(), or set max_rows in your "
                "repository class."
            )
        return rows

    async def page(
        self,
        query: PageQuery,
        *where: Condition,
        order_by: OrderBy = (),
        total: Total | None = "exact",
        **loading: Unpack[Loading],
    ) -> Page[M]:
        """Return one page by offset of the rows that match: see ``paginate``."""
        statement = self.select(*where, order_by=order_by, **loading)
        return await paginate(self.session, statement, query, total=total)

    async def cursor_page(
        self,
        query: CursorQuery,
        *where: Condition,
        order_by: OrderBy = (),
        secret: Secret | None = None,
        **loading: Unpack[Loading],
    ) -> CursorPage[M]:
        """Return one page by cursor of the rows that match: see ``paginate_cursor``."""
        statement = self.select(*where, order_by=order_by, **loading)
        return await paginate_cursor(self.session, statement, query, secret=secret)

    async def count(self, *where: Condition) -> int:
        """Return the number of rows for which the conditions hold."""
        statement = select(func.count()).select_from(self.model).where(*self._where(where))
        number: int = (await execute(self.session, statement)).scalar_one()
        return number

    async def exists(self, *where: Condition) -> bool:
        """Return whether there is a row for which the conditions hold."""
        statement = select(literal(1)).select_from(self.model).where(*self._where(where)).limit(1)
        return (await execute(self.session, statement)).first() is not None

    async def stream(
        self,
        *where: Condition,
        order_by: OrderBy = (),
        batch_size: int = 500,
        **loading: Unpack[Loading],
    ) -> AsyncGenerator[M, None]:
        """Yield the rows for which the conditions hold, with a server-side cursor.

        Leave the loop early inside of ``contextlib.aclosing(users.stream())``, which closes the cursor.

        Args:
            *where: Conditions; none for all rows.
            order_by: One expression, or several.
            batch_size: How many rows are in memory at a time.
            **loading: See ``Loading``; SQLAlchemy cannot stream rows with ``joinedload()`` of a
                collection, but with ``selectinload()``.
        """
        statement = self.select(*where, order_by=order_by, **loading)
        rows = await self.session.stream_scalars(statement.execution_options(yield_per=batch_size))
        try:
            async for row in rows:
                yield row
        finally:
            await rows.close()

    def _mapper(self) -> Mapper[Any]:
        mapper: Mapper[Any] = inspect(self.model)
        return mapper

    def _where(self, where: Sequence[Condition]) -> Sequence[Any]:
        return (*self.conditions(), *where)


@cache
def _of_model(repository: type[Any], model: type[Any]) -> type[Any]:
    """Make the class of a repository for a model, once."""
    name = f"{repository.__name__}[{model.__name__}]"
    return type(name, (repository,), {"model": model, "__module__": model.__module__})
