"""The same, with ``DB``, ``ReadDB`` and ``paginate``, and the same JSON for clients."""

from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import ForeignKey, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from apps.data_and_meta import DataPage, DataQuery, Item, data_page
from apps.schemas import AuthorIn, AuthorOut, BookIn, BookOut
from fastapi_asyncdb import (
    DB,
    ReadDB,
    db_lifespan,
    default_database,
    install_error_handlers,
    paginate,
)


class Base(DeclarativeBase):  # or fastapi_asyncdb.Base
    pass


class Author(Base):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class Book(Base):
    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"))


app = FastAPI(lifespan=db_lifespan)  # reads DATABASE_URL
install_error_handlers(app)


@app.post("/authors", status_code=201)
async def create_author(body: AuthorIn, session: DB) -> AuthorOut:
    author = Author(name=body.name)
    session.add(author)
    await session.flush()  # a name that is taken is answered with 409
    return AuthorOut.model_validate(author)


@app.post("/books", status_code=201, response_model=Item[BookOut])
async def create_book(body: BookIn, session: DB):
    book = Book(title=body.title, author_id=body.author_id)
    session.add(book)
    await session.flush()
    return {"data": book}


@app.get("/books")
async def list_books(
    author_id: int, session: ReadDB, query: Annotated[DataQuery, Depends()]
) -> DataPage[BookOut]:
    books = select(Book).where(Book.author_id == author_id).order_by(Book.id)
    return data_page((await paginate(session, books, query)).to(BookOut))


@app.get("/books/{book_id}", response_model=Item[BookOut])
async def get_book(book_id: int, session: ReadDB):
    book = await session.get(Book, book_id)
    if book is None:
        raise HTTPException(404, "There is no such book.")
    return {"data": book}


@app.patch("/books/{book_id}", response_model=Item[BookOut])
async def rename_book(book_id: int, title: str, session: DB):
    found = await get_book(book_id, session)
    found["data"].title = title
    return found


async def count_books() -> int:
    """Run as a job, outside of requests."""
    async with default_database.read_session() as session:
        return await session.scalar(select(func.count()).select_from(Book)) or 0
