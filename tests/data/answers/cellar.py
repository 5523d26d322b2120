"""A cellar: a column of each type that MariaDB writes in its own way, and a schema with all of them."""

from __future__ import annotations

import enum
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import JSON, Double, Enum, Float, ForeignKey, Numeric, String, Uuid
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    type_annotation_map = {str: String(200)}  # noqa: RUF012 - SQLAlchemy's own


class Shade(enum.Enum):
    LIGHT = 'a "quoted" one'
    DARK = "a \\ and a\nline"


class Shelf(Base):
    __tablename__ = "cellar_shelf"
    id: Mapped[int] = mapped_column(primary_key=True)
    bottles: Mapped[list[Bottle]] = relationship(order_by=lambda: Bottle.id)


class Bottle(Base):
    __tablename__ = "cellar_bottle"
    id: Mapped[int] = mapped_column(primary_key=True)
    shelf_id: Mapped[int] = mapped_column(ForeignKey(Shelf.id))
    name: Mapped[str | None]
    label: Mapped[str | None] = mapped_column(mysql.TEXT(collation="utf8mb4_unicode_ci"))
    code: Mapped[str | None] = mapped_column(mysql.VARCHAR(20, charset="latin1"))
    exact: Mapped[str | None] = mapped_column(mysql.VARCHAR(20, collation="utf8mb4_bin"))
    is_ripe: Mapped[bool | None]
    count: Mapped[int | None] = mapped_column(mysql.BIGINT(unsigned=True))
    narrow: Mapped[float | None] = mapped_column(Float)
    wide: Mapped[float | None] = mapped_column(Double)
    fixed: Mapped[float | None] = mapped_column(mysql.FLOAT(10, 3, asdecimal=False))
    price: Mapped[Decimal | None] = mapped_column(Numeric(12, 2))
    share: Mapped[Decimal | None] = mapped_column(Numeric(30, 15))
    whole: Mapped[Decimal | None] = mapped_column(Numeric)
    day: Mapped[date | None]
    second: Mapped[datetime | None]
    moment: Mapped[datetime | None] = mapped_column(mysql.DATETIME(fsp=6))
    milli: Mapped[datetime | None] = mapped_column(mysql.DATETIME(fsp=3))
    key: Mapped[UUID | None] = mapped_column(Uuid(native_uuid=False))
    native: Mapped[UUID | None]
    shade: Mapped[Shade | None]
    word: Mapped[str | None] = mapped_column(Enum("a", "B c", native_enum=False, length=20))
    data: Mapped[Any] = mapped_column(JSON(none_as_null=True), nullable=True)


class Crate(Base):
    __tablename__ = "cellar_crate"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(mysql.INTEGER(5, zerofill=True))
    words: Mapped[Any] = mapped_column(mysql.SET("a", "b"))


class BottleOut(BaseModel):
    id: int
    name: str | None
    label: str | None
    code: str | None
    exact: str | None
    is_ripe: bool | None
    count: int | None
    narrow: float | None
    wide: float | None
    fixed: float | None
    price: Decimal | None
    share: Decimal | None
    whole: Decimal | None
    day: date | None
    second: datetime | None
    moment: datetime | None
    milli: datetime | None
    key: UUID | None
    native: UUID | None
    shade: Shade | None
    word: str | None
    data: Any


class ShelfOut(BaseModel):
    id: int
    bottles: list[BottleOut]
