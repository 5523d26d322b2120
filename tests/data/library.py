"""The models of the tests of data access: on Base, on a plain declarative base, and with SQLModel."""

from datetime import datetime
from uuid import uuid4

from pydantic import BaseModel
from sqlalchemy import DateTime, ForeignKey, MetaData, String, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlmodel import Field, SQLModel

from fastapi_asyncdb import Base as LibraryBase
from fastapi_asyncdb import Repository, SoftDeleteMixin, TimestampMixin, VersionMixin
from tests.support.kept_tables import merged


class Base(LibraryBase):
    __abstract__ = True
    # Of its own: the names of its tables are those of other tests' too.
    metadata = MetaData(naming_convention=LibraryBase.metadata.naming_convention)


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    email: Mapped[str | None] = mapped_column(String(200), unique=True)
    books: Mapped[list["Book"]] = relationship(lambda: Book, back_populates="author")


class Book(SoftDeleteMixin, VersionMixin, TimestampMixin, Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    title: Mapped[str] = mapped_column(String(200))
    note: Mapped[str | None] = mapped_column(String(200))
    author: Mapped[Author] = relationship(lambda: Author, back_populates="books")


class Seat(Base):
    __tablename__ = "seat"
    row: Mapped[str] = mapped_column(String(8), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    taken: Mapped[bool] = mapped_column(default=False)


class Stamped(Base):
    """Its version is no number."""

    __tablename__ = "stamped"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    stamp: Mapped[str] = mapped_column(String(32))
    __mapper_args__ = {  # noqa: RUF012
        "version_id_col": stamp,
        "version_id_generator": lambda version: uuid4().hex,
    }


class PlainBase(DeclarativeBase):
    type_annotation_map = {str: String(200)}  # noqa: RUF012 - SQLAlchemy's own


class Tag(PlainBase):
    """What the database sets on an update is not fetched with it, without eager_defaults."""

    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    changed_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), onupdate=func.now()
    )


class Hero(SQLModel, table=True):
    __tablename__ = "library_hero"  # pyright: ignore[reportAssignmentType]
    id: int | None = Field(default=None, primary_key=True)
    name: str
    age: int | None = None


class AuthorCreate(BaseModel):
    name: str
    email: str | None = None


class BookPatch(BaseModel):
    title: str | None = None
    note: str | None = None
    version: int | None = None


Authors = Repository[Author]


class Books(Repository[Book]):
    """A repository with a method of its own."""

    async def titles(self) -> list[str]:
        """Return all titles."""
        return [book.title for book in await self.list(order_by=Book.id)]


TABLES = merged(Base.metadata, PlainBase.metadata)
"""The tables of all models."""
Hero.__table__.to_metadata(TABLES)  # type: ignore[attr-defined]
