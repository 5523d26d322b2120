"""Checked by mypy and pyright; run by pytest only so that it imports."""

from datetime import datetime
from typing import assert_type
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite as SQLiteDialect
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Mapped

from fastapi_asyncdb import (
    DB,
    Base,
    SoftDeleteMixin,
    TimestampMixin,
    UUIDMixin,
    VersionMixin,
)
from fastapi_asyncdb.models import UTCDateTime, utcnow, uuid7


class TypedModel(UUIDMixin, TimestampMixin, SoftDeleteMixin, VersionMixin, Base):
    __tablename__ = "typed_model"
    name: Mapped[str]


class AnyBase(DeclarativeBase):
    """A base of the user's own."""


class OwnModel(UUIDMixin, SoftDeleteMixin, AnyBase):
    __tablename__ = "own_model"


async def endpoint(db: DB) -> None:
    """Columns of mixins have their types, in objects, classes and statements."""
    model = await db.get_one(TypedModel, uuid7())
    assert_type(model.id, UUID)
    assert_type(model.created_at, datetime)
    assert_type(model.updated_at, datetime)
    assert_type(model.deleted_at, datetime | None)
    assert_type(model.is_deleted, bool)
    assert_type(model.version, int)
    assert_type(TypedModel.version, InstrumentedAttribute[int])
    assert_type((await db.scalars(select(TypedModel.id))).one(), UUID)
    assert_type((await db.scalars(select(OwnModel.deleted_at))).one(), datetime | None)
    model.mark_deleted()
    model.restore()


def test_types() -> None:
    """Types of columns and functions."""
    assert_type(UTCDateTime().process_bind_param(None, SQLiteDialect()), datetime | None)
    assert isinstance(utcnow().type, UTCDateTime)
    assert_type(uuid7(), UUID)
