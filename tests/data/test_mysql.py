"""What MySQL and MariaDB do in their own way with the data: collations, keys, packets, upserts."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import BigInteger, LargeBinary, MetaData, String, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_asyncdb import CursorQuery, Database, Filter, FilterSet, Repository, paginate_cursor
from fastapi_asyncdb.data.bulk.create import create_many
from fastapi_asyncdb.data.bulk.upsert import upsert, upsert_many
from tests.support.databases import MARIADB

pytestmark = pytest.mark.databases(*MARIADB)


class Base(DeclarativeBase):
    type_annotation_map = {str: String(200)}  # noqa: RUF012 - SQLAlchemy's own


class Label(Base):
    """Its names are compared as the server does by default: without case, without padding."""

    __tablename__ = "label"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    code: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    hits: Mapped[int] = mapped_column(default=0)


class Word(Base):
    """Not unique."""

    __tablename__ = "word"
    id: Mapped[int] = mapped_column(primary_key=True)
    word: Mapped[str] = mapped_column(index=True)


class Scan(Base):
    """Large rows."""

    __tablename__ = "scan"
    id: Mapped[int] = mapped_column(primary_key=True)
    page: Mapped[bytes] = mapped_column(LargeBinary)


class WordFilter(FilterSet[Word]):
    """Equality and LIKE."""

    word = Filter(Word.word, "eq", "in", "contains")


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture
async def session(database: Database) -> AsyncIterator[AsyncSession]:
    """A session that commits."""
    async with database.session() as session:
        yield session


WORDS = ["a", "A", "á", "a ", "b", "B", "b", "ß", "ss", "c", "C "]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_cursors_follow_the_collation(session: AsyncSession, descending: bool, limit: int):
    """Words that the server takes for equal are told apart by the key: each row once, both ways."""
    await create_many(session, Word, [{"word": word} for word in WORDS])
    order = Word.word.desc() if descending else Word.word
    statement = select(Word.id).order_by(order)
    expected = (await session.scalars(statement.order_by(Word.id))).all()
    page = await paginate_cursor(session, statement, CursorQuery(None, limit))
    found = list(page.items)
    while page.next_cursor is not None:
        page = await paginate_cursor(session, statement, CursorQuery(page.next_cursor, limit))
        found += page.items
    assert found == expected
    back = list(page.items)
    while page.previous_cursor is not None:
        page = await paginate_cursor(session, statement, CursorQuery(page.previous_cursor, limit))
        back = [*page.items, *back]
    assert back == expected


async def test_filters_follow_the_collation(session: AsyncSession):
    """By default equality and LIKE ignore the case; LIKE alone counts spaces at the end."""
    await create_many(session, Word, [{"word": word} for word in ("Ada", "ada ", "Bob")])
    for given, expected in (
        ({"word": "ADA"}, ["Ada", "ada "]),
        ({"word__in": ["ada", "x"]}, ["Ada", "ada "]),
        ({"word__contains": "DA "}, ["ada "]),
        ({"word__contains": "_"}, []),
    ):
        filters: Any = WordFilter(**given)
        statement = filters.apply(select(Word.word)).order_by(Word.id)
        assert (await session.scalars(statement)).all() == expected


async def test_upserts_report_by_the_collation(session: AsyncSession):
    """Keys that the server takes for equal are one row, stored before or given twice."""
    await create_many(session, Label, [{"name": "Stored"}])
    outcomes: list[str] = []
    names = ["stored", "new", "NEW ", "other", "STORED"]
    rows = [{"name": name, "hits": number} for number, name in enumerate(names)]
    for update in (None, ()):
        await upsert_many(
            session,
            Label,
            rows,
            conflict=["name"],
            update=update,
            report=lambda row, outcome: outcomes.append(outcome),
        )
    assert outcomes[:5] == ["updated", "created", "updated", "created", "updated"]
    assert outcomes[5:] == ["skipped"] * 5
    found = await session.execute(select(Label.name, Label.hits).order_by(Label.id))
    assert found.all() == [("Stored", 4), ("new", 2), ("other", 3)]


async def test_an_upsert_returns_the_stored_row(session: AsyncSession):
    """New, changed, the same again, or left as it was; by a key that differs in case."""
    for values, update, expected in (
        ({"name": "a", "hits": 1}, None, ("a", 1)),
        ({"name": "A", "hits": 2}, None, ("a", 2)),
        ({"name": "a", "hits": 2}, None, ("a", 2)),
        ({"name": "a", "hits": 3}, (), ("a", 2)),
    ):
        found = await upsert(session, Label, values, conflict=["name"], update=update)
        assert (found.name, found.hits) == expected


async def test_any_unique_key_is_a_conflict(session: AsyncSession):
    """Not only the one that ``conflict`` names: the row with that code is updated."""
    await create_many(session, Label, [{"name": "a", "code": 7}])
    rows = [{"name": "b", "code": 7, "hits": 5}]
    await upsert_many(session, Label, rows, conflict=["name"])
    found = await session.execute(select(Label.name, Label.hits))
    assert found.all() == [("a", 5)]


async def test_many_objects_get_their_keys(session: AsyncSession):
    """A flush of many rows knows the key of each, in order."""
    labels = [Label(name=f"n{number}") for number in range(2500)]
    session.add_all(labels)
    await session.flush()
    found = await session.execute(select(Label.id, Label.name).order_by(Label.id))
    assert found.all() == [(label.id, label.name) for label in labels]


async def test_a_key_of_zero_is_stored(session: AsyncSession):
    """Instead of the next free number, which the object would not know."""
    session.add(Label(id=0, name="zero"))
    await session.flush()
    assert await session.scalar(select(Label.id)) == 0


async def test_ten_thousand_rows(session: AsyncSession):
    """In one call, inserted and then updated."""
    rows = [{"name": f"n{number}", "hits": 1} for number in range(10_000)]
    assert await create_many(session, Label, rows) == 10_000
    again = [row | {"hits": 2} for row in rows]
    assert await upsert_many(session, Label, again, conflict=["name"]) == 10_000
    found = await session.execute(select(func.count(), func.sum(Label.hits)))
    assert [tuple(map(int, row)) for row in found] == [(10_000, 20_000)]


async def test_a_batch_is_larger_than_a_packet(session: AsyncSession):
    """The drivers send statements of a megabyte, far below max_allowed_packet."""
    largest = await session.scalar(text("SELECT @@max_allowed_packet")) or 0
    count = largest // 60_000 + 10
    rows = [{"page": bytes([number % 256]) * 60_000} for number in range(count)]
    assert await create_many(session, Scan, rows) == count
    assert await session.scalar(select(func.count()).select_from(Scan)) == count


async def test_counts_of_changed_rows_are_those_that_match(session: AsyncSession):
    """Also of rows that had the values already, as on other databases."""
    labels = Repository[Label](session)
    await labels.create_many([{"name": "a"}, {"name": "b"}])
    assert await labels.update_where(Label.hits == 0, hits=0) == 2
    assert await labels.update_where(Label.name == "A", hits=3) == 1
    assert await labels.delete_where(Label.hits == 3) == 1
