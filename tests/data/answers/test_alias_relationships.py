"""Relationships to an alias, such as SQLAlchemy's recipe for the newest rows of each parent."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from sqlalchemy import ForeignKey, MetaData, and_, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, relationship

from fastapi_asyncdb import Database, Related, answer, rows
from fastapi_asyncdb.errors import ConfigurationError
from tests.data.answers.forum import sent


class Base(DeclarativeBase):
    """The declarative base of the tables."""


class Sensor(Base):
    """It has readings."""

    __tablename__ = "alias_sensor"
    id: Mapped[int] = mapped_column(primary_key=True)


class Reading(Base):
    """It is of a sensor."""

    __tablename__ = "alias_reading"
    id: Mapped[int] = mapped_column(primary_key=True)
    sensor_id: Mapped[int] = mapped_column(ForeignKey(Sensor.id))


_place = func.row_number().over(partition_by=Reading.sensor_id, order_by=Reading.id.desc())
_numbered = select(Reading, _place.label("place")).subquery()
_newest: Any = aliased(Reading, _numbered)
newest: Any = relationship(
    _newest,
    primaryjoin=and_(_newest.sensor_id == Sensor.id, _numbered.c.place <= 2),
    order_by=_newest.id.desc(),
    viewonly=True,
)
Sensor.newest = newest


class ReadingOut(BaseModel):
    id: int


class SensorOut(BaseModel):
    id: int
    newest: list[ReadingOut]


class Restricted(BaseModel):
    newest: Annotated[list[ReadingOut], Related(limit=1)]


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


async def test_rows_are_those_of_the_alias(database: Database):
    """They are loaded as objects, and a part of them is refused."""
    async with database.session() as session:
        session.add_all([Sensor(id=1), Sensor(id=2)])
        await session.flush()
        session.add_all(Reading(id=n, sensor_id=1 + n % 2) for n in range(1, 8))
    statement = select(Sensor).order_by(Sensor.id)
    expected = [
        {"id": 1, "newest": [{"id": 6}, {"id": 4}]},
        {"id": 2, "newest": [{"id": 7}, {"id": 5}]},
    ]
    async with database.read_session() as session:
        assert await sent(session, statement, list[SensorOut]) == expected
        assert [each.model_dump() for each in await rows(session, statement, SensorOut)] == expected
        with pytest.raises(ConfigurationError, match="is a relationship to an alias"):
            await answer(session, statement, list[Restricted])
    # The relationship's own name, and nothing of its SQL, is in the reason.
    assert "SensorOut.newest is a relationship to an alias" in answer.explain(
        SensorOut, Sensor, database=database
    ) or "the database does not build JSON" in answer.explain(SensorOut, Sensor, database=database)
