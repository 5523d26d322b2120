from sqlmodel.ext.asyncio.session import AsyncSession

from models import Book, BookCreate


async def create_book(*, session: AsyncSession, book_in: BookCreate) -> Book:
    book = Book.model_validate(book_in)
    session.add(book)
    await session.flush()
    return book
