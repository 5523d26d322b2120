from typing import Any
from uuid import UUID

from fastapi import FastAPI, HTTPException
from sqlmodel import func, select

from after import crud
from after.api.deps import ReadSessionDep, SessionDep
from after.core.db import database
from fastapi_asyncdb import install_error_handlers
from models import Book, BookBase, BookCreate, BookPublic, BooksPublic, Shelf

app = FastAPI(lifespan=database.lifespan)
install_error_handlers(app)


@app.get("/shelves/{shelf_id}/books", response_model=BooksPublic)
async def read_books(
    shelf_id: UUID, session: ReadSessionDep, skip: int = 0, limit: int = 100
) -> Any:
    found = await session.exec(
        select(func.count()).select_from(Book).where(Book.shelf_id == shelf_id)
    )
    statement = select(Book).where(Book.shelf_id == shelf_id).order_by(Book.title)
    books = (await session.exec(statement.offset(skip).limit(limit))).all()
    return BooksPublic(data=books, count=found.one())


@app.post("/books", status_code=201, response_model=BookPublic)
async def create_book(book_in: BookCreate, session: SessionDep) -> Any:
    if await session.get(Shelf, book_in.shelf_id) is None:
        raise HTTPException(404, "There is no such shelf.")
    return await crud.create_book(session=session, book_in=book_in)


@app.put("/books/{book_id}", response_model=BookPublic)
async def update_book(book_id: UUID, book_in: BookBase, session: SessionDep) -> Any:
    book = await session.get(Book, book_id)
    if book is None:
        raise HTTPException(404, "There is no such book.")
    book.sqlmodel_update(book_in.model_dump(exclude_unset=True))
    return book


@app.delete("/shelves/{shelf_id}", status_code=204)
async def delete_shelf(shelf_id: UUID, session: SessionDep) -> None:
    shelf = await session.get(Shelf, shelf_id)
    if shelf is None:
        raise HTTPException(404, "There is no such shelf.")
    await session.delete(shelf)
