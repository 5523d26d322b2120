"""An engine at import, and a ``get_db`` that commits when it is left."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from apps.schemas import AuthorIn, AuthorOut, BookIn, BookOut
from apps.textbook.models import Author, Book

engine = create_async_engine(os.environ["DATABASE_URL"], pool_pre_ping=True)
SessionLocal = async_sessionmaker(engine, expire_on_commit=False)


async def get_db() -> AsyncIterator[AsyncSession]:
    async with SessionLocal() as session:
        try:
            yield session
            await session.commit()
        except Exception:
            await session.rollback()
            raise


DB = Annotated[AsyncSession, Depends(get_db)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/authors", status_code=201, response_model=AuthorOut)
async def create_author(body: AuthorIn, db: DB) -> Author:
    author = Author(name=body.name)
    db.add(author)
    try:
        await db.flush()
    except IntegrityError:
        raise HTTPException(409, "This name is taken.") from None
    return author


@app.post("/books", status_code=201, response_model=BookOut)
async def create_book(body: BookIn, db: DB) -> Book:
    book = Book(title=body.title, author_id=body.author_id)
    db.add(book)
    await db.flush()
    return book


@app.get("/books", response_model=list[BookOut])
async def list_books(author_id: int, db: DB) -> Sequence[Book]:
    found = await db.execute(select(Book).where(Book.author_id == author_id).order_by(Book.id))
    return found.scalars().all()


@app.get("/books/{book_id}", response_model=BookOut)
async def get_book(book_id: int, db: DB) -> Book:
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
    async with SessionLocal() as session:
        return len((await session.execute(select(Book.id))).all())
