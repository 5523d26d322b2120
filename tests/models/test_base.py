"""``Base``: what its relationships, constraints and datetimes are by default, and the ways out."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData, String, UniqueConstraint, func, inspect, select
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncAttrs, AsyncSession
from sqlalchemy.orm import (
    DynamicMapped,
    Mapped,
    WriteOnlyMapped,
    configure_mappers,
    declared_attr,
    joinedload,
    lazyload,
    mapped_column,
    relationship,
    selectinload,
)

from fastapi_asyncdb import Base, Database
from fastapi_asyncdb.models import UTCDateTime
from tests.models.tables import create
from tests.support.databases import ONE_DRIVER


class Own(Base):
    __abstract__ = True
    metadata = MetaData(naming_convention=Base.metadata.naming_convention)


class ByAuthor:
    @declared_attr
    def written_by(cls) -> Mapped["Author"]:  # noqa: N805
        return relationship(lambda: Author, viewonly=True)


class Book(ByAuthor, Own):  # configured before the class that makes its backref
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    printed: Mapped[datetime | None]
    __table_args__ = (UniqueConstraint("author_id", "printed"),)


class Author(AsyncAttrs, Own):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), default="author")
    made: Mapped[int] = mapped_column(server_default="7", onupdate=func.abs(-8))
    books: Mapped[list[Book]] = relationship(backref="author", cascade="all, delete-orphan")
    quiet: Mapped[list[Book]] = relationship(lazy=True, viewonly=True)
    eager: Mapped[list[Book]] = relationship(lazy="selectin", viewonly=True)
    large: WriteOnlyMapped[Book] = relationship(viewonly=True)
    older: DynamicMapped[Book] = relationship(viewonly=True)
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_on": "kind",
        "polymorphic_identity": "author",
    }


class Poet(Author):
    poems: Mapped[list[Book]] = relationship(
        backref=("poet", {"viewonly": True}), viewonly=True, overlaps="books"
    )
    __mapper_args__ = {"polymorphic_identity": "poet"}  # noqa: RUF012


pytestmark = pytest.mark.databases(*ONE_DRIVER)


@pytest.fixture
async def session(database: Database):
    """A session in which one author with two books was stored, and nothing is loaded."""
    await create(database, Own.metadata)
    async with database.session() as before:
        before.add(Author(id=1, books=[Book(id=1), Book(id=2)]))
    async with database.session() as session:
        yield session


def lazy(class_: type[Any]) -> dict[str, Any]:
    """Return how the relationships of a class are loaded."""
    return {each.key: each.lazy for each in inspect(class_).relationships}


def test_relationships_raise_by_default():
    """Backrefs and those of mixins and subclasses too; one that chooses keeps its choice."""
    configure_mappers()
    assert lazy(Book) == dict.fromkeys(("written_by", "author", "poet"), "raise_on_sql")
    assert lazy(Author) == {
        "books": "raise_on_sql",
        "quiet": True,
        "eager": "selectin",
        "large": "write_only",
        "older": "dynamic",
    }
    assert lazy(Poet) == {**lazy(Author), "poems": "raise_on_sql"}


def test_text_has_a_length_where_it_needs_one():
    """MySQL has no VARCHAR without; elsewhere the column is what it was, for migrations as well."""
    text = Base.type_annotation_map[str]
    dialects = mysql.dialect(), postgresql.dialect(), sqlite.dialect()
    assert [text.compile(dialect) for dialect in dialects] == [
        "VARCHAR(255)",
        "VARCHAR",
        "VARCHAR",
    ]


async def test_reading_what_was_not_loaded_names_the_attribute(session: AsyncSession):
    """The error says which relationship, instead of one of I/O outside of an await."""
    author = await session.get_one(Author, 1)
    with pytest.raises(InvalidRequestError, match=r"Author\.books.*raise_on_sql"):
        _ = author.books
    session.expunge(author)
    book: Any = await session.get_one(Book, 1)
    with pytest.raises(InvalidRequestError, match=r"Book\.author.*raise_on_sql"):
        _ = book.author


@pytest.mark.parametrize("load", [selectinload, joinedload])
async def test_a_query_loads_it(session: AsyncSession, load: Any):
    """Loader options of the statement."""
    author = (await session.scalars(select(Author).options(load(Author.books)))).unique().one()
    assert len(author.books) == 2


async def test_refresh_loads_it(session: AsyncSession):
    """One relationship of one object that is there already."""
    author = await session.get_one(Author, 1)
    await session.refresh(author, ["books"])
    assert len(author.books) == 2
    book = await session.get_one(Book, 1)
    await session.refresh(book, ["written_by"])
    assert book.written_by is author


async def test_objects_in_the_session_are_no_query(session: AsyncSession):
    """The other side of a many-to-one is found by its key, if the session has it."""
    author = await session.get_one(Author, 1)
    assert (await session.get_one(Book, 1)).written_by is author


async def test_ways_out(session: AsyncSession):
    """SQLAlchemy's own default, for ``run_sync`` and ``AsyncAttrs``; ``lazyload`` in a query."""
    author = await session.get_one(Author, 1)
    assert len(await author.awaitable_attrs.quiet) == 2
    assert len(await session.run_sync(lambda _: author.quiet)) == 2
    lazily = (
        select(Author).options(lazyload(Author.books)).execution_options(populate_existing=True)
    )
    author = (await session.scalars(lazily)).one()
    assert len(await session.run_sync(lambda _: author.books)) == 2


async def test_flush_cascades_as_always(session: AsyncSession):
    """What SQLAlchemy loads by itself, for a DELETE or an assignment, is not refused."""
    author = await session.get_one(Author, 1)
    session.add(Book(id=3, author=author))
    await session.merge(Author(id=1, books=[Book(id=1), Book(id=3)]))
    await session.flush()
    assert list(await session.scalars(select(Book.id).order_by(Book.id))) == [1, 3]
    await session.delete(author)
    await session.flush()
    assert (await session.scalars(select(Book))).all() == []


async def test_values_of_the_server_are_fetched_at_once(session: AsyncSession):
    """Also in a class with ``__mapper_args__`` of its own, after an UPDATE too."""
    author = Poet(id=2)
    session.add(author)
    await session.flush()
    assert author.made == 7
    author.id = 3
    await session.flush()
    assert author.made == 8


def test_own_choice_of_eager_defaults_stays():
    """A class that fetches nothing says so."""

    class Cheap(Own):
        __tablename__ = "cheap"
        id: Mapped[int] = mapped_column(primary_key=True)
        __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012

    configure_mappers()
    assert inspect(Cheap).eager_defaults is False
    assert inspect(Poet).eager_defaults is True


def test_constraints_have_names():
    """Alembic needs them; nothing has to be written in the model."""
    assert {each.name for each in Book.__table__.constraints} == {  # type: ignore[attr-defined]
        "pk_book",
        "fk_book_author_id_author",
        "uq_book_author_id_printed",
    }


async def test_datetimes_are_aware(session: AsyncSession):
    """``Mapped[datetime]`` is a point in time on every database."""
    assert isinstance(Book.__table__.c.printed.type, UTCDateTime)
    book = await session.get_one(Book, 1)
    book.printed = datetime(2026, 1, 1, tzinfo=UTC)
    await session.commit()
    await session.refresh(book)
    assert book.printed == datetime(2026, 1, 1, tzinfo=UTC)
