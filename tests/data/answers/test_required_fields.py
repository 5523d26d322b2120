"""Fields that require a value, of columns that may be NULL."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from fastapi.exceptions import ResponseValidationError
from pydantic import BaseModel
from sqlalchemy import BigInteger, MetaData, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_asyncdb import Database, answer
from fastapi_asyncdb.models import UTCDateTime
from tests.support.mysql_types import WORD


class Base(DeclarativeBase):
    type_annotation_map = {str: WORD, datetime: UTCDateTime()}  # noqa: RUF012 - SQLAlchemy's own


class Draft(Base):
    __tablename__ = "draft"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int | None] = mapped_column(BigInteger)
    title: Mapped[str | None]
    is_ready: Mapped[bool | None]
    since: Mapped[datetime | None]


class DraftOut(BaseModel):
    id: int
    number: int
    title: str
    is_ready: bool
    since: datetime


VALUES = {"number": 7, "title": "a", "is_ready": True, "since": datetime(2024, 2, 29, tzinfo=UTC)}


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


async def test_values_are_written(database: Database):
    """As Pydantic writes them."""
    async with database.session() as session:
        session.add(Draft(id=1, **VALUES))
        await session.flush()
        found = await answer(session, select(Draft), DraftOut)
    assert json.loads(found.body) == DraftOut(id=1, **VALUES).model_dump(mode="json")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", VALUES)
async def test_null_does_not_fit(database: Database, name: str):
    """Each field says so, as Pydantic does."""
    async with database.session() as session:
        session.add(Draft(id=1, **VALUES | {name: None}))
        await session.flush()
        with pytest.raises(ResponseValidationError, match=name):
            await answer(session, select(Draft), DraftOut)
