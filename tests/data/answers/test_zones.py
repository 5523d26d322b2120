"""Points in time with SQLAlchemy's own type, whose zone is what the driver says."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel
from sqlalchemy import DateTime, MetaData, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_asyncdb import Database, answer

pytestmark = pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
SUMMER = datetime(2026, 7, 1, 12, tzinfo=UTC)
TIMES = [SUMMER, SUMMER.replace(microsecond=7), datetime(1, 1, 2, tzinfo=UTC)]


class Base(DeclarativeBase):
    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012 - SQLAlchemy's own


class Launch(Base):
    __tablename__ = "zones_launch"
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]


class LaunchOut(BaseModel):
    at: datetime


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


async def test_the_zone_is_that_of_the_driver(database: Database):
    """With asyncpg it is UTC, which PostgreSQL can write; with psycopg it is that of the session."""
    builds = database.engine.dialect.driver == "asyncpg"
    assert ("database builds" in answer.explain(LaunchOut, Launch, database=database)) is builds
    launches = select(Launch).order_by(Launch.id)
    async with database.session() as session:
        await session.execute(insert(Launch), [{"at": time} for time in TIMES])
        await session.execute(text("SET LOCAL timezone = 'Asia/Tokyo'"))
        found = (await session.scalars(launches)).all()
        body = bytes((await answer(session, launches, list[LaunchOut])).body)
    expected = [LaunchOut(at=each.at).model_dump(mode="json") for each in found]
    assert json.loads(body) == expected
    zone = "Z" if builds else "+09:00"
    assert expected[0]["at"].endswith(zone)
