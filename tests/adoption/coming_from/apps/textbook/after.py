"""The same, with ``DB`` and ``db_lifespan``."""

from collections.abc import Sequence

from fastapi import FastAPI, HTTPException
from sqlalchemy import select

from apps.schemas import AuthorIn, AuthorOut, BookIn, BookOut
from apps.textbook.models import Author, Book
from fastapi_asyncdb import DB, ReadDB, db_lifespan, default_database, install_error_handlers

app = FastAPI(lifespan=db_lifespan)  # reads DATABASE_URL at start, and disposes of the engine
install_error_handlers(app)


@app.post("/authors", status_code=201, response_model=AuthorOut)
async def create_author(body: AuthorIn, db: DB) -> Author:
    author = Author(name=body.name)
    db.add(author)
    await db.flush()  # a name that is taken is answered with 409
    return author


@app.post("/books", status_code=201, response_model=BookOut)
async def create_book(body: BookIn, db: DB) -> Book:
    book = Book(title=body.title, author_id=body.author_id)
    db.add(book)
    await db.flush()
    return book


@app.get("/books", response_model=list[BookOut])
async def list_books(author_id: int, db: ReadDB) -> Sequence[Book]:
    found = await db.execute(select(Book).where(Book.author_id == author_id).order_by(Book.id))
    return found.scalars().all()


@app.get("/books/{book_id}", response_model=BookOut)
async def get_book(book_id: int, db: ReadDB) -> Book:
    book = await db.get(Book, book_id)
    if book is None:
        raise HTTPException(404, "There is no such book.")
    return book


@app.patch("/books/{book_id}", response_model=BookOut)
async def rename_book(book_id: int, title: str, db: DB) -> Book:
    book = await get_book(book_id, db)
    book.title = title
    return book


async def count_books() -> int:
    """Run as a job, outside of requests."""
    async with default_database.read_session() as session:
        return len((await session.execute(select(Book.id))).all())
