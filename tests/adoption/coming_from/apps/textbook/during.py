"""Half of the routes have moved: two engines, one database, the same models."""

from collections.abc import Sequence

from fastapi import FastAPI
from sqlalchemy import select

from apps.schemas import AuthorIn, AuthorOut, BookIn, BookOut
from apps.textbook import before
from apps.textbook.models import Author, Book
from fastapi_asyncdb import DB, ReadDB, create_lifespan

app = FastAPI(lifespan=create_lifespan(lifespan=before.lifespan))  # your own runs inside


@app.post("/authors", status_code=201, response_model=AuthorOut)
async def create_author(body: AuthorIn, db: before.DB) -> Author:  # as it was
    return await before.create_author(body, db)


@app.post("/books", status_code=201, response_model=BookOut)
async def create_book(body: BookIn, db: DB) -> Book:  # has moved
    book = Book(title=body.title, author_id=body.author_id)
    db.add(book)
    await db.flush()
    return book


@app.get("/books", response_model=list[BookOut])
async def list_books(author_id: int, db: ReadDB) -> Sequence[Book]:  # has moved
    found = await db.execute(select(Book).where(Book.author_id == author_id).order_by(Book.id))
    return found.scalars().all()
