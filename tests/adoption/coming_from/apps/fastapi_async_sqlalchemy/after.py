"""The same, with the session as an argument."""

from collections.abc import Sequence

from fastapi import FastAPI, HTTPException
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from apps.schemas import AuthorIn, AuthorOut, BookIn, BookOut
from apps.textbook.models import Author, Book
from fastapi_asyncdb import DB, ReadDB, db_lifespan, default_database, install_error_handlers

app = FastAPI(lifespan=db_lifespan)  # reads DATABASE_URL; no middleware
install_error_handlers(app)


@app.post("/authors", status_code=201, response_model=AuthorOut)
async def create_author(body: AuthorIn, session: DB) -> Author:
    author = Author(name=body.name)
    session.add(author)
    await session.flush()  # a name that is taken is answered with 409
    return author


async def add_book(session: AsyncSession, title: str, author_id: int) -> Book:
    """Take the session from the caller."""
    book = Book(title=title, author_id=author_id)
    session.add(book)
    await session.flush()
    return book


@app.post("/books", status_code=201, response_model=BookOut)
async def create_book(body: BookIn, session: DB) -> Book:
    return await add_book(session, body.title, body.author_id)


@app.get("/books", response_model=list[BookOut])
async def list_books(author_id: int, session: ReadDB) -> Sequence[Book]:
    books = select(Book).where(Book.author_id == author_id).order_by(Book.id)
    return (await session.scalars(books)).all()


@app.get("/books/{book_id}", response_model=BookOut)
async def get_book(book_id: int, session: ReadDB) -> Book:
    book = await session.get(Book, book_id)
    if book is None:
        raise HTTPException(404, "There is no such book.")
    return book


@app.patch("/books/{book_id}", response_model=BookOut)
async def rename_book(book_id: int, title: str, session: DB) -> Book:
    book = await get_book(book_id, session)
    book.title = title
    return book


async def count_books() -> int:
    """Run as a job, outside of requests."""
    async with default_database.read_session() as session:
        return await session.scalar(select(func.count()).select_from(Book)) or 0
