"""The same, with a ``Repository`` for each model."""

from typing import Annotated

from fastapi import Depends, FastAPI
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from apps.schemas import AuthorIn, AuthorOut, BookIn, BookOut
from fastapi_asyncdb import (
    Base,
    Page,
    PageQuery,
    ReadRepository,
    Repository,
    db_lifespan,
    default_database,
    install_error_handlers,
)

app = FastAPI(lifespan=db_lifespan)
install_error_handlers(app)


class Author(Base):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class Book(Base):
    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"))


Authors = Annotated[Repository[Author], Depends()]
Books = Annotated[Repository[Book], Depends()]
BookQueries = Annotated[ReadRepository[Book], Depends()]


@app.post("/authors", status_code=201)
async def create_author(body: AuthorIn, authors: Authors) -> AuthorOut:
    author = await authors.create(body)  # a name that is taken is answered with 409
    return AuthorOut.model_validate(author)


@app.post("/books", status_code=201)
async def create_book(body: BookIn, books: Books) -> BookOut:
    return BookOut.model_validate(await books.create(body))


@app.get("/books")
async def list_books(
    author_id: int, books: BookQueries, query: Annotated[PageQuery, Depends()]
) -> Page[BookOut]:
    page = await books.page(query, Book.author_id == author_id, order_by=Book.id)
    return page.to(BookOut)


@app.get("/books/{book_id}")
async def get_book(book_id: int, books: BookQueries) -> BookOut:
    return BookOut.model_validate(await books.get_or_raise(book_id))  # or 404


@app.patch("/books/{book_id}")
async def rename_book(book_id: int, title: str, books: Books) -> BookOut:
    return BookOut.model_validate(await books.update(book_id, title=title))  # or 404


async def count_books() -> int:
    """Run as a job, outside of requests."""
    async with default_database.read_session() as session:
        return await ReadRepository[Book](session).count()
