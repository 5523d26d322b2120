from typing import Any
from uuid import UUID

from fastapi import FastAPI, HTTPException
from sqlmodel import func, select

from before import crud
from before.api.deps import SessionDep
from models import Book, BookBase, BookCreate, BookPublic, BooksPublic, Shelf

app = FastAPI()


@app.get("/shelves/{shelf_id}/books", response_model=BooksPublic)
def read_books(shelf_id: UUID, session: SessionDep, skip: int = 0, limit: int = 100) -> Any:
    count = session.exec(
        select(func.count()).select_from(Book).where(Book.shelf_id == shelf_id)
    ).one()
    statement = select(Book).where(Book.shelf_id == shelf_id).order_by(Book.title)
    books = session.exec(statement.offset(skip).limit(limit)).all()
    return BooksPublic(data=books, count=count)


@app.post("/books", status_code=201, response_model=BookPublic)
def create_book(book_in: BookCreate, session: SessionDep) -> Any:
    if session.get(Shelf, book_in.shelf_id) is None:
        raise HTTPException(404, "There is no such shelf.")
    return crud.create_book(session=session, book_in=book_in)


@app.put("/books/{book_id}", response_model=BookPublic)
def update_book(book_id: UUID, book_in: BookBase, session: SessionDep) -> Any:
    book = session.get(Book, book_id)
    if book is None:
        raise HTTPException(404, "There is no such book.")
    book.sqlmodel_update(book_in.model_dump(exclude_unset=True))
    session.add(book)
    session.commit()
    session.refresh(book)
    return book


@app.delete("/shelves/{shelf_id}", status_code=204)
def delete_shelf(shelf_id: UUID, session: SessionDep) -> None:
    shelf = session.get(Shelf, shelf_id)
    if shelf is None:
        raise HTTPException(404, "There is no such shelf.")
    session.delete(shelf)
    session.commit()
