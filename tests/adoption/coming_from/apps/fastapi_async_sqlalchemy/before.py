"""``SQLAlchemyMiddleware`` with ``commit_on_exit=True``, and ``db.session`` wherever it is needed."""

import os
from collections.abc import Sequence

from fastapi import FastAPI, HTTPException
from fastapi_async_sqlalchemy import SQLAlchemyMiddleware, db
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from apps.schemas import AuthorIn, AuthorOut, BookIn, BookOut
from apps.textbook.models import Author, Book

app = FastAPI()
app.add_middleware(
    SQLAlchemyMiddleware,
    db_url=os.environ["DATABASE_URL"],
    engine_args={"pool_pre_ping": True},
    commit_on_exit=True,
)


@app.post("/authors", status_code=201, response_model=AuthorOut)
async def create_author(body: AuthorIn) -> Author:
    author = Author(name=body.name)
    db.session.add(author)
    try:
        await db.session.flush()
    except IntegrityError:
        await db.session.rollback()
        raise HTTPException(409, "This name is taken.") from None
    return author


async def add_book(title: str, author_id: int) -> Book:
    """Take the session from the context, as services do."""
    book = Book(title=title, author_id=author_id)
    db.session.add(book)
    await db.session.flush()
    return book


@app.post("/books", status_code=201, response_model=BookOut)
async def create_book(body: BookIn) -> Book:
    return await add_book(body.title, body.author_id)


@app.get("/books", response_model=list[BookOut])
async def list_books(author_id: int) -> Sequence[Book]:
    books = select(Book).where(Book.author_id == author_id).order_by(Book.id)
    return (await db.session.scalars(books)).all()


@app.get("/books/{book_id}", response_model=BookOut)
async def get_book(book_id: int) -> Book:
    book = await db.session.get(Book, book_id)
    if book is None:
        raise HTTPException(404, "There is no such book.")
    return book


@app.patch("/books/{book_id}", response_model=BookOut)
async def rename_book(book_id: int, title: str) -> Book:
    book = await get_book(book_id)
    book.title = title
    return book


async def count_books() -> int:
    """Run as a job, outside of requests."""
    async with db(commit_on_exit=True):
        return await db.session.scalar(select(func.count()).select_from(Book)) or 0
