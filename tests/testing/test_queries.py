"""count_queries and assert_queries see the handle's statements, whence they come, and loops of them."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import ForeignKey, String, func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncAttrs, AsyncSession
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    selectinload,
)

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.engine.seam import runs_of
from fastapi_asyncdb.testing import assert_queries, async_client, count_queries
from tests.support.databases import DATABASES

pytestmark = pytest.mark.databases(*DATABASES)

HERE = "tests/testing/test_queries.py"


class Base(AsyncAttrs, DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    books: Mapped[list["Book"]] = relationship(back_populates="author")


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    author: Mapped[Author] = relationship(back_populates="books")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A started handle with six authors, each with two books."""
    database = Database(DatabaseSettings(url=database_url))
    await database.start(create_tables=Base.metadata)
    async with database.session() as session:
        session.add_all(
            Author(name=f"author {number}", books=[Book(), Book()]) for number in range(1, 7)
        )
    yield database
    await database.stop()


def line_above() -> str:
    """Return the place of the line above the call."""
    return f"{HERE}:{inspect.stack()[1].lineno - 1}"


async def test_statements_are_noted_in_order(database: Database):
    """With their text, rows, place and time; nothing is noted after the block."""
    rows = [{"id": number, "name": "new"} for number in (11, 12, 13)]
    with count_queries(database) as seen:
        assert (seen.count, len(seen), seen.statements) == (0, 0, [])
        async with database.session() as session:
            await session.scalar(text("SELECT 1"))
            first = line_above()
            assert seen.count == 1
            await session.execute(insert(Author), rows)
            second = line_above()
    async with database.session() as session:
        await session.scalar(text("SELECT 1"))
    assert (seen.count, len(seen)) == (2, 2)
    assert [one.sql.split()[0] for one in seen.statements] == ["SELECT", "INSERT"]
    assert [one.parameter_sets for one in seen.statements] == [1, 3]
    assert [one.call_site for one in seen.statements] == [first, second]
    assert all(0 < one.seconds < 5 for one in seen.statements)


async def test_rows_are_counted_in_any_form(database: Database):
    """One INSERT of many values, one for each row, and the driver's own executemany."""
    with count_queries(database) as seen:
        async with database.session() as session:
            new = [{"id": number, "name": "new"} for number in (11, 12, 13)]
            await session.scalars(insert(Author).returning(Author.id), new)
            await session.execute(
                insert(Author), [{"id": number, "name": "n"} for number in (21, 22)]
            )
            await session.execute(text("DELETE FROM book WHERE id = :id"), [{"id": 1}, {"id": 2}])
            await session.execute(text("DELETE FROM book WHERE id = :id"), {"id": 3})
    assert [one.parameter_sets for one in seen.statements] == [3, 2, 2, 1]


async def test_reading_and_option_engines_count(database: Database):
    """Whatever the handle opens; BEGIN, COMMIT and savepoints do not."""
    with count_queries(database) as seen:
        async with database.read_session() as session:
            await session.scalar(text("SELECT 1"))
        async with database.session(isolation_level="SERIALIZABLE", read_only=True) as session:
            await session.scalar(text("SELECT 2"))
        async with database.session() as session:
            async with session.begin_nested():
                await session.scalar(text("SELECT 3"))
            await session.begin_nested()
            await session.rollback()
        async with database.engine.connect() as connection:
            await connection.execute(text("SELECT 4"))
    assert [one.sql for one in seen.statements] == [f"SELECT {number}" for number in (1, 2, 3, 4)]


async def test_timeouts_of_a_transaction_do_not_count(postgres_url: str):
    """The library sends them to begin; a budget is about what the code asks for."""
    async with Database(DatabaseSettings(url=postgres_url)) as database:
        with count_queries(database) as seen:
            async with database.session(statement_timeout=5) as session:
                shown = await session.scalar(text("SHOW statement_timeout"))
    assert (shown, seen.count) == ("5s", 1)


async def test_other_handles_do_not_count(database: Database, sqlite_url: str):
    """Each handle has its own count, and blocks may be nested."""
    async with Database(DatabaseSettings(url=f"{sqlite_url}.other")) as other:
        with count_queries(database) as outer, count_queries(other) as others:
            for handle in (database, other):
                async with handle.session() as session:
                    await session.scalar(text("SELECT 1"))
            with count_queries(database) as inner:
                async with database.session() as session:
                    await session.execute(select(Author.id))
            async with database.session() as session:
                await session.execute(select(Book.id))
    assert (outer.count, inner.count, others.count) == (3, 1, 1)


async def test_handle_may_be_started_inside(database_url: str):
    """Its new engines are seen, after a stop and a second start as well."""
    database = Database(DatabaseSettings(url=database_url))
    with count_queries(database) as seen:
        for _ in range(2):
            async with database, database.session() as session:
                await session.scalar(text("SELECT 1"))
    assert seen.count == 2


async def test_nothing_listens_afterwards(database: Database):
    """What the block has attached to SQLAlchemy is taken away, also after an error."""

    def listeners() -> list[int]:
        engine = runs_of(database).required().write.sync_engine
        return [
            len(engine.dispatch.before_cursor_execute),
            len(engine.dispatch.after_cursor_execute),
            len(engine.dialect.dispatch.handle_error),
            len(Session().dispatch.do_orm_execute),
        ]

    before = listeners()
    with pytest.raises(ZeroDivisionError), count_queries(database):
        assert listeners() == [number + 1 for number in before]
        raise ZeroDivisionError
    assert listeners() == before


async def test_failed_statement_counts(database: Database):
    """It was sent; its time ends with the error."""
    with count_queries(database) as seen, pytest.raises(DBAPIError):
        async with database.session() as session:
            await session.execute(text("SELECT * FROM nothing"))
    assert seen.count == 1
    assert seen.statements[0].seconds > 0


async def test_flush_of_a_commit_leads_to_who_commits(database: Database):
    """A commit has a task of its own; its statements are of the innermost line that waits for it."""

    async def save(session: AsyncSession) -> str:
        await session.commit()
        return line_above()

    with count_queries(database) as seen:
        async with database.session() as session:
            session.add(Author(name="new"))
            place = await save(session)
            async with session.begin():
                session.add(Author(name="another"))
    assert seen.statements[0].call_site == place
    assert HERE in str(seen.statements[1].call_site)


async def test_request_leads_to_its_handler(database: Database):
    """The innermost line that is the user's, past FastAPI and httpx."""
    app = FastAPI(lifespan=database.lifespan)
    places: list[str] = []

    @app.get("/")
    async def endpoint(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        await db.scalar(text("SELECT 1"))
        places.append(line_above())
        await db.run_sync(lambda session: session.scalar(text("SELECT 2")))
        places.append(line_above())

    @app.post("/")
    async def write(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        db.add(Author(name="new"))

    async with async_client(app) as client:
        with count_queries(database) as seen:
            await client.get("/")
            await client.post("/")
    assert [one.call_site for one in seen.statements][:2] == places
    assert seen.count == 3
    assert "end of the transaction" in str(seen.statements[2])


async def test_within_the_budget_nothing_is_said(database: Database):
    """Up to max, or exactly that many."""
    with assert_queries(database, max=2), assert_queries(database, exactly=1) as seen:
        async with database.session() as session:
            await session.scalar(text("SELECT 1"))
    assert seen.count == 1
    with assert_queries(database, max=0), assert_queries(database, exactly=0):
        pass


@pytest.mark.parametrize(
    ("budget", "expected"), [({"max": 1}, "at most 1"), ({"exactly": 3}, "exactly 3")]
)
async def test_beyond_the_budget_the_statements_are_listed(
    database: Database, budget: dict[str, int], expected: str
):
    """With their places; that of the block is where the test has failed."""
    places: list[str] = []
    with pytest.raises(AssertionError) as caught, assert_queries(database, **budget):
        async with database.session() as session:
            for column in (Author.id, Author.name):
                await session.execute(select(column))
                places.append(line_above())
    message = str(caught.value)
    assert message.startswith(f"Expected {expected} statements, and 2 were sent:\n")
    assert "  1. SELECT author.id FROM author\n" in message
    assert "  2. SELECT author.name FROM author\n" in message
    assert all(place in message for place in places)
    assert "N+1" not in message


@pytest.mark.parametrize("budget", [{}, {"max": 1, "exactly": 1}])
async def test_one_expectation_is_needed(database: Database, budget: dict[str, int]):
    """Neither none nor two; the block is not entered."""
    with pytest.raises(ValueError, match="either max"), assert_queries(database, **budget):
        pytest.fail("The block was entered.")


async def test_error_in_the_block_is_not_replaced(database: Database):
    """The budget is of no interest then."""
    with pytest.raises(ZeroDivisionError), assert_queries(database, exactly=1):
        raise ZeroDivisionError


async def lazy_collections(session: AsyncSession) -> None:
    """Load the books of one author after the other."""
    for author in await session.scalars(select(Author)):
        await author.awaitable_attrs.books


async def lazy_parents(session: AsyncSession) -> None:
    """Load the author of one book after the other, by primary key."""
    for book in await session.scalars(select(Book)):
        await book.awaitable_attrs.author


async def lazy_in_sync_code(session: AsyncSession) -> None:
    """Load as older code does."""
    await session.run_sync(
        lambda sync: [len(author.books) for author in sync.scalars(select(Author))]
    )


@pytest.mark.parametrize(
    ("work", "relation"),
    [
        (lazy_collections, "Author.books"),
        (lazy_parents, "Book.author"),
        (lazy_in_sync_code, "Author.books"),
    ],
)
async def test_lazy_loads_in_a_loop_are_named(database: Database, work: Any, relation: str):
    """With the relationship and its cure."""
    with pytest.raises(AssertionError) as caught, assert_queries(database, max=1, n_plus_one=6):
        async with database.session() as session:
            await work(session)
    message = str(caught.value)
    assert message.count("Suspected N+1: 6 times") == 1
    assert f"It loads {relation} of one object after the other" in message
    assert f".options(selectinload({relation}))" in message


async def test_cure_works(database: Database):
    """Eager loads are no loop, although they may be sent in several parts."""
    with assert_queries(database, exactly=2):
        async with database.session() as session:
            statement = select(Author).options(selectinload(Author.books))
            for author in await session.scalars(statement):
                await author.awaitable_attrs.books
    async with database.session() as session:
        await session.execute(insert(Author), [{"id": n, "name": "n"} for n in range(100, 2600)])
    with pytest.raises(AssertionError) as caught, assert_queries(database, max=0):
        async with database.session() as session:
            await session.scalars(select(Author).options(selectinload(Author.books)))
    assert "7 were sent" in str(caught.value)
    assert "N+1" not in str(caught.value)


async def queries_in_a_loop(session: AsyncSession) -> None:
    """Ask for one after the other."""
    for number in range(1, 6):
        await session.scalar(select(Author).where(Author.id == number))


async def growing_queries(session: AsyncSession) -> None:
    """Ask with more values each time."""
    for number in range(1, 6):
        await session.scalar(select(Author).where(Author.id.in_(range(number))))


async def gets_in_a_loop(session: AsyncSession) -> None:
    """Get one after the other."""
    for number in range(1, 6):
        await session.get(Author, number)


async def writes_in_a_loop(session: AsyncSession) -> None:
    """Insert one after the other."""
    for number in range(31, 36):
        await session.execute(insert(Author).values(id=number, name="new"))


@pytest.mark.parametrize(
    ("work", "cure"),
    [
        (queries_in_a_loop, ".where(column.in_(values))"),
        (growing_queries, ".where(column.in_(values))"),
        (gets_in_a_loop, ".where(column.in_(values))"),
        (writes_in_a_loop, "session.execute(statement, rows)"),
    ],
)
@pytest.mark.parametrize("limit", [5, 6])
async def test_statements_in_a_loop_are_suspected(
    database: Database, work: Any, cure: str, limit: int
):
    """From n_plus_one times on, with the line and the cure."""
    with pytest.raises(AssertionError) as caught, assert_queries(database, max=4, n_plus_one=limit):
        async with database.session() as session:
            await work(session)
    message = str(caught.value)
    assert ("Suspected N+1: 5 times, with different parameters" in message) is (limit == 5)
    assert (cure in message) is (limit == 5)


async def test_repeats_and_requests_are_no_loop(database: Database):
    """The same parameters again, each transaction's own, and what one flush sends row by row."""
    with pytest.raises(AssertionError) as caught, assert_queries(database, max=0) as seen:
        async with database.session() as session:
            for _ in range(9):
                await session.execute(select(Author).where(Author.id == 1))
        for number in range(9):
            async with database.session() as session:
                await session.execute(select(Author).where(Author.id == number))
        async with database.session() as session:
            session.add_all(Author(name=f"new {number}") for number in range(9))
        async with database.session() as session:
            for author in await session.scalars(select(Author)):
                author.name = func.upper(author.name)
    assert len({one.sql for one in seen.statements if one.sql.startswith("UPDATE")}) == 1
    assert "N+1" not in str(caught.value)


async def test_parameters_are_never_shown(database: Database):
    """They may be secrets, also those of a failed or suspected statement, and in every repr."""
    with pytest.raises(AssertionError) as caught, assert_queries(database, max=0) as seen:
        async with database.session() as session:
            for number in range(6):
                await session.execute(select(Author).where(Author.name == f"hunter{number}"))
            await session.execute(insert(Author), [{"name": "hunter7"}, {"name": "hunter8"}])
            session.add(Author(name="hunter9"))
    assert "Suspected N+1" in str(caught.value)
    assert "hunter" not in f"{caught.value} {seen!r} {seen.statements!r} {seen.statements[0]}"
    kept = [getattr(one, name) for one in seen.statements for name in one.__slots__]
    assert "hunter" not in repr(kept)


async def test_all_tasks_count(database: Database):
    """A block around concurrent work counts it all, each with its place."""

    async def work() -> None:
        async with database.read_session() as session:
            await session.scalar(text("SELECT 1"))

    with count_queries(database) as seen:
        await asyncio.gather(*(work() for _ in range(5)))
    assert seen.count == 5
    assert len({one.call_site for one in seen.statements}) == 1
