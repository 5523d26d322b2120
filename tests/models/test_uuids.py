"""Keys whose order is that of their creation."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import String, select
from sqlalchemy.orm import DeclarativeBase, Mapped

from fastapi_asyncdb import Database, UUIDMixin
from fastapi_asyncdb.models import uuid7
from tests.models.tables import create


class Own(DeclarativeBase):
    type_annotation_map = {str: String(200)}  # noqa: RUF012 - SQLAlchemy's own


class Parcel(UUIDMixin, Own):
    __tablename__ = "parcel"
    name: Mapped[str]


def test_fields_are_those_of_the_rfc():
    """48 bits of milliseconds, version 7, the variant of RFC 9562."""
    before = time.time_ns() // 1_000_000
    made = uuid7()
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000 + 1
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"


def test_each_is_greater_than_the_last():
    """Also within a microsecond, and as text."""
    made = [uuid7() for _ in range(20_000)]
    assert made == sorted(set(made))
    assert [str(each) for each in made] == sorted(str(each) for each in made)


def test_threads_make_different_ones():
    """No two threads get the same time."""
    make: Callable[[int], list[UUID]] = lambda _: [uuid7() for _ in range(2_000)]  # noqa: E731
    with ThreadPoolExecutor(4) as pool:
        made = [each for batch in pool.map(make, range(4)) for each in batch]
    assert len({each.int >> 62 for each in made}) == len(made)


def test_a_clock_that_is_set_back_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    """The order goes on from the last one."""
    last = uuid7()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert uuid7() > last


async def test_key_is_made_by_the_flush_and_ordered_by_the_database(database: Database):
    """The database's order is the order of creation."""
    await create(database, Own.metadata)
    async with database.session() as session:
        parcels = [Parcel(name=str(number)) for number in range(50)]
        session.add_all(parcels)
        await session.flush()
        assert all(parcel.id.version == 7 for parcel in parcels)
        names = await session.scalars(select(Parcel.name).order_by(Parcel.id))
        assert list(names) == [parcel.name for parcel in parcels]
        assert await session.get(Parcel, parcels[7].id) is parcels[7]


async def test_key_may_be_given(database: Database):
    """A client's key is kept."""
    await create(database, Own.metadata)
    key = UUID(int=5)
    async with database.session() as session:
        session.add(Parcel(id=key, name="given"))
        await session.flush()
        assert await session.scalar(select(Parcel.id)) == key
