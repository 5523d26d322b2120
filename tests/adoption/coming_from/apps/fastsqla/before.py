"""Its ``lifespan``, ``Session`` and ``Paginate``."""

from fastapi import FastAPI, HTTPException
from fastsqla import Base, Item, Page, Paginate, Session, lifespan, open_session
from sqlalchemy import ForeignKey, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from apps.schemas import AuthorIn, AuthorOut, BookIn, BookOut


class Author(Base):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class Book(Base):
    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"))


app = FastAPI(lifespan=lifespan)  # reads sqlalchemy_url


@app.post("/authors", status_code=201)
async def create_author(body: AuthorIn, session: Session) -> AuthorOut:
    author = Author(name=body.name)
    session.add(author)
    try:
        await session.flush()
    except IntegrityError:
        raise HTTPException(409, "This name is taken.") from None
    return AuthorOut.model_validate(author)


@app.post("/books", status_code=201, response_model=Item[BookOut])
async def create_book(body: BookIn, session: Session):
    book = Book(title=body.title, author_id=body.author_id)
    session.add(book)
    await session.flush()
    return {"data": book}


@app.get("/books", response_model=Page[BookOut])
async def list_books(author_id: int, paginate: Paginate):
    return await paginate(select(Book).where(Book.author_id == author_id).order_by(Book.id))


@app.get("/books/{book_id}", response_model=Item[BookOut])
async def get_book(book_id: int, session: Session):
    book = await session.get(Book, book_id)
    if book is None:
        raise HTTPException(404, "There is no such book.")
    return {"data": book}


@app.patch("/books/{book_id}", response_model=Item[BookOut])
async def rename_book(book_id: int, title: str, session: Session):
    found = await get_book(book_id, session)
    found["data"].title = title
    return found


async def count_books() -> int:
    """Run as a job, outside of requests."""
    async with open_session() as session:
        return await session.scalar(select(func.count()).select_from(Book)) or 0
