"""The models of these tests: authors and their books."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, Field
from pymongo import TEXT, IndexModel

from fastapi_asyncdb.extras.mongo import Document


class Kind(Enum):
    NOVEL = "novel"
    ESSAY = "essay"


class Author(Document):
    """An author, whose address is unique."""

    __collection__: ClassVar[str] = "authors"
    __indexes__: ClassVar[Sequence[IndexModel]] = [
        IndexModel("email", unique=True, name="uq_email"),
        IndexModel([("country", 1), ("name", -1)]),
        IndexModel("seen", expireAfterSeconds=3600, name="forget"),
    ]

    name: str = Field(max_length=100)
    email: str
    country: str | None = None
    seen: datetime | None = None


class Book(Document):
    """A book with values of each type."""

    __collection__: ClassVar[str] = "books"
    __indexes__: ClassVar[Sequence[IndexModel]] = [
        IndexModel([("title", TEXT), ("summary", TEXT)], weights={"title": 5}, name="words"),
    ]

    title: str
    summary: str = ""
    year: int | None = None
    price: Decimal = Decimal("9.90")
    kind: Kind = Kind.NOVEL
    isbn: UUID | None = None
    published: datetime | None = None
    details: dict[str, Any] = Field(default_factory=dict)
    page_count: int = Field(default=0, alias="pageCount")


class PerYear(BaseModel):
    """A result of an aggregation."""

    year: int
    books: int
