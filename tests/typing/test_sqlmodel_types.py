"""SQLModel's session keeps its types through a Database; run by pytest only so that it imports."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, assert_type

from fastapi import Depends
from sqlalchemy import MetaData
from sqlalchemy.engine.result import ScalarResult, TupleResult
from sqlmodel import Field, Relationship, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from fastapi_asyncdb import (
    CursorPage,
    CursorQuery,
    Database,
    DatabaseSettings,
    Filter,
    FilterSet,
    OrderBy,
    Page,
    PageQuery,
    Repository,
    create_lifespan,
    on_commit,
    paginate,
    paginate_cursor,
)
from fastapi_asyncdb.testing import sandbox


class Squad(SQLModel, table=True):
    """A model with a relationship."""

    __tablename__ = "typed_squad"  # pyright: ignore[reportAssignmentType]

    metadata = MetaData()
    id: int | None = Field(default=None, primary_key=True)
    name: str
    heroes: list["Typed"] = Relationship(back_populates="squad")


class Typed(SQLModel, table=True):
    """A model."""

    __tablename__ = "typed_hero"  # pyright: ignore[reportAssignmentType]

    metadata = Squad.metadata
    id: int | None = Field(default=None, primary_key=True)
    name: str
    age: int | None = None
    squad_id: int | None = Field(default=None, foreign_key="typed_squad.id")
    squad: Squad | None = Relationship(back_populates="heroes")


class HeroPublic(SQLModel):
    """What a response has of it."""

    id: int
    name: str


class HeroUpdate(SQLModel):
    """What a request may change."""

    name: str | None = None


async def first(session: AsyncSession, connection: Any) -> None:
    """An on_begin for SQLModel's session."""
    await session.exec(select(Typed))


database = Database(DatabaseSettings(url="sqlite://"), session_class=AsyncSession)
with_first_step = Database(session_class=AsyncSession, on_begin=first)

SessionDep = Annotated[AsyncSession, Depends(database.get_db)]
ReadDep = Annotated[AsyncSession, Depends(database.get_read_db)]
Heroes = Annotated[Repository[Typed], Depends()]


async def endpoint(db: SessionDep, reads: ReadDep) -> None:
    """``exec`` knows what the statement selects."""
    assert_type(await db.exec(select(Typed)), ScalarResult[Typed])
    assert_type((await reads.exec(select(Typed))).all(), Sequence[Typed])
    assert_type((await reads.exec(select(Typed.name))).one(), str)
    assert_type(await reads.exec(select(Typed, Squad)), TupleResult[tuple[Typed, Squad]])
    assert_type(await db.get(Typed, 1), Typed | None)
    on_commit(db, print, "stored")


async def names(session: AsyncSession, age: int = 0) -> Sequence[str]:
    """Work for run_in_transaction."""
    return (await session.exec(select(Typed.name).where(col(Typed.age) > age))).all()


async def number(session: AsyncSession) -> int:
    """Work for gather."""
    return len((await session.exec(select(Typed))).all())


@database.transactional()
async def decorated(session: AsyncSession, name: str) -> Typed:
    """Work with a transaction of its own."""
    return (await session.exec(select(Typed).where(Typed.name == name))).one()


async def sessions() -> None:
    """Each way to a session leads to SQLModel's."""
    assert_type(database, Database[AsyncSession])
    assert_type(database.session(), AbstractAsyncContextManager[AsyncSession])
    async with database.session() as session, database.read_session() as reader:
        assert_type((await session.exec(select(Typed))).first(), Typed | None)
        assert_type((await reader.exec(select(Typed.name))).all(), Sequence[str])
    assert_type(await database.run_in_transaction(names, 7), Sequence[str])
    assert_type(await decorated("Ada"), Typed)
    assert_type(await database.gather(names, number), tuple[Sequence[str], int])
    async with sandbox(database) as own:
        assert_type((await own.exec(select(Typed))).all(), Sequence[Typed])


async def data(
    heroes: Heroes, session: AsyncSession, query: PageQuery, cursor: CursorQuery
) -> None:
    """Repositories, pages and filters take SQLModel's columns and statements."""
    assert_type(await heroes.get(1), Typed | None)
    assert_type(
        await heroes.list(col(Typed.name).like("A%"), order_by=col(Typed.name)), Sequence[Typed]
    )
    assert_type(
        await heroes.list(Typed.name == "Ada", order_by=[col(Typed.name), col(Typed.id)]),
        Sequence[Typed],
    )
    assert_type(await heroes.find_one(Typed.name == "Ada"), Typed | None)
    assert_type(await heroes.create(HeroUpdate(name="Ada")), Typed)
    assert_type(await heroes.update(1, HeroUpdate(name="Bob")), Typed)
    assert_type((await heroes.page(query, order_by=col(Typed.id))).to(HeroPublic), Page[HeroPublic])
    assert_type(await heroes.cursor_page(cursor, order_by=col(Typed.id)), CursorPage[Typed])
    assert_type(await paginate(session, select(Typed), query), Page[Typed])
    assert_type(
        await paginate_cursor(session, select(Typed).order_by(col(Typed.id)), cursor),
        CursorPage[Typed],
    )


class HeroRepository(Repository[Typed]):
    """A repository over the sessions of this Database."""

    def __init__(self, session: SessionDep) -> None:
        super().__init__(session)


class HeroFilter(FilterSet[Typed]):
    """Filters of columns of SQLModel."""

    name = Filter(col(Typed.name), "eq", "icontains")
    order_by = OrderBy(col(Typed.name))


async def filtered(db: SessionDep, filters: HeroFilter, query: PageQuery) -> None:
    """Filters keep the type of SQLModel's own select."""
    assert_type(await paginate(db, filters.apply(select(Typed)), query), Page[Typed])
    assert_type((await db.exec(filters.apply(select(Typed)))).all(), Sequence[Typed])


def test_types() -> None:
    """The lifespan takes such a Database, and a repository its sessions."""
    create_lifespan(databases=[database])
    takes_any(database)
    assert_type(HeroRepository.model, type[Any])


def takes_any(database: Database[Any]) -> None:
    """A function for each Database."""
