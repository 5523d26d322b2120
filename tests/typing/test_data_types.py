"""What type checkers know of repositories and units of work; run by pytest only so that it imports."""

from collections.abc import Sequence
from typing import Annotated, assert_type

from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import Select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from fastapi_asyncdb import (
    DB,
    Base,
    CursorPage,
    CursorQuery,
    Database,
    Page,
    PageQuery,
    ReadRepository,
    Repository,
    UnitOfWork,
)


class TypedBook(Base):
    __tablename__ = "typed_books"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]


class BookOut(BaseModel):
    id: int


class Books(Repository[TypedBook]):
    """A repository with a name."""


class Library(UnitOfWork):
    """A unit of work."""

    books: Books
    same: Repository[TypedBook]


async def reading(session: AsyncSession, query: PageQuery, cursor: CursorQuery) -> None:
    """Each verb returns the model of the repository."""
    books = ReadRepository[TypedBook](session)
    assert_type(await books.get(1), TypedBook | None)
    assert_type(await books.get_or_raise(1), TypedBook)
    assert_type(await books.find_one(TypedBook.title == "x"), TypedBook | None)
    assert_type(
        await books.list(TypedBook.id > 1, order_by=TypedBook.title.desc()), Sequence[TypedBook]
    )
    assert_type(
        await books.list(order_by=[TypedBook.title, TypedBook.id.desc()]), Sequence[TypedBook]
    )
    assert_type(await books.page(query, order_by=TypedBook.title), Page[TypedBook])
    assert_type((await books.page(query)).to(BookOut), Page[BookOut])
    assert_type(await books.cursor_page(cursor), CursorPage[TypedBook])
    assert_type((await books.cursor_page(cursor)).to(BookOut), CursorPage[BookOut])
    assert_type(await books.count(), int)
    assert_type(await books.exists(TypedBook.id == 1), bool)
    assert_type(books.select(TypedBook.id == 1), Select[TypedBook])
    async for book in books.stream():
        assert_type(book, TypedBook)


async def writing(session: DB) -> None:
    """The same for changes."""
    books = Books(session)
    assert_type(await books.get(1), TypedBook | None)
    assert_type(await books.create(title="x"), TypedBook)
    assert_type(await books.update(1, title="x"), TypedBook)
    assert_type(await books.restore(1), TypedBook)
    assert_type(await books.update_where(true(), title="x"), int)
    assert_type(await books.delete_where(TypedBook.id == 1), int)
    assert_type(await books.create_many([{"title": "x"}, TypedBook(title="y")]), int)
    assert_type(await books.upsert({"title": "x"}, conflict=[TypedBook.id]), TypedBook)
    assert_type(await books.upsert_many([{"title": "x"}], conflict=["id"], update=()), int)


async def units(database: Database) -> None:
    """Repositories of a unit of work have their types."""
    async with Library.begin(database, isolation_level="SERIALIZABLE") as library:
        assert_type(library, Library)
        assert_type(library.books, Books)
        assert_type(await library.same.get_or_raise(1), TypedBook)
        assert_type(library.session, AsyncSession)


app = FastAPI()


@app.get("/books")
async def list_books(
    books: Annotated[ReadRepository[TypedBook], Depends()], query: Annotated[PageQuery, Depends()]
) -> Page[BookOut]:
    """The dependencies have the types of what they make."""
    assert_type(books, ReadRepository[TypedBook])
    assert_type(query, PageQuery)
    return (await books.page(query)).to(BookOut)


def test_types_are_checked_by_mypy_and_pyright():
    """This module imports; ``make types`` checks it."""
    schemas = app.openapi()["components"]["schemas"]
    assert schemas["Page_BookOut_"]["properties"]["items"]["items"]["$ref"].endswith("/BookOut")
