"""``AdvancedAlchemy`` with ``commit_mode="autocommit"``, a repository and a service."""

import os
from typing import Annotated

from advanced_alchemy.base import BigIntBase
from advanced_alchemy.exceptions import DuplicateKeyError, NotFoundError
from advanced_alchemy.extensions.fastapi import (
    AdvancedAlchemy,
    AsyncSessionConfig,
    SQLAlchemyAsyncConfig,
    filters,
    repository,
    service,
)
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import ForeignKey, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from apps.schemas import AuthorIn, AuthorOut, BookIn, BookOut

config = SQLAlchemyAsyncConfig(
    connection_string=os.environ["DATABASE_URL"],
    session_config=AsyncSessionConfig(expire_on_commit=False),
    commit_mode="autocommit",
)
app = FastAPI()
alchemy = AdvancedAlchemy(config=config, app=app)
Session = Annotated[AsyncSession, Depends(alchemy.provide_session())]


class Author(BigIntBase):
    __tablename__ = "authors"
    name: Mapped[str] = mapped_column(unique=True)


class Book(BigIntBase):
    __tablename__ = "books"
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"))


class AuthorService(service.SQLAlchemyAsyncRepositoryService[Author]):
    class Repo(repository.SQLAlchemyAsyncRepository[Author]):
        model_type = Author

    repository_type = Repo


class BookService(service.SQLAlchemyAsyncRepositoryService[Book]):
    class Repo(repository.SQLAlchemyAsyncRepository[Book]):
        model_type = Book

    repository_type = Repo


Authors = Annotated[AuthorService, Depends(alchemy.provide_service(AuthorService))]
Books = Annotated[BookService, Depends(alchemy.provide_service(BookService))]


@app.post("/authors", status_code=201)
async def create_author(body: AuthorIn, authors: Authors) -> AuthorOut:
    try:
        author = await authors.create(body)
    except DuplicateKeyError:
        raise HTTPException(409, "This name is taken.") from None
    return authors.to_schema(author, schema_type=AuthorOut)


@app.post("/books", status_code=201)
async def create_book(body: BookIn, books: Books) -> BookOut:
    return books.to_schema(await books.create(body), schema_type=BookOut)


@app.get("/books")
async def list_books(
    author_id: int, books: Books, offset: int = 0, limit: int = 20
) -> service.OffsetPagination[BookOut]:
    page = filters.LimitOffset(limit, offset)
    order = filters.OrderBy("id", "asc")
    found, total = await books.get_many_and_count(page, order, Book.author_id == author_id)
    return books.to_schema(found, total, filters=[page], schema_type=BookOut)


@app.get("/books/{book_id}")
async def get_book(book_id: int, books: Books) -> BookOut:
    try:
        book = await books.get(book_id)
    except NotFoundError:
        raise HTTPException(404, "There is no such book.") from None
    return books.to_schema(book, schema_type=BookOut)


@app.patch("/books/{book_id}")
async def rename_book(book_id: int, title: str, books: Books) -> BookOut:
    try:
        book = await books.update({"title": title}, item_id=book_id)
    except NotFoundError:
        raise HTTPException(404, "There is no such book.") from None
    return books.to_schema(book, schema_type=BookOut)


async def count_books() -> int:
    """Run as a job, outside of requests."""
    async with config.get_session() as session:
        return await session.scalar(select(func.count()).select_from(Book)) or 0
