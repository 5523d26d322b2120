from sqlmodel import Session

from models import Book, BookCreate


def create_book(*, session: Session, book_in: BookCreate) -> Book:
    book = Book.model_validate(book_in)
    session.add(book)
    session.commit()
    session.refresh(book)
    return book
