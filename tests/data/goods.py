"""The models that bulk writes and upserts are tested with."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from pydantic import BaseModel
from sqlalchemy import (
    JSON,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    LargeBinary,
    Numeric,
    String,
    TypeDecorator,
    func,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    type_annotation_map = {str: String().with_variant(String(200), "mysql", "mariadb")}  # noqa: RUF012 - SQLAlchemy's own


class Product(Base):
    """A column named unlike its attribute, quoted names, defaults of each kind, a version."""

    __tablename__ = "Product list"
    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column("SKU no", String(40), unique=True)
    name: Mapped[str | None]
    stock: Mapped[int] = mapped_column(default=0)
    token: Mapped[UUID] = mapped_column(default=uuid4)
    created: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.current_timestamp()
    )
    changes: Mapped[int] = mapped_column(default=0, onupdate=7)
    version: Mapped[int] = mapped_column()
    parts: Mapped[list[Part]] = relationship()
    __mapper_args__: Any = {"version_id_col": version}  # noqa: RUF012


class Part(Base):
    """A default that only the server computes, and a foreign key."""

    __tablename__ = "part"
    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int | None] = mapped_column(ForeignKey(Product.id))
    made: Mapped[str] = mapped_column(default=func.lower("NOW"))
    label: Mapped[str] = mapped_column(
        default=lambda context: f"part {context.get_current_parameters()['product_id']}"
    )


class Account(Base):
    """Unique names among the accounts that are not closed."""

    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    state: Mapped[str] = mapped_column(default="open")
    balance: Mapped[int] = mapped_column(default=0)
    __table_args__: Any = (
        Index(
            "account_name",
            "name",
            unique=True,
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
    )


class Animal(Base):
    __tablename__ = "animal"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]
    __mapper_args__: Any = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}  # noqa: RUF012


class Dog(Animal):
    __mapper_args__: Any = {"polymorphic_identity": "dog"}  # noqa: RUF012


class Cat(Animal):
    __tablename__ = "cat"
    id: Mapped[int] = mapped_column(ForeignKey(Animal.id), primary_key=True)
    lives: Mapped[int]
    __mapper_args__: Any = {"polymorphic_identity": "cat"}  # noqa: RUF012


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Reversed(TypeDecorator[str]):
    """A type of the application's own."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        return value and value[::-1]

    def process_result_value(self, value: str | None, dialect: object) -> str | None:
        return value and value[::-1]


class Everything(Base):
    """A column of each type that applications use."""

    __tablename__ = "everything"
    id: Mapped[int] = mapped_column(primary_key=True)
    words: Mapped[str | None]
    whole: Mapped[int | None]
    real: Mapped[float | None]
    exact: Mapped[Decimal | None] = mapped_column(Numeric(20, 4))
    yes: Mapped[bool | None]
    day: Mapped[date | None]
    moment: Mapped[datetime | None]
    clock: Mapped[time | None]
    span: Mapped[timedelta | None]
    data: Mapped[bytes | None] = mapped_column(LargeBinary)
    document: Mapped[Any] = mapped_column(JSON, nullable=True)
    key: Mapped[UUID | None]
    colour: Mapped[Colour | None]
    own: Mapped[str | None] = mapped_column(Reversed(200))


VALUES: dict[str, Any] = {
    "words": "tab\there, line\nthere, \\N, \\., 'quote', \"double\", \u00fc\u4e2d\U0001f600",
    "whole": -5,
    "real": 1.25,
    "exact": Decimal("12345678.1250"),
    "yes": True,
    "day": date(2024, 2, 29),
    "moment": datetime(2024, 2, 29, 12, 30, 1, 500),  # noqa: DTZ001 - the column has no timezone
    "clock": time(23, 59, 58, 7),
    "span": timedelta(days=3, seconds=5, microseconds=9),
    "data": b"\x00\\x\xff\n",
    "document": {"a": [1, None, "\\"], "b": {"c": True}},
    "key": UUID(int=7),
    "colour": Colour.BLUE,
    "own": "abc",
}
# DATETIME and TIME of MySQL have whole seconds unless the model says otherwise; Interval is a DATETIME.
WHOLE_SECONDS = {
    "moment": VALUES["moment"].replace(microsecond=0),
    "clock": VALUES["clock"].replace(microsecond=0),
    "span": timedelta(days=3, seconds=5),
}


def stored_values(dialect: Dialect) -> dict[str, Any]:
    """Return ``VALUES`` as a database returns them."""
    return VALUES | (WHOLE_SECONDS if dialect.name == "mysql" else {})


class ProductIn(BaseModel):
    """What a client sends of a product."""

    sku: str
    name: str | None = None
    stock: int = 0


def products(count: int, **values: Any) -> list[dict[str, Any]]:
    """Return as many rows."""
    return [{"sku": f"s{number}", "name": f"n{number}", **values} for number in range(count)]


def now() -> datetime:
    """Return the time with its zone."""
    return datetime.now(UTC)
