"""Attributes that are used before they are loaded: what the error says."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.exceptions import ResponseValidationError
from pydantic import BaseModel, ConfigDict
from sqlalchemy import ForeignKey, String, exc, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    selectinload,
    undefer,
)
from sqlmodel.ext.asyncio.session import AsyncSession as SQLModelSession

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.engine.seam import runs_of
from fastapi_asyncdb.errors import AttributeNotLoaded
from fastapi_asyncdb.testing import async_client
from tests.support.application import with_tables


class Base(DeclarativeBase):
    """A base whose relationships load on access, as SQLAlchemy's own do."""

    type_annotation_map = {str: String(200)}  # noqa: RUF012 - SQLAlchemy's own


class Author(Base):
    """Someone who writes."""

    __tablename__ = "lazy_author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    photo: Mapped[str] = mapped_column(default="", deferred=True)
    stamp: Mapped[str] = mapped_column(default="", onupdate=func.lower("NEW"))
    books: Mapped[list["Book"]] = relationship(back_populates="author")
    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012 - as the base declares it


class Book(Base):
    """What they write."""

    __tablename__ = "lazy_book"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey(Author.id))
    author: Mapped[Author] = relationship(back_populates="books")


class AuthorOut(BaseModel):
    """A response with the names of attributes that load on access."""

    model_config = ConfigDict(from_attributes=True)
    books: list[Any]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A started handle with an author of one book."""
    async with with_tables(database_url, Base.metadata) as database:
        async with database.session() as session:
            session.add(Author(id=1, name="Ada", books=[Book(id=1)]))
        yield database
        async with database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)


def set_books(author: Author) -> None:
    """Replace what is not loaded, which SQLAlchemy loads to see the difference."""
    author.books = []


@pytest.mark.parametrize("changed", [False, True], ids=["unchanged", "changed"])
@pytest.mark.parametrize(
    ("use", "name", "verb", "cure"),
    [
        (lambda author: author.books, "books", "read", "selectinload(Author.books)"),
        (lambda author: author.photo, "photo", "read", "undefer(Author.photo)"),
        (set_books, "books", "set", "selectinload(Author.books)"),
    ],
    ids=["collection", "deferred", "set"],
)
async def test_the_error_names_attribute_line_and_cure(
    database: Database,
    changed: bool,
    use: Callable[[Author], object],
    name: str,
    verb: str,
    cure: str,
):
    """It is SQLAlchemy's MissingGreenlet too. A change that waits for its flush is not lost by it."""
    async with database.session() as session:
        author = (await session.scalars(select(Author))).one()
        if changed:
            author.name = "Grace"
        with pytest.raises(exc.MissingGreenlet) as raised:
            use(author)
        assert isinstance(raised.value, AttributeNotLoaded)
        assert (raised.value.model, raised.value.attribute) == ("Author", name)
        message = str(raised.value)
        assert (
            f"Author.{name} is not loaded, and was {verb} at tests/session/test_lazy_loads.py"
            in message
        )
        assert cure in message
        assert f"'await session.refresh(author, [\"{name}\"])'" in message
    async with database.session() as session:
        assert await session.scalar(select(Author.name)) == ("Grace" if changed else "Ada")


async def test_the_cures_cure(database: Database):
    """What the message says works: loader options, and a refresh."""
    async with database.session() as session:
        options = (selectinload(Author.books), undefer(Author.photo))
        author = (await session.scalars(select(Author).options(*options))).one()
        assert ([book.id for book in author.books], author.photo) == ([1], "")
        session.expunge_all()
        author = await session.get_one(Author, 1)
        await session.refresh(author, ["books", "photo"])
        assert ([book.id for book in author.books], author.photo) == ([1], "")


async def test_an_expired_value_says_why(database: Database):
    """The database computes a value in an UPDATE, and no statement has read it since."""
    async with database.session() as session:
        author = await session.get_one(Author, 1)
        author.name = "Grace"
        await session.flush()
        with pytest.raises(
            AttributeNotLoaded, match=r"Author\.stamp .* has expired: .*eager_defaults"
        ):
            _ = author.stamp
        await session.refresh(author, ["stamp"])
        assert author.stamp == "new"


async def test_what_is_loaded_elsewhere_needs_no_statement(database: Database):
    """A many-to-one whose object the session has is found there."""
    async with database.session() as session:
        author = await session.get_one(Author, 1)
        book = await session.get_one(Book, 1)
        assert book.author is author
        session.expunge_all()
        book = await session.get_one(Book, 1)
        with pytest.raises(AttributeNotLoaded, match=r"Book\.author is not loaded"):
            _ = book.author


async def test_where_something_awaits_it_nothing_is_refused(database: Database):
    """In run_sync(), and for get_bind(), which sends nothing."""
    async with database.session() as session:
        author = await session.get_one(Author, 1)
        assert session.get_bind() is runs_of(database).required().write.sync_engine
        assert await session.run_sync(lambda _: len(author.books)) == 1


async def test_a_response_names_it(database: Database):
    """Of a response that FastAPI makes of the object, Pydantic's error has the message."""
    app = FastAPI()

    @app.get("/authors/1", response_model=AuthorOut)
    async def read_author(db: Annotated[AsyncSession, Depends(database.get_db)]) -> Author:
        return await db.get_one(Author, 1)

    async with async_client(app) as client:
        with pytest.raises(ResponseValidationError) as raised:
            await client.get("/authors/1")
    [error] = raised.value.errors()
    assert (
        "Author.books is not loaded, and was read while FastAPI made the response" in error["msg"]
    )


async def test_a_thread_is_told_to_be_a_coroutine(database: Database):
    """A def endpoint runs in a thread, where nothing can be awaited."""
    app = FastAPI()

    async def find_author(db: Annotated[AsyncSession, Depends(database.get_db)]) -> Author:
        return await db.get_one(Author, 1)

    @app.get("/books")
    def count_books(author: Annotated[Any, Depends(find_author)]) -> int:
        return len(author.books)

    async with async_client(app) as client:
        with pytest.raises(AttributeNotLoaded, match=r"in count_books\(\).* Use 'async def'"):
            await client.get("/books")


class OwnSync(Session):
    """Its own ``execute`` stands between the attribute and SQLAlchemy's, as SQLModel's does."""

    def execute(self, *args: Any, **options: Any) -> Any:
        return super().execute(*args, **options)


class Own(AsyncSession):
    """A session class of the user's own."""

    sync_session_class = OwnSync


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("session_class", [Own, SQLModelSession])
async def test_own_session_class(session_class: type[AsyncSession]):
    """The error is the same."""
    database = Database(DatabaseSettings(url="sqlite://"), session_class=session_class)
    await database.start(create_tables=Base.metadata)
    async with database.session() as session:
        session.add(Author(id=1, name="Ada"))
        await session.flush()
        session.expunge_all()
        author = await session.get_one(Author, 1)
        with pytest.raises(AttributeNotLoaded, match=r"Author\.books is not loaded"):
            _ = author.books
    await database.stop()
