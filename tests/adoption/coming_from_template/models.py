"""The models, which stay as they are."""

from uuid import UUID, uuid4

from sqlmodel import Field, Relationship, SQLModel


class ShelfBase(SQLModel):
    name: str = Field(unique=True, max_length=100)


class Shelf(ShelfBase, table=True):
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    books: list["Book"] = Relationship(back_populates="shelf", cascade_delete=True)


class BookBase(SQLModel):
    title: str = Field(min_length=1, max_length=100)


class BookCreate(BookBase):
    shelf_id: UUID


class BookPublic(BookCreate):
    id: UUID


class BooksPublic(SQLModel):
    data: list[BookPublic]
    count: int


class Book(BookBase, table=True):
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    shelf_id: UUID = Field(foreign_key="shelf.id", ondelete="CASCADE")
    shelf: Shelf | None = Relationship(back_populates="books")
